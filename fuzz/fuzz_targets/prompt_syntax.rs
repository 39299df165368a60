//! Prompts as people write them, and worse: what was read is printed, what is protected is found again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use promptist::syntax::{Protect, SpanKind, Syntax, parse};

/// Regexes that are what they match, so that what they must find is known.
const LITERALS: [&str; 4] = ["red", "é:", "1", " <"];

/// What the regexes of users may do to the rest of the syntax.
static PROTECTS: LazyLock<[Protect; 4]> = LazyLock::new(|| {
    let patterns: [&[&str]; 4] = [&[], &LITERALS, &[r"\W", "_{2}"], &[".[^a]", "(?i)and.*?:", r"\b"]];
    patterns.map(|patterns| {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Protect::new(&patterns).expect("regexes")
    })
});

/// With these as its letters the fuzzer meets nested forms soon.
const LETTERS: [&str; 64] = [
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
    "0.5",
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
    "<lora:",
    "<b:c>",
    "<ti>",
    "<random[2]:",
    "embedding:",
    "AND",
    " AND ",
    "BREAK",
    " --ar ",
    " --no ",
    "16:9",
    "1girl",
    "35mm",
    "red",
    " cat ",
    "tree++",
    "--",
    "\\(",
    "\\)",
    "\\[",
    "\\}",
    "“",
    "”",
    "’",
    "「",
    "—",
    "é",
    "女",
    "😀",
    ".and(",
    "f/1.8",
];

fuzz_target!(|input: (u8, &[u8])| {
    let (mode, bytes) = input;
    let text = if mode & 1 == 0 {
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        bytes.iter().map(|byte| LETTERS[usize::from(*byte) % LETTERS.len()]).collect()
    };
    let protect = usize::from(mode >> 1) % PROTECTS.len();
    check(&text, &PROTECTS[protect]);
    if protect == 1 {
        check_literals(&parse(&text, &PROTECTS[protect]));
    }
});

fn check(text: &str, protect: &Protect) {
    let syntax = parse(text, protect);
    assert_eq!(syntax.to_string(), text, "what was read is not what is printed");
    check_spans(&syntax);
    let plain = syntax.plain();
    if !syntax.has_syntax() {
        assert_eq!(plain, text, "a text without syntax was changed");
    }
    let (head, tail) = text.split_at(syntax.closing());
    assert!(syntax.lost_in(text).is_empty(), "lost in the prompt itself");
    assert!(
        syntax.lost_in(&format!("{head}, oil on canvas, {tail}")).is_empty(),
        "lost before the closing run"
    );
    assert!(syntax.lost_in(&format!("{text}, oil on canvas")).is_empty(), "lost after an addition");
    assert_eq!(syntax.lost_in(""), syntax.protected(), "found in nothing");
}

fn check_spans(syntax: &Syntax<'_>) {
    let text = syntax.source();
    let mut end = 0;
    for span in syntax.spans() {
        assert!(span.range.start == end && span.range.end > end, "{:?} after {end}", span.range);
        end = span.range.end;
        // Slices at a boundary between characters, or fails.
        let _ = &text[span.range.clone()];
    }
    assert_eq!(end, text.len());
    let protected = syntax.protected_ranges();
    assert!(protected.windows(2).all(|pair| pair[0].end <= pair[1].start), "{protected:?} overlap");
    for span in syntax.spans().iter().filter(|span| span.kind != SpanKind::Text) {
        let idx = protected.partition_point(|range| range.end < span.range.end);
        let holder = protected.get(idx).filter(|range| range.start <= span.range.start);
        assert!(holder.is_some(), "{:?} {:?} is not protected", span.kind, &text[span.range.clone()]);
    }
}

fn check_literals(syntax: &Syntax<'_>) {
    let protected = syntax.protected_ranges();
    for (at, found) in LITERALS.iter().flat_map(|literal| syntax.source().match_indices(literal)) {
        let idx = protected.partition_point(|range| range.end < at + found.len());
        let holder = protected.get(idx).filter(|range| range.start <= at);
        assert!(holder.is_some(), "{found:?} at {at} is not protected");
    }
}
