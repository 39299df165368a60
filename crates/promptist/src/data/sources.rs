//! The four kinds of source that the paper trains on, for one target.
//!
//! | kind | source |
//! |---|---|
//! | MC | the main content |
//! | MCM | the main content and a random, shuffled part of the modifiers |
//! | RMC | the main content rephrased |
//! | RTP | the whole target rephrased |
//!
//! The paper rephrases with text-davinci-002. Here a language model does where one is configured
//! ([`Rephrase`]), and rules (`paraphrase`) otherwise; every pair records which.
//!
//! Draws depend on the seed and on the target alone, so a pair does not change with the order of the file.

use rand::RngExt;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::artists;
use super::lexicon::{self, words};
use super::main_content::{self, Split};
use super::paraphrase;
use crate::Result;
use crate::template;

/// How a source was made from its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SourceKind {
    /// Main content.
    Mc,
    /// Main content and some modifiers.
    Mcm,
    /// Rephrased main content.
    Rmc,
    /// Rephrased target prompt.
    Rtp,
}

/// Who wrote a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The rules of this crate.
    Rules,
    /// A language model behind an OpenAI-compatible URL.
    Llm,
}

/// One training pair, a line of `train.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// What a user might type.
    pub x: String,
    /// What the prompter should answer.
    pub y: String,
    /// How `x` was made.
    pub kind: SourceKind,
    /// Who made it.
    pub source: Origin,
}

/// Says the same in other words.
pub trait Rephrase {
    /// `text` in other words, on one line.
    ///
    /// # Errors
    /// [`crate::Error::Http`] if nobody answers.
    fn rephrase(&self, text: &str) -> Result<String>;
}

/// The generator of everything random about one target.
pub fn target_rng(seed: u64, target: &str) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(target.as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// The pairs of one target. `y` is the main content and `split.modifiers`, in order.
///
/// Kinds that would repeat another's source, or `y` itself, are left out.
///
/// # Errors
/// Those of `rephraser`.
pub fn pairs(split: &Split, seed: u64, rephraser: Option<&dyn Rephrase>) -> Result<Vec<Pair>> {
    let y = target(split);
    let mut rng = target_rng(seed, &y);
    let mut pairs: Vec<Pair> = Vec::with_capacity(4);
    let mut add = |x: String, kind, source| {
        if !x.is_empty() && x != y && pairs.iter().all(|pair: &Pair| pair.x != x) {
            pairs.push(Pair { x, y: y.clone(), kind, source });
        }
    };
    add(split.main_content.clone(), SourceKind::Mc, Origin::Rules);
    add(with_some_modifiers(split, &mut rng), SourceKind::Mcm, Origin::Rules);
    match rephraser {
        Some(model) => {
            add(model.rephrase(&split.main_content)?, SourceKind::Rmc, Origin::Llm);
            add(model.rephrase(&y)?, SourceKind::Rtp, Origin::Llm);
        }
        None => {
            add(paraphrase::main_content(&split.main_content, &mut rng), SourceKind::Rmc, Origin::Rules);
            add(paraphrase::target(split, &mut rng), SourceKind::Rtp, Origin::Rules);
        }
    }
    Ok(pairs)
}

/// The target that a split stands for.
pub fn target(split: &Split) -> String {
    let mut text = split.main_content.clone();
    for modifier in &split.modifiers {
        text.push_str(", ");
        text.push_str(modifier);
    }
    text
}

/// The pair as a prompter learns it that keeps the user's words exactly: the answer is the source and
/// those of the target's modifiers that it lacks. None if they are fewer than `min_modifiers`.
pub fn exact(pair: &Pair, split: &Split, min_modifiers: usize) -> Option<Pair> {
    let x = template::kept_words(&pair.x);
    let lower = x.to_lowercase();
    let missing: Vec<&str> = split
        .modifiers
        .iter()
        .map(String::as_str)
        .filter(|modifier| !lower.contains(&modifier.to_lowercase()))
        .collect();
    let enough = !x.is_empty() && missing.len() >= min_modifiers.max(1);
    enough.then(|| Pair { y: format!("{x}, {}", missing.join(", ")), ..pair.clone() })
}

/// MCM: at least one modifier, never all, in random order. Empty if there are not two.
fn with_some_modifiers(split: &Split, rng: &mut ChaCha8Rng) -> String {
    let count = split.modifiers.len();
    if count < 2 {
        return String::new();
    }
    let kept = rng.random_range(1..count);
    let mut modifiers: Vec<&str> = split.modifiers.iter().map(String::as_str).collect();
    modifiers.shuffle(rng);
    modifiers.truncate(kept);
    format!("{}, {}", split.main_content, modifiers.join(", "))
}

/// Whether a target that credits artists keeps them: in a share `artist_share` of such targets.
pub fn keeps_artists(target: &str, seed: u64, artist_share: f64) -> bool {
    // A stream of its own: changing the share must not change the other draws.
    let mut rng = target_rng(seed ^ 0x6172_7469_7374_7321, target);
    rng.random::<f64>() < artist_share
}

/// A split without credits to artists, known by name or by the words around them. Who is *shown* stays.
pub fn without_artists(split: &Split) -> Split {
    let mut modifiers = Vec::with_capacity(split.modifiers.len());
    let mut among_names = false;
    for modifier in &split.modifiers {
        let credit = main_content::credit_start(modifier);
        let named = artists::names_artist(modifier);
        if credit.is_none() && !named {
            // "by X, Some Body, and Some One": names unknown to the list, behind one that was dropped.
            let unknown_name = among_names
                && !main_content::is_modifier(modifier)
                && (2..=4).contains(&words(modifier).len());
            if !unknown_name {
                among_names = false;
                modifiers.push(modifier.clone());
            }
            continue;
        }
        among_names = true;
        let rest = match credit {
            Some(cut) => without_hanging_words(&modifier[..cut]),
            None => before_name(modifier),
        };
        if !rest.is_empty() && main_content::is_modifier(rest) && !artists::names_artist(rest) {
            modifiers.push(rest.to_owned());
        }
    }
    Split { main_content: split.main_content.clone(), modifiers }
}

/// What stands before the first name in a phrase.
fn before_name(phrase: &str) -> &str {
    let words = words(phrase);
    let name = (0..words.len()).find(|&at| lexicon::longest_artist(&words[at..]).is_some());
    name.map_or(phrase, |at| without_hanging_words(&phrase[..words[at].start]))
}

/// Cuts "digital painting in the style of" back to "digital painting".
fn without_hanging_words(phrase: &str) -> &str {
    let words = words(phrase);
    let end =
        words.iter().rposition(|word| !lexicon::is_filler(&word.folded)).map_or(0, |last| words[last].end);
    &phrase[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Split {
        main_content::split(text).expect("a main content")
    }

    #[test]
    fn a_target_gives_its_four_kinds() {
        let split = split("a fox in the snow, digital painting, 8k, artstation, by greg rutkowski");
        let pairs = pairs(&split, 7, None).expect("rules do not fail");
        let kinds: Vec<SourceKind> = pairs.iter().map(|pair| pair.kind).collect();
        assert_eq!(kinds, [SourceKind::Mc, SourceKind::Mcm, SourceKind::Rmc, SourceKind::Rtp]);
        assert!(
            pairs
                .iter()
                .all(|pair| pair.y == target(&split) && pair.x != pair.y && pair.source == Origin::Rules)
        );
        assert_eq!(pairs[0].x, "a fox in the snow");
        assert!(pairs[1].x.starts_with("a fox in the snow, "));
    }

    #[test]
    fn draws_depend_on_the_seed_and_the_target_alone() {
        let split = split("a fox in the snow, digital painting, 8k, artstation, smooth, bokeh, hdr, moody");
        let once = pairs(&split, 7, None).expect("pairs");
        assert_eq!(once, pairs(&split, 7, None).expect("pairs"));
        assert_ne!(once, pairs(&split, 8, None).expect("pairs"));
    }

    #[test]
    fn mcm_needs_a_modifier_to_leave_out() {
        let pairs = pairs(&split("a fox in the snow, 8k"), 7, None).expect("pairs");
        assert!(pairs.iter().all(|pair| pair.kind != SourceKind::Mcm));
    }

    #[test]
    fn a_language_model_is_asked_and_recorded() {
        struct Upper;
        impl Rephrase for Upper {
            fn rephrase(&self, text: &str) -> Result<String> {
                Ok(text.to_uppercase())
            }
        }
        let pairs = pairs(&split("a fox, 8k, bokeh"), 7, Some(&Upper)).expect("pairs");
        assert_eq!((pairs[2].x.as_str(), pairs[2].source), ("A FOX", Origin::Llm));
        assert_eq!((pairs[3].x.as_str(), pairs[3].kind), ("A FOX, 8K, BOKEH", SourceKind::Rtp));
    }

    #[track_caller]
    fn check_artists(text: &str, expected: &str) {
        assert_eq!(target(&without_artists(&split(text))), expected);
    }

    #[test]
    fn credits_go_and_the_rest_of_their_phrase_stays() {
        check_artists("a fox, art by artgerm and greg rutkowski and alphonse mucha, 8k", "a fox, 8k");
        check_artists("a fox, digital painting by greg rutkowski, 8k", "a fox, digital painting, 8k");
        check_artists("a fox, 8k, greg rutkowski, wlop, and ilya kuvshinov, smooth", "a fox, 8k, smooth");
        check_artists("a fox, by Saul Bass, Unknown Person, and Other Body, 8k", "a fox, 8k");
        check_artists("portrait of frida kahlo, in the style of monet, 8k", "portrait of frida kahlo, 8k");
        check_artists("a fox, illustration in the style of wlop, 8k", "a fox, illustration, 8k");
        check_artists("a fox, trending on artstation, 8k", "a fox, trending on artstation, 8k");
    }

    #[test]
    fn the_share_of_targets_with_artists_is_met() {
        let kept = (0..2000).filter(|target| keeps_artists(&format!("target {target}"), 1, 0.1)).count();
        assert!((150..250).contains(&kept), "{kept}");
        assert!(keeps_artists("any", 1, 1.0) && !keeps_artists("any", 1, 0.0));
    }
}
