//! How far apart two answers to an input are.

use std::collections::BTreeSet;

/// How far apart what two texts add to an input is: 1 less the share of their words that both have, words
/// in lower case, each once. 0 for the same words, 1 for none in common.
pub fn distance(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    let all = a.union(b).count();
    match all {
        0 => 0.0,
        _ => 1.0 - a.intersection(b).count() as f64 / all as f64,
    }
}

/// The words that a text adds to an input: lower case, each once.
pub fn added_words(user_input: &str, text: &str) -> BTreeSet<String> {
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    };
    let mut own = words(user_input);
    let mut added = words(text);
    // Each word of the input accounts for one of the text's.
    added.retain(|word| match own.iter().position(|other| other == word) {
        Some(at) => {
            own.swap_remove(at);
            false
        }
        None => true,
    });
    added.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_between_what_is_added() {
        let words = |text| added_words("a red cat", text);
        assert_eq!(words("a red cat, Red sky, 8k"), ["8k", "red", "sky"].map(String::from).into());
        assert_eq!(distance(&words("a red cat, 8k"), &words("a red cat, 8K")), 0.0);
        assert_eq!(distance(&words("a red cat, 8k, soft"), &words("a red cat, soft, oil")), 1.0 - 1.0 / 3.0);
        assert_eq!(distance(&words("a red cat, 8k"), &words("a red cat, oil")), 1.0);
        assert_eq!(distance(&words("a red cat"), &words("a red cat")), 0.0);
    }
}
