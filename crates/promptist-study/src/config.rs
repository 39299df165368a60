//! What a study asks, whom, and who counts: decided before the first answer, kept with the study.

use std::path::PathBuf;

use promptist::Error;
use promptist::config_file::ConfigFile;
use serde::{Deserialize, Serialize};

/// A study's config. Every default is written out in the study's folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StudyConfig {
    /// The page's title.
    pub title: String,
    /// What raters are asked about two sides.
    pub question: String,
    /// What they read before they begin. Paragraphs are separated by empty lines.
    pub instructions: String,
    /// What they agree to.
    pub consent: String,
    /// Whether "no difference" is an answer.
    pub ties: bool,
    /// Decides pairs' order, sides, repeats and checks.
    pub seed: u64,
    /// The image cache of `promptist score`, where rows without `images` have theirs looked up.
    pub cache: Option<PathBuf>,
    /// Adds the user's input as it is as a system of this name. Its images are the cache's.
    pub user_input_as: Option<String>,
    /// Which systems are compared; all pairs if empty.
    pub pairs: Vec<[String; 2]>,
    /// What becomes of inputs that a system lacks.
    pub incomplete: Incomplete,
    /// Whether two systems' images may differ in width and height, which tells raters who is who.
    pub allow_different_sizes: bool,
    /// `postgres://…`; a SQLite file in the study's folder if absent. The password is better left to
    /// `PGPASSWORD` or `~/.pgpass`: this file is kept.
    pub database: Option<String>,
    /// Files of rewrites.
    pub input: Vec<InputFile>,
    /// Who rates, and how much.
    pub raters: Raters,
    /// Questions whose answer is known.
    pub checks: Checks,
    /// Whose answers the report leaves out.
    pub exclude: Exclude,
}

/// A JSON Lines file of rewrites and their images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// The file. Paths of images in it are relative to its folder.
    pub file: PathBuf,
    /// The system of rows that name none.
    #[serde(default)]
    pub system: Option<String>,
}

/// What becomes of inputs that a system lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Incomplete {
    /// They are an error.
    #[default]
    Refuse,
    /// They are left out for all systems, and counted.
    Drop,
}

/// Who may rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enrolment {
    /// Whoever has a link of `promptist study invite`.
    #[default]
    Invited,
    /// Whoever opens the page, up to `raters.max`.
    Open,
}

/// Who rates, and how much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raters {
    /// Who may rate.
    pub enrolment: Enrolment,
    /// How many may, invited ones included; those who withdrew make room.
    pub max: u32,
    /// Questions a rater is asked, repeats and checks apart; 0 is all.
    pub questions: usize,
    /// The share of them that is asked again, later, with the sides changed.
    pub repeats: f64,
}

/// Questions whose answer is known: whoever fails them did not look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checks {
    /// Real images against noise.
    pub noise: usize,
    /// An input's images against those of another input.
    pub unrelated: usize,
    /// Images of your own.
    pub given: Vec<GivenCheck>,
}

/// A check with images of the user's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenCheck {
    /// What raters read as the request.
    pub user_input: String,
    /// The images that everybody who looks prefers.
    pub good: Vec<PathBuf>,
    /// The others; as many.
    pub bad: Vec<PathBuf>,
}

/// Whose answers the report leaves out. The report says how many, why, and what it says with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exclude {
    /// Raters who passed a smaller share of the checks that they answered.
    pub min_checks_passed: f64,
    /// Raters who answered a smaller share of their repeats as before.
    pub min_consistency: f64,
    /// Raters whose median answer took fewer seconds.
    pub min_median_secs: f64,
}

impl Default for StudyConfig {
    fn default() -> Self {
        Self {
            title: "Which images are better?".to_owned(),
            question: "Which images would you rather have for this request?".to_owned(),
            instructions:
                "You will see a request that somebody made to an image generator, and two answers, A \
                           and B. Say which one you would rather have had, as if the request were yours.\n\n\
                           Look at both before you answer; you can enlarge an image. There are no right \
                           answers. You may stop at any time and go on later with the same link."
                    .to_owned(),
            consent: "Your answers and how long each took are recorded under a number, not under your name. \
                      You may withdraw at any time, and your answers are then deleted."
                .to_owned(),
            ties: true,
            seed: 0,
            cache: None,
            user_input_as: None,
            pairs: Vec::new(),
            incomplete: Incomplete::Refuse,
            allow_different_sizes: false,
            database: None,
            input: Vec::new(),
            raters: Raters::default(),
            checks: Checks::default(),
            exclude: Exclude::default(),
        }
    }
}

impl Default for Raters {
    fn default() -> Self {
        Self { enrolment: Enrolment::Invited, max: 100, questions: 0, repeats: 0.1 }
    }
}

impl Default for Checks {
    fn default() -> Self {
        Self { noise: 1, unrelated: 1, given: Vec::new() }
    }
}

impl Default for Exclude {
    fn default() -> Self {
        Self { min_checks_passed: 0.75, min_consistency: 0.0, min_median_secs: 1.0 }
    }
}

impl ConfigFile for StudyConfig {
    fn check(&self) -> promptist::Result<()> {
        let text = |key: &str, text: &str| match text.trim().is_empty() {
            true => Err(Error::config(key, "is empty")),
            false => Ok(()),
        };
        text("title", &self.title)?;
        text("question", &self.question)?;
        text("consent", &self.consent)?;
        if self.user_input_as.is_some() && self.cache.is_none() {
            return Err(Error::config("user_input_as", "needs `cache`, where the input's own images are"));
        }
        if let Some([first, second]) = self.pairs.iter().find(|[first, second]| first == second) {
            return Err(Error::config("pairs", format!("`{first}` against `{second}`: is one system")));
        }
        if let Some(url) = &self.database
            && !is_postgres(url)
        {
            return Err(Error::config("database", "is no postgres:// URL"));
        }
        if self.raters.max == 0 {
            return Err(Error::config("raters.max", "must be 1 at least"));
        }
        let shares = [
            ("raters.repeats", self.raters.repeats),
            ("exclude.min_checks_passed", self.exclude.min_checks_passed),
            ("exclude.min_consistency", self.exclude.min_consistency),
        ];
        if let Some((key, share)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(Error::config(key, format!("{share} is not between 0 and 1")));
        }
        if !(0.0..=3600.0).contains(&self.exclude.min_median_secs) {
            return Err(Error::config("exclude.min_median_secs", "is no time"));
        }
        for check in &self.checks.given {
            text("checks.given.user_input", &check.user_input)?;
            if check.good.is_empty() || check.good.len() != check.bad.len() {
                return Err(Error::config("checks.given", "needs as many `bad` images as `good` ones"));
            }
        }
        Ok(())
    }
}

/// Whether a URL is of a PostgreSQL server.
pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_possible_and_round_trips() {
        let config = StudyConfig::default();
        let text = config.to_toml().expect("TOML");
        assert_eq!(StudyConfig::from_toml(&text).expect("possible"), config);
    }

    #[test]
    fn the_committed_config_says_the_defaults() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/study.toml");
        let config = StudyConfig::read(std::path::Path::new(path)).expect("possible");
        assert_eq!(config, StudyConfig::default());
    }

    #[test]
    fn what_is_impossible_names_its_key() {
        let cases = [
            ("question = ' '", "`question`"),
            ("user_input_as = 'input'", "`user_input_as`"),
            ("pairs = [['a', 'a']]", "`pairs`"),
            ("database = 'mysql://x'", "`database`"),
            ("[raters]\nmax = 0", "`raters.max`"),
            ("[raters]\nrepeats = 1.5", "`raters.repeats`"),
            ("[exclude]\nmin_checks_passed = -1", "`exclude.min_checks_passed`"),
            ("[[checks.given]]\nuser_input = 'x'\ngood = ['a.png']\nbad = []", "`checks.given`"),
            ("colour = 'red'", "colour"),
        ];
        for (text, expected) in cases {
            let error = StudyConfig::from_toml(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
