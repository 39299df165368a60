//! The setting `early_stopping`, which is a boolean or a word. What it does is in the beam searches.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// When beam search stops before `max_new_tokens`: once `num_beams` answers are finished, and ...
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EarlyStopping {
    /// `false`: the best running one, were it to end now, would not beat the worst of them. A guess
    /// where `length_penalty` is above 0, since that one may still gain by growing.
    #[default]
    False,
    /// `true`: nothing else; it stops at once.
    True,
    /// `"never"`: the best running one cannot beat the worst of them, however long it grows.
    Never,
}

impl FromStr for EarlyStopping {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "false" => Ok(Self::False),
            "true" => Ok(Self::True),
            "never" => Ok(Self::Never),
            _ => Err(Error::config("early_stopping", format!("must be false, true or never, is {text:?}"))),
        }
    }
}

impl Serialize for EarlyStopping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::False => serializer.serialize_bool(false),
            Self::True => serializer.serialize_bool(true),
            Self::Never => serializer.serialize_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for EarlyStopping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected false, true or \"never\"")]
        enum Written {
            Bool(bool),
            Word(Word),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Word {
            Never,
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Bool(false) => Self::False,
            Written::Bool(true) => Self::True,
            Written::Word(Word::Never) => Self::Never,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_files_spell_it_alike() {
        let check = |word: &str, json: &str, value: EarlyStopping| {
            assert_eq!(word.parse::<EarlyStopping>().expect(word), value);
            assert_eq!(serde_json::from_str::<EarlyStopping>(json).expect(json), value);
            assert_eq!(serde_json::to_string(&value).expect("JSON"), json);
        };
        check("false", "false", EarlyStopping::False);
        check("true", "true", EarlyStopping::True);
        check("never", "\"never\"", EarlyStopping::Never);
        assert!("Never".parse::<EarlyStopping>().is_err());
        assert!(serde_json::from_str::<EarlyStopping>("\"true\"").is_err());
    }
}
