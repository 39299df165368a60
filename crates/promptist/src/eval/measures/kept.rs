//! What of the user's input a rewrite keeps, by measures' keys.

use std::collections::BTreeMap;

use crate::data::degenerate::content_kept;
use crate::eval::content::{ContentKept, Loss};

/// Values by their keys, and what was lost by its kind.
pub struct KeptValues {
    /// `content_kept` and `all_content_kept`, `content_words_kept`, and `objects_kept`, `attributes_kept`,
    /// `counts_kept`, `negations_kept`, `names_kept` where the input asks for such.
    pub values: BTreeMap<String, f64>,
    /// Pieces of the input that the rewrite does not keep: `objects`, `attributes`, `counts`, `negations`, `names`.
    pub lost: BTreeMap<String, Vec<Loss>>,
}

/// What `adapted_prompt` keeps of `user_input`.
pub fn kept(user_input: &str, adapted_prompt: &str) -> KeptValues {
    let found = ContentKept::of(user_input, adapted_prompt);
    let mut values: BTreeMap<String, f64> = [
        ("content_kept", found.share()),
        ("all_content_kept", f64::from(u8::from(found.is_kept()))),
        ("content_words_kept", f64::from(content_kept(user_input, adapted_prompt))),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let mut lost = BTreeMap::new();
    for (kind, kept) in found.kinds() {
        if let Some(share) = kept.share() {
            values.insert(format!("{kind}_kept"), share);
        }
        if !kept.lost.is_empty() {
            lost.insert(kind.to_owned(), kept.lost.clone());
        }
    }
    KeptValues { values, lost }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_are_not_asked_for_have_no_value() {
        let found = kept("two red cats", "two blue cats, 8k");
        assert_eq!((found.values["objects_kept"], found.values["attributes_kept"]), (1.0, 0.0));
        assert_eq!((found.values["counts_kept"], found.values.get("negations_kept")), (1.0, None));
        assert_eq!((found.values["all_content_kept"], found.lost["attributes"].len()), (0.0, 1));
        assert_eq!(found.values["content_kept"], 2.0 / 3.0);
    }
}
