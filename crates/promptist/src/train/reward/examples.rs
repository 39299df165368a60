//! What a text reward is fitted on: what people wrote for an input, and what they would not have.
//!
//! Every kind of spoilt answer teaches that one thing does not pay: words that fit another input, more and more
//! stock phrases, the same again, salad. Kinds are drawn at random for each target; the two sides weigh the same.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::config::{ContrastConfig, DataConfig, Half};
use crate::data::degenerate::content_words;
use crate::data::main_content::phrases;
use crate::data::near_duplicates::{NearDuplicates, THRESHOLD};
use crate::data::normalize::normalize;
use crate::data::{lines, safety};
use crate::error::{Error, Result};
use crate::eval::text::commonest;
use crate::progress::Progress;
use crate::reward::Pair;
use crate::template;

/// Phrases that are common.
const COMMON: usize = 40;

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A person wrote it for this input.
    Human,
    /// The prompter, sampled at temperature 1 without guidance, as a policy explores.
    Model,
    /// The prompter as users get it.
    Guided,
    /// The prompter's likeliest answer without guidance: much the same for any input, and where a policy that
    /// collapses goes.
    Likeliest,
    /// Nothing is added.
    Unchanged,
    /// What is added is plain text: another user's input, a caption.
    Plain,
    /// What is added was written for another input.
    Misfit,
    /// Stock phrases as often as people use them, each for itself: 3 to 25.
    Stuffed,
    /// As many as a person used, but of the commonest phrases alone: what would go to anything.
    Common,
    /// What was written for it and for two or three others.
    Overlong,
    /// Phrases of its own again.
    Repeated,
    /// Its words in any order.
    Shuffled,
    /// The end is missing.
    Cut,
}

impl Kind {
    /// The prompter's own.
    pub const SAMPLED: [Self; 3] = [Self::Model, Self::Guided, Self::Likeliest];

    /// All else that no person wrote.
    pub const SPOILT: [Self; 9] = [
        Self::Unchanged,
        Self::Plain,
        Self::Misfit,
        Self::Stuffed,
        Self::Common,
        Self::Overlong,
        Self::Repeated,
        Self::Shuffled,
        Self::Cut,
    ];

    /// A name for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Human => "written by people",
            Self::Model => "the prompter's own, as it explores",
            Self::Guided => "the prompter's own, as users get it",
            Self::Likeliest => "the prompter's own, its likeliest",
            Self::Unchanged => "unchanged input",
            Self::Plain => "plain text added",
            Self::Misfit => "additions of another input",
            Self::Stuffed => "stock phrases, 3 to 25",
            Self::Common => "commonest phrases alone",
            Self::Overlong => "additions of several inputs",
            Self::Repeated => "phrases repeated",
            Self::Shuffled => "words in any order",
            Self::Cut => "the end missing",
        }
    }
}

/// An answer and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct RewardExample {
    /// Input and answer. The answer of a kind that is sampled is empty until then.
    pub pair: Pair,
    /// Where the answer comes from.
    pub kind: Kind,
    /// How much it counts.
    pub weight: f64,
}

impl RewardExample {
    /// 1 for people's, 0 for all else.
    pub fn label(&self) -> f64 {
        f64::from(u8::from(self.kind == Kind::Human))
    }
}

/// What somebody added to what they wanted to see.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The input, without the punctuation that closes it.
    pub user_input: String,
    /// What was added, as text.
    pub addition: String,
    /// The same, as phrases.
    pub phrases: Vec<String>,
}

/// A line of the pairs' file.
#[derive(Deserialize)]
struct Line {
    x: String,
    y: String,
    kind: String,
}

/// The texts of a half, and what was left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Texts {
    /// To fit on.
    pub train: Vec<Target>,
    /// To calibrate on.
    pub validation: Vec<Target>,
    /// To report on.
    pub test: Vec<Target>,
    /// Plain text.
    pub plain: Vec<String>,
    /// Lines that are like one that must stay unseen.
    pub excluded: usize,
}

impl Texts {
    /// Reads the texts of `half`; validation and test are whole.
    ///
    /// # Errors
    /// Naming the file and the line; [`Error::File`] if nothing is left of one.
    pub fn read(config: &DataConfig, half: Half, seed: u64, progress: &dyn Progress) -> Result<Self> {
        let mut unseen = NearDuplicates::new(THRESHOLD);
        for path in &config.exclude {
            for text in lines::read_texts(path, "text")? {
                if let Ok(text) = normalize(&text) {
                    unseen.insert(&text);
                }
            }
        }
        let mut excluded = 0;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut read = |path: &Path, half: Option<Half>, most: Option<usize>| -> Result<Vec<Target>> {
            let mut targets = read_targets(path, half)?;
            if let Some(most) = most {
                targets.shuffle(&mut rng);
                targets.truncate(most);
            }
            progress.begin("read targets", Some(targets.len() as u64), "targets");
            let before = targets.len();
            targets.retain(|target| {
                progress.advance(1, "");
                let whole = format!("{}, {}", target.user_input, target.addition);
                unseen.find(&whole).is_none() && unseen.find(&target.user_input).is_none()
            });
            progress.end();
            excluded += before - targets.len();
            match targets.is_empty() {
                true => Err(Error::file(path, "no pair of the kinds MC and MCM is left")),
                false => Ok(targets),
            }
        };
        let train = read(&config.train, Some(half), config.max_targets)?;
        let validation = read(&config.validation, None, None)?;
        let test = read(&config.test, None, None)?;
        let mut plain = Vec::new();
        for path in &config.plain {
            plain.extend(lines::read_texts(path, "text")?);
        }
        plain.retain(|text| half_of(text) == half);
        plain.shuffle(&mut rng);
        // More than a few thousand say nothing new.
        plain.truncate(4 * train.len());
        let plain: Vec<String> = plain
            .iter()
            .filter_map(|text| normalize(text).ok())
            .filter(|text| safety::check(text).is_none() && unseen.find(text).is_none())
            .map(|text| template::kept_words(&text).to_owned())
            .filter(|text| !text.is_empty())
            .collect();
        if plain.is_empty() {
            return Err(Error::config("data.plain", "no usable line"));
        }
        Ok(Self { train, validation, test, plain, excluded })
    }
}

/// Which half a text is in: by its content words in any order, so that two sources of one target are together.
pub fn half_of(text: &str) -> Half {
    match Sha256::digest(key(text).as_bytes())[0] & 1 {
        0 => Half::A,
        _ => Half::B,
    }
}

/// The content words of a text, sorted.
fn key(text: &str) -> String {
    let mut words = content_words(text);
    words.sort_unstable();
    words.join(" ")
}

/// One pair of each target, main content with or without some modifiers; rephrased inputs are left out, for
/// nobody wrote them.
fn read_targets(path: &Path, half: Option<Half>) -> Result<Vec<Target>> {
    let mut by_key: HashMap<String, Vec<Target>> = HashMap::new();
    let mut keys = Vec::new();
    for (number, line) in (1..).zip(&lines::read(path)?) {
        let line: Line = serde_json::from_str(line).map_err(|e| Error::line(path, number, e.to_string()))?;
        if !["MC", "MCM"].contains(&line.kind.as_str()) {
            continue;
        }
        let user_input = template::kept_words(&line.x);
        let Some(addition) = line.y.strip_prefix(user_input) else {
            return Err(Error::line(
                path,
                number,
                "`y` does not open with `x`: make the pairs with --keep-exact",
            ));
        };
        if half.is_some_and(|half| half_of(&line.y) != half) {
            continue;
        }
        let addition = addition.trim_matches([',', ' ']);
        let phrases: Vec<String> = phrases(addition).into_iter().map(str::to_owned).collect();
        if phrases.is_empty() {
            continue;
        }
        let target = Target { user_input: user_input.to_owned(), addition: addition.to_owned(), phrases };
        let key = key(&line.y);
        let of_key = by_key.entry(key.clone()).or_default();
        if of_key.is_empty() {
            keys.push(key);
        }
        of_key.push(target);
    }
    // One source a target, the same one in every run.
    let chosen = keys.iter().filter_map(|key| {
        let targets = by_key.get(key)?;
        let at = usize::from(Sha256::digest(key.as_bytes())[1]) % targets.len();
        targets.get(at).cloned()
    });
    Ok(chosen.collect())
}

/// People's answers with `contrast.per_target` spoilt ones each.
pub fn drawn(
    targets: &[Target],
    plain: &[String],
    contrast: &ContrastConfig,
    seed: u64,
) -> Vec<RewardExample> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let sampled = Kind::SAMPLED.map(|kind| (kind, contrast.model_weight / Kind::SAMPLED.len() as f64));
    let weights: Vec<(Kind, f64)> = Kind::SPOILT.map(|kind| (kind, 1.0)).into_iter().chain(sampled).collect();
    let common = common_phrases(targets);
    let mut examples = Vec::with_capacity(targets.len() * (1 + contrast.per_target));
    for target in targets {
        examples.push(target.example(Kind::Human, contrast.per_target as f64));
        for _ in 0..contrast.per_target {
            let kind = weights.choose_weighted(&mut rng, |(_, weight)| *weight).map_or(Kind::Misfit, |w| w.0);
            examples.push(target.spoilt(kind, targets, plain, &common, &mut rng));
        }
    }
    examples
}

/// People's answers with one of every other kind each.
pub fn of_every_kind(targets: &[Target], plain: &[String], model: bool, seed: u64) -> Vec<RewardExample> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let sampled: &[Kind] = if model { &Kind::SAMPLED } else { &[] };
    let kinds: Vec<Kind> = Kind::SPOILT.into_iter().chain(sampled.iter().copied()).collect();
    let common = common_phrases(targets);
    let mut examples = Vec::with_capacity(targets.len() * (1 + kinds.len()));
    for target in targets {
        examples.push(target.example(Kind::Human, kinds.len() as f64));
        for &kind in &kinds {
            examples.push(target.spoilt(kind, targets, plain, &common, &mut rng));
        }
    }
    examples
}

/// The commonest phrases of `targets`, lower case.
fn common_phrases(targets: &[Target]) -> Vec<String> {
    let phrases: Vec<Vec<String>> = targets
        .iter()
        .map(|target| target.phrases.iter().map(|phrase| phrase.to_lowercase()).collect())
        .collect();
    let most = commonest(phrases.iter().map(|phrases| phrases.iter()), phrases.len(), COMMON);
    most.into_iter().map(|common| common.text).collect()
}

impl Target {
    fn example(&self, kind: Kind, weight: f64) -> RewardExample {
        self.with(kind, weight, &self.addition)
    }

    fn with(&self, kind: Kind, weight: f64, addition: &str) -> RewardExample {
        let adapted_prompt = match addition {
            "" => self.user_input.clone(),
            addition => format!("{}, {addition}", self.user_input),
        };
        RewardExample { pair: Pair { user_input: self.user_input.clone(), adapted_prompt }, kind, weight }
    }

    fn spoilt(
        &self,
        kind: Kind,
        others: &[Self],
        plain: &[String],
        common: &[String],
        rng: &mut ChaCha8Rng,
    ) -> RewardExample {
        let addition = match kind {
            Kind::Human => self.addition.clone(),
            Kind::Unchanged => String::new(),
            Kind::Model | Kind::Guided | Kind::Likeliest => {
                let mut example = self.with(kind, 1.0, "");
                example.pair.adapted_prompt.clear();
                return example;
            }
            Kind::Plain => {
                let count = rng.random_range(1..=2);
                plain.sample(rng, count).cloned().collect::<Vec<_>>().join(", ")
            }
            Kind::Misfit => self.other(others, rng).addition.clone(),
            Kind::Stuffed => {
                let count = rng.random_range(3..=25);
                self.stock(others, count, rng).join(", ")
            }
            Kind::Common => {
                let count = self.phrases.len().clamp(2, common.len().max(2));
                common.sample(rng, count).cloned().collect::<Vec<_>>().join(", ")
            }
            Kind::Overlong => {
                let mut all = self.phrases.clone();
                for _ in 0..rng.random_range(2..=3) {
                    all.extend(self.other(others, rng).phrases.iter().cloned());
                }
                let mut seen = HashSet::new();
                all.retain(|phrase| seen.insert(phrase.to_lowercase()));
                all.join(", ")
            }
            Kind::Repeated => {
                let mut all = self.phrases.clone();
                for _ in 0..rng.random_range(1..=4) {
                    if let Some(again) = self.phrases.choose(rng) {
                        all.insert(rng.random_range(0..=all.len()), again.clone());
                    }
                }
                all.join(", ")
            }
            Kind::Shuffled => self.shuffled(rng),
            Kind::Cut => self.cut(rng),
        };
        self.with(kind, 1.0, &addition)
    }

    /// Another target; itself only where there is no other.
    fn other<'a>(&'a self, others: &'a [Self], rng: &mut ChaCha8Rng) -> &'a Self {
        for _ in 0..20 {
            match others.choose(rng) {
                Some(other) if other.addition != self.addition => return other,
                _ => {}
            }
        }
        self
    }

    /// Distinct phrases, a common one as likely as it is common.
    fn stock(&self, others: &[Self], count: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
        let (mut all, mut seen) = (Vec::new(), HashSet::new());
        for _ in 0..10 * count {
            if all.len() == count {
                break;
            }
            let phrase = others.choose(rng).and_then(|other| other.phrases.choose(rng));
            if let Some(phrase) = phrase.filter(|phrase| seen.insert(phrase.to_lowercase())) {
                all.push(phrase.clone());
            }
        }
        all
    }

    /// The same words in any order, a comma after every second or third.
    fn shuffled(&self, rng: &mut ChaCha8Rng) -> String {
        let mut words: Vec<&str> = self.phrases.iter().flat_map(|phrase| phrase.split_whitespace()).collect();
        words.shuffle(rng);
        let (mut phrases, mut rest) = (Vec::new(), words.as_slice());
        while !rest.is_empty() {
            let (phrase, left) = rest.split_at(rng.random_range(1..=3).min(rest.len()));
            phrases.push(phrase.join(" "));
            rest = left;
        }
        phrases.join(", ")
    }

    /// Some phrases and the beginning of the next; of a single phrase its beginning.
    fn cut(&self, rng: &mut ChaCha8Rng) -> String {
        let whole = rng.random_range(0..self.phrases.len());
        let mut kept: Vec<String> = self.phrases[..whole].to_vec();
        let next: Vec<char> = self.phrases[whole].chars().collect();
        if next.len() > 2 {
            let stump: String = next[..rng.random_range(1..next.len())].iter().collect();
            kept.push(stump.trim_end().to_owned());
        }
        kept.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> Vec<Target> {
        ["soft fur, oil painting, 8k", "wide shot, matte painting, artstation", "neon, synthwave, bokeh"]
            .iter()
            .zip(["a cat", "a town", "a car"])
            .map(|(addition, user_input)| Target {
                user_input: user_input.to_owned(),
                addition: (*addition).to_owned(),
                phrases: phrases(addition).into_iter().map(str::to_owned).collect(),
            })
            .collect()
    }

    fn spoilt(kind: Kind, seed: u64) -> String {
        let (targets, plain) = (targets(), vec!["two dogs on a beach".to_owned()]);
        let common = common_phrases(&targets);
        let example =
            targets[0].spoilt(kind, &targets, &plain, &common, &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!((example.kind, example.label()), (kind, 0.0));
        assert!(example.pair.adapted_prompt.starts_with("a cat"), "{:?}", example.pair);
        example.pair.adapted_prompt
    }

    #[test]
    fn each_kind_is_spoilt_in_its_own_way() {
        for seed in 0..20 {
            assert_eq!(spoilt(Kind::Unchanged, seed), "a cat");
            assert!(spoilt(Kind::Plain, seed).contains("two dogs on a beach"));
            let misfit = spoilt(Kind::Misfit, seed);
            assert!(misfit.ends_with("artstation") || misfit.ends_with("bokeh"), "{misfit}");
            let stuffed = phrases(&spoilt(Kind::Stuffed, seed)).len() - 1;
            assert!((3..=9).contains(&stuffed), "all there are is nine: {stuffed}");
            assert_eq!(phrases(&spoilt(Kind::Common, seed)).len(), 4, "as many as its own three");
            assert!(phrases(&spoilt(Kind::Overlong, seed)).len() >= 7);
            let repeated = spoilt(Kind::Repeated, seed);
            assert!(phrases(&repeated).len() > 4, "{repeated}");
            let mut words: Vec<String> =
                spoilt(Kind::Shuffled, seed).split([',', ' ']).map(str::to_owned).collect();
            words.retain(|word| !word.is_empty());
            words.sort();
            assert_eq!(words, ["8k", "a", "cat", "fur", "oil", "painting", "soft"]);
            let cut = spoilt(Kind::Cut, seed);
            assert!("a cat, soft fur, oil painting, 8k".starts_with(&cut) || cut.ends_with(','), "{cut}");
            assert!(cut.len() < "a cat, soft fur, oil painting, 8k".len());
        }
    }

    #[test]
    fn both_sides_weigh_the_same() {
        let contrast = ContrastConfig { per_target: 4, model_weight: 1.0 };
        let plain = vec!["two dogs on a beach".to_owned()];
        for examples in [drawn(&targets(), &plain, &contrast, 1), of_every_kind(&targets(), &plain, true, 1)]
        {
            let sum =
                |label: f64| examples.iter().filter(|e| e.label() == label).map(|e| e.weight).sum::<f64>();
            assert_eq!(sum(0.0), sum(1.0));
        }
        let none = ContrastConfig { model_weight: 0.0, ..contrast };
        assert!(drawn(&targets(), &plain, &none, 1).iter().all(|e| !Kind::SAMPLED.contains(&e.kind)));
    }

    #[test]
    fn sources_of_one_target_are_in_one_half() {
        for target in targets() {
            let mut phrases = target.phrases.clone();
            phrases.reverse();
            assert_eq!(half_of(&target.addition), half_of(&phrases.join(", ")));
        }
        let halves: HashSet<_> = (0..40).map(|i| half_of(&format!("target {i}")) == Half::A).collect();
        assert_eq!(halves.len(), 2);
    }
}
