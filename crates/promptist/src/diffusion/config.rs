//! What the `config.json` files of a diffusers folder have in common: a class name, values that are one number or
//! one for each block, and keys that must not ask for what we do not compute.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Largest size in a config: ten times the largest UNet's, and products of two fit.
const MAX_SIZE: usize = 1 << 16;
/// Most blocks, and most layers of a block: the largest UNets have 4 and 3.
pub(super) const MAX_BLOCKS: usize = 16;

/// Keys without effect on what a trained network computes.
const INERT: [&str; 4] = ["sample_size", "dropout", "force_upcast", "addition_embed_type_num_heads"];

/// One number for all blocks, or one for each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum PerBlock {
    One(usize),
    Each(Vec<usize>),
}

impl PerBlock {
    /// A number for each of `len` blocks, none of them 0.
    pub fn each(&self, key: &str, len: usize) -> Result<Vec<usize>> {
        let values = match self {
            Self::One(value) => vec![*value; len],
            Self::Each(values) if values.len() == len => values.clone(),
            Self::Each(values) => {
                return Err(Error::config(key, format!("expected {len} values, found {}", values.len())));
            }
        };
        values.iter().try_for_each(|&value| check_size(key, value))?;
        Ok(values)
    }
}

/// Whether a size is possible.
pub(super) fn check_size(key: &str, value: usize) -> Result<()> {
    if (1..=MAX_SIZE).contains(&value) {
        return Ok(());
    }
    Err(Error::config(key, format!("must be from 1 to {MAX_SIZE}, found {value}")))
}

/// The keys of a `config.json`, each taken once; what is left over must change nothing.
pub(super) struct Keys(Map<String, Value>);

impl Keys {
    /// Parses the file's text, which must be of `class`.
    pub fn parse(bytes: &[u8], class: &str) -> Result<Self> {
        let keys: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|e| Error::config("config.json", e.to_string()))?;
        match keys.get("_class_name").and_then(Value::as_str) {
            Some(found) if found != class => {
                Err(Error::config("_class_name", format!("expected {class}, found {found}")))
            }
            _ => Ok(Self(keys)),
        }
    }

    /// The value of `key`, or diffusers' default where it is missing. A null counts as any other value: it is
    /// for `T` to take.
    pub fn take<T: DeserializeOwned>(&mut self, key: &str, default: T) -> Result<T> {
        match self.0.remove(key) {
            None => Ok(default),
            Some(value) => {
                let found = value.to_string();
                let refuse = |e: serde_json::Error| Error::config(key, format!("{found}: {e}"));
                serde_json::from_value(value).map_err(refuse)
            }
        }
    }

    /// Refuses `key` if it has another value than those, spelled as in JSON, for which a network is what we
    /// compute. A list may hold one for each block.
    pub fn expect(&mut self, key: &str, supported: &[&str]) -> Result<()> {
        let Some(value) = self.0.remove(key) else { return Ok(()) };
        let is_supported = |value: &Value| supported.contains(&value.to_string().as_str());
        let all_are = match &value {
            Value::Array(values) => !values.is_empty() && values.iter().all(is_supported),
            value => is_supported(value),
        };
        if all_are {
            return Ok(());
        }
        Err(Error::config(key, format!("{value} is not supported, only {}", supported.join(" or "))))
    }

    /// Takes keys whose values do not matter.
    pub fn pass_over(&mut self, keys: &[&str]) {
        self.0.retain(|key, _| !keys.contains(&key.as_str()));
    }

    /// Refuses keys that nobody took: a key that is not known here may change the network, unless it says no.
    pub fn finish(self) -> Result<()> {
        let says_no = |value: &Value| matches!(value, Value::Null | Value::Bool(false));
        for (key, value) in self.0 {
            if !key.starts_with('_') && !INERT.contains(&key.as_str()) && !says_no(&value) {
                return Err(Error::config(key, format!("{value} is not supported")));
            }
        }
        Ok(())
    }
}
