//! The plurals of a noun, by its spelling.
//!
//! Only nouns and only from the singular: a ban on `hat` covers "hats" and never "hate" or "hated", and one
//! on `hats` does not cover "hat". The possessive needs no rule: an apostrophe parts words (see
//! [`super::fold`]), so that "hat's" and "hats'" hold the word itself.

/// Endings with a plural of their own; the regular one counts too ("human" ends in "man").
const IRREGULAR: [(&str, &str); 7] = [
    ("man", "men"),
    ("child", "children"),
    ("person", "people"),
    ("foot", "feet"),
    ("tooth", "teeth"),
    ("goose", "geese"),
    ("mouse", "mice"),
];

/// The plurals of a folded word. None for what does not end in an ASCII letter or is a letter alone.
pub(super) fn plurals(word: &str) -> Vec<String> {
    if word.chars().nth(1).is_none() || !word.ends_with(|c: char| c.is_ascii_lowercase()) {
        return Vec::new();
    }
    let instead_of = |ending: &str, plural: &str| format!("{}{plural}", &word[..word.len() - ending.len()]);
    let ends = |endings: &[&str]| endings.iter().any(|ending| word.ends_with(ending));
    let behind_a_vowel = ends(&["ay", "ey", "iy", "oy", "uy"]);
    let mut plurals = Vec::new();
    // "-ch" and "-o" go both ways: "watches", "stomachs", "heroes", "photos".
    if ends(&["s", "x", "z", "sh", "ch", "o"]) {
        plurals.push(instead_of("", "es"));
    }
    if word.ends_with('y') && !behind_a_vowel {
        plurals.push(instead_of("y", "ies"));
    } else if !ends(&["s", "x", "z", "sh"]) {
        plurals.push(instead_of("", "s"));
    }
    if word.ends_with('f') && !word.ends_with("ff") {
        plurals.push(instead_of("f", "ves"));
    } else if word.ends_with("fe") {
        plurals.push(instead_of("fe", "ves"));
    }
    for (ending, plural) in IRREGULAR {
        if word.ends_with(ending) {
            plurals.push(instead_of(ending, plural));
        }
    }
    plurals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_have_their_plurals_and_nothing_else() {
        for (word, expected) in [
            ("hat", &["hats"][..]),
            ("dress", &["dresses"]),
            ("lady", &["ladies"]),
            ("boy", &["boys"]),
            ("watch", &["watches", "watchs"]),
            ("hero", &["heroes", "heros"]),
            ("scarf", &["scarfs", "scarves"]),
            ("cuff", &["cuffs"]),
            ("knife", &["knifes", "knives"]),
            ("policewoman", &["policewomans", "policewomen"]),
            ("person", &["persons", "people"]),
            ("x", &[]),
            ("ue5", &[]),
            ("шляпа", &[]),
        ] {
            assert_eq!(plurals(word), expected, "{word}");
        }
    }
}
