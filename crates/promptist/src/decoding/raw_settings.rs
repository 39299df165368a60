//! Decoding settings as they are written: flags, files, requests.
//!
//! Layers are merged with [`or`](RawDecodingSettings::or), flags over `generation_config.json`, and
//! [`resolve`](RawDecodingSettings::resolve) puts the defaults under them. What each setting does is
//! told in [`DecodingSettings`].

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use super::early_stopping::EarlyStopping;
use super::settings::{DecodingSettings, LengthNormalization};
use crate::error::{Error, Result};

/// What somebody wrote: flags, a file, a request. Whatever is `None` is left to the next layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawDecodingSettings {
    /// See [`DecodingSettings::num_beams`].
    pub num_beams: Option<usize>,
    /// See [`DecodingSettings::num_beam_groups`].
    pub num_beam_groups: Option<usize>,
    /// See [`DecodingSettings::diversity_penalty`].
    pub diversity_penalty: Option<f64>,
    /// See [`DecodingSettings::length_penalty`].
    pub length_penalty: Option<f64>,
    /// See [`DecodingSettings::length_normalization`].
    pub length_normalization: Option<LengthNormalization>,
    /// See [`DecodingSettings::early_stopping`].
    pub early_stopping: Option<EarlyStopping>,
    /// See [`DecodingSettings::max_new_tokens`].
    pub max_new_tokens: Option<usize>,
    /// See [`DecodingSettings::min_new_tokens`].
    pub min_new_tokens: Option<usize>,
    /// See [`DecodingSettings::num_return_sequences`].
    pub num_return_sequences: Option<usize>,
    /// See [`DecodingSettings::do_sample`].
    pub do_sample: Option<bool>,
    /// See [`DecodingSettings::temperature`].
    pub temperature: Option<f64>,
    /// See [`DecodingSettings::top_k`].
    pub top_k: Option<usize>,
    /// See [`DecodingSettings::top_p`].
    pub top_p: Option<f64>,
    /// See [`DecodingSettings::min_p`].
    pub min_p: Option<f64>,
    /// See [`DecodingSettings::seed`].
    pub seed: Option<u64>,
    /// See [`DecodingSettings::repetition_penalty`].
    pub repetition_penalty: Option<f64>,
    /// See [`DecodingSettings::no_repeat_ngram_size`].
    pub no_repeat_ngram_size: Option<usize>,
    /// See [`DecodingSettings::suppress_tokens`].
    pub suppress_tokens: Option<Vec<u32>>,
    /// One id or several. See [`DecodingSettings::eos_token_id`].
    #[serde(deserialize_with = "one_or_several")]
    pub eos_token_id: Option<Vec<u32>>,
    /// See [`DecodingSettings::pad_token_id`].
    pub pad_token_id: Option<u32>,
}

impl RawDecodingSettings {
    /// Reads the text of a `generation_config.json`, found at `path`.
    ///
    /// transformers writes many keys that steer nothing here: those are ignored.
    ///
    /// # Errors
    /// [`Error::File`] if the text is not a JSON object, [`Error::Config`] naming the key whose value
    /// has the wrong type.
    pub fn from_generation_config(path: &Path, text: &str) -> Result<Self> {
        use serde_json::{Map, Value};

        let entries: Map<String, Value> =
            serde_json::from_str(text).map_err(|err| Error::file(path, err.to_string()))?;
        let known = serde_json::to_value(Self::default()).expect("options of plain values are JSON");
        let entries: Map<String, Value> =
            entries.into_iter().filter(|(key, _)| known.get(key).is_some()).collect();
        // First one key at a time, so that the error can name it.
        for (key, value) in &entries {
            let entry = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
            serde_json::from_value::<Self>(entry).map_err(|err| Error::config(key, err.to_string()))?;
        }
        serde_json::from_value(Value::Object(entries)).map_err(|err| Error::file(path, err.to_string()))
    }

    /// These settings, and `fallback`'s where these are silent.
    ///
    /// A layer that chooses a search also puts off the lower layers' choice: `do_sample` alone drops
    /// their beams, more than one beam alone drops their `do_sample`.
    pub fn or(self, fallback: Self) -> Self {
        let mut fallback = fallback;
        if self.do_sample == Some(true) && self.num_beams.is_none() {
            fallback.num_beams = fallback.num_beams.map(|_| 1);
            fallback.num_beam_groups = None;
            fallback.diversity_penalty = None;
        }
        if self.num_beams.is_some_and(|num_beams| num_beams > 1) {
            fallback.do_sample = None;
        }
        Self {
            num_beams: self.num_beams.or(fallback.num_beams),
            num_beam_groups: self.num_beam_groups.or(fallback.num_beam_groups),
            diversity_penalty: self.diversity_penalty.or(fallback.diversity_penalty),
            length_penalty: self.length_penalty.or(fallback.length_penalty),
            length_normalization: self.length_normalization.or(fallback.length_normalization),
            early_stopping: self.early_stopping.or(fallback.early_stopping),
            max_new_tokens: self.max_new_tokens.or(fallback.max_new_tokens),
            min_new_tokens: self.min_new_tokens.or(fallback.min_new_tokens),
            num_return_sequences: self.num_return_sequences.or(fallback.num_return_sequences),
            do_sample: self.do_sample.or(fallback.do_sample),
            temperature: self.temperature.or(fallback.temperature),
            top_k: self.top_k.or(fallback.top_k),
            top_p: self.top_p.or(fallback.top_p),
            min_p: self.min_p.or(fallback.min_p),
            seed: self.seed.or(fallback.seed),
            repetition_penalty: self.repetition_penalty.or(fallback.repetition_penalty),
            no_repeat_ngram_size: self.no_repeat_ngram_size.or(fallback.no_repeat_ngram_size),
            suppress_tokens: self.suppress_tokens.or(fallback.suppress_tokens),
            eos_token_id: self.eos_token_id.or(fallback.eos_token_id),
            pad_token_id: self.pad_token_id.or(fallback.pad_token_id),
        }
    }

    /// Fills what is left open with the defaults and checks every rule.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key and the rule that it breaks.
    pub fn resolve(self) -> Result<DecodingSettings> {
        let do_sample = self.do_sample.unwrap_or(false);
        let mut eos_token_id = Vec::new();
        for id in self.eos_token_id.unwrap_or_default() {
            if !eos_token_id.contains(&id) {
                eos_token_id.push(id);
            }
        }
        let settings = DecodingSettings {
            num_beams: self.num_beams.unwrap_or(if do_sample { 1 } else { 8 }),
            num_beam_groups: self.num_beam_groups.unwrap_or(1),
            diversity_penalty: self.diversity_penalty.unwrap_or(0.0),
            length_penalty: self.length_penalty.unwrap_or(-1.0),
            length_normalization: self.length_normalization.unwrap_or_default(),
            early_stopping: self.early_stopping.unwrap_or_default(),
            max_new_tokens: self.max_new_tokens.unwrap_or(75),
            min_new_tokens: self.min_new_tokens.unwrap_or(0),
            num_return_sequences: self.num_return_sequences.unwrap_or(1),
            do_sample,
            temperature: self.temperature.unwrap_or(1.0),
            top_k: self.top_k.unwrap_or(50),
            top_p: self.top_p.unwrap_or(1.0),
            min_p: self.min_p.unwrap_or(0.0),
            seed: self.seed.unwrap_or(0),
            repetition_penalty: self.repetition_penalty.unwrap_or(1.0),
            no_repeat_ngram_size: self.no_repeat_ngram_size.unwrap_or(0),
            suppress_tokens: self.suppress_tokens.unwrap_or_default(),
            pad_token_id: self.pad_token_id.or(eos_token_id.first().copied()),
            eos_token_id,
        };
        settings.validate()?;
        Ok(settings)
    }
}

/// `eos_token_id` is a number in most files and a list in some.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u32>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a token id or a list of them")]
    enum Written {
        One(u32),
        Several(Vec<u32>),
    }
    Ok(Option::deserialize(deserializer)?.map(|written| match written {
        Written::One(id) => vec![id],
        Written::Several(ids) => ids,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RawDecodingSettings> {
        RawDecodingSettings::from_generation_config(Path::new("generation_config.json"), text)
    }

    #[test]
    fn a_generation_config_of_transformers_is_read() {
        let text = r#"{"_from_model_config": true, "bos_token_id": 1, "eos_token_id": [2, 3], "num_beams": 4,
                       "early_stopping": "never", "length_penalty": 1, "top_k": null, "do_sample": false,
                       "transformers_version": "5.23.0"}"#;
        let expected = RawDecodingSettings {
            eos_token_id: Some(vec![2, 3]),
            num_beams: Some(4),
            early_stopping: Some(EarlyStopping::Never),
            length_penalty: Some(1.0),
            do_sample: Some(false),
            ..Default::default()
        };
        assert_eq!(read(text).expect("a good file"), expected);
        assert_eq!(read("{}").expect("an empty file"), RawDecodingSettings::default());
    }

    #[test]
    fn a_value_of_the_wrong_type_is_an_error_that_names_its_key() {
        for (key, value) in [
            ("num_beams", "-1"),
            ("num_beams", "2.5"),
            ("eos_token_id", "\"<eos>\""),
            ("eos_token_id", "[1, -2]"),
            ("early_stopping", "\"sometimes\""),
            ("do_sample", "1"),
            ("temperature", "[]"),
            ("suppress_tokens", "3"),
        ] {
            let error = read(&format!(r#"{{"unknown": [], "{key}": {value}}}"#)).expect_err(value);
            assert!(matches!(&error, Error::Config { key: found, .. } if found == key), "{value}: {error}");
        }
        assert!(matches!(read("[1]"), Err(Error::File { .. })));
        assert!(matches!(read("{"), Err(Error::File { .. })));
    }

    #[test]
    fn settings_survive_being_written() {
        let settings = RawDecodingSettings {
            early_stopping: Some(EarlyStopping::True),
            length_normalization: Some(LengthNormalization::Total),
            eos_token_id: Some(vec![5]),
            ..Default::default()
        };
        let text = serde_json::to_string(&settings).expect("JSON");
        assert!(text.contains(r#""early_stopping":true,"#) && text.contains(r#""total""#), "{text}");
        assert_eq!(serde_json::from_str::<RawDecodingSettings>(&text).expect("own output"), settings);
        assert!(serde_json::from_str::<RawDecodingSettings>(r#"{"num_beam": 3}"#).is_err(), "a typing error");
    }

    #[test]
    fn the_upper_layer_wins_and_its_choice_of_search_puts_off_the_lower_ones() {
        let file = RawDecodingSettings {
            num_beams: Some(8),
            num_beam_groups: Some(4),
            diversity_penalty: Some(1.0),
            max_new_tokens: Some(30),
            ..Default::default()
        };
        let flags = RawDecodingSettings { max_new_tokens: Some(20), ..Default::default() };
        let merged = flags.or(file.clone()).resolve().expect("possible");
        assert_eq!((merged.max_new_tokens, merged.num_beams, merged.num_beam_groups), (20, 8, 4));

        let sample = RawDecodingSettings { do_sample: Some(true), ..Default::default() };
        let merged = sample.clone().or(file).resolve().expect("possible");
        assert_eq!((merged.do_sample, merged.num_beams, merged.num_beam_groups), (true, 1, 1));

        let beams = RawDecodingSettings { num_beams: Some(4), ..Default::default() };
        let merged = beams.or(sample.clone()).resolve().expect("possible");
        assert_eq!((merged.do_sample, merged.num_beams), (false, 4));
        let greedy = RawDecodingSettings { num_beams: Some(1), ..Default::default() };
        assert!(greedy.or(sample).resolve().expect("possible").do_sample, "one beam goes with sampling");
    }

    #[test]
    fn the_defaults_are_the_released_demos() {
        let raw = RawDecodingSettings { eos_token_id: Some(vec![7, 7, 9]), ..Default::default() };
        let settings = raw.resolve().expect("possible");
        assert_eq!((settings.num_beams, settings.num_return_sequences, settings.max_new_tokens), (8, 1, 75));
        assert_eq!((settings.length_penalty, settings.early_stopping), (-1.0, EarlyStopping::False));
        assert_eq!((settings.eos_token_id, settings.pad_token_id), (vec![7, 9], Some(7)));
    }
}
