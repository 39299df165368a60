//! The rules against naive checkers that are written another way, and their edge cases by hand.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::patterns::normal_form;
use super::*;

fn rules(bans: &[&str], musts: &[&str]) -> TextRules {
    let bans: Vec<Entry> = bans.iter().map(|ban| Entry::parse(ban).unwrap()).collect();
    let musts: Vec<String> = musts.iter().map(|&must| must.to_owned()).collect();
    TextRules::compile(&bans, &musts).unwrap()
}

/// Whether `answer` after `context` is allowed, read in pieces of `step` bytes.
fn allows_in_steps(rules: &TextRules, context: &str, answer: &str, step: usize) -> bool {
    let mut state = rules.read_context(&rules.start(), context);
    for bytes in answer.as_bytes().chunks(step) {
        match rules.advance(&state, bytes) {
            Some(next) => state = next,
            None => return false,
        }
    }
    rules.may_end(&state)
}

#[track_caller]
fn check(rules: &TextRules, context: &str, answer: &str, allowed: bool) {
    for step in [1, 2, 3, 5, 64] {
        assert_eq!(
            allows_in_steps(rules, context, answer, step),
            allowed,
            "{context:?} + {answer:?} by {step}"
        );
    }
    let text = format!("{context}{answer}");
    let found = rules.bans_after(&text, context.len());
    assert_eq!(found.is_empty(), allowed, "{text:?}: {found:?}");
}

#[track_caller]
fn allows(bans: &[&str], answers: &[&str]) {
    answers.iter().for_each(|answer| check(&rules(bans, &[]), "", answer, true));
}

#[track_caller]
fn forbids(bans: &[&str], answers: &[&str]) {
    answers.iter().for_each(|answer| check(&rules(bans, &[]), "", answer, false));
}

#[test]
fn a_phrase_is_whole_words_in_a_row() {
    forbids(
        &["red hat"],
        &[
            "red hat",
            "a RED  Hat.",
            "a red-hat,",
            "red_hat",
            "réd hät",
            "Red\u{a0}hat",
            "RED\u{2014}HATS",
            "red hat's",
        ],
    );
    allows(&["red hat"], &["red hatter", "bored hat", "red, hat", "red hot", "red 4 hat", "hat red", ""]);
}

#[test]
fn words_written_together_are_banned_as_one_word() {
    forbids(
        &["red hat"],
        &[
            "redhat",
            "a RedHats, 8k",
            "#redhat",
            "r\u{e9}dh\u{e4}t",
            "redhat's",
            "old-redhat",
            "red\u{200b}hat",
        ],
    );
    allows(&["red hat"], &["redhatter", "boredhat", "redhat2", "redhate", "red4hat", "re dhat", "hatred"]);
    allows(&["\"red hat\"", "red* hat", "red *hat", "f/1.8", "16 9"], &["redhat", "redhats", "f18", "169"]);
    forbids(&["red hat*"], &["redhatter"]);
    forbids(&["*red hat"], &["boredhats"]);
    forbids(&["*red hat*"], &["boredhatter"]);
    forbids(&["v ray", "extremely detailed"], &["VRay", "extremelydetailed"]);
    forbids(&["@quality-words"], &["sharpfocus", "UltraRealistic"]);
    forbids(&["@artists"], &["gregrutkowski", "by-hopper", "byhopper"]);
    let rules = rules(&["red hat"], &[]);
    check(&rules, "a redhat", ", 8k", true);
    check(&rules, "a red", "hat", false);
    check(&rules, "a redhat", "s", false);
    check(&rules, "a redhat", "ter", true);
}

#[test]
fn a_noun_is_banned_with_its_plural_and_possessive() {
    forbids(&["hat"], &["hats", "the hat's brim", "hats\u{2019} brims"]);
    allows(&["hat"], &["hate", "hated", "hates", "that", "hatter"]);
    allows(&["\"hat\""], &["hats"]);
    forbids(&["\"hat\""], &["hat", "HAT!"]);
}

#[test]
fn a_star_is_any_run_of_letters() {
    forbids(&["hat*"], &["hat", "hatter", "a HATBOX", "hats, "]);
    allows(&["hat*"], &["that", "what-if", "ha t"]);
    forbids(&["*hat"], &["that", "hat", "chats"]);
    allows(&["*hat"], &["hate"]);
    forbids(&["*hat*"], &["whatever"]);
    forbids(&["red* hat"], &["reddish hats", "red hat"]);
    allows(&["red* hat"], &["bored hat", "reddish, hat", "red hatter"]);
    forbids(&["red *hat*"], &["red that", "red whatever"]);
}

#[test]
fn marks_are_part_of_a_phrase() {
    forbids(&["f/1.8"], &["f/1.8", "F / 1.8"]);
    allows(&["f/1.8"], &["f/1.85", "f 1 8"]);
    forbids(&["d&d"], &["D & D"]);
    forbids(&["c++"], &["c++ logo"]);
    forbids(&[","], &["a, b"]);
}

#[test]
fn a_regex_sees_the_text_as_it_is() {
    forbids(&["/hats? off/"], &["hats off", "HAT OFF", "chat off"]);
    forbids(&[r"/\bhat\b/"], &["a hat", "hat, x"]);
    allows(&[r"/\bhat\b/"], &["hats", "that"]);
    allows(&["/(?-i)HAT/"], &["hat"]);
    forbids(&["/^a/"], &["a", "A cat"]);
    allows(&["/^a/"], &["b a"]);
    forbids(&["/hat$/"], &["hat"]);
    allows(&["/hat$/"], &["hat "]);
    forbids(&[r"/\d{2}mm/"], &["35mm"]);
    forbids(&["/é.ö/"], &["É€Ö"]);
}

#[test]
fn what_stands_in_the_context_is_excused() {
    for ban in ["red hat", "/red hat/", "red* hat", r"/\bhat\b/", "hat*"] {
        let rules = rules(&[ban], &[]);
        check(&rules, "a red hat, ", "8k", true);
        check(&rules, "a red hat", ", 8k", true);
        check(&rules, "a red hat, ", "a red hat", false);
    }
    let rules = rules(&["red hat"], &[]);
    check(&rules, "a red ", "hat", false);
    check(&rules, "a red h", "at", false);
    check(&rules, "a red hat", "s", false);
    check(&rules, "a red hat", "ter", true);
    check(&rules, "a red hat", "\u{301} of felt", true);
    check(&rules, "a red", ", hat", true);
}

#[test]
fn an_excused_start_is_a_new_word_with_another_letter() {
    check(&rules(&["hat*"], &[]), "a hat", "ter", false);
    check(&rules(&["hat*"], &[]), "a hat", " rack", true);
    check(&rules(&["/hat.*/"], &[]), "a hat", "!", false);
}

#[test]
fn musts_are_met_as_they_are_completed() {
    let rules = rules(&[], &["red hat", "8k", "f/1.8"]);
    let state = rules.read_context(&rules.start(), "a Red-Hat, ");
    assert_eq!(rules.met_so_far(&state), 0b001);
    let state = rules.advance(&state, b"8").unwrap();
    let state = rules.advance(&state, b"k").unwrap();
    assert_eq!((rules.met_so_far(&state), rules.met(&state)), (0b001, 0b011));
    let longer = rules.advance(&state, b"x, ").unwrap();
    assert_eq!((rules.met_so_far(&longer), rules.met(&longer)), (0b001, 0b001));
    let state = rules.advance(&state, b", f/1.8 ").unwrap();
    assert_eq!(rules.met_so_far(&state), rules.all_met());
    assert_eq!(rules.all_met(), 0b111);
    // Exact words: no plural, and apart.
    for text in [&b"red hats"[..], b"redhat"] {
        let state = rules.advance(&rules.start(), text).unwrap();
        assert_eq!(rules.met(&state), 0);
    }
}

#[test]
fn texts_with_equal_futures_have_equal_states() {
    let rules = rules(&["red hat", "/a{3}/"], &["8k"]);
    let read = |text: &str| rules.advance(&rules.start(), text.as_bytes()).unwrap();
    assert_eq!(read("blue sky, "), read("green grass, "));
    assert_ne!(read("blue red "), read("green grass "));
}

#[test]
fn rules_are_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<TextRules>();
    shared::<TextState>();
}

#[test]
fn impossible_rules_are_named() {
    let compile = |bans: &[&str], musts: &[&str]| {
        let bans: Vec<Entry> = bans.iter().map(|ban| Entry::parse(ban).unwrap()).collect();
        let musts: Vec<String> = musts.iter().map(|&must| must.to_owned()).collect();
        TextRules::compile(&bans, &musts).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(
        compile(&["8k", "hat"], &["red hats"]).unwrap_err(),
        "`must_include`: impossible: `red hats` holds what the ban `hat` forbids"
    );
    for (ban, must, part) in [
        ("red hat", "redhats", "impossible"),
        ("/h.t/", "red hat", "impossible"),
        ("@people", "a woman", "impossible"),
        (",", "red, hat", "impossible"),
        ("hat", " - ", "nothing to match"),
        (r"/\w{200}\pL{200}/", "x", "too large"),
    ] {
        let error = compile(&[ban], &[must]).unwrap_err();
        assert!(error.contains(part), "{ban}: {error}");
    }
    for (ban, must) in [("/^hat/", "hat"), ("/, hat/", "hat"), ("the hat", "hat"), ("hat", "hatter")] {
        assert_eq!(compile(&[ban], &[must]), Ok(()));
    }
    assert!(compile(&[], &["x"; 65]).unwrap_err().contains("at most 64"));
    assert_eq!(compile(&[], &["x"; 64]), Ok(()));
}

#[test]
fn places_are_whole_words_and_each_is_found_once() {
    let found = |bans: &[&str], text: &str| -> Vec<(usize, String)> {
        let found = rules(bans, &[]).bans_in(text);
        found.into_iter().map(|found| (found.entry, text[found.range].to_owned())).collect()
    };
    assert_eq!(
        found(&["*hat*", "red hat"], "a Réd - HATS, what"),
        [(1, "Réd - HATS".to_owned()), (0, "HATS".to_owned()), (0, "what".to_owned()),]
    );
    assert_eq!(found(&["red hat"], "x red RedHats hat"), [(0, "RedHats".to_owned())]);
    assert_eq!(found(&["/ha+t/"], "x haaat hat"), [(0, "haaat".to_owned())]);
    assert_eq!(found(&["red* *hat"], "x reddish that"), [(0, "reddish that".to_owned())]);
    assert_eq!(found(&["@artists"], "by Greg Rutkowski!").len(), 2);
    assert!(found(&[], "anything").is_empty());
}

#[test]
fn artists_are_banned_and_common_words_are_not() {
    forbids(
        &["@artists"],
        &["by Zdzisław Beksiński", "J.C. Leyendecker", "alphonse-mucha", "by hopper", "edward hopper"],
    );
    allows(&["@artists"], &["a grass hopper", "grasshopper", "munch on leaves", "volumetric lighting"]);
}

/// Answers that `tools/reference/check_rules.py --self-test` judges too.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Case {
    text: String,
    context: String,
    bans: Vec<Entry>,
    musts: Vec<String>,
    banned: Vec<usize>,
    missing: Vec<usize>,
}

#[test]
fn the_cases_of_the_independent_checker_hold() {
    for line in include_str!("../../tests/data/rules.jsonl").lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let answer = case.text.strip_prefix(&case.context).unwrap();
        let bans = TextRules::compile(&case.bans, &[]).unwrap();
        check(&bans, &case.context, answer, case.banned.is_empty());
        let mut banned: Vec<usize> =
            bans.bans_after(&case.text, case.context.len()).into_iter().map(|found| found.entry).collect();
        banned.sort();
        banned.dedup();
        assert_eq!(banned, case.banned, "{line}");
        let musts = TextRules::compile(&[], &case.musts).unwrap();
        let state = musts.read_context(&musts.start(), &case.context);
        let met = musts.met(&musts.advance(&state, answer.as_bytes()).unwrap());
        let missing: Vec<usize> = (0..case.musts.len()).filter(|must| met >> must & 1 == 0).collect();
        assert_eq!(missing, case.missing, "{line}");
    }
}

/// Text over few characters, so that bans are hit.
fn text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b", "A", "á", "a\u{301}", "s", "ab", "ba", " ", " ", "-", "_", "\u{a0}", "'", "’", ",", ".",
        "\u{200b}", "™", "œ", "ＡＢ", "\n", "1", "½", "🙂",
    ]);
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

fn phrase() -> impl Strategy<Value = String> {
    let word =
        prop::sample::select(vec!["a", "b", "ab", "ba", "a*", "*a", "*b*", "as", "aa", "á", ",", "1", "1a"]);
    prop::collection::vec(word, 1..4).prop_map(|words| words.join(" "))
}

/// Whether the words of a phrase are written together in one of the tokens.
fn naive_joined(wanted: &[&str], tokens: &[&str]) -> bool {
    let [first, .., last] = wanted else { return false };
    let written = wanted.join(" ");
    if written.contains(',') || written.contains("* ") || written.contains(" *") || written.contains("1 1") {
        return false;
    }
    let folded = |word: &str| normal_form(word.trim_matches('*')).trim().to_owned();
    let before: String = wanted[..wanted.len() - 1].iter().map(|word| folded(word)).collect();
    let mut spelled = vec![format!("{before}{}", folded(last))];
    if !last.ends_with('*') {
        let plurals = super::inflections::plurals(&folded(last));
        spelled.extend(plurals.iter().map(|plural| format!("{before}{plural}")));
    }
    tokens.iter().any(|token| {
        spelled.iter().any(|word| match (first.starts_with('*'), last.ends_with('*')) {
            (true, true) => token.contains(word),
            (true, false) => token.ends_with(word),
            (false, true) => token.starts_with(word),
            (false, false) => token == word,
        })
    })
}

/// Whether the words of a phrase stand in a row or together, on the normal form cut at spaces.
fn naive_phrase(entry: &str, text: &str) -> bool {
    let normal = normal_form(text);
    let tokens: Vec<&str> = normal.split_whitespace().collect();
    let wanted: Vec<&str> = entry.split(' ').collect();
    let in_a_row = tokens.windows(wanted.len()).any(|window| {
        window.iter().zip(&wanted).enumerate().all(|(at, (token, wanted))| {
            let folded = normal_form(wanted.trim_matches('*')).trim().to_owned();
            let is_last = at + 1 == window.len();
            let plural = |stem: &str| {
                is_last
                    && stem != ","
                    && stem.chars().count() > 1
                    && super::inflections::plurals(stem).iter().any(|plural| plural == token)
            };
            match (wanted.starts_with('*'), wanted.ends_with('*')) {
                (true, true) => token.contains(&folded),
                (true, false) => {
                    token.ends_with(&folded)
                        || (is_last
                            && super::inflections::plurals(&folded)
                                .iter()
                                .any(|plural| token.ends_with(plural.as_str())))
                }
                (false, true) => token.starts_with(&folded),
                (false, false) => **token == folded || plural(&folded),
            }
        })
    });
    in_a_row || naive_joined(&wanted, &tokens)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn phrases_are_found_as_a_naive_reader_finds_them(
        bans in prop::collection::vec(phrase(), 1..5), text in text(), step in 1..6usize,
    ) {
        let entries: Vec<&str> = bans.iter().map(String::as_str).collect();
        let rules = rules(&entries, &[]);
        let expected: Vec<usize> = (0..bans.len()).filter(|&ban| naive_phrase(&bans[ban], &text)).collect();
        let mut found: Vec<usize> = rules.bans_in(&text).into_iter().map(|found| found.entry).collect();
        found.sort();
        found.dedup();
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(allows_in_steps(&rules, "", &text, step), expected.is_empty());
    }

    #[test]
    fn regexes_are_found_as_the_regex_crate_finds_them(
        bans in prop::collection::vec(prop::sample::select(vec![
            "ab", "a.b", "^a", "b$", r"\bab\b", "a+s", "[^a]b", "(a|b){3}", "a.*b", "œ", r"\w\W\w", "(?-i)A", r"(?s)a.b",
        ]), 1..4),
        text in text(), step in 1..6usize,
    ) {
        let written: Vec<String> = bans.iter().map(|ban| format!("/{ban}/")).collect();
        let entries: Vec<&str> = written.iter().map(String::as_str).collect();
        let rules = rules(&entries, &[]);
        let is_match = |ban: &str| {
            let ascii_edges = ban.replace(r"\b", r"(?-u:\b)");
            regex::RegexBuilder::new(&ascii_edges).case_insensitive(true).build().unwrap().is_match(&text)
        };
        let expected: Vec<usize> = (0..bans.len()).filter(|&ban| is_match(bans[ban])).collect();
        let mut found: Vec<usize> = rules.bans_in(&text).into_iter().map(|found| found.entry).collect();
        found.sort();
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(allows_in_steps(&rules, "", &text, step), expected.is_empty());
    }

    #[test]
    fn reading_and_reporting_agree_behind_a_context(
        bans in prop::collection::vec(prop_oneof![
            phrase(), prop::sample::select(vec!["/ab/", "/a.*b/", r"/\bab\b/", "/a$/", "/a b/"]).prop_map(str::to_owned),
        ], 1..5),
        context in text(), answer in text(), step in 1..6usize,
    ) {
        let entries: Vec<&str> = bans.iter().map(String::as_str).collect();
        let rules = rules(&entries, &[]);
        let whole = format!("{context}{answer}");
        let found = rules.bans_after(&whole, context.len());
        prop_assert_eq!(allows_in_steps(&rules, &context, &answer, step), found.is_empty(), "{:?}", found);
        prop_assert!(found.iter().all(|found| found.range.end > context.len() && whole.is_char_boundary(found.range.start)));
    }

    #[test]
    fn musts_are_met_where_the_naive_reader_finds_them(must in "[ab]{1,2}( [ab]{1,2})?", context in text(), answer in text()) {
        let rules = rules(&[], &[&must]);
        let state = rules.read_context(&rules.start(), &context);
        let state = rules.advance(&state, answer.as_bytes()).unwrap();
        let stands = normal_form(&format!("{context}{answer}")).contains(&normal_form(&must));
        prop_assert_eq!(rules.met(&state) == 1, stands);
        prop_assert!(rules.met_so_far(&state) <= rules.met(&state));
    }

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let rules = rules(&["hat", "*a*", "/b+/", "a* b"], &["c"]);
        let text = String::from_utf8_lossy(&bytes);
        let state = rules.advance(&rules.start(), &bytes);
        let allowed = state.is_some_and(|state| rules.may_end(&state));
        prop_assert_eq!(allowed, rules.bans_in(&text).is_empty());
    }

    #[test]
    fn any_entry_that_is_read_is_printed_as_it_was(written in r#"["/@*a-z .,é']{0,8}"#) {
        if let Ok(entry) = Entry::parse(&written) {
            prop_assert_eq!(Entry::parse(&entry.to_string()).unwrap(), entry);
        }
    }
}
