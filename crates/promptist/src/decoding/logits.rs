//! What changes a row of scores before a token is chosen from it.
//!
//! Processors hold a rule ("no trigram twice") and serve every search. Which scores they see is the
//! search's: beam search hands them log-probabilities, greedy and sampling the logits themselves, as
//! transformers does. A forced beginning needs no processor: it belongs to the prompt. What shapes the
//! distribution that sampling draws from is in `warpers`.

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

    /// Whether [`apply`](Self::apply) would change nothing at this point: then no copy is needed.
    pub(super) fn are_idle(&self, context: Context<'_>) -> bool {
        self.repetition_penalty == 1.0
            && self.no_repeat_ngram_size == 0
            && context.generated.len() >= self.min_new_tokens
            && self.suppress_tokens.is_empty()
    }

    /// Applies every rule to the scores of the row that `context` leads to: `[V]`.
    pub(super) fn apply(&self, context: Context<'_>, scores: &mut [f32]) {
        if self.repetition_penalty != 1.0 {
            penalize_repetition(context, self.repetition_penalty, scores);
        }
        if self.no_repeat_ngram_size > 0 {
            ban_repeated_ngrams(context, self.no_repeat_ngram_size, scores);
        }
        if context.generated.len() < self.min_new_tokens {
            ban(&self.eos_token_id, scores);
        }
        ban(&self.suppress_tokens, scores);
    }
}

fn ban(token_ids: &[u32], scores: &mut [f32]) {
    for &token_id in token_ids {
        scores[token_id as usize] = f32::NEG_INFINITY;
    }
}

/// Each token of the context once, however often it occurs.
///
/// # Source
/// `RepetitionPenaltyLogitsProcessor` of transformers 5.23, which passes over left padding as we do.
fn penalize_repetition(context: Context<'_>, penalty: f32, scores: &mut [f32]) {
    let penalized = |score: f32| {
        if score < 0.0 { score * penalty } else { score / penalty }
    };
    // Read all, then write all: a token that occurs twice is written twice with the same value.
    let updates: Vec<(u32, f32)> =
        context.tokens().map(|token_id| (token_id, penalized(scores[token_id as usize]))).collect();
    for (token_id, score) in updates {
        scores[token_id as usize] = score;
    }
}

/// Bans every token that would complete a run of `size` tokens which the context already has.
///
/// # Source
/// `NoRepeatNGramLogitsProcessor` of transformers 5.23.
fn ban_repeated_ngrams(context: Context<'_>, size: usize, scores: &mut [f32]) {
    let Some(prefix_start) = (context.len() + 1).checked_sub(size) else {
        return;
    };
    for start in 0..prefix_start {
        if (0..size - 1).all(|offset| context.token(start + offset) == context.token(prefix_start + offset)) {
            ban(&[context.token(start + size - 1)], scores);
        }
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
        let mut processed = scores.to_vec();
        processors.apply(context, &mut processed);
        assert_eq!(processed, expected);
        assert_eq!(processors.are_idle(context), scores == expected);
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
            let mut scores = [0.0; 2];
            processors.apply(Context { prompt: &[0, 0, 0][..length], generated: &[] }, &mut scores);
            assert_eq!(scores, [0.0; 2]);
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
