//! Singular of plural, and what the forms of a word have in common.

use super::lists::{self, Closed};

/// The singular of a folded word, and whether the word is a plural.
pub(super) fn singular(folded: &str) -> (String, bool) {
    if let Some(singular) = lists::irregular_singular(folded) {
        return (singular.to_owned(), singular != folded);
    }
    if Closed::KeptAsTheyAre.has(folded) || folded.len() < 3 || !folded.ends_with('s') {
        return (folded.to_owned(), false);
    }
    if let Some(root) = folded.strip_suffix("es").filter(|root| Closed::KeptAsTheyAre.has(root)) {
        return (root.to_owned(), true);
    }
    if ["ss", "us", "is"].iter().any(|ending| folded.ends_with(ending)) {
        return (folded.to_owned(), false);
    }
    if let Some(root) = folded.strip_suffix("ies").filter(|root| root.len() > 1) {
        return (format!("{root}y"), true);
    }
    let takes_es = ["sses", "shes", "ches", "xes", "zzes"].iter().any(|ending| folded.ends_with(ending));
    let cut = if takes_es { 2 } else { 1 };
    let root = &folded[..folded.len() - cut];
    // No word of our language: a digit before the "s" is a decade or a make.
    if !root.ends_with(|c: char| c.is_alphabetic()) {
        return (folded.to_owned(), false);
    }
    (root.to_owned(), true)
}

/// Pants, glasses, sheep: words whose number says nothing.
pub(super) fn has_no_number(folded: &str) -> bool {
    lists::irregular_singular(folded) == Some(folded)
        || (Closed::KeptAsTheyAre.has(folded) && folded.ends_with('s') && !folded.ends_with("ss"))
        || folded == "glasses"
}

/// What "smiling", "smile" and "smiles", "snow" and "snowy", "frost" and "frosted" have in common. Crude: only ever
/// compared with another stem.
pub(super) fn stem(folded: &str) -> String {
    // "asleep" is sleeping.
    let folded = match folded {
        "asleep" | "awake" | "ablaze" | "aflame" | "afloat" | "aglow" | "adrift" => &folded[1..],
        _ => folded,
    };
    let base = lists::verb(folded).map_or(folded, |verb| verb.base);
    let (word, _) = singular(base);
    let mut stem = word.as_str();
    for ending in ["ingly", "edly", "ing", "ed", "en", "ful", "ly", "ian", "ish", "y", "al", "ic"] {
        if let Some(root) = stem.strip_suffix(ending)
            && root.chars().count() > 2
            && root.contains(['a', 'e', 'i', 'o', 'u', 'y'])
        {
            stem = root;
            break;
        }
    }
    let stem = stem.trim_end_matches(['e', 'y', 'i']);
    let mut letters: Vec<char> = stem.chars().collect();
    if let [.., a, b] = letters.as_slice()
        && a == b
        && letters.len() > 3
    {
        letters.pop();
    }
    if letters.is_empty() { folded.to_owned() } else { letters.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_have_their_singular() {
        for (plural, expected) in [
            ("cats", "cat"),
            ("boxes", "box"),
            ("houses", "house"),
            ("buses", "bus"),
            ("cities", "city"),
            ("men", "man"),
            ("wolves", "wolf"),
            ("shoes", "shoe"),
            ("vases", "vase"),
            ("dresses", "dress"),
            ("tomatoes", "tomato"),
            ("walruses", "walrus"),
        ] {
            assert_eq!(singular(plural), (expected.to_owned(), true), "{plural}");
        }
        for word in
            ["bus", "glass", "canvas", "tennis", "cactus", "cat", "sheep", "gas", "1980s", "s", "paris"]
        {
            assert_eq!(singular(word), (word.to_owned(), false), "{word}");
        }
    }

    #[test]
    fn forms_of_a_word_have_one_stem() {
        for (a, b) in [
            ("smiling", "smile"),
            ("snowy", "snow"),
            ("frosted", "frost"),
            ("potted", "pot"),
            ("running", "runs"),
            ("muddy", "mud"),
            ("worn", "wearing"),
            ("asleep", "sleeping"),
        ] {
            assert_eq!(stem(a), stem(b), "{a} {b}");
        }
        assert_ne!(stem("cat"), stem("car"));
    }
}
