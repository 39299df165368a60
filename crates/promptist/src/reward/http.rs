//! A reward from servers that speak OpenRLHF's contract.
//!
//! ```text
//! POST url  {"query": ["a cat Rephrase: a cat, 8k"], "prompts": ["a cat Rephrase:"], "labels": ["a cat"]}
//!       ->  {"rewards": [0.5], "scores": [...], "extra_logs": {...}}
//! ```
//!
//! `prompts` is what the policy was shown and `query` that with its answer, so that reward functions which take
//! the answer from `query[len(prompt):]` find the adapted prompt there. `labels`, the column of the data set that
//! answers are judged by, is the user's input as it stands. Of the answer only `rewards` counts, one number a pair.
//!
//! - The pairs are split evenly over the URLs. A part that fails is asked again, of the next URL, `max_tries` times.
//! - A server that is away (connections refused, 429, 502, 503) is waited for up to `give_up_secs`, at no try: a
//!   restart costs time and no samples.
//! - A part that failed for good makes its pairs failures, with the reason. After `max_failed_batches` of them in a
//!   row there is no point in going on, and the error says so.
//!
//! Source: `_fetch_rewards_via_http` in OpenRLHF's `openrlhf/utils/agent.py`, `openrlhf/cli/serve_rm.py`.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::http::{Address, Auth};
use crate::reward::Reward;

#[cfg(feature = "http")]
mod answer;
#[cfg(feature = "http")]
mod servers;

#[cfg(feature = "http")]
pub use servers::HttpReward;

/// The keys of a config's table of reward servers. Time-out and tries are OpenRLHF's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpRewardSettings {
    /// Where to post, the path included: `http://host:5000/get_reward`. Several share the work.
    pub urls: Vec<String>,
    /// How long one call may take.
    pub timeout_secs: f64,
    /// How often a batch is tried. A server that is away costs no try.
    pub max_tries: u32,
    /// How long a server that is away is waited for.
    pub give_up_secs: f64,
    /// The wait after all URLs failed once; it doubles each time, up to `max_backoff_secs`.
    pub backoff_secs: f64,
    /// The longest wait, unless a server asks for a longer one (`Retry-After`, up to `give_up_secs`).
    pub max_backoff_secs: f64,
    /// Pairs of one call, at most.
    pub max_batch: usize,
    /// How many batches in a row may fail for good before the run is stopped.
    pub max_failed_batches: u32,
    /// Whether the proxy of `HTTPS_PROXY` and its like is used. Servers are mostly near, so it is not.
    pub system_proxy: bool,
}

impl Default for HttpRewardSettings {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            timeout_secs: 180.0,
            max_tries: 5,
            give_up_secs: 300.0,
            backoff_secs: 1.0,
            max_backoff_secs: 30.0,
            max_batch: 64,
            max_failed_batches: 3,
            system_proxy: false,
        }
    }
}

impl HttpRewardSettings {
    /// Whether the values are possible.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key and the rule.
    pub fn check(&self) -> Result<()> {
        self.addresses()?;
        for (key, secs, least) in [
            ("timeout_secs", self.timeout_secs, f64::MIN_POSITIVE),
            ("give_up_secs", self.give_up_secs, 0.0),
            ("backoff_secs", self.backoff_secs, f64::MIN_POSITIVE),
            ("max_backoff_secs", self.max_backoff_secs, f64::MIN_POSITIVE),
        ] {
            // A week: more is a slip, and `Duration` has its own bounds.
            if !(least..=604_800.0).contains(&secs) {
                return Err(Error::config(key, format!("must be seconds, at most a week, found {secs}")));
            }
        }
        for (key, count) in [
            ("max_tries", self.max_tries as usize),
            ("max_batch", self.max_batch),
            ("max_failed_batches", self.max_failed_batches as usize),
        ] {
            if count == 0 {
                return Err(Error::config(key, "must be 1 or more"));
            }
        }
        Ok(())
    }

    fn addresses(&self) -> Result<Vec<Address>> {
        if self.urls.is_empty() {
            return Err(Error::config("urls", "names no server"));
        }
        let parse = |url: &String| Address::parse(url).map_err(|reason| Error::config("urls", reason));
        self.urls.iter().map(parse).collect()
    }
}

/// The servers as one reward. They are not asked before there is something to score.
///
/// # Errors
/// [`Error::Config`] if a setting is impossible, or this build has no HTTP.
#[cfg(feature = "http")]
pub fn open(settings: &HttpRewardSettings, auth: &Auth) -> Result<Box<dyn Reward>> {
    Ok(Box::new(HttpReward::new(settings, auth)?))
}

/// Without feature `http` there are no servers.
///
/// # Errors
/// Always [`Error::Config`].
#[cfg(not(feature = "http"))]
pub fn open(_settings: &HttpRewardSettings, _auth: &Auth) -> Result<Box<dyn Reward>> {
    Err(Error::config("urls", "this build has no HTTP (feature `http`)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_name_their_key() {
        let good =
            HttpRewardSettings { urls: vec!["http://a:1/get_reward".to_owned()], ..Default::default() };
        assert!(good.check().is_ok());
        let bad = |change: fn(&mut HttpRewardSettings)| {
            let mut settings = good.clone();
            change(&mut settings);
            settings.check().expect_err("refused").to_string()
        };
        assert!(bad(|s| s.urls.clear()).contains("urls"));
        assert!(bad(|s| s.urls.push("host:5000".to_owned())).contains("urls"));
        assert!(bad(|s| s.timeout_secs = 0.0).contains("timeout_secs"));
        assert!(bad(|s| s.give_up_secs = f64::NAN).contains("give_up_secs"));
        assert!(bad(|s| s.backoff_secs = 0.0).contains("backoff_secs"));
        assert!(bad(|s| s.max_tries = 0).contains("max_tries"));
        assert!(bad(|s| s.max_batch = 0).contains("max_batch"));
        assert!(bad(|s| s.max_failed_batches = 0).contains("max_failed_batches"));
        let secret = bad(|s| s.urls.push("http://me:secret%@host".to_owned()));
        assert!(!secret.contains("secret"), "{secret}");
        assert!(toml::from_str::<HttpRewardSettings>("url = 5.0").is_err());
    }
}
