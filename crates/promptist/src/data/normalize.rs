//! Spelling of targets: what DiffusionDB and Lexica spaced out is closed up ("8 k", "sci - fi",
//! "1 9 8 0 s"), syntax of other programs goes (weights, flags, doubled brackets), and lines that are
//! not prompts are refused with a reason.
//!
//! Only training text passes here. A user's own input is never respelled.
//! What a text *says* is judged elsewhere: [`super::safety`], [`super::degenerate`].

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Why a line is not a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Junk {
    /// Nothing is left after tidying.
    Empty,
    /// The line holds U+FFFD or control characters: it was decoded wrongly before it got here.
    BrokenEncoding,
    /// A web address.
    Url,
    /// HTML.
    Markup,
    /// Mostly symbols, or mostly letters outside the Latin script, or one endless word.
    NotLanguage,
    /// More than half of the words are repeats.
    Repetitive,
    /// More than [`MAX_WORDS`] words.
    TooLong,
}

/// Longest target kept. Stable Diffusion's text encoder reads 77 tokens, about 60 words.
pub const MAX_WORDS: usize = 100;

impl Junk {
    /// A name for reports.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::BrokenEncoding => "broken encoding",
            Self::Url => "web address",
            Self::Markup => "markup",
            Self::NotLanguage => "not language",
            Self::Repetitive => "repetitive",
            Self::TooLong => "too long",
        }
    }
}

/// The normalised text of a target. Normalising it again changes nothing.
///
/// # Errors
/// [`Junk`] if the line is not a prompt.
pub fn normalize(raw: &str) -> Result<String, Junk> {
    refuse_raw(raw)?;
    let text = tidy(raw).ok_or(Junk::NotLanguage)?;
    refuse_raw(&text)?;
    refuse_tidied(&text)?;
    Ok(text)
}

fn refuse_raw(text: &str) -> Result<(), Junk> {
    if text.chars().any(|c| c == '\u{fffd}' || (c.is_control() && !c.is_whitespace())) {
        return Err(Junk::BrokenEncoding);
    }
    if RULES.url.is_match(text) {
        return Err(Junk::Url);
    }
    if RULES.markup.is_match(text) {
        return Err(Junk::Markup);
    }
    Ok(())
}

fn refuse_tidied(text: &str) -> Result<(), Junk> {
    let (mut letters, mut latin, mut others) = (0, 0, 0);
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        match c {
            // Latin, with its supplements and extensions.
            _ if c.is_alphabetic() && u32::from(c) < 0x250 => (letters, latin) = (letters + 1, latin + 1),
            _ if c.is_alphabetic() => letters += 1,
            _ => others += 1,
        }
    }
    if letters == 0 && others == 0 {
        return Err(Junk::Empty);
    }
    if letters <= others
        || latin * 10 < letters * 9
        || text.split_whitespace().any(|word| word.chars().count() > 40)
    {
        return Err(Junk::NotLanguage);
    }
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let distinct = words.iter().collect::<HashSet<_>>().len();
    if words.len() >= 12 && distinct * 2 < words.len() {
        return Err(Junk::Repetitive);
    }
    if words.len() > MAX_WORDS {
        return Err(Junk::TooLong);
    }
    Ok(())
}

/// Applies the rules until none changes anything: closing one gap may open the way for another rule.
fn tidy(raw: &str) -> Option<String> {
    // Real lines settle in two or three passes; a line that does not is nobody's prompt.
    const MAX_PASSES: usize = 12;
    let mut text = raw.to_owned();
    for _ in 0..MAX_PASSES {
        let next = tidy_once(&text);
        if next == text {
            return Some(text);
        }
        text = next;
    }
    None
}

fn tidy_once(text: &str) -> String {
    let text = plain_characters(text);
    let text = foreign_syntax(&text);
    let text = spaced_out_digits(&text);
    let text = spaced_out_hyphens(&text);
    let text = brackets(&text);
    let text = quotes(&text);
    let text = punctuation(&text);
    phrases_once(&text)
}

/// One spelling for each quote, dash and separator; symbols that no prompt needs go.
fn plain_characters(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '‘' | '’' | '`' | '´' => plain.push('\''),
            '“' | '”' | '„' | '«' | '»' => plain.push('"'),
            '，' | '、' => plain.push(','),
            '–' | '—' | '‑' => plain.push('-'),
            '|' | ';' | '•' | '·' => plain.push_str(", "),
            '…' => plain.push_str(", "),
            '\n' | '\r' => plain.push_str(", "),
            '{' | '}' | '[' | ']' | '*' | '~' | '^' | '#' | '\\' | '<' | '>' => {}
            '_' => plain.push(' '),
            c if c.is_whitespace() => plain.push(' '),
            c if c.is_alphanumeric() || ",.:!?'\"()&+-/%@°$€£=".contains(c) => plain.push(c),
            _ => {}
        }
    }
    RULES.spaces.replace_all(plain.trim(), " ").into_owned()
}

/// Weights and flags of other programs: `(cat:1.3)`, `cat::2`, `by beeple:3,`, `--ar 16:9 --v 4`.
fn foreign_syntax(text: &str) -> String {
    let text = RULES.split_flag.replace_all(text, "--$1");
    let text = RULES.flag.replace_all(&text, " ");
    let text = RULES.bracket_weight.replace_all(&text, "$1");
    let text = RULES.double_colon.replace_all(&text, ", ");
    RULES.weight.replace_all(&text, "$1$2").into_owned()
}

fn spaced_out_digits(text: &str) -> String {
    let text = RULES.digit_run.replace_all(text, |run: &Captures<'_>| closed_digits(text, run));
    let text = RULES.unit.replace_all(&text, "$1$2");
    let text = RULES.ratio.replace_all(&text, "$1$2$3");
    let text = RULES.f_stop.replace_all(&text, "f/$1$2");
    let text = RULES.spaced_decimal.replace_all(&text, "$1.$2");
    let text = RULES.single_letters.replace_all(&text, "$1&$2");
    let text = RULES.apostrophe.replace_all(&text, "$1'$2");
    RULES.o_apostrophe.replace_all(&text, "$1'$2").into_owned()
}

/// "1 9 8 0" is 1980, but "unreal engine 5 8 k" is two numbers.
fn closed_digits(text: &str, run: &Captures<'_>) -> String {
    let all = &run[0];
    let from = run.get(0).map_or(0, |found| found.start());
    if text[..from].ends_with(['.', ',', ':', '/']) {
        return all.to_owned();
    }
    let mut digits: String = run[1].chars().filter(char::is_ascii_digit).collect();
    let Some(unit) = run.get(2).map(|unit| unit.as_str().trim_start()) else {
        return digits;
    };
    let plausible = match unit {
        "k" | "K" => [
            "10", "11", "12", "15", "16", "20", "24", "30", "32", "48", "50", "60", "64", "100", "128", "256",
        ]
        .contains(&digits.as_str()),
        _ => false,
    };
    if !plausible {
        let last = digits.pop();
        digits.push(' ');
        digits.extend(last);
    }
    digits + unit
}

/// Text without capitals is tokenised text, where " - " was a hyphen. Elsewhere it is a dash.
fn spaced_out_hyphens(text: &str) -> Cow<'_, str> {
    if !text.contains(" - ") {
        return Cow::Borrowed(text);
    }
    let lower_case = !text.chars().any(char::is_uppercase);
    RULES.hyphen.replace_all(text, |found: &Captures<'_>| {
        let hyphen = lower_case || HYPHENATED.contains(&found[1].to_lowercase().as_str());
        format!("{}{}{}", &found[1], if hyphen { "-" } else { ", " }, &found[2])
    })
}

/// First halves of compounds that keep their hyphen in text with capitals too.
#[rustfmt::skip]
const HYPHENATED: &[&str] = &[
    "sci", "lo", "hi", "ultra", "hyper", "semi", "high", "low", "full", "half", "close", "award",
    "photo", "mid", "wide", "post", "pre", "neo", "art", "x", "t", "spider", "cyber", "anti",
    "non", "multi", "mini", "well", "highly", "up", "bio", "retro",
];

/// Emphasis brackets go, balanced asides stay: "a fursuiter (blue and white) waddling".
fn brackets(text: &str) -> Cow<'_, str> {
    if !text.contains(['(', ')']) {
        return Cow::Borrowed(text);
    }
    let mut depth = 0_i32;
    let (mut balanced, mut nested) = (true, false);
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        balanced &= depth >= 0;
        nested |= depth > 1;
    }
    if !balanced || depth != 0 || nested {
        return Cow::Owned(text.replace(['(', ')'], " "));
    }
    RULES.whole_bracket.replace_all(text, "$1$2$3")
}

/// Quotes that enclose the whole line or have no partner go; the others lose their inner spaces.
fn quotes(text: &str) -> String {
    let count = text.matches('"').count();
    if count == 0 {
        return text.to_owned();
    }
    let enclosed = count == 2 && text.starts_with('"') && text.ends_with('"');
    if count % 2 == 1 || enclosed {
        return text.replace('"', " ");
    }
    let mut tidied = String::with_capacity(text.len());
    for (part_idx, part) in text.split('"').enumerate() {
        let quoted = part_idx % 2 == 1;
        match (quoted, part.trim().is_empty()) {
            (true, true) => {}
            (true, false) => {
                tidied.push('"');
                tidied.push_str(part.trim());
                tidied.push('"');
            }
            (false, _) => tidied.push_str(part),
        }
    }
    tidied
}

fn punctuation(text: &str) -> String {
    let text = RULES.repeated_mark.replace_all(text, "$1");
    let text = RULES.dots.replace_all(&text, ", ");
    let text = RULES.space_before.replace_all(&text, "$1");
    let text = RULES.bracket_open.replace_all(&text, "(");
    let text = RULES.comma.replace_all(&text, ", ");
    let text = RULES.no_space_after_comma.replace_all(&text, "$1, $2");
    let text = RULES.empty_bracket.replace_all(&text, " ");
    let text = RULES.unfinished.replace_all(&text, "$1 ");
    let text = RULES.spaces.replace_all(&text, " ");
    let text = text
        .trim_start_matches(['!', '?', ' ', ',', '.'])
        .trim_matches(|c: char| c.is_whitespace() || ",.:-+/&=%'".contains(c));
    RULES.dangling.replace(text, "").trim().to_owned()
}

/// Drops repeated phrases and the one-letter stumps that cut lines end in.
fn phrases_once(text: &str) -> String {
    let mut seen = HashSet::new();
    let mut kept: Vec<&str> = Vec::new();
    for phrase in text.split(", ") {
        let spelled: String =
            phrase.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        if spelled.chars().nth(1).is_none() && !kept.is_empty() {
            continue;
        }
        if seen.insert(spelled) {
            kept.push(phrase.trim());
        }
    }
    kept.join(", ")
}

struct Rules {
    spaces: Regex,
    url: Regex,
    markup: Regex,
    split_flag: Regex,
    flag: Regex,
    bracket_weight: Regex,
    double_colon: Regex,
    weight: Regex,
    digit_run: Regex,
    unit: Regex,
    ratio: Regex,
    f_stop: Regex,
    spaced_decimal: Regex,
    single_letters: Regex,
    apostrophe: Regex,
    o_apostrophe: Regex,
    hyphen: Regex,
    whole_bracket: Regex,
    repeated_mark: Regex,
    dots: Regex,
    space_before: Regex,
    bracket_open: Regex,
    empty_bracket: Regex,
    comma: Regex,
    no_space_after_comma: Regex,
    unfinished: Regex,
    dangling: Regex,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let rule = |pattern: &str| Regex::new(pattern).expect("patterns are constants, compiled by every test");
    Rules {
        spaces: rule(r"\s+"),
        url: rule(r"(?i)https?:|\bwww\.|\b[\w-]+\.(?:com|net|org|io|co)/"),
        markup: rule(
            r"(?i)</?(?:a|b|br|div|i|img|li|p|script|span|style|table|td|tr|ul)\b[^>]*>|&lt;|&gt;|&nbsp;",
        ),
        split_flag: rule(r"- -\s?(\w)"),
        flag: rule(
            r"(?ix)
              (?:^|\s) --+ [a-z]+ (?: \s+ [\d:.x]+ | \b)
            | (?:^|\s) -\s? (?:ar|aspect|v|q|s|n|w|h|c|iw|seed|chaos|stylize) \s? \d [\d:.x]*
            | -{1,2} (?:upbeta|beta|testp) \b
            | \s -\s?\d+ $",
        ),
        bracket_weight: rule(r"\(([^():]*):\s*\d+(?:\.\d+)?\s*\)"),
        double_colon: rule(r"\s*::+\s*-?(?:\d+(?:\.\d+)?)?"),
        weight: rule(r"(\p{L}):\s?-?\d+(?:\.\d+)?\s*(,|$)"),
        digit_run: rule(r"\b(\d(?: \d)+)( [kKdD]\b)?\b"),
        unit: rule(r"(?i)\b(\d+) (k|d|mm|cm|px|mp|p|fps|th|st|nd|rd|s)\b"),
        ratio: rule(r"(\d) ?([:/]) ?(\d)"),
        f_stop: rule(r"(?i)\b(?:f|ƒ) ?/? ?(\d{1,2})((?:\.\d+)?)\b"),
        spaced_decimal: rule(r"\b(\d)\. (\d)\b"),
        single_letters: rule(r"\b(\p{L}) & (\p{L})\b"),
        apostrophe: rule(r"(\w) ?' ?(s|t|re|ve|ll|d|m)\b"),
        o_apostrophe: rule(r"(?i)\b(o|d) ' ?(\p{L})"),
        hyphen: rule(r"([\p{L}\d]+) - ([\p{L}\d])"),
        whole_bracket: rule(r"(^|, )\(([^()]*)\)(,|$)"),
        repeated_mark: rule(r"([!?])[!?]+"),
        dots: rule(r"\.{2,}"),
        space_before: rule(r"\s+([,.!?:)])"),
        bracket_open: rule(r"\(\s+"),
        empty_bracket: rule(r"\(\s*\)"),
        comma: rule(r"\s*[.:!-]*\s*,[\s,.:;!-]*"),
        no_space_after_comma: rule(r"([^\d]),([^\s])"),
        unfinished: rule(r"(?i)\b(by|(?:of|in|on|with|as|and) (?:a|an|the)), "),
        dangling: rule(r"(?i)(?:[\s,]+(?:by|and|with|of|the|a|an|in|on|at|from|for|to|&))+$"),
    }
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(raw: &str, expected: &str) {
        assert_eq!(normalize(raw).as_deref(), Ok(expected), "{raw}");
    }

    #[test]
    fn digits_and_hyphens_close_up() {
        check("a cat, 8 k, sci - fi, 3 d render", "a cat, 8k, sci-fi, 3d render");
        check("portrait, 1 9 8 0 s photo, 3 5 mm", "portrait, 1980s photo, 35mm");
        check("a 1 7 th century ship, unreal engine 5, 8 k", "a 17th century ship, unreal engine 5, 8k");
        check("town, unreal engine 5 8 k", "town, unreal engine 5 8k");
        check("a lamp, 1 6 k, cinema 4 d", "a lamp, 16k, cinema 4d");
        check("photo of milk, f / 1. 8, 1 / 1 6 0 s, iso 2 0 0", "photo of milk, f/1.8, 1/160s, iso 200");
        check("d & d wizard, artist ' s sketch, o ' keefe", "d&d wizard, artist's sketch, o'keefe");
        check("an award - winning high - end microphone", "an award-winning high-end microphone");
    }

    #[test]
    fn a_dash_between_capitalised_words_is_a_dash() {
        check("Portrait of Ann - Digital Art", "Portrait of Ann, Digital Art");
        check("Sci - Fi town", "Sci-Fi town");
    }

    #[test]
    fn syntax_of_other_programs_goes() {
        check("cinematic streets of Babylon, noon --ar 3:2 --v 4", "cinematic streets of Babylon, noon");
        check("((best quality)), (a cat:1.3), [detailed]", "best quality, a cat, detailed");
        check("forest::2 river::, by Beeple:3, fog", "forest, river, by Beeple, fog");
        check("photo of a kite–beta –ar 2:3 –upbeta", "photo of a kite");
        check("a cat | a dog; a bird", "a cat, a dog, a bird");
        check("a cat - n 4", "a cat");
        check("a cat, hdr -9", "a cat, hdr");
    }

    #[test]
    fn punctuation_is_tidied() {
        check(
            "a cat ,on a mat,, 8k , trending on artstation.",
            "a cat, on a mat, 8k, trending on artstation",
        );
        check("\" a cat , drawn by hand \"", "a cat, drawn by hand");
        check("a sign that says \" open \", photo", "a sign that says \"open\", photo");
        check("a cat (blue and white ) on a mat, (hd)", "a cat (blue and white) on a mat, hd");
        check("a cat ( unbalanced, 8k", "a cat unbalanced, 8k");
        check("a cat, hd, HD, 4k, hd, j", "a cat, hd, 4k");
        check("a cat, art by", "a cat, art");
        check("! a cat!!!, wow", "a cat, wow");
        check("a cat in a, box, by, monet", "a cat in a box, by monet");
    }

    #[test]
    fn lines_that_are_no_prompts_are_refused() {
        for (raw, junk) in [
            ("  , . ", Junk::Empty),
            ("a caf\u{fffd}", Junk::BrokenEncoding),
            ("see https://example.org/x", Junk::Url),
            ("<b>a cat</b>", Junk::Markup),
            ("кот сидит на окне", Junk::NotLanguage),
            ("1 2 3 4 5 6 7 8", Junk::NotLanguage),
            ("cat dog cat dog cat dog cat dog cat dog cat dog", Junk::Repetitive),
        ] {
            assert_eq!(normalize(raw), Err(junk), "{raw}");
        }
        let long: Vec<String> = (0..=MAX_WORDS).map(|word| format!("word{word}")).collect();
        assert_eq!(normalize(&long.join(" ")), Err(Junk::TooLong));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(raw in "[a-eF0-9 ,.:;()'\"&/\\-]{0,60}|\\PC{0,60}") {
            if let Ok(once) = normalize(&raw) {
                prop_assert_eq!(normalize(&once), Ok(once));
            }
        }

        #[test]
        fn normalising_prompts_twice_changes_nothing(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "a cat", "8 k", "sci - fi", "1 9 8 0 s", ",", "f / 1. 8", "(", ")", "by", "\"", "--ar 16:9", "d & d", ":2", "::", ".",
                    "unreal engine 5", "- n 4", "Portrait", "o ' keefe", "((art))", "1 : 1", "b", "!", "–v 3", "'s",
                ]),
                0..12,
            )
        ) {
            if let Ok(once) = normalize(&words.join(" ")) {
                prop_assert_eq!(normalize(&once), Ok(once));
            }
        }
    }
}
