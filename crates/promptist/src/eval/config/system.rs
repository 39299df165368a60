//! `[[systems]]`: who adapts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::decoding::RawDecodingSettings;
use crate::error::{Error, Result};
use crate::http::Address;
use crate::template::Keep;

/// Something that adapts prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemConfig {
    /// What reports call it.
    pub name: String,
    /// What it is.
    pub kind: SystemKind,
    /// Of `model`: `mini`, a folder, a Hub id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Of `model`, in the place of `model`: the seeds of one training. An input's value is the mean over them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Of `model`: what becomes of the user's words; the model's own choice if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// Of `model`: how hard additions are pushed to fit the input; the model's own choice if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance_scale: Option<f32>,
    /// Of `model`: whether outputs pass the filter, as they do for users (default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<bool>,
    /// Of `model`: over its own settings.
    #[serde(default, skip_serializing_if = "is_default")]
    pub decoding: RawDecodingSettings,
    /// Of `file`: rewrites, lines of `adapt --json` or with `user_input` and `adapted_prompt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Of `openai`: the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openai: Option<OpenAiSettings>,
}

/// What a system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemKind {
    /// The user's text as it is.
    Input,
    /// The prompt that a person engineered, where the set has one.
    Human,
    /// A prompter.
    Model,
    /// Rewrites that somebody made before.
    File,
    /// A chat model behind an OpenAI-compatible URL.
    #[serde(rename = "openai")]
    OpenAi,
}

/// A chat model and how it is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiSettings {
    /// The API's base: `http://localhost:8080/v1`.
    pub url: String,
    /// The model's name.
    pub model: String,
    /// What it is told to do with the user's text, which is sent as it stands.
    #[serde(default = "rewrite")]
    pub system_prompt: String,
    /// 0: the likeliest answer.
    #[serde(default)]
    pub temperature: f64,
    /// The longest answer, in the model's tokens.
    #[serde(default = "two_hundred")]
    pub max_tokens: u32,
    /// Requests under way at once.
    #[serde(default = "four")]
    pub parallel: usize,
    /// How long one answer may take.
    #[serde(default = "two_minutes")]
    pub timeout_secs: f64,
    /// How often an input is tried. A server that is away costs no try.
    #[serde(default = "four")]
    pub max_tries: usize,
    /// How long a server that is away is waited for.
    #[serde(default = "five_minutes")]
    pub give_up_secs: f64,
    /// The wait after a failure; it doubles each time.
    #[serde(default = "one_second")]
    pub backoff_secs: f64,
    /// Whether the proxy of `HTTPS_PROXY` and its like is used.
    #[serde(default)]
    pub system_proxy: bool,
}

impl SystemConfig {
    /// A system of `kind` that needs nothing more.
    pub fn new(name: &str, kind: SystemKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            model: None,
            models: Vec::new(),
            keep: None,
            guidance_scale: None,
            filter: None,
            decoding: RawDecodingSettings::default(),
            path: None,
            openai: None,
        }
    }

    /// The models of a system of kind `model`.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.model.iter().chain(&self.models).map(String::as_str)
    }

    /// Whether the keys that its kind needs are there, and no others.
    pub(super) fn check(&self) -> Result<()> {
        use SystemKind::{File, Model, OpenAi};
        let key = |name: &str| format!("systems.{}.{name}", self.name);
        for (name, is_there, kind) in [
            ("model", self.models().next().is_some(), Model),
            ("path", self.path.is_some(), File),
            ("openai", self.openai.is_some(), OpenAi),
        ] {
            match (is_there, self.kind == kind) {
                (false, true) => return Err(Error::config(key(name), "is needed by this kind")),
                (true, false) => return Err(Error::config(key(name), "does not go with this kind")),
                _ => {}
            }
        }
        for (name, is_there) in [
            ("keep", self.keep.is_some()),
            ("guidance_scale", self.guidance_scale.is_some()),
            ("filter", self.filter.is_some()),
            ("decoding", self.decoding != RawDecodingSettings::default()),
        ] {
            if is_there && self.kind != Model {
                return Err(Error::config(key(name), "does not go with this kind"));
            }
        }
        if self.model.is_some() && !self.models.is_empty() {
            return Err(Error::config(key("models"), "does not go with `model`: give one of them"));
        }
        if self.decoding.num_return_sequences.is_some_and(|count| count != 1) {
            let reason = "one answer is measured; [diversity] asks for several";
            return Err(Error::config(key("decoding.num_return_sequences"), reason));
        }
        self.openai.as_ref().map_or(Ok(()), |settings| settings.check(&key("openai")))
    }
}

impl OpenAiSettings {
    fn check(&self, key: &str) -> Result<()> {
        Address::parse(&self.url).map_err(|reason| Error::config(format!("{key}.url"), reason))?;
        for (name, count) in [("parallel", self.parallel), ("max_tries", self.max_tries)] {
            if !(1..=1000).contains(&count) {
                return Err(Error::config(format!("{key}.{name}"), "must be from 1 to 1000"));
            }
        }
        for (name, secs, least) in [
            ("timeout_secs", self.timeout_secs, f64::MIN_POSITIVE),
            ("give_up_secs", self.give_up_secs, 0.0),
            ("backoff_secs", self.backoff_secs, f64::MIN_POSITIVE),
        ] {
            // A week: more is a slip, and `Duration` has its own bounds.
            if !(least..=604_800.0).contains(&secs) {
                let reason = format!("must be seconds, at most a week, found {secs}");
                return Err(Error::config(format!("{key}.{name}"), reason));
            }
        }
        if !(0.0..=2.0).contains(&self.temperature) {
            return Err(Error::config(format!("{key}.temperature"), "must be from 0 to 2"));
        }
        Ok(())
    }
}

fn is_default(settings: &RawDecodingSettings) -> bool {
    *settings == RawDecodingSettings::default()
}

fn rewrite() -> String {
    "You improve prompts for a text-to-image model. Rewrite the user's text into one prompt that gives a more \
     beautiful picture of the same thing: keep every subject, attribute, number and name of it, and add what \
     such models respond to, as phrases with commas between them. Answer with the prompt alone, in one line."
        .to_owned()
}

fn two_hundred() -> u32 {
    200
}

fn four<T: From<u8>>() -> T {
    T::from(4)
}

fn two_minutes() -> f64 {
    120.0
}

fn five_minutes() -> f64 {
    300.0
}

fn one_second() -> f64 {
    1.0
}
