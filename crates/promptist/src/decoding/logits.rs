//! What changes a row of scores before a token is chosen from it.
//!
//! Every rule changes few tokens, and can tell which before it sees a score. So a search asks its model
//! for those by name and for as many of the largest as it needs beside them: nothing that a rule leaves
//! alone can come from further down.
//!
//! Processors hold a rule ("no trigram twice") and serve every search. Which scores they see is the
//! search's: beam search hands them log-probabilities, greedy and sampling the logits themselves, as
//! transformers does. A forced beginning needs no processor: it belongs to the prompt. What shapes the
//! distribution that sampling draws from is in `warpers`.

use super::query::TokenLogit;
use super::settings::DecodingSettings;

/// The tokens so far of the row at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) prompt: &'a [u32],
    pub(super) generated: &'a [u32],
}

impl Context<'_> {
    fn len(&self) -> usize {
        self.prompt.len() + self.generated.len()
    }

    fn token(&self, idx: usize) -> u32 {
        match idx.checked_sub(self.prompt.len()) {
            None => self.prompt[idx],
            Some(idx) => self.generated[idx],
        }
    }

    fn tokens(&self) -> impl Iterator<Item = u32> {
        self.prompt.iter().chain(self.generated).copied()
    }

    /// Every token that would complete a run of `size` tokens which is there already; none if `size`
    /// is 0.
    ///
    /// # Source
    /// `NoRepeatNGramLogitsProcessor` of transformers 5.23.
    fn ngram_ends(&self, size: usize) -> impl Iterator<Item = u32> {
        let prefix_start = (self.len() + 1).checked_sub(size).filter(|_| size > 0).unwrap_or(0);
        let repeats = move |start: &usize| {
            (0..size - 1).all(|offset| self.token(start + offset) == self.token(prefix_start + offset))
        };
        (0..prefix_start).filter(repeats).map(move |start| self.token(start + size - 1))
    }
}

/// The rules of a run, applied in transformers' order.
#[derive(Debug, Clone)]
pub(super) struct LogitsProcessors {
    repetition_penalty: f32,
    no_repeat_ngram_size: usize,
    min_new_tokens: usize,
    eos_token_id: Vec<u32>,
    suppress_tokens: Vec<u32>,
}

impl LogitsProcessors {
    pub(super) fn new(settings: &DecodingSettings) -> Self {
        Self {
            repetition_penalty: settings.repetition_penalty as f32,
            no_repeat_ngram_size: settings.no_repeat_ngram_size,
            min_new_tokens: settings.min_new_tokens,
            eos_token_id: settings.eos_token_id.clone(),
            suppress_tokens: settings.suppress_tokens.clone(),
        }
    }

    /// The tokens whose scores [`apply`](Self::apply) may change at this point: rising, each once.
    pub(super) fn touched(&self, context: Context<'_>) -> Vec<u32> {
        let mut token_ids = Vec::new();
        if self.repetition_penalty != 1.0 {
            token_ids.extend(context.tokens());
        }
        token_ids.extend(context.ngram_ends(self.no_repeat_ngram_size));
        if context.generated.len() < self.min_new_tokens {
            token_ids.extend(&self.eos_token_id);
        }
        token_ids.extend(&self.suppress_tokens);
        token_ids.sort_unstable();
        token_ids.dedup();
        token_ids
    }

    /// Applies every rule to scores of the row that `context` leads to; [`touched`](Self::touched)
    /// must be among them.
    pub(super) fn apply(&self, context: Context<'_>, scores: &mut TouchedScores) {
        if self.repetition_penalty != 1.0 {
            penalize_repetition(context, self.repetition_penalty, scores);
        }
        scores.ban(context.ngram_ends(self.no_repeat_ngram_size));
        if context.generated.len() < self.min_new_tokens {
            scores.ban(self.eos_token_id.iter().copied());
        }
        scores.ban(self.suppress_tokens.iter().copied());
    }
}

/// The scores of those tokens of a row that rules may change.
#[derive(Debug, Default)]
pub(super) struct TouchedScores {
    /// By rising token id, each once.
    scores: Vec<TokenLogit>,
}

impl TouchedScores {
    /// Forgets what was there and holds `scores`, which come by rising token id, each once.
    pub(super) fn reset(&mut self, scores: impl IntoIterator<Item = TokenLogit>) {
        self.scores.clear();
        self.scores.extend(scores);
        debug_assert!(self.scores.is_sorted_by(|a, b| a.token_id < b.token_id));
    }

    /// Whether a token is among them.
    pub(super) fn contains(&self, token_id: u32) -> bool {
        self.place(token_id).is_ok()
    }

    /// Adds a token, unless it is there.
    pub(super) fn insert(&mut self, token: TokenLogit) {
        if let Err(place) = self.place(token.token_id) {
            self.scores.insert(place, token);
        }
    }

    /// Keeps those that `is_kept`.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&TokenLogit) -> bool) {
        self.scores.retain(is_kept);
    }

    /// Changes a token's score, if it is there.
    pub(super) fn update(&mut self, token_id: u32, change: impl FnOnce(f32) -> f32) {
        if let Ok(place) = self.place(token_id) {
            let score = &mut self.scores[place].logit;
            *score = change(*score);
        }
    }

    /// The tokens and their scores, by rising token id.
    pub(super) fn iter(&self) -> impl Iterator<Item = TokenLogit> {
        self.scores.iter().copied()
    }

    fn ban(&mut self, token_ids: impl Iterator<Item = u32>) {
        for token_id in token_ids {
            self.update(token_id, |_| f32::NEG_INFINITY);
        }
    }

    fn place(&self, token_id: u32) -> Result<usize, usize> {
        self.scores.binary_search_by_key(&token_id, |score| score.token_id)
    }
}

/// Each token of the context once, however often it occurs.
///
/// # Source
/// `RepetitionPenaltyLogitsProcessor` of transformers 5.23, which passes over left padding as we do.
fn penalize_repetition(context: Context<'_>, penalty: f32, scores: &mut TouchedScores) {
    let mut token_ids: Vec<u32> = context.tokens().collect();
    token_ids.sort_unstable();
    token_ids.dedup();
    for token_id in token_ids {
        scores.update(token_id, |score| if score < 0.0 { score * penalty } else { score / penalty });
    }
}

#[cfg(test)]
mod tests {
    use super::super::RawDecodingSettings;
    use super::*;

    const BANNED: f32 = f32::NEG_INFINITY;

    #[track_caller]
    fn check(raw: RawDecodingSettings, prompt: &[u32], generated: &[u32], scores: &[f32], expected: &[f32]) {
        let settings = raw.resolve().expect("possible settings");
        let processors = LogitsProcessors::new(&settings);
        let context = Context { prompt, generated };
        assert_eq!(processed(&processors, context, scores), expected);
        let changed = |id: u32| scores[id as usize] != expected[id as usize];
        let touched = processors.touched(context);
        assert!((0..scores.len() as u32).all(|id| !changed(id) || touched.contains(&id)), "{touched:?}");
    }

    /// Every score of a row under the rules.
    fn processed(processors: &LogitsProcessors, context: Context<'_>, scores: &[f32]) -> Vec<f32> {
        let mut all = TouchedScores::default();
        all.reset((0..).zip(scores).map(|(token_id, &logit)| TokenLogit { token_id, logit }));
        processors.apply(context, &mut all);
        all.iter().map(|token| token.logit).collect()
    }

    #[test]
    fn repetition_is_penalized_once_and_away_from_zero() {
        let raw = || RawDecodingSettings { repetition_penalty: Some(2.0), ..Default::default() };
        check(raw(), &[0, 1, 0], &[2, 2], &[1.0, -1.0, 0.5, 3.0], &[0.5, -2.0, 0.25, 3.0]);
    }

    #[test]
    fn ngrams_are_banned_across_the_end_of_the_prompt() {
        let raw = |size| RawDecodingSettings { no_repeat_ngram_size: Some(size), ..Default::default() };
        let scores = [0.0; 4];
        check(raw(1), &[0], &[2], &scores, &[BANNED, 0.0, BANNED, 0.0]);
        check(raw(2), &[0, 1, 2], &[0, 3, 0], &scores, &[0.0, BANNED, 0.0, BANNED]);
        check(raw(3), &[0, 1], &[2, 0, 1], &scores, &[0.0, 0.0, BANNED, 0.0]);
    }

    #[test]
    fn ngrams_longer_than_the_context_ban_nothing() {
        let raw = RawDecodingSettings { no_repeat_ngram_size: Some(4), ..Default::default() };
        let processors = LogitsProcessors::new(&raw.resolve().expect("possible settings"));
        for length in 0..4 {
            let context = Context { prompt: &[0, 0, 0][..length], generated: &[] };
            assert_eq!(processed(&processors, context, &[0.0; 2]), [0.0; 2]);
            assert!(processors.touched(context).is_empty());
        }
    }

    #[test]
    fn the_end_waits_and_suppressed_tokens_never_come() {
        let raw = || RawDecodingSettings {
            min_new_tokens: Some(2),
            eos_token_id: Some(vec![3, 1]),
            ..Default::default()
        };
        check(raw(), &[0], &[2], &[0.0; 4], &[0.0, BANNED, 0.0, BANNED]);
        check(raw(), &[0], &[2, 2], &[0.0; 4], &[0.0; 4]);
        let raw = RawDecodingSettings { suppress_tokens: Some(vec![2]), ..Default::default() };
        check(raw, &[0], &[], &[0.0; 4], &[0.0, 0.0, BANNED, 0.0]);
    }
}
