//! Where what a prompt shows ends and how it should look begins.
//!
//! The paper names the split and gives no rule ("main content" and "modifiers"); these are ours. They are
//! held to a labelled sample, half of it labelled before a rule was written: `tests/main_content.rs`.
//!
//! # Rules
//! A prompt is cut into phrases at commas and at ends of sentences, never inside brackets. A phrase is a
//! **modifier** if one of these holds:
//!
//! 1. *Lists*: every word is covered by the lists of `data/lists/` (quality, mediums, styles, lighting,
//!    camera, engines, websites), a known artist, a number, a unit ("35mm", "f/1.8"), an era ("1980s"), a
//!    coinage of manner ("-punk", "-core", "-wave") or a filler ("very", "and", "of"), and not by fillers alone.
//! 2. *Heads*: at most five words, the last of which is a word for manner ("sumi-e lighting style",
//!    "orange and purple colours"), and none that tells of an action or a place ("holding a painting").
//! 3. *Mediums with an origin*: it starts as a medium or a shot and goes on with "by", "from", "in", "with":
//!    "film still from the movie ...", "image by Werner Herzog".
//! 4. *Credit*: it starts with "by", "art by", "in the style of", "inspired by", "directed by" and the like.
//!
//! The **main content** is the leading run of phrases that are not modifiers. Modifiers before any subject
//! stay with the subject ("portrait of a cat", "highly detailed, close up of a cell"), because the user would
//! have typed them. A phrase that holds both is cut inside:
//!
//! 5. *Credit without a comma*: "medieval castle | by greg rutkowski"; "by" followed by a known artist or by
//!    what must be a name, not "surrounded by", "by the sea". A medium just before goes with it:
//!    "duke nukem | concept art by yoji shinkawa".
//! 6. *Style without a comma*: "ice cream | in cartoon style", "a fox | trending on artstation".
//! 7. *A tail of strong words*: "a man on the moon | highly detailed 8k octane render", "city | greg rutkowski".

use super::lexicon::{self, Kind, Word, words};

/// A prompt cut in two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What is shown. Never empty.
    pub main_content: String,
    /// The phrases after it, in order; usually modifiers, sometimes content that came late.
    pub modifiers: Vec<String>,
}

/// Most leading modifiers that a subject may follow. Beyond this there is no telling what the subject is.
const MAX_LEADING_MODIFIERS: usize = 4;

/// Longest phrase, in words, that its last word alone may make a modifier.
const MAX_HEADED_WORDS: usize = 5;

/// The same where the last two words are an entry of the lists: "a heavy metal shirt vector design".
const MAX_COMPOUND_HEADED_WORDS: usize = 8;

/// Cuts a normalised prompt into main content and modifiers. `None` if nothing in it says what is shown.
pub fn split(text: &str) -> Option<Split> {
    let spans = phrase_spans(text);
    let subject = leading_subject(text, &spans)?;
    let (mut main_end, mut rest_start) = (0, text.len());
    for (phrase_idx, &(start, end)) in spans.iter().enumerate() {
        let role = if phrase_idx == subject && subject == 0 {
            judge_first(&text[start..end])
        } else {
            judge(&text[start..end])
        };
        match role {
            _ if phrase_idx < subject => main_end = end,
            // The subject may be all style ("surreal landscape"), when nothing better came.
            Role::Content => main_end = end,
            Role::Modifier if phrase_idx == subject => main_end = end,
            Role::Both { cut } => {
                main_end = start + cut;
                rest_start = start + cut;
                break;
            }
            Role::Modifier => {
                rest_start = start;
                break;
            }
        }
    }
    let main_content = trimmed(&text[..main_end]);
    if main_content.is_empty() {
        return None;
    }
    let modifiers = phrases(&text[rest_start..]).into_iter().map(str::to_owned).collect();
    Some(Split { main_content: main_content.to_owned(), modifiers })
}

/// The phrases of a text: cut at commas and ends of sentences outside brackets, trimmed, none empty.
pub fn phrases(text: &str) -> Vec<&str> {
    phrase_spans(text)
        .into_iter()
        .map(|(start, end)| trimmed(&text[start..end]))
        .filter(|phrase| !phrase.is_empty())
        .collect()
}

/// Whether a phrase says how a picture should look rather than what it shows (rules 1 to 4).
pub fn is_modifier(phrase: &str) -> bool {
    judge(phrase) == Role::Modifier
}

/// Where in a phrase a credit to a maker begins: "art by X", "digital painting | in the style of X".
pub fn credit_start(phrase: &str) -> Option<usize> {
    let words = words(phrase);
    let at = (0..words.len()).find(|&at| credit_at(&words, at) == Some(Credit::Maker))?;
    Some(words[at].start)
}

/// What a phrase does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Content,
    Modifier,
    /// Content up to byte `cut`, modifiers from there.
    Both {
        cut: usize,
    },
}

/// The index of the phrase that holds the subject.
fn leading_subject(text: &str, spans: &[(usize, usize)]) -> Option<usize> {
    let phrase = |&(start, end): &(usize, usize)| trimmed(&text[start..end]);
    if judge_first(phrase(spans.first()?)) != Role::Modifier {
        return Some(0);
    }
    // "in the style of X, Y, 8k": nobody is shown, however much follows.
    if credit_at(&words(phrase(&spans[0])), 0) == Some(Credit::Maker) {
        return None;
    }
    let later = spans
        .iter()
        .take(MAX_LEADING_MODIFIERS + 1)
        .skip(1)
        .position(|span| judge(phrase(span)) != Role::Modifier);
    match later {
        Some(skipped) => Some(skipped + 1),
        // Two words of style can be a subject of their own: "surreal landscape", "abstract art".
        None => {
            let first = words(phrase(&spans[0]));
            let starts_with_credit = credit_at(&first, 0).is_some();
            (first.len() > 1 && !starts_with_credit && has_noun_of_style(&first)).then_some(0)
        }
    }
}

/// Styles that can be shown: "surreal landscape", "anime character", "fantasy logo".
fn has_noun_of_style(words: &[Word]) -> bool {
    words.iter().any(|word| STYLE_NOUNS.contains(&word.folded.as_str()))
}

#[rustfmt::skip]
const STYLE_NOUNS: &[&str] = &[
    "landscape", "landscapes", "scenery", "character", "pattern", "logo", "icon", "statue",
    "sculpture", "tattoo", "diorama", "figurine", "dystopia", "darkness", "moonlight", "nebula",
    "mecha", "mural", "magic", "diagram", "blueprint", "sprite", "lights", "shadows", "camera",
    "studio", "wallpaper", "angelic", "abstraction",
];

/// The first phrase is content unless lists or credit cover all of it; a name there is a subject, not a credit.
fn judge_first(phrase: &str) -> Role {
    let words = words(phrase);
    if covered(&words, Artists::AreContent) {
        if words.last().is_some_and(|last| STYLE_NOUNS.contains(&last.folded.as_str())) && words.len() > 1 {
            return Role::Content;
        }
        return Role::Modifier;
    }
    if credit_at(&words, 0).is_some() { Role::Modifier } else { judge_inside(&words) }
}

fn judge(phrase: &str) -> Role {
    let words = words(phrase);
    let modifier = words.is_empty()
        || (covered(&words, Artists::AreModifiers) && !waits_for_a_noun(&words))
        || camera_model(&words)
        || headed(&words)
        || medium_with_origin(&words)
        || credit_at(&words, 0).is_some();
    if modifier { Role::Modifier } else { judge_inside(&words) }
}

/// Rules 5 to 7: the first word of a phrase at which modifiers begin without a comma.
fn judge_inside(words: &[Word]) -> Role {
    let cut = (1..words.len())
        .find(|&at| credit_at(words, at).is_some() || style_tail_at(words, at) || strong_tail_at(words, at));
    let Some(cut) = cut else { return Role::Content };
    let cut = with_medium_before(words, cut);
    // "a painting by X", "beautiful art in cartoon style": nothing but modifiers before the cut.
    if covered(&words[..cut], Artists::AreContent)
        || words[..cut].iter().all(|word| lexicon::is_filler(&word.folded))
    {
        return Role::Modifier;
    }
    Role::Both { cut: words[cut].start }
}

/// Whether a name counts as a credit or as somebody shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Artists {
    AreModifiers,
    AreContent,
}

/// Rule 1.
fn covered(words: &[Word], artists: Artists) -> bool {
    let (mut at, mut modifiers) = (0, 0);
    while at < words.len() {
        match covered_at(&words[at..], artists) {
            Some((taken, counts)) => {
                at += taken;
                modifiers += usize::from(counts);
            }
            None => return false,
        }
    }
    modifiers > 0
}

/// How many words the lists cover at `words[0]`, and whether they are more than filler.
fn covered_at(words: &[Word], artists: Artists) -> Option<(usize, bool)> {
    let artist = (artists == Artists::AreModifiers).then(|| lexicon::longest_artist(words)).flatten();
    let term = lexicon::longest_term(words).map(|(taken, _)| taken);
    if let Some(taken) = artist.max(term) {
        return Some((taken, true));
    }
    let folded = words.first()?.folded.as_str();
    if is_measure(folded) || is_coinage(folded) {
        return Some((1, true));
    }
    (lexicon::is_filler(folded) || is_adverb(folded)).then_some((1, false))
}

/// "aesthetically", "hauntingly"; not "family", "butterfly".
fn is_adverb(folded: &str) -> bool {
    folded.len() > 7
        && ["ically", "ingly", "edly", "ously", "fully", "ately", "tively"]
            .iter()
            .any(|ending| folded.ends_with(ending))
}

/// "a gritty, street-level hero": an article and adjectives only, whose noun is in the next phrase.
fn waits_for_a_noun(words: &[Word]) -> bool {
    let noun = |at: usize| {
        matches!(
            lexicon::longest_term(&words[at..]),
            Some((_, Kind::Medium | Kind::Camera | Kind::Lighting | Kind::Engine | Kind::Website))
        ) || ["masterpiece", "masterwork", "style"].contains(&words[at].folded.as_str())
            || lexicon::is_head(&words[at].folded)
    };
    words.len() > 1 && ["a", "an"].contains(&words[0].folded.as_str()) && !(1..words.len()).any(noun)
}

/// "canon eos r 3", "sony a 7 r iv": a maker and a short model name.
fn camera_model(words: &[Word]) -> bool {
    #[rustfmt::skip]
    const BRANDS: &[&str] = &[
        "canon", "nikon", "sony", "leica", "hasselblad", "fujifilm", "fuji", "kodak", "cinestill",
        "arri", "panasonic", "panavision", "lumix", "olympus", "pentax", "zeiss", "agfa",
        "ilford",
    ];
    words.len() <= 6
        && words.first().is_some_and(|first| BRANDS.contains(&first.folded.as_str()))
        && !words.iter().any(|word| TELLING.contains(&word.folded.as_str()))
}

/// "35mm", "8k", "1980s", "1954", "f", "19th".
fn is_measure(folded: &str) -> bool {
    const UNITS: &[&str] =
        &["", "k", "mm", "p", "mp", "fps", "s", "th", "st", "nd", "rd", "d", "x", "h", "px", "bit"];
    let unit = folded.trim_start_matches(|c: char| c.is_ascii_digit());
    let aperture =
        folded.trim_start_matches(['f', 'ƒ']).chars().all(|c| c.is_ascii_digit()) && folded.len() < 4;
    (unit.len() < folded.len() && UNITS.contains(&unit)) || aperture || folded == "century"
}

/// "cottagecore", "nanopunk", "chillwave".
fn is_coinage(folded: &str) -> bool {
    ["punk", "core", "wave", "realism", "surrealism"]
        .iter()
        .any(|suffix| folded.len() > suffix.len() + 2 && folded.ends_with(suffix))
        && !["microwave", "heatwave", "hardcore", "shockwave"].contains(&folded)
}

/// Rule 2.
fn headed(words: &[Word]) -> bool {
    let Some(last) = words.last() else {
        return false;
    };
    let compound =
        words.len() > 1 && matches!(lexicon::longest_term(&words[words.len() - 2..]), Some((2, _)));
    let longest = if compound { MAX_COMPOUND_HEADED_WORDS } else { MAX_HEADED_WORDS };
    if words.len() > longest || !(compound || lexicon::is_head(&last.folded)) {
        return false;
    }
    let tells = |word: &Word| {
        let folded = word.folded.as_str();
        TELLING.contains(&folded)
            || (folded.ends_with("ing")
                && folded.len() > 4
                && lexicon::longest_term(std::slice::from_ref(word)).is_none())
    };
    let placed =
        words.len() > 1 && ["the", "at", "in", "on", "of"].contains(&words[words.len() - 2].folded.as_str());
    let plain = match last.folded.as_str() {
        "background" | "backdrop" | "light" | "scale" | "edges" => words.len() <= 3,
        _ => true,
    };
    plain && !placed && !words[..words.len() - 1].iter().any(tells)
}

/// Words of action and place: a phrase with one of them shows something, whatever it ends in.
#[rustfmt::skip]
const TELLING: &[&str] = &[
    "his", "her", "their", "he", "she", "they", "who", "is", "are", "has", "have", "behind",
    "under", "through", "near", "into", "inside", "between", "against", "towards", "over",
    "holds", "sits", "stands", "wears", "where", "which", "that", "my", "your", "our", "around",
];

/// Rule 3.
fn medium_with_origin(words: &[Word]) -> bool {
    let (mut at, mut medium, mut credited) = (0, false, false);
    while let Some((taken, counts)) = covered_at(&words[at..], Artists::AreContent) {
        let origin = match words[at].folded.as_str() {
            "by" | "from" => credited,
            "in" | "with" | "on" | "for" | "using" => medium,
            _ => false,
        };
        if origin {
            return true;
        }
        if counts {
            let kind = lexicon::longest_term(&words[at..]).map(|(_, kind)| kind);
            medium = kind == Some(Kind::Medium);
            credited = matches!(
                kind,
                Some(Kind::Medium | Kind::Camera | Kind::Engine | Kind::Website | Kind::Quality)
            );
        }
        at += taken;
    }
    // A head that the lists do not cover: "cosmic horror woodblock by X", "whole page illustration from Y".
    let by = words
        .iter()
        .take(MAX_HEADED_WORDS + 1)
        .position(|word| ["by", "from"].contains(&word.folded.as_str()));
    by.is_some_and(|by| by > 0 && headed(&words[..by]))
}

/// Whom or what a credit names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credit {
    /// "art by X", "in the style of X".
    Maker,
    /// "trending on X", "rendered in X".
    Tool,
}

/// Rules 4 and 5: the credit that starts at word `at`.
fn credit_at(words: &[Word], at: usize) -> Option<Credit> {
    let rest = &words[at..];
    for (marker, credit) in MAKERS
        .iter()
        .map(|marker| (marker, Credit::Maker))
        .chain(TOOLS.iter().map(|marker| (marker, Credit::Tool)))
    {
        if starts_with(rest, marker) && (rest.len() > marker.len() || at == 0) {
            let named = rest.get(marker.len()).is_none_or(|next| {
                marker.last() != Some(&"by") || !NOT_A_NAME.contains(&next.folded.as_str())
            });
            let styled = credit == Credit::Maker
                && marker.last() == Some(&"of")
                && covered(&rest[marker.len()..], Artists::AreContent);
            return named.then_some(if styled { Credit::Tool } else { credit });
        }
    }
    // "in simon stalenhag style", "in art nouveau style"
    if rest.first().is_some_and(|first| first.folded == "in") {
        let style = rest.iter().take(5).position(|word| word.folded == "style");
        if style.is_some_and(|style| style > 1 && covered(&rest[1..style], Artists::AreModifiers)) {
            let maker = (1..style.unwrap_or(1)).any(|word| lexicon::longest_artist(&rest[word..]).is_some());
            return Some(if maker { Credit::Maker } else { Credit::Tool });
        }
    }
    if rest.first()?.folded != "by" {
        return None;
    }
    let name = &rest[1..];
    let first = name.first()?;
    if lexicon::longest_artist(name).is_some() {
        return Some(Credit::Maker);
    }
    if at == 0 {
        return (!NOT_A_NAME.contains(&first.folded.as_str())).then_some(Credit::Maker);
    }
    let before = words[at - 1].folded.as_str();
    let passive = before.ends_with("ed") || before.ends_with("ing") || PASSIVES.contains(&before);
    let run = name.iter().take_while(|word| word.folded != "and" && word.folded != "&").count();
    (!passive && !NOT_A_NAME.contains(&first.folded.as_str()) && (2..=4).contains(&run))
        .then_some(Credit::Maker)
}

/// What comes before the name of the hand behind a picture.
const MAKERS: &[&[&str]] = &[
    &["in", "the", "style", "of"],
    &["in", "the", "styles", "of"],
    &["in", "the", "art", "style", "of"],
    &["in", "the", "artstyle", "of"],
    &["in", "a", "style", "of"],
    &["in", "style", "of"],
    &["all", "in", "the", "style"],
    &["the", "style", "of"],
    &["style", "of"],
    &["styled", "like"],
    &["art", "by"],
    &["artwork", "by"],
    &["painted", "by"],
    &["drawn", "by"],
    &["illustrated", "by"],
    &["designed", "by"],
    &["directed", "by"],
    &["photographed", "by"],
    &["sculpted", "by"],
    &["created", "by"],
    &["rendered", "by"],
    &["with", "art", "direction"],
    &["art", "direction", "by"],
];

/// What comes before the name of a program, a camera or a website.
const TOOLS: &[&[&str]] = &[
    &["rendered", "in"],
    &["render", "in"],
    &["made", "in", "blender"],
    &["made", "in", "unreal"],
    &["shot", "on"],
    &["shot", "with"],
    &["taken", "with"],
    &["trending", "on"],
    &["trending", "in"],
    &["featured", "on"],
    &["featured", "in"],
    &["oil", "on", "canvas"],
];

/// What follows "by" without being a name: "by the sea", "by night".
#[rustfmt::skip]
const NOT_A_NAME: &[&str] = &[
    "a", "an", "the", "his", "her", "their", "its", "my", "our", "your", "this", "that", "these",
    "those", "some", "any", "many", "all", "each", "one", "two", "three", "night", "day",
    "moonlight", "candlelight", "firelight", "sunlight", "starlight", "torchlight", "lamplight",
    "candle", "candles", "fire", "light", "lights", "sea", "water", "lake", "river", "side",
    "train", "car", "boat", "bus", "hand", "itself", "himself", "herself", "themselves",
    "another", "other", "others", "giant", "huge", "large", "small", "big", "tall", "trees",
    "flowers", "people", "machines", "magic", "nature", "neon", "soft", "bright", "dark", "red",
    "blue", "green", "white", "black", "golden", "glowing", "horse", "horses", "god", "gods",
    "me", "you", "him", "them", "us", "it",
];

/// What is done "by" something that is no artist and does not end in -ed: "lit by", "held by".
#[rustfmt::skip]
const PASSIVES: &[&str] = &[
    "lit", "held", "hit", "made", "built", "beset", "overgrown", "grown", "eaten", "driven",
    "ridden", "bitten", "taken", "worn", "torn", "hidden", "split", "drawn", "thrown", "blown",
    "seen", "stand", "stands", "sits", "sit", "side", "step", "one", "two", "day", "year",
];

/// Rule 6: "in cartoon style" closes the phrase.
fn style_tail_at(words: &[Word], at: usize) -> bool {
    let tail = &words[at..];
    (3..=6).contains(&tail.len())
        && tail[0].folded == "in"
        && tail.last().is_some_and(|last| ["style", "artstyle", "aesthetic"].contains(&last.folded.as_str()))
}

/// Rule 7: from here to the end of the phrase there are only modifiers, and the first is beyond doubt.
fn strong_tail_at(words: &[Word], at: usize) -> bool {
    let tail = &words[at..];
    if let Some(taken) = lexicon::longest_artist(tail) {
        // Somebody is shown ("portrait of dali", "batman and frida kahlo"), unless a full name stands loose at the end.
        let loose = !SHOWN.contains(&words[at - 1].folded.as_str()) && taken > 1;
        return loose && (taken == tail.len() || covered(&tail[taken..], Artists::AreModifiers));
    }
    let strong = match lexicon::longest_term(tail) {
        Some((taken, Kind::Engine | Kind::Website)) => taken > 1 || STRONG.contains(&tail[0].folded.as_str()),
        Some((_, Kind::Quality)) => STRONG.contains(&tail[0].folded.as_str()),
        _ => {
            ["highly", "very", "ultra", "hyper", "extremely", "super", "insanely"]
                .contains(&tail[0].folded.as_str())
                && tail.get(1).is_some_and(|next| STRONG.contains(&next.folded.as_str()))
        }
    };
    let said = ["is", "are", "of", "a", "an", "the", "with", "in", "and", "as", "very"]
        .contains(&words[at - 1].folded.as_str());
    strong && !said && covered(tail, Artists::AreModifiers)
}

/// What stands before a name when its bearer is in the picture.
#[rustfmt::skip]
const SHOWN: &[&str] = &[
    "of", "as", "like", "and", "with", "is", "vs", "versus", "meets", "portrait", "the", "a",
    "an", "statue", "by", "to", "for", "or", "in", "&", "about", "from", "at", "on", "when",
    "where", "featuring", "st", "young", "old",
];

/// Quality words that never describe the subject itself.
#[rustfmt::skip]
const STRONG: &[&str] = &[
    "8k", "4k", "16k", "uhd", "hd", "hq", "hdr", "detailed", "realistic", "photorealistic",
    "hyperrealistic", "hyperdetailed", "ultradetailed", "photorealism", "hyperrealism",
    "artstation", "deviantart", "octane", "unreal", "cgsociety", "raytracing", "vray",
    "intricate", "masterpiece",
];

/// Moves a cut before a credit left over the medium that is credited: "hulk | concept art by X".
fn with_medium_before(words: &[Word], cut: usize) -> usize {
    let mut cut = cut;
    while cut > 1 {
        let longest = (1..cut).find(|&from| {
            matches!(lexicon::longest_term(&words[from..cut]), Some((taken, Kind::Medium | Kind::Quality)) if taken == cut - from)
        });
        let adverb = ["highly", "very", "ultra", "hyper", "a", "an"]
            .contains(&words[cut - 1].folded.as_str())
            .then_some(cut - 1);
        match longest.or(adverb) {
            // "portrait of a painting by X": the medium is what is shown.
            Some(from)
                if !SHOWN.contains(&words[from - 1].folded.as_str())
                    || ["a", "an"].contains(&words[from - 1].folded.as_str()) =>
            {
                cut = from
            }
            _ => break,
        }
    }
    // An article alone in front of the cut belongs to what follows; a preposition to what was before.
    cut
}

fn starts_with(words: &[Word], marker: &[&str]) -> bool {
    words.len() >= marker.len() && words.iter().zip(marker).all(|(word, expected)| word.folded == *expected)
}

/// Byte ranges of the phrases, separators left out.
fn phrase_spans(text: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    let bytes = text.as_bytes();
    for (at, c) in text.char_indices() {
        let next = bytes.get(at + 1).copied().unwrap_or(b' ');
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                let thousands = next.is_ascii_digit() && at > 0 && bytes[at - 1].is_ascii_digit();
                if !thousands {
                    spans.push((start, at));
                    start = at + 1;
                }
            }
            '.' | '!' | '?' if depth == 0 && next == b' ' && ends_sentence(&text[start..at]) => {
                spans.push((start, at));
                start = at + 1;
            }
            _ => {}
        }
    }
    spans.push((start, text.len()));
    spans.retain(|&(start, end)| !trimmed(&text[start..end]).is_empty());
    spans
}

/// Whether a full stop after `before` ends a sentence: not after "dr", "mr", an initial or a number.
fn ends_sentence(before: &str) -> bool {
    let last = before.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or("").to_lowercase();
    last.chars().count() > 1
        && !["dr", "mr", "mrs", "ms", "st", "vs", "jr", "sr", "no", "mt", "prof", "ft", "feat", "vol", "al"]
            .contains(&last.as_str())
}

fn trimmed(phrase: &str) -> &str {
    phrase.trim_matches(|c: char| c.is_whitespace() || matches!(c, ',' | '.' | ':' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, main_content: &str, modifiers: &[&str]) {
        let found = split(text).expect("a main content");
        assert_eq!(
            (found.main_content.as_str(), found.modifiers),
            (main_content, modifiers.iter().map(|&m| m.to_owned()).collect())
        );
    }

    #[test]
    fn the_first_modifier_ends_the_main_content() {
        check(
            "a fox in the snow, red scarf, digital art, 8k, a house",
            "a fox in the snow, red scarf",
            &["digital art", "8k", "a house"],
        );
        check("a fox, muted sunset palette", "a fox", &["muted sunset palette"]);
        check("a fox, film still from the movie alien", "a fox", &["film still from the movie alien"]);
        check("a fox, 50mm, f/1.8", "a fox", &["50mm", "f/1.8"]);
        check("a fox in the snow. oil painting. 4k", "a fox in the snow", &["oil painting", "4k"]);
        check("a fox", "a fox", &[]);
    }

    #[test]
    fn leading_modifiers_stay_with_the_subject() {
        check("portrait of a fox, 8k", "portrait of a fox", &["8k"]);
        check("highly detailed, close up of a fox, 8k", "highly detailed, close up of a fox", &["8k"]);
        check("surreal landscape, 8k, artstation", "surreal landscape", &["8k", "artstation"]);
        assert_eq!(split("8k, artstation, highly detailed"), None);
        assert_eq!(split("in the style of joshua middleton, clay mann, 8k"), None);
    }

    #[test]
    fn credits_need_no_comma() {
        check("medieval castle by greg rutkowski, 8k", "medieval castle", &["by greg rutkowski", "8k"]);
        check("a bunny astronaut by rossdraws, detailed", "a bunny astronaut", &["by rossdraws", "detailed"]);
        check("a thief on a motorcycle by Jo Nobody, 8k", "a thief on a motorcycle", &["by Jo Nobody", "8k"]);
        check("duke nukem concept art by yoji shinkawa", "duke nukem", &["concept art by yoji shinkawa"]);
        check("ice cream in cartoon style, 8k", "ice cream", &["in cartoon style", "8k"]);
        check("a fox in the style of monet", "a fox", &["in the style of monet"]);
        check(
            "a man on the moon highly detailed 8k octane render",
            "a man on the moon",
            &["highly detailed 8k octane render"],
        );
    }

    #[test]
    fn not_every_by_is_a_credit() {
        check("a castle surrounded by tall trees, 8k", "a castle surrounded by tall trees", &["8k"]);
        check("a house by the sea, 8k", "a house by the sea", &["8k"]);
        check("a room lit by neon signs, 8k", "a room lit by neon signs", &["8k"]);
        check("portrait of salvador dali, 8k", "portrait of salvador dali", &["8k"]);
    }

    #[test]
    fn phrases_respect_brackets_numbers_and_initials() {
        assert_eq!(
            phrases("a cat (red, blue), 1,000 eyes, j. c. leyendecker. 8k"),
            ["a cat (red, blue)", "1,000 eyes", "j. c. leyendecker", "8k"]
        );
        assert_eq!(phrases(" , a cat,, "), ["a cat"]);
    }

    #[test]
    fn modifiers_are_known_by_lists_heads_and_credit() {
        for phrase in [
            "trending on artstation",
            "very intricate and detailed",
            "by greg rutkowski",
            "craig mullins",
            "sumi-e lighting style",
            "1980s",
        ] {
            assert!(is_modifier(phrase), "{phrase}");
        }
        for phrase in [
            "wearing a red dress",
            "holding a painting",
            "trees in the background",
            "a crowd of people",
            "blue eyes",
        ] {
            assert!(!is_modifier(phrase), "{phrase}");
        }
    }
}
