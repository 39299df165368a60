//! Which artists a text names, so that a data set or a model can do without them.

use super::lexicon::{Word, longest_artist, words};

/// Whether a text credits or names an artist of the embedded list (`data/lists/artists.txt`).
pub fn names_artist(text: &str) -> bool {
    !names_by(text, 1, longest_artist).is_empty()
}

/// The artists that a text names, in order, as the list spells them: lower case, without accents.
pub fn artists_named(text: &str) -> Vec<String> {
    names_by(text, usize::MAX, longest_artist)
}

/// The first `most` names in a text; `longest` tells how many words a name takes at `words[0]`.
pub(crate) fn names_by(text: &str, most: usize, longest: impl Fn(&[Word]) -> Option<usize>) -> Vec<String> {
    let words = words(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() && found.len() < most {
        match longest(&words[at..]) {
            Some(taken) if taken > 1 || credited(text, &words, at) => {
                found.push(
                    words[at..at + taken]
                        .iter()
                        .map(|word| word.folded.as_str())
                        .collect::<Vec<_>>()
                        .join(" "),
                );
                at += taken;
            }
            _ => at += 1,
        }
    }
    found
}

/// A single word ("hopper", "raphael", "mucha") names an artist only where a credit stands: after "by",
/// or as a whole phrase, alone or among others.
fn credited(text: &str, words: &[Word], at: usize) -> bool {
    let edge = |between: &str| between.contains([',', '.', ';', '|', ':', '(', ')']);
    let before = at.checked_sub(1).map(|before| &words[before]);
    let after = words.get(at + 1);
    let opens = before.is_none_or(|before| {
        edge(&text[before.end..words[at].start])
            || ["by", "and", "&", "of", "style"].contains(&before.folded.as_str())
    });
    let closes = after.is_none_or(|after| {
        edge(&text[words[at].end..after.start]) || ["and", "&", "style"].contains(&after.folded.as_str())
    });
    let by = before.is_some_and(|before| before.folded == "by");
    let depicted = before.is_some_and(|before| before.folded == "of")
        && at.checked_sub(2).is_none_or(|style| words[style].folded != "style");
    by || (opens && closes && !depicted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_accents_and_without_commas() {
        assert_eq!(
            artists_named("a fox by Zdzisław Beksiński and greg rutkowski"),
            ["zdzislaw beksinski", "greg rutkowski"]
        );
        assert_eq!(artists_named("a fox, artgerm, wlop and mucha"), ["artgerm", "wlop", "mucha"]);
    }

    #[test]
    fn a_common_word_is_not_a_name() {
        assert!(!names_artist("a grass hopper on a leaf"));
        assert!(!names_artist("a hopper full of grain"));
        assert!(names_artist("a street at night by hopper"));
    }
}
