//! What of the user's input a rewrite keeps, by measures' keys.

use std::collections::{BTreeMap, HashSet};

use crate::data::degenerate::{content_kept, content_words};

/// Values by their keys, and what was lost by its kind.
pub struct KeptValues {
    /// `content_kept`, `all_content_kept`.
    pub values: BTreeMap<String, f64>,
    /// Content words that the rewrite lacks.
    pub lost: BTreeMap<String, Vec<String>>,
}

/// What `adapted_prompt` keeps of `user_input`.
pub fn kept(user_input: &str, adapted_prompt: &str) -> KeptValues {
    let kept = f64::from(content_kept(user_input, adapted_prompt));
    let held: HashSet<String> = content_words(adapted_prompt).into_iter().collect();
    let mut lost: Vec<String> = content_words(user_input);
    lost.retain(|word| !held.contains(word));
    let all = f64::from(u8::from(kept >= 1.0));
    let values = [("content_kept", kept), ("all_content_kept", all)];
    let mut lost_by_kind = BTreeMap::new();
    if kept < 1.0 && !lost.is_empty() {
        lost_by_kind.insert("words".to_owned(), lost);
    }
    KeptValues { values: values.map(|(key, value)| (key.to_owned(), value)).into(), lost: lost_by_kind }
}
