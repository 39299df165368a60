//! Other words for the same picture, by rules: what a user might have typed who never saw an engineered prompt.
//!
//! The words of the content stay, because a prompter learns from these pairs to keep its user's words.
//! What changes is the form: articles, "is" and "that has", commas or a sentence, a frame ("a picture of
//! ..."), and for whole targets the order and the grammar of the modifiers ("a highly detailed oil painting
//! of ... with soft lighting, in the style of ...").

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::artists;
use super::lexicon::{self, Kind, words};
use super::main_content::{self, Split};

/// RMC: a main content in another form. Empty if the rules only find the same text again.
pub fn main_content(text: &str, rng: &mut ChaCha8Rng) -> String {
    let phrases = main_content::phrases(text);
    let framed = rng.random_bool(0.3) && !starts_as_medium(text);
    let sentence = if framed {
        let frame = FRAMES[rng.random_range(0..FRAMES.len())];
        format!("{frame} {}", inside(&joined(&phrases, Form::Noun, rng)))
    } else {
        joined(&phrases, Form::Clause, rng)
    };
    let finished = finish(&sentence, rng.random_bool(0.5));
    // Where nothing changed, the full stop does.
    let same = finished.eq_ignore_ascii_case(text);
    if same { finish(&sentence, true) } else { finished }
}

/// RTP: a whole target in another form.
pub fn target(split: &Split, rng: &mut ChaCha8Rng) -> String {
    let mut parts = Parts::of(split);
    let adjectives = parts.take_adjectives(rng);
    let form = match (parts.medium, adjectives.as_slice()) {
        (None, []) => Form::Clause,
        _ => Form::Noun,
    };
    let subject = joined(&parts.shown, form, rng);
    let mut sentence = String::new();
    match parts.medium.filter(|_| !starts_as_medium(&subject)) {
        Some(medium) => {
            let described = [adjectives.join(", "), medium.to_owned()].join(" ").trim().to_owned();
            sentence.push_str(&if is_countable(medium) { with_article(&described) } else { described });
            sentence.push_str(" of ");
            sentence.push_str(&inside(&subject));
        }
        None if adjectives.is_empty() => sentence.push_str(&subject),
        None => {
            sentence.push_str(&with_article(&format!(
                "{} {}",
                adjectives.join(", "),
                NOUNS[rng.random_range(0..NOUNS.len())]
            )));
            sentence.push_str(" of ");
            sentence.push_str(&inside(&subject));
        }
    }
    if !parts.accompanying.is_empty() {
        sentence.push_str(" with ");
        sentence.push_str(&listed(&parts.accompanying));
    }
    if let Some(style) = parts.style {
        sentence.push_str(&if rng.random_bool(0.5) {
            format!(" in {style} style")
        } else {
            format!(", {style}")
        });
    }
    if let Some(credit) = parts.credit {
        sentence.push_str(&if lexicon_name(credit) {
            format!(", in the style of {credit}")
        } else {
            format!(", {credit}")
        });
    }
    if !parts.looks.is_empty() {
        let lead = LOOKS[rng.random_range(0..LOOKS.len())];
        sentence = format!("{}. {lead} {}", sentence.trim_end_matches('.'), listed(&parts.looks));
        return finish(&sentence, true);
    }
    finish(&sentence, rng.random_bool(0.6))
}

const FRAMES: &[&str] = &[
    "a picture of",
    "an image of",
    "show me",
    "draw",
    "I want to see",
    "make a picture of",
    "a scene with",
    "imagine",
];
const NOUNS: &[&str] = &["picture", "image", "scene", "view"];
const LOOKS: &[&str] = &["It looks", "It is", "The picture is", "The image should be", "Make it"];

/// The phrases of a target by the part they play in a sentence.
struct Parts<'a> {
    shown: Vec<&'a str>,
    medium: Option<&'a str>,
    adjectives: Vec<&'a str>,
    accompanying: Vec<&'a str>,
    style: Option<&'a str>,
    credit: Option<&'a str>,
    looks: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(split: &'a Split) -> Self {
        let mut parts = Self {
            shown: main_content::phrases(&split.main_content),
            medium: None,
            adjectives: Vec::new(),
            accompanying: Vec::new(),
            style: None,
            credit: None,
            looks: Vec::new(),
        };
        for phrase in &split.modifiers {
            parts.place(phrase);
        }
        parts
    }

    fn place(&mut self, phrase: &'a str) {
        // More than two of a part make a list, not a sentence: the rest is left unsaid.
        let found = words(phrase);
        let last = found.last().map_or("", |word| word.folded.as_str());
        let short = found.len() <= 4;
        let bare = without_article(phrase);
        if main_content::credit_start(phrase) == Some(0) || lexicon_name(phrase) {
            self.credit.get_or_insert(phrase);
        } else if !main_content::is_modifier(phrase) {
            self.shown.push(phrase);
        } else if short && ACCOMPANIES.contains(&last) && self.accompanying.len() < 2 {
            self.accompanying.push(bare);
        } else if short && ADJECTIVES.contains(&last) && self.adjectives.len() < 4 {
            self.adjectives.push(bare);
        } else if short && MEDIUMS.contains(&last) {
            self.medium.get_or_insert(bare);
        } else if found.len() <= 2 && is_style(&found) {
            self.style.get_or_insert(phrase);
        }
    }

    /// One or two adjectives for the front; the others follow in a sentence of their own, or stay unsaid.
    fn take_adjectives(&mut self, rng: &mut ChaCha8Rng) -> Vec<&'a str> {
        let front = rng.random_range(0..=2).min(self.adjectives.len());
        let rest = self.adjectives.split_off(front);
        if rng.random_bool(0.4) {
            self.looks = rest;
        }
        std::mem::take(&mut self.adjectives)
    }
}

/// What a subject becomes: "a cat is sitting" alone, "a cat that is sitting" after "a picture of".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Clause,
    Noun,
}

/// "X, wearing Y, Z" in another form: commas go where grammar allows it.
fn joined(phrases: &[&str], form: Form, rng: &mut ChaCha8Rng) -> String {
    let Some((first, rest)) = phrases.split_first() else {
        return String::new();
    };
    let mut sentence = restated(first, form, rng);
    for phrase in rest {
        let found = words(phrase);
        let opening = found.first().map_or("", |word| word.folded.as_str());
        let runs_on =
            found.len() > 1 && (opening.ends_with("ing") && opening.len() > 4 || LINKS.contains(&opening));
        if runs_on {
            sentence.push(' ');
        } else {
            sentence.push_str(match rng.random_range(0..4) {
                0 => " with ",
                1 => " and ",
                _ => ", ",
            });
        }
        sentence.push_str(&inside(phrase));
    }
    sentence
}

/// A phrase that no longer opens the sentence: its article loses the capital.
fn inside(phrase: &str) -> String {
    let article = phrase.split(' ').next().unwrap_or("");
    if ["A", "An", "The"].contains(&article) { lower_first(phrase) } else { phrase.to_owned() }
}

/// "a cat sitting on a mat" becomes "a cat is sitting on a mat" or "a cat that is sitting on a mat", or back.
fn restated(phrase: &str, form: Form, rng: &mut ChaCha8Rng) -> String {
    let found = words(phrase);
    let opens_as_medium = starts_as_medium(phrase);
    let verb = (1..found.len()).find(|&at| VERBS.contains(&found[at].folded.as_str()));
    if let Some(at) = verb.filter(|_| rng.random_bool(0.6)) {
        let (before, verb) = (&found[at - 1], &found[at]);
        // After "is", "who", "and" or an adverb there is nothing to put in.
        // "bears without eyes holding ...": the verb must not be tied to the wrong noun.
        let from = if opens_as_medium {
            found.iter().position(|word| word.folded == "of").map_or(0, |of| of + 1)
        } else {
            0
        };
        let one_noun = found.get(from..at).is_some_and(|subject| {
            subject.iter().all(|word| {
                !LINKS.contains(&word.folded.as_str()) && !NOT_IN_A_SUBJECT.contains(&word.folded.as_str())
            })
        });
        let apart = NOT_BEFORE_A_VERB.contains(&before.folded.as_str()) || before.folded.ends_with("ly");
        if one_noun && !apart && phrase[before.end..verb.start].trim().is_empty() {
            let plural = before.folded.ends_with('s') && !before.folded.ends_with("ss");
            let to_be = if plural { "are" } else { "is" };
            let relative = opens_as_medium || form == Form::Noun || rng.random_bool(0.4);
            let link = if relative { format!("that {to_be}") } else { to_be.to_owned() };
            return format!(
                "{} {link} {}",
                with_medium_article(&phrase[..before.end]),
                &phrase[verb.start..]
            );
        }
    }
    if let Some(at) = phrase.find(" with a ").filter(|_| rng.random_bool(0.3)) {
        return format!("{} that has {}", with_medium_article(&phrase[..at]), &phrase[at + " with ".len()..]);
    }
    match phrase.split_once(' ') {
        // Half of what people type is telegraphic.
        Some((article, rest))
            if ["a", "an", "the"].contains(&article.to_lowercase().as_str()) && rng.random_bool(0.3) =>
        {
            rest.to_owned()
        }
        _ => with_medium_article(phrase),
    }
}

/// "portrait of a fox" becomes "a portrait of a fox".
fn with_medium_article(phrase: &str) -> String {
    let bare = COUNTABLE.iter().any(|medium| {
        phrase.len() > medium.len()
            && phrase.is_char_boundary(medium.len())
            && phrase[..medium.len()].eq_ignore_ascii_case(medium)
            && phrase[medium.len()..].starts_with(" of ")
    });
    if bare { with_article(&lower_first(phrase)) } else { phrase.to_owned() }
}

fn starts_as_medium(phrase: &str) -> bool {
    let found = words(phrase);
    found.iter().take(6).position(|word| word.folded == "of").is_some_and(|of| {
        of > 0
            && (COUNTABLE.contains(&found[of - 1].folded.as_str())
                || MEDIUMS.contains(&found[of - 1].folded.as_str())
                || NOUNS.contains(&found[of - 1].folded.as_str())
                || ["shot", "up", "closeup", "still"].contains(&found[of - 1].folded.as_str()))
    })
}

fn without_article(phrase: &str) -> &str {
    match phrase.split_once(' ') {
        Some((article, rest)) if ["a", "an", "the"].contains(&article.to_lowercase().as_str()) => rest,
        _ => phrase,
    }
}

fn is_countable(medium: &str) -> bool {
    words(medium).last().is_some_and(|last| COUNTABLE.contains(&last.folded.as_str()))
}

fn is_style(found: &[lexicon::Word]) -> bool {
    matches!(lexicon::longest_term(found), Some((taken, Kind::Style)) if taken == found.len())
        && found.last().is_some_and(|last| STYLES.contains(&last.folded.as_str()))
}

/// Whether a phrase is an artist's name and nothing else.
fn lexicon_name(phrase: &str) -> bool {
    let found = words(phrase);
    lexicon::longest_artist(&found) == Some(found.len()) && artists::names_artist(phrase)
}

/// "a, b and c".
fn listed(phrases: &[&str]) -> String {
    match phrases {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn with_article(noun: &str) -> String {
    let first = words(noun).first().map_or(String::new(), |word| word.folded.clone());
    let vowel = first.starts_with(['a', 'e', 'i', 'o', 'u', '8'])
        && !["uni", "one", "euro", "use", "ukulele"].iter().any(|start| first.starts_with(start))
        || ["hd", "hdr", "hq", "honest", "hour", "hourglass"].contains(&first.as_str());
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

/// With `sentence` a capital and a full stop, without it neither.
fn finish(text: &str, sentence: bool) -> String {
    let text = text.trim().trim_end_matches(['.', ',']);
    if !sentence {
        return text.to_owned();
    }
    let mut chars = text.chars();
    let first = chars.next().map_or(String::new(), |first| first.to_uppercase().collect());
    let end = if text.ends_with(['!', '?']) { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map_or(String::new(), |first| first.to_lowercase().collect());
    format!("{first}{}", chars.as_str())
}

/// Verbs that say what a subject is doing, never what it is for ("dining room") or like ("flowing hair").
#[rustfmt::skip]
const VERBS: &[&str] = &[
    "wearing", "holding", "sitting", "standing", "riding", "eating", "flying", "walking",
    "running", "playing", "looking", "lying", "fighting", "dancing", "reading", "drinking",
    "sleeping", "jumping", "smiling", "posing", "floating", "swimming", "driving", "carrying",
    "chasing", "crawling", "climbing", "watching", "singing", "cooking", "hugging", "kissing",
    "rising", "emerging", "laying", "making", "using", "smoking", "working", "waiting", "hiding",
    "screaming", "laughing", "crying", "staring",
];

/// Words that give a subject a second noun.
const NOT_IN_A_SUBJECT: &[&str] =
    &["of", "without", "as", "or", "to", "for", "&", "who", "that", "which", "is", "are"];

#[rustfmt::skip]
const NOT_BEFORE_A_VERB: &[&str] = &[
    "is", "are", "was", "were", "who", "which", "that", "and", "or", "of", "in", "on", "at",
    "the", "a", "an", "by", "for", "with", "while", "from", "being", "to", "not", "&",
];

/// Openings that need no comma before them.
#[rustfmt::skip]
const LINKS: &[&str] = &[
    "in", "on", "at", "with", "under", "over", "near", "behind", "beside", "inside", "above",
    "below", "between", "among", "during", "by", "and", "surrounded", "dressed", "covered",
    "made", "from", "against", "around", "through", "next",
];

/// Mediums that take an article.
#[rustfmt::skip]
const COUNTABLE: &[&str] = &[
    "portrait", "painting", "photo", "photograph", "picture", "image", "drawing", "sketch",
    "illustration", "render", "poster", "watercolor", "screenshot", "mural", "sculpture",
    "statue", "collage", "rendering", "wallpaper", "print", "caricature", "cartoon", "close up",
    "close-up", "film still", "movie still", "still",
];

/// Last words of phrases that can stand before "of": "digital painting", "concept art".
#[rustfmt::skip]
const MEDIUMS: &[&str] = &[
    "painting", "art", "illustration", "photo", "photograph", "photography", "render",
    "rendering", "drawing", "sketch", "artwork", "portrait", "poster", "watercolor", "screenshot",
    "collage", "still",
];

/// Last words of phrases that can stand after "with".
#[rustfmt::skip]
const ACCOMPANIES: &[&str] = &[
    "lighting", "light", "lights", "shadows", "colors", "colours", "background", "palette",
    "composition", "tones", "atmosphere", "contrast", "bokeh", "field", "reflections", "details",
    "textures", "rays", "focus", "fog", "lines", "scattering", "occlusion", "grain", "blur",
];

/// Words that can stand before a noun.
#[rustfmt::skip]
const ADJECTIVES: &[&str] = &[
    "detailed", "intricate", "elegant", "cinematic", "dramatic", "realistic", "photorealistic",
    "hyperrealistic", "beautiful", "dark", "moody", "colorful", "surreal", "symmetrical",
    "futuristic", "gothic", "vintage", "minimalist", "epic", "vibrant", "ethereal", "cute",
    "dreamy", "mysterious", "atmospheric", "ornate", "abstract", "stunning", "gorgeous", "sharp",
    "smooth", "eerie", "creepy", "retro", "psychedelic", "isometric", "stylized", "vivid",
    "majestic", "magical", "whimsical", "gritty", "hyperdetailed", "dystopian", "surrealistic",
    "romantic", "award winning", "lifelike", "clean", "crisp", "complex", "dynamic",
];

/// Styles that can stand before "style".
#[rustfmt::skip]
const STYLES: &[&str] = &[
    "nouveau", "deco", "cyberpunk", "steampunk", "vaporwave", "synthwave", "surrealism",
    "impressionism", "expressionism", "baroque", "rococo", "anime", "manga", "cartoon", "gothic",
    "fantasy", "horror", "noir", "pixar", "ghibli", "disney", "renaissance", "victorian",
    "dieselpunk", "art", "sci-fi", "fi", "scifi", "romanticism", "minimalism", "cubism",
    "realism", "punk", "retrofuturism", "fiction",
];

#[cfg(test)]
mod tests {
    use super::super::sources::target_rng;
    use super::*;

    /// All forms that the rules give over many draws.
    fn forms(text: &str) -> Vec<String> {
        let mut forms: Vec<String> =
            (0..200).map(|seed| main_content(text, &mut target_rng(seed, text))).collect();
        forms.sort();
        forms.dedup();
        forms
    }

    #[test]
    fn one_content_has_many_forms_and_keeps_its_words() {
        let forms = forms("a rabbit wearing a space suit, holding a flag, stars");
        assert!(forms.len() > 20, "{forms:#?}");
        assert!(forms.iter().any(|form| form.starts_with("a rabbit is wearing a space suit")), "{forms:#?}");
        for form in &forms {
            for word in ["rabbit", "wearing", "space", "suit", "holding", "flag", "stars"] {
                assert!(form.to_lowercase().contains(word), "{form}");
            }
            assert!(!form.contains("  ") && !form.contains(" ,") && !form.ends_with(','), "{form}");
        }
    }

    #[test]
    fn plural_subjects_take_are() {
        let forms = forms("two dogs running on a beach");
        assert!(!forms.iter().any(|form| form.contains("of two dogs are")), "{forms:#?}");
        assert!(forms.iter().any(|form| form.contains("dogs are running")), "{forms:#?}");
        assert!(!forms.iter().any(|form| form.contains("dogs is")), "{forms:#?}");
    }

    #[test]
    fn articles_fit_the_sound() {
        for (noun, expected) in [
            ("image", "an image"),
            ("8k photo", "an 8k photo"),
            ("unicorn", "a unicorn"),
            ("hd render", "an hd render"),
        ] {
            assert_eq!(with_article(noun), expected);
        }
    }

    #[test]
    fn a_target_becomes_a_sentence() {
        let split = main_content::split(
            "a fox in the snow, highly detailed, oil painting, soft lighting, art nouveau, by alphonse mucha",
        )
        .expect("split");
        let forms: Vec<String> = (0..100).map(|seed| target(&split, &mut target_rng(seed, "fox"))).collect();
        assert!(
            forms.iter().all(|form| form.contains("oil painting of ")
                && form.contains("with soft lighting")
                && form.contains("fox in the snow")),
            "{forms:#?}"
        );
        assert!(
            forms.iter().any(|form| form
                .starts_with("A highly detailed oil painting of a fox in the snow with soft lighting")),
            "{forms:#?}"
        );
        assert!(forms.iter().all(|form| form.contains("alphonse mucha")), "{forms:#?}");
    }
}
