//! What people thought of pictures, beside what a reward thinks of their prompts: AGIQA-3K.
//!
//! Each of its 300 prompts was drawn by six generators, some with several settings, and people rated every
//! picture. A prompt is a text and some modifiers, which stand in columns of their own; every text comes with one
//! set of modifiers only, so within a text a text reward is constant and no correlation is defined.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::data::lines;
use crate::error::{Error, Result};
use crate::reward::Pair;
use crate::statistics::{Interval, bootstrap, spearman};

/// One rated picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Rating {
    /// Who drew it: what its file's name begins with.
    pub generator: String,
    /// The text, and the text with its modifiers.
    pub pair: Pair,
    /// Mean opinion of its quality, 0 to 5.
    pub quality: f64,
}

/// Spearman's correlation of scores with what people thought.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RatingReport {
    /// Pictures.
    pub pictures: usize,
    /// Prompts.
    pub prompts: usize,
    /// Over all pictures.
    pub overall: Option<Interval>,
    /// Over all pictures, each less its generator's mean: generators differ far more than prompts.
    pub within_generator: Option<Interval>,
    /// Over prompts, the mean of their pictures less the generators' means.
    pub by_prompt: Option<Interval>,
    /// Over the prompts that have modifiers, as `by_prompt`.
    pub by_prompt_with_modifiers: Option<Interval>,
    /// Within a text, over its sets of modifiers; `None` where every text has one set.
    pub within_text: Option<Interval>,
}

/// Reads `agiqa3k.csv`.
///
/// # Errors
/// [`Error::Line`] naming what is missing.
pub fn read(path: &Path) -> Result<Vec<Rating>> {
    let lines = lines::read(path)?;
    let mut rows = (1..).zip(&lines).map(|(number, line)| (number, fields(line)));
    let header = rows.next().map(|(_, header)| header).unwrap_or_default();
    let column = |name: &str| {
        let missing = || Error::line(path, 1, format!("no column `{name}`"));
        header.iter().position(|found| found == name).ok_or_else(missing)
    };
    let names = ["name", "prompt", "adj1", "adj2", "style", "mos_quality"];
    let mut columns = [0; 6];
    for (at, name) in columns.iter_mut().zip(names) {
        *at = column(name)?;
    }
    rows.map(|(number, row)| {
        let field = |at: usize| {
            let missing = || Error::line(path, number, format!("no field `{}`", names[at]));
            row.get(columns[at]).map(String::as_str).ok_or_else(missing)
        };
        let quality = field(5)?;
        let quality: f64 = quality
            .parse()
            .map_err(|_| Error::line(path, number, format!("`mos_quality` is no number: `{quality}`")))?;
        let prompt = field(1)?.trim();
        let modifiers = [field(2)?, field(3)?, field(4)?];
        Ok(Rating {
            generator: field(0)?.split('_').next().unwrap_or_default().to_owned(),
            pair: Pair { user_input: text_of(prompt, &modifiers), adapted_prompt: prompt.to_owned() },
            quality,
        })
    })
    .collect()
}

/// A prompt without its modifiers, which end it.
fn text_of(prompt: &str, modifiers: &[&str]) -> String {
    let mut text = prompt;
    for modifier in modifiers.iter().rev().filter(|modifier| !modifier.is_empty()) {
        let trimmed = text.trim_end_matches([',', ' ']);
        text = trimmed.strip_suffix(modifier).unwrap_or(trimmed);
    }
    text.trim_end_matches([',', ' ']).to_owned()
}

/// The fields of a line of CSV: commas between them, quotes around those that hold commas, quotes in quotes
/// doubled.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let (mut quoted, mut chars) = (false, line.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields.last_mut().into_iter().for_each(|field| field.push('"'));
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().into_iter().for_each(|field| field.push(c)),
        }
    }
    fields
}

impl RatingReport {
    /// Correlates `scores`, one a rating, with what people thought. Resamples are of prompts, not of pictures:
    /// pictures of one prompt are no new evidence about its text.
    pub fn of(ratings: &[Rating], scores: &[f64], resamples: usize, seed: u64) -> Self {
        let mut generators: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for rating in ratings {
            let sum = generators.entry(&rating.generator).or_default();
            *sum = (sum.0 + rating.quality, sum.1 + 1.0);
        }
        let relative = |rating: &Rating| {
            let (sum, n) = generators[rating.generator.as_str()];
            rating.quality - sum / n
        };
        let mut prompts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (idx, rating) in ratings.iter().enumerate() {
            prompts.entry(&rating.pair.adapted_prompt).or_default().push(idx);
        }
        let prompts: Vec<Vec<usize>> = prompts.into_values().collect();
        let by_picture = |quality: &dyn Fn(&Rating) -> f64| {
            bootstrap(prompts.len(), resamples, seed, |chosen| {
                let pictures = chosen.iter().flat_map(|&prompt| &prompts[prompt]);
                let (scores, quality): (Vec<f64>, Vec<f64>) =
                    pictures.map(|&idx| (scores[idx], quality(&ratings[idx]))).unzip();
                spearman(&scores, &quality)
            })
        };
        let by_prompt = |prompts: &[&Vec<usize>]| {
            let points: Vec<(f64, f64)> = prompts
                .iter()
                .map(|pictures| {
                    let n = pictures.len() as f64;
                    let quality = pictures.iter().map(|&idx| relative(&ratings[idx])).sum::<f64>() / n;
                    (scores[pictures[0]], quality)
                })
                .collect();
            bootstrap(points.len(), resamples, seed, |chosen| {
                let (scores, quality): (Vec<f64>, Vec<f64>) = chosen.iter().map(|&at| points[at]).unzip();
                spearman(&scores, &quality)
            })
        };
        let has_modifiers = |pictures: &&Vec<usize>| {
            let Pair { user_input, adapted_prompt } = &ratings[pictures[0]].pair;
            user_input.len() < adapted_prompt.trim_end_matches([',', ' ']).len()
        };
        let all: Vec<&Vec<usize>> = prompts.iter().collect();
        let with_modifiers: Vec<&Vec<usize>> = prompts.iter().filter(has_modifiers).collect();
        Self {
            pictures: ratings.len(),
            prompts: prompts.len(),
            overall: by_picture(&|rating| rating.quality),
            within_generator: by_picture(&relative),
            by_prompt: by_prompt(&all),
            by_prompt_with_modifiers: by_prompt(&with_modifiers),
            within_text: within_text(ratings, scores, &relative, resamples, seed),
        }
    }
}

/// The mean over texts of the correlation over a text's pictures; texts with one score have none.
fn within_text(
    ratings: &[Rating],
    scores: &[f64],
    quality: &dyn Fn(&Rating) -> f64,
    resamples: usize,
    seed: u64,
) -> Option<Interval> {
    let mut texts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (idx, rating) in ratings.iter().enumerate() {
        texts.entry(&rating.pair.user_input).or_default().push(idx);
    }
    let correlations: Vec<f64> = texts
        .values()
        .filter_map(|pictures| {
            let (scores, quality): (Vec<f64>, Vec<f64>) =
                pictures.iter().map(|&idx| (scores[idx], quality(&ratings[idx]))).unzip();
            spearman(&scores, &quality)
        })
        .collect();
    crate::statistics::bootstrap_mean(&correlations, resamples, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "name,prompt,adj1,adj2,style,mos_quality,std_quality\n\
        AttnGAN_normal_000.jpg,a cat,,,,1.0,0.1\n\
        AttnGAN_normal_001.jpg,\"a big, red dog, 8k, anime style\",8k,,anime style,1.5,0.1\n\
        sd1.5_000.jpg,a cat,,,,3.0,0.1\n\
        sd1.5_001.jpg,\"a big, red dog, 8k, anime style\",8k,,anime style,4.0,0.1\n\
        sd1.5_002.jpg,\"a \"\"tree\"\", soft\",soft,,,3.5,0.1\n";

    fn ratings() -> Vec<Rating> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("ratings.csv");
        std::fs::write(&path, CSV).expect("writable");
        read(&path).expect("a good file")
    }

    #[test]
    fn modifiers_end_a_prompt() {
        let ratings = ratings();
        assert_eq!(ratings.len(), 5);
        assert_eq!(ratings[1].pair.user_input, "a big, red dog");
        assert_eq!(ratings[1].pair.adapted_prompt, "a big, red dog, 8k, anime style");
        assert_eq!((ratings[3].generator.as_str(), ratings[3].quality), ("sd1.5", 4.0));
        assert_eq!(ratings[4].pair.user_input, "a \"tree\"");
    }

    #[test]
    fn generators_differ_more_than_prompts_and_are_taken_out() {
        let report = RatingReport::of(&ratings(), &[0.0, 2.0, 0.0, 2.0, 1.0], 50, 1);
        let mean = |interval: &Option<Interval>| interval.as_ref().expect("defined").mean;
        assert_eq!(mean(&report.by_prompt), 1.0);
        assert!(mean(&report.within_generator) > 0.9);
        assert!(mean(&report.overall) < 0.5);
        assert_eq!((report.pictures, report.prompts), (5, 3));
        assert_eq!(report.within_text, None, "every text has one set of modifiers");
    }

    #[test]
    fn a_bad_file_is_named_by_line() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("ratings.csv");
        for (text, expected) in [
            ("name,prompt\n".to_owned(), ":1: no column `adj1`"),
            (CSV.replace("3.5", "good"), ":6: `mos_quality` is no number"),
            (CSV.replace("sd1.5_000.jpg,a cat,,,,3.0,0.1", "sd1.5_000.jpg"), ":4: no field"),
        ] {
            std::fs::write(&path, text).expect("writable");
            let error = read(&path).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
