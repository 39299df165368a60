//! The whole data stage: files of engineered prompts in, training pairs and a report out.
//!
//! [`make`] names the steps in order. What each step means stands in its own file; this one reads, counts
//! and writes. Everything kept is held in memory: a million prompts take about a gigabyte.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use rand::RngExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::artists;
use super::degenerate;
use super::lines;
use super::main_content::{self, Split};
use super::near_duplicates::{NearDuplicates, THRESHOLD};
use super::normalize::normalize;
use super::pairs_report::Report;
use super::safety;
use super::sources::{self, Pair, Rephrase};
use crate::atomic::write_atomic;
use crate::progress::Progress;
use crate::template::Keep;
use crate::{Error, Result};

/// What [`make`] is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairsConfig {
    /// Engineered prompts: `.jsonl` with the field [`field`](Self::field), or `.txt`, one a line.
    pub targets: Vec<PathBuf>,
    /// Prompts that must not be trained on, such as evaluation sets: same formats.
    pub exclude: Vec<PathBuf>,
    /// The field of a `.jsonl` line that holds the prompt.
    pub field: String,
    /// Seed of the split and of every draw.
    pub seed: u64,
    /// Share of main contents whose targets go to validation.
    pub validation_share: f64,
    /// Share of main contents whose targets go to test.
    pub test_share: f64,
    /// Share of the targets crediting artists that keep the credit. 1 is the paper's data.
    pub artist_share: f64,
    /// Fewest modifiers of a target. Without one there is nothing to learn.
    pub min_modifiers: usize,
    /// Thins out common modifiers: one that a share f of the targets has stays in each with probability
    /// `sqrt(subsample / f)`, so that rarer ones, which say more about a subject, are learned. 1 keeps all.
    pub subsample: f64,
    /// Whether answers are the targets, or open with their sources' words.
    pub keep: Keep,
    /// Content that stands behind modifiers: part of the sources, or left for the model to invent.
    pub late_content: LateContent,
}

/// What becomes of content that comes after the first modifier: "a fox, 8k, *in a forest*, bokeh".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LateContent {
    /// It stays where it is, and sources made from the main content lack it, as in the paper.
    Keep,
    /// It moves up behind the main content, in sources and targets: nothing is invented.
    MoveUp,
    /// It goes, from sources and targets.
    Drop,
}

impl Default for PairsConfig {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            exclude: Vec::new(),
            field: "text".to_owned(),
            seed: 0,
            validation_share: 0.02,
            test_share: 0.02,
            artist_share: 1.0,
            min_modifiers: 1,
            subsample: 1.0,
            keep: Keep::Free,
            late_content: LateContent::Keep,
        }
    }
}

impl PairsConfig {
    /// # Errors
    /// [`Error::Config`] for shares that are none, or no target files.
    pub fn validate(&self) -> Result<()> {
        for (key, share) in [
            ("validation_share", self.validation_share),
            ("test_share", self.test_share),
            ("artist_share", self.artist_share),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::config(key, format!("{share} is not a share between 0 and 1")));
            }
        }
        if self.validation_share + self.test_share >= 1.0 {
            return Err(Error::config("test_share", "validation and test leave nothing to train on"));
        }
        if !(self.subsample > 0.0 && self.subsample <= 1.0) {
            return Err(Error::config(
                "subsample",
                format!("{} is not above 0 and at most 1", self.subsample),
            ));
        }
        if self.targets.is_empty() {
            return Err(Error::config("targets", "no file of engineered prompts is given"));
        }
        Ok(())
    }
}

/// Where the pairs of a target go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// To learn from.
    Train,
    /// To choose checkpoints by.
    Validation,
    /// To report on.
    Test,
}

impl Part {
    /// All parts, in the order they are written.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The file of this part in the output folder.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Train => "train.jsonl",
            Self::Validation => "validation.jsonl",
            Self::Test => "test.jsonl",
        }
    }
}

/// Makes the pairs of `config.targets` and writes them to the folder `out`, with `report.json`.
///
/// Without a `rephraser`, rules rephrase. The files of a run are written whole, the report last.
///
/// # Errors
/// [`Error::Config`]; [`Error::Io`] and [`Error::Line`] naming the file; [`Error::File`] if no target is
/// left; those of the `rephraser`.
pub fn make(
    config: &PairsConfig,
    out: &Path,
    rephraser: Option<&dyn Rephrase>,
    progress: &dyn Progress,
) -> Result<Report> {
    config.validate()?;
    let mut report = Report::default();
    let excluded = Excluded::read(config, progress)?;
    let targets = read_targets(config, &mut report, progress)?;
    let splits = select(targets, &excluded, config, &mut report, progress);
    let splits = subsample(splits, config, &mut report);
    if splits.is_empty() {
        let file = config.targets.first().cloned().unwrap_or_default();
        return Err(Error::file(
            file,
            format!("no usable target among {} lines: {}", report.read, report.reasons()),
        ));
    }
    let parts = pair_up(&splits, config, rephraser, &mut report, progress)?;
    write(out, &parts, &report)?;
    Ok(report)
}

/// Prompts that must stay unseen.
struct Excluded {
    contents: HashSet<String>,
    near: NearDuplicates,
}

impl Excluded {
    fn read(config: &PairsConfig, progress: &dyn Progress) -> Result<Self> {
        let mut excluded = Self { contents: HashSet::new(), near: NearDuplicates::new(THRESHOLD) };
        for path in &config.exclude {
            let texts = lines::read_texts(path, &config.field)?;
            progress.begin("read prompts to exclude", Some(texts.len() as u64), "lines");
            for text in texts {
                excluded.add(&text);
                progress.advance(1, "");
            }
            progress.end();
        }
        Ok(excluded)
    }

    fn add(&mut self, text: &str) {
        // What cannot be normalised cannot be a target's main content either.
        let Ok(text) = normalize(text) else { return };
        let main_content =
            main_content::split(&text).map_or_else(|| text.clone(), |split| split.main_content);
        self.near.insert(&main_content);
        self.contents.extend([letters(&text), letters(&main_content)]);
    }

    fn holds(&self, split: &Split) -> bool {
        self.contents.contains(&letters(&split.main_content)) || self.near.find(&split.main_content).is_some()
    }
}

/// Reads every line of the targets and normalises it; junk and unsafe lines end here.
fn read_targets(config: &PairsConfig, report: &mut Report, progress: &dyn Progress) -> Result<Vec<String>> {
    let mut targets = Vec::new();
    for path in &config.targets {
        let texts = lines::read_texts(path, &config.field)?;
        progress.begin("read and normalise targets", Some(texts.len() as u64), "lines");
        for text in texts {
            report.read += 1;
            progress.advance(1, "");
            match normalize(&text) {
                Err(junk) => report.drop(&format!("junk: {}", junk.reason()), &text),
                Ok(target) => match (
                    safety::check(&text).or_else(|| safety::check(&target)),
                    degenerate::check(&target),
                ) {
                    // Unsafe lines are counted, not shown.
                    (Some(rule), _) => report.drop(&format!("unsafe: {rule}"), ""),
                    (_, Some(broken)) => report.drop(&format!("degenerate: {}", broken.reason()), &target),
                    (None, None) => targets.push(target),
                },
            }
        }
        progress.end();
    }
    Ok(targets)
}

/// Splits targets into main content and modifiers; those without either, seen before or excluded end here.
fn select(
    targets: Vec<String>,
    excluded: &Excluded,
    config: &PairsConfig,
    report: &mut Report,
    progress: &dyn Progress,
) -> Vec<Split> {
    let mut kept = NearDuplicates::new(THRESHOLD);
    let mut splits = Vec::new();
    progress.begin("split and compare targets", Some(targets.len() as u64), "targets");
    for target in targets {
        progress.advance(1, "");
        let Some(split) = main_content::split(&target) else {
            report.drop("no main content", &target);
            continue;
        };
        if excluded.holds(&split) {
            report.drop("excluded", &target);
            continue;
        }
        let split = prepared(split, config, report);
        if split.modifiers.len() < config.min_modifiers {
            report.drop("too few modifiers", &target);
        } else if kept.insert(&sources::target(&split)).is_some() {
            report.drop("near-duplicate", &target);
        } else {
            splits.push(split);
        }
    }
    progress.end();
    splits
}

/// Subsampling of frequent words (Mikolov et al. 2013), for modifiers. Targets left with too few go.
fn subsample(splits: Vec<Split>, config: &PairsConfig, report: &mut Report) -> Vec<Split> {
    if config.subsample >= 1.0 {
        return splits;
    }
    let mut counts: HashMap<String, usize> = HashMap::new();
    for modifier in splits.iter().flat_map(|split| &split.modifiers) {
        *counts.entry(modifier.to_lowercase()).or_default() += 1;
    }
    let total = splits.len() as f64;
    let mut kept = Vec::with_capacity(splits.len());
    for mut split in splits {
        let target = sources::target(&split);
        // A stream of its own: thinning out must not change the other draws.
        let mut rng = sources::target_rng(config.seed ^ 0x7375_6273_616d_706c, &target);
        split.modifiers.retain(|modifier| {
            let share = counts[&modifier.to_lowercase()] as f64 / total;
            rng.random::<f64>() < (config.subsample / share).sqrt()
        });
        if split.modifiers.len() < config.min_modifiers {
            report.drop("too few modifiers after subsampling", &target);
        } else {
            kept.push(split);
        }
    }
    kept
}

/// The split as the configuration wants it: credits and late content.
fn prepared(split: Split, config: &PairsConfig, report: &mut Report) -> Split {
    let target = sources::target(&split);
    let credits = split
        .modifiers
        .iter()
        .any(|modifier| artists::names_artist(modifier) || main_content::credit_start(modifier).is_some());
    report.crediting_artists += usize::from(credits);
    let mut split = if credits && !sources::keeps_artists(&target, config.seed, config.artist_share) {
        sources::without_artists(&split)
    } else {
        split
    };
    if config.late_content != LateContent::Keep {
        let (modifiers, late): (Vec<_>, Vec<_>) =
            split.modifiers.into_iter().partition(|phrase| main_content::is_modifier(phrase));
        split.modifiers = modifiers;
        if config.late_content == LateContent::MoveUp {
            for phrase in late {
                split.main_content.push_str(", ");
                split.main_content.push_str(&phrase);
            }
        }
    }
    split
}

/// Makes the pairs and assigns them: all pairs of one main content to one part.
fn pair_up(
    splits: &[Split],
    config: &PairsConfig,
    rephraser: Option<&dyn Rephrase>,
    report: &mut Report,
    progress: &dyn Progress,
) -> Result<[Vec<Pair>; 3]> {
    let mut parts: [Vec<Pair>; 3] = Default::default();
    progress.begin("make pairs", Some(splits.len() as u64), "targets");
    for split in splits {
        let part = part_of(&split.main_content, config);
        let mut pairs = sources::pairs(split, config.seed, rephraser)?;
        if config.keep != Keep::Free {
            let exact = |pair: &Pair| sources::exact(pair, split, config.min_modifiers);
            pairs = pairs.iter().filter_map(exact).collect();
        }
        report.keep(split, &pairs, part);
        parts[part as usize].extend(pairs);
        progress.advance(1, "");
    }
    progress.end();
    Ok(parts)
}

/// The part of a main content, by a hash of its letters and the seed: the same in every file and order.
fn part_of(main_content: &str, config: &PairsConfig) -> Part {
    let mut hash = Sha256::new();
    hash.update(b"part");
    hash.update(config.seed.to_le_bytes());
    hash.update(letters(main_content).as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let first = digest.iter().take(8).fold(0_u64, |number, &byte| (number << 8) | u64::from(byte));
    let at = first as f64 / u64::MAX as f64;
    if at < config.test_share {
        Part::Test
    } else if at < config.test_share + config.validation_share {
        Part::Validation
    } else {
        Part::Train
    }
}

/// Letters and digits, lower case: what two spellings of one content share.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn write(out: &Path, parts: &[Vec<Pair>; 3], report: &Report) -> Result<()> {
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    for (part, pairs) in Part::ALL.into_iter().zip(parts) {
        write_atomic(out.join(part.file_name()), |file| {
            for pair in pairs {
                serde_json::to_writer(&mut *file, pair)?;
                file.write_all(b"\n")?;
            }
            Ok(())
        })?;
    }
    write_atomic(out.join("report.json"), |file: &mut dyn Write| {
        serde_json::to_writer_pretty(&mut *file, report)?;
        file.write_all(b"\n")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::progress::NoProgress;

    fn run(lines: &[&str], edit: impl FnOnce(&mut PairsConfig)) -> (tempfile::TempDir, Result<Report>) {
        let folder = tempfile::tempdir().expect("a folder");
        let targets = folder.path().join("targets.txt");
        std::fs::write(&targets, lines.join("\n") + "\n").expect("targets");
        let mut config = PairsConfig { targets: vec![targets], seed: 3, ..PairsConfig::default() };
        edit(&mut config);
        let report = make(&config, &folder.path().join("out"), None, &NoProgress);
        (folder, report)
    }

    fn pairs_of(folder: &tempfile::TempDir, part: Part) -> Vec<Pair> {
        let text = std::fs::read_to_string(folder.path().join("out").join(part.file_name())).expect("a part");
        text.lines().map(|line| serde_json::from_str(line).expect("a pair")).collect()
    }

    fn all_pairs(folder: &tempfile::TempDir) -> Vec<Pair> {
        Part::ALL.into_iter().flat_map(|part| pairs_of(folder, part)).collect()
    }

    #[test]
    fn each_line_is_kept_or_dropped_with_a_reason() {
        let (folder, report) = run(
            &[
                "a fox in the snow, digital painting, 8 k, artstation",
                "A fox in the snow, digital painting, 8k, artstation.",
                "a nude woman, oil painting",
                "see https://example.org",
                "8k, artstation, hdr, highly detailed",
                "a lonely house on a hill",
                "",
            ],
            |_| {},
        );
        let report = report.expect("a report");
        assert_eq!((report.read, report.kept), (7, 1));
        let reasons: Vec<&str> = report.dropped.keys().map(String::as_str).collect();
        assert_eq!(
            reasons,
            [
                "junk: empty",
                "junk: web address",
                "near-duplicate",
                "no main content",
                "too few modifiers",
                "unsafe: sexual"
            ]
        );
        assert!(
            all_pairs(&folder)
                .iter()
                .all(|pair| pair.y == "a fox in the snow, digital painting, 8k, artstation")
        );
        assert!(folder.path().join("out/report.json").exists());
        assert!(!report.to_string().contains("nude"));
    }

    #[test]
    fn excluded_prompts_leave_no_target() {
        let folder = tempfile::tempdir().expect("a folder");
        let eval = folder.path().join("eval.txt");
        std::fs::write(
            &eval,
            "A Fox in the snow\nan old castle by the sea under a red moon with seven ravens in the sky, 8k\n",
        )
        .expect("eval");
        let (_out, report) = run(
            &[
                "a fox in the snow, digital painting",
                "an old castle by the sea under a red moon with seven black ravens in the sky, bokeh",
                "a fox in the rain, digital painting",
            ],
            |config| config.exclude = vec![eval],
        );
        let report = report.expect("a report");
        assert_eq!((report.kept, report.dropped["excluded"].count), (1, 2));
    }

    #[test]
    fn late_content_goes_where_the_configuration_says() {
        for (late_content, expected) in [
            (LateContent::Keep, "a fox, 8k, a castle, bokeh"),
            (LateContent::MoveUp, "a fox, a castle, 8k, bokeh"),
            (LateContent::Drop, "a fox, 8k, bokeh"),
        ] {
            let (folder, report) =
                run(&["a fox, 8k, a castle, bokeh"], |config| config.late_content = late_content);
            report.expect("a report");
            assert_eq!(all_pairs(&folder)[0].y, expected);
        }
    }

    #[test]
    fn without_artists_no_credit_is_left() {
        let (folder, report) =
            run(&["a fox, by greg rutkowski, 8k", "an owl, art by artgerm, hdr"], |config| {
                config.artist_share = 0.0
            });
        assert_eq!(report.expect("a report").crediting_artists, 2);
        assert!(
            all_pairs(&folder)
                .iter()
                .all(|pair| !artists::names_artist(&pair.y) && !artists::names_artist(&pair.x))
        );
    }

    #[test]
    fn bad_files_are_errors_with_their_place() {
        let (_folder, nothing) = run(&["", "8k"], |_| {});
        let message = nothing.expect_err("nothing is left").to_string();
        assert!(
            message.contains("targets.txt")
                && message.contains("no usable target among 2 lines")
                && message.contains("junk: empty"),
            "{message}"
        );

        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes, place) in [
            ("a.jsonl", &b"{\"text\": \"x\"}\n{\"text\": 3}\n"[..], "a.jsonl:2"),
            ("b.txt", b"ok\n\xff\n", "b.txt:2"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            let config = PairsConfig { targets: vec![path], ..PairsConfig::default() };
            let message =
                make(&config, folder.path(), None, &NoProgress).expect_err("a bad line").to_string();
            assert!(message.contains(place), "{message}");
        }
    }

    #[test]
    fn impossible_shares_are_refused() {
        for edit in [
            |config: &mut PairsConfig| config.test_share = 1.5,
            |config: &mut PairsConfig| {
                config.test_share = 0.5;
                config.validation_share = 0.5;
            },
        ] {
            let (_folder, report) = run(&["a fox, 8k"], edit);
            assert!(matches!(report, Err(Error::Config { .. })));
        }
    }

    const SUBJECTS: &[&str] = &[
        "a fox",
        "an owl",
        "two knights",
        "portrait of a queen",
        "a house by the sea",
        "a Fox",
        "a city at night",
    ];
    const MODIFIERS: &[&str] = &[
        "8k",
        "oil painting",
        "bokeh",
        "artstation",
        "by greg rutkowski",
        "moody",
        "soft lighting",
        "wide shot",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn no_content_stands_in_two_parts_and_a_seed_repeats_its_bytes(
            seed in 0_u64..1000,
            targets in prop::collection::vec((prop::sample::select(SUBJECTS), prop::sample::subsequence(MODIFIERS, 1..6)), 1..20),
        ) {
            let lines: Vec<String> = targets.iter().map(|(subject, modifiers)| format!("{subject}, {}", modifiers.join(", "))).collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let edit = |config: &mut PairsConfig| {
                config.seed = seed;
                config.validation_share = 0.3;
                config.test_share = 0.3;
            };
            let (folder, report) = run(&lines, edit);
            prop_assert!(report.is_ok());
            let mut seen: HashMap<String, Part> = HashMap::new();
            for part in Part::ALL {
                for pair in pairs_of(&folder, part) {
                    let content = letters(&main_content::split(&pair.y).expect("a split").main_content);
                    prop_assert_eq!(*seen.entry(content).or_insert(part), part);
                    prop_assert_ne!(pair.x, pair.y);
                }
            }
            let (again, _) = run(&lines, edit);
            for name in ["train.jsonl", "validation.jsonl", "test.jsonl", "report.json"] {
                let read = |folder: &tempfile::TempDir| std::fs::read(folder.path().join("out").join(name)).expect("a file");
                prop_assert_eq!(read(&folder), read(&again));
            }
        }
    }
}
