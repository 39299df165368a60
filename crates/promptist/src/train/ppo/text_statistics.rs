//! What the texts of a round, or of an evaluation, look like: where a policy that cheats shows first.

use serde::Serialize;

use crate::data::artists::artists_named;
use crate::data::degenerate::{self, content_kept};
use crate::data::lexicon::words;
use crate::eval::additions::Additions;
use crate::eval::text::{commonest, distinct};
use crate::reward::Pair;

/// Phrases that are told.
const TOP_PHRASES: usize = 10;

/// Statistics of adapted prompts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextStatistics {
    /// Distinct words over words, of what was added.
    pub distinct_1: f64,
    /// Distinct pairs of words over pairs.
    pub distinct_2: f64,
    /// Share of texts that name an artist whom the input does not.
    pub artist_share: f64,
    /// Mean share of the input's content words that is kept.
    pub kept: f64,
    /// Share of degenerate texts.
    pub degenerate: f64,
    /// The commonest added phrases, with the share of texts that have them.
    pub top_phrases: Vec<(String, f64)>,
}

impl TextStatistics {
    /// Of these pairs.
    pub fn of<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Self {
        let pairs: Vec<&Pair> = pairs.collect();
        let n = pairs.len().max(1) as f64;
        let added: Vec<Additions> =
            pairs.iter().map(|pair| Additions::of(&pair.user_input, &pair.adapted_prompt)).collect();
        let texts: Vec<Vec<String>> = added
            .iter()
            .map(|added| words(&added.text).into_iter().map(|word| word.folded).collect())
            .collect();
        let phrases: Vec<Vec<String>> = added
            .iter()
            .map(|added| added.phrases.iter().map(|phrase| phrase.key.clone()).collect())
            .collect();
        let share =
            |holds: &dyn Fn(&Pair) -> bool| pairs.iter().filter(|pair| holds(pair)).count() as f64 / n;
        let names_another = |pair: &Pair| {
            let own = artists_named(&pair.user_input);
            artists_named(&pair.adapted_prompt).iter().any(|name| !own.contains(name))
        };
        let kept = pairs.iter().map(|pair| f64::from(content_kept(&pair.user_input, &pair.adapted_prompt)));
        Self {
            distinct_1: distinct(&texts, 1),
            distinct_2: distinct(&texts, 2),
            artist_share: share(&names_another),
            kept: kept.sum::<f64>() / n,
            degenerate: share(&|pair| degenerate::check(&pair.adapted_prompt).is_some()),
            top_phrases: commonest(phrases.iter().map(|row| row.iter()), pairs.len(), TOP_PHRASES)
                .into_iter()
                .map(|common| (common.text, common.share))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_says_the_same_of_everything_shows() {
        let pair = |user_input: &str, adapted_prompt: &str| Pair {
            user_input: user_input.to_owned(),
            adapted_prompt: adapted_prompt.to_owned(),
        };
        let same =
            [pair("a cat", "a cat, 8k, by greg rutkowski"), pair("a dog", "a dog, 8k, by greg rutkowski")];
        let same = TextStatistics::of(same.iter());
        assert_eq!(same.top_phrases[0].1, 1.0);
        assert_eq!((same.artist_share, same.kept), (1.0, 1.0));
        let other =
            [pair("a cat", "a cat, soft light"), pair("a dog by greg rutkowski", "8k, oil on canvas")];
        let other = TextStatistics::of(other.iter());
        assert!(other.distinct_1 > same.distinct_1 && other.distinct_2 > same.distinct_2);
        assert_eq!((other.artist_share, other.kept), (0.0, 0.5));
    }
}
