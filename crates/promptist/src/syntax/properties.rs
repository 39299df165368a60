//! What holds of any text, syntax or not.

use proptest::prelude::*;

use super::*;

/// Marks, keywords and words in any order: most of it is broken, much of it is not.
fn prompts() -> impl Strategy<Value = String> {
    const PARTS: [&str; 56] = [
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "<",
        ">",
        ":",
        "|",
        "\\",
        "\"",
        "'",
        "_",
        "-",
        ",",
        " ",
        "\n",
        "$",
        "+",
        ".",
        "1",
        ":1.2)",
        ":0.5]",
        "::",
        "$$",
        "2$$",
        "${",
        "0.5::",
        "=",
        "__",
        "__a__",
        "<lora:x:1>",
        "<b:",
        "embedding:",
        " AND ",
        " BREAK ",
        " --ar ",
        " --no ",
        "16:9",
        "1girl",
        "red",
        " cat ",
        "tree++",
        "\\(",
        "\\)",
        "“",
        "”",
        "’",
        "「",
        "—",
        "é",
        "女",
        "😀",
        ".and(",
        "\u{3000}",
    ];
    let parts = proptest::collection::vec(proptest::sample::select(PARTS.to_vec()), 0..40);
    prop_oneof![parts.prop_map(|parts| parts.concat()), any::<String>(), "[()\\[\\]{}<>:|a1 ,\\\\]{0,60}"]
}

fn protects() -> impl Strategy<Value = Protect> {
    let patterns = prop_oneof![Just(""), Just("red"), Just(r"\W{2}"), Just("[a-z]1|é.")];
    patterns.prop_map(|pattern| Protect::new(&[pattern.to_owned()]).expect("a regex"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn spans_cover_the_text(text in prompts(), protect in protects()) {
        let syntax = parse(&text, &protect);
        prop_assert_eq!(syntax.to_string(), &*text);
        let mut end = 0;
        for span in syntax.spans() {
            prop_assert!(span.range.start == end && span.range.end > end);
            prop_assert!(text.get(span.range.clone()).is_some());
            end = span.range.end;
        }
        prop_assert_eq!(end, text.len());
    }

    #[test]
    fn all_that_is_not_words_is_protected(text in prompts(), protect in protects()) {
        let syntax = parse(&text, &protect);
        let ranges = syntax.protected_ranges();
        prop_assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
        for span in syntax.spans().iter().filter(|span| span.kind != SpanKind::Text) {
            let is_inside = |range: &Range<usize>| range.start <= span.range.start && span.range.end <= range.end;
            prop_assert!(ranges.iter().any(is_inside), "{:?} of {:?}", span, text);
        }
    }

    #[test]
    fn text_without_syntax_stays_as_it_is(text in prompts()) {
        let syntax = parse(&text, &Protect::default());
        let plain = syntax.plain();
        prop_assert!(syntax.has_syntax() || plain == text);
    }

    /// Nothing that the user wrote is lost where an addition is made.
    #[test]
    fn additions_lose_nothing(text in prompts(), protect in protects()) {
        let syntax = parse(&text, &protect);
        let (head, tail) = text.split_at(syntax.closing());
        for answer in [text.clone(), format!("{head}, art, {tail}"), format!("{text}, art")] {
            prop_assert_eq!(syntax.lost_in(&answer), Vec::<&str>::new(), "{:?}", answer);
        }
        prop_assert_eq!(syntax.lost_in(""), syntax.protected());
    }

    /// Every match of the user's regex stands in a protected piece.
    #[test]
    fn what_the_user_protects_is_protected(text in prompts()) {
        let pattern = "[a-z]1|é.|red";
        let protect = Protect::new(&[pattern.to_owned()]).expect("a regex");
        let syntax = parse(&text, &protect);
        for found in regex::Regex::new(pattern).expect("a regex").find_iter(&text) {
            let is_inside = |range: &Range<usize>| range.start <= found.start() && found.end() <= range.end;
            prop_assert!(syntax.protected_ranges().iter().any(is_inside), "{:?} of {:?}", found, text);
        }
    }
}
