//! What an answer was made of, so that it can be made again, or what has changed can be named.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::request::AdaptSettings;
use super::{Adapted, ModelIdentity, Output, Prompter};
use crate::decoding::DecodingSettings;
use crate::error::{Error, Result};
use crate::model_source::ModelFiles;
use crate::weights::hex;

/// Hashes of what an answer is made of, beside the input: `version` and `settings` say the rest. A target's
/// folder is named in the settings, not hashed; the CPU's instruction set is not recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// SHA-256 of the model's weights.
    pub model_sha256: String,
    /// SHA-256 of the tokenizer's files, one after the other.
    pub tokenizer_sha256: String,
    /// SHA-256 of the settings as they are written beside it.
    pub settings_sha256: String,
}

/// An answer with everything that it takes to make it again: a line of `adapt --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// What the user typed.
    pub user_input: String,
    /// Adapted prompts, best first.
    pub outputs: Vec<Output>,
    /// How many were asked for, if there are fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<usize>,
    /// Which model answered.
    pub model: ModelIdentity,
    /// How.
    pub settings: AdaptSettings,
    /// The seed that was drawn with; none if nothing was drawn, or with seeds of the outputs' own.
    pub seed: Option<u64>,
    /// What it was made of.
    pub receipt: Receipt,
    /// Of the program.
    pub version: String,
    /// Decoding time of the batch that the input was in.
    pub elapsed_ms: f64,
}

/// Something that is not as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is: `model`, `tokenizer`, `settings`, `version`, `outputs`, or an output's `text`,
    /// `token_ids` or `score`.
    pub what: String,
    /// As it was recorded.
    pub recorded: String,
    /// As it is now.
    pub now: String,
}

impl Prompter {
    /// What answers under `settings` are made of.
    pub fn receipt(&self, settings: &AdaptSettings) -> Receipt {
        Receipt {
            model_sha256: self.identity.sha256.clone(),
            tokenizer_sha256: self.tokenizer_sha256.clone(),
            settings_sha256: settings_sha256(settings),
        }
    }

    /// The record of an answer.
    pub fn record(&self, adapted: Adapted, settings: &AdaptSettings) -> Record {
        Record {
            user_input: adapted.user_input,
            outputs: adapted.outputs,
            asked: adapted.asked,
            model: self.identity.clone(),
            settings: settings.clone(),
            seed: adapted.seed,
            receipt: self.receipt(settings),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            elapsed_ms: adapted.elapsed_ms,
        }
    }

    /// Makes a recorded answer again and says what differs; nothing if it is the same.
    ///
    /// Batch, position and threads are not recorded, for nothing depends on them.
    ///
    /// # Errors
    /// Those of [`adapt`](Self::adapt), and of a rule that no longer compiles.
    pub fn replay(&self, record: &Record) -> Result<Vec<Difference>> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, recorded: String, now: String| {
            if recorded != now {
                differences.push(Difference { what: what.to_owned(), recorded, now });
            }
        };
        let settings = &record.settings;
        compare("version", record.version.clone(), env!("CARGO_PKG_VERSION").to_owned());
        compare("model", record.receipt.model_sha256.clone(), self.identity.sha256.clone());
        compare("tokenizer", record.receipt.tokenizer_sha256.clone(), self.tokenizer_sha256.clone());
        compare("settings", record.receipt.settings_sha256.clone(), settings_sha256(settings));
        compare("precision", settings.precision.to_string(), self.precision().to_string());

        // The seed is the row's own already.
        let seed = record.seed.unwrap_or(settings.decoding.seed);
        let decoding = DecodingSettings { seed, ..settings.decoding.clone() };
        let settings = AdaptSettings { decoding, vary_rows: false, ..settings.clone() };
        let settings = self.compiled(settings)?;
        let inputs = [record.user_input.clone()];
        let now = match self.adapt(&inputs, &settings, 0).pop() {
            Some(now) => now?.outputs,
            None => Vec::new(),
        };
        compare("outputs", record.outputs.len().to_string(), now.len().to_string());
        for (recorded, now) in record.outputs.iter().zip(&now) {
            compare("text", recorded.text.clone(), now.text.clone());
            compare("token_ids", format!("{:?}", recorded.token_ids), format!("{:?}", now.token_ids));
            // A number that went through decimal digits may have lost its last bit.
            if (recorded.score - now.score).abs() > recorded.score.abs() * f32::EPSILON {
                compare("score", recorded.score.to_string(), now.score.to_string());
            }
        }
        Ok(differences)
    }
}

/// The SHA-256 of the files that make a tokenizer; of nothing if it is the built-in one.
pub(super) fn tokenizer_sha256(files: &ModelFiles) -> Result<String> {
    let mut hasher = Sha256::new();
    let names = match files.contains("tokenizer.json") {
        true => &["tokenizer.json"][..],
        false => &["vocab.json", "merges.txt"],
    };
    for name in names {
        if let Some(bytes) = files.read_optional(name)? {
            hasher.update(&bytes);
        }
    }
    Ok(hex(&hasher.finalize()))
}

fn settings_sha256(settings: &AdaptSettings) -> String {
    let json = serde_json::to_string(settings).expect("settings of plain values are JSON");
    hex(&Sha256::digest(json))
}

impl Record {
    /// Reads a line of `adapt --json`.
    ///
    /// # Errors
    /// [`Error::Config`] for `record` if it is none; a line with `error` is none.
    pub fn parse(line: &str) -> Result<Self> {
        let refuse = |reason: String| Error::config("record", reason);
        let value: serde_json::Value = serde_json::from_str(line).map_err(|e| refuse(e.to_string()))?;
        if let Some(error) = value.get("error") {
            return Err(refuse(format!("the input was not adapted: {error}")));
        }
        serde_json::from_value(value).map_err(|e| refuse(format!("no line of `adapt --json`: {e}")))
    }
}
