//! How servers are waited for and asked again, and what a kind of server must be told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
#[cfg(feature = "http")]
use crate::http::backoff::Backoff;
pub use crate::http::{Auth, Secret};

/// The keys of a config's table of servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// How long one call may take, the server's own queue included.
    pub timeout_secs: f64,
    /// How often an image is tried. A server that is away, restarts or has no room costs no try.
    pub max_tries: u32,
    /// How long no server may work before the run is given up.
    pub give_up_secs: f64,
    /// The wait after a server's first failure; it doubles with every further one, up to `max_backoff_secs`.
    pub backoff_secs: f64,
    /// The longest wait, unless a server asks for a longer one (`Retry-After`, up to `give_up_secs`).
    pub max_backoff_secs: f64,
    /// Images of one prompt that a server makes at once, where its contract seeds each.
    pub max_batch: usize,
    /// The checkpoint's name (A1111, ComfyUI) or the model's (OpenAI). None takes what the server has loaded.
    pub model: Option<String>,
    /// A workflow in ComfyUI's API format with placeholders, instead of the built-in one.
    pub workflow: Option<PathBuf>,
    /// The workflow's node that gives the images, by id or title; none if there is only one.
    pub output_node: Option<String>,
    /// Whether an OpenAI-shaped server takes seeds, steps and guidance. None asks it: vLLM's do.
    pub takes_seeds: Option<bool>,
    /// Whether the proxy of `HTTPS_PROXY` and its like is used. Servers are mostly near, so it is not.
    pub system_proxy: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            timeout_secs: 600.0,
            max_tries: 5,
            give_up_secs: 300.0,
            backoff_secs: 0.5,
            max_backoff_secs: 30.0,
            max_batch: 4,
            model: None,
            workflow: None,
            output_node: None,
            takes_seeds: None,
            system_proxy: false,
        }
    }
}

impl HttpSettings {
    /// Whether the values are possible.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key and the rule.
    pub fn check(&self) -> Result<()> {
        for (key, secs, least) in [
            ("timeout_secs", self.timeout_secs, f64::MIN_POSITIVE),
            ("give_up_secs", self.give_up_secs, 0.0),
            ("backoff_secs", self.backoff_secs, 0.0),
            ("max_backoff_secs", self.max_backoff_secs, 0.0),
        ] {
            // A week: more is a slip, and `Duration` has its own bounds.
            if !(least..=604_800.0).contains(&secs) {
                return Err(Error::config(key, format!("must be seconds, at most a week, found {secs}")));
            }
        }
        if self.max_tries == 0 {
            return Err(Error::config("max_tries", "must be 1 or more"));
        }
        if self.max_batch == 0 {
            return Err(Error::config("max_batch", "must be 1 or more"));
        }
        Ok(())
    }

    #[cfg(feature = "http")]
    pub(super) fn timeout(&self) -> std::time::Duration {
        std::time::Duration::from_secs_f64(self.timeout_secs)
    }

    #[cfg(feature = "http")]
    pub(super) fn give_up(&self) -> std::time::Duration {
        std::time::Duration::from_secs_f64(self.give_up_secs)
    }

    #[cfg(feature = "http")]
    pub(super) fn backoff(&self) -> Backoff {
        Backoff { first_secs: self.backoff_secs, longest_secs: self.max_backoff_secs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_and_missing_ones_have_defaults() {
        let settings: HttpSettings = toml::from_str("timeout_secs = 5.0").expect("settings");
        assert_eq!(settings, HttpSettings { timeout_secs: 5.0, ..HttpSettings::default() });
        assert!(toml::from_str::<HttpSettings>("timeout = 5.0").is_err());
    }

    #[test]
    fn impossible_values_name_their_key() {
        let bad = |change: fn(&mut HttpSettings)| {
            let mut settings = HttpSettings::default();
            change(&mut settings);
            settings.check().expect_err("refused").to_string()
        };
        assert!(HttpSettings::default().check().is_ok());
        assert!(bad(|s| s.timeout_secs = 0.0).contains("timeout_secs"));
        assert!(bad(|s| s.give_up_secs = f64::NAN).contains("give_up_secs"));
        assert!(bad(|s| s.backoff_secs = -1.0).contains("backoff_secs"));
        assert!(bad(|s| s.max_backoff_secs = f64::INFINITY).contains("max_backoff_secs"));
        assert!(bad(|s| s.max_tries = 0).contains("max_tries"));
        assert!(bad(|s| s.max_batch = 0).contains("max_batch"));
    }
}
