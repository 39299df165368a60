//! How far the engine's approximations are from f32, on a model's own work.
//!
//! Answers are drawn from the f32 model, and each approximation is asked about every token of them: on
//! text that the reference draws itself, the change of the perplexity estimates how far the
//! distributions are apart, and cannot be luck for long. Then all adapt the inputs as users ask them to.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::decoding::teacher_forcing::{ForcedText, Observation};
use crate::engine::Precision;
use crate::engine::precision_report::{Agreement, CLEAR_MARGIN, PrecisionAgreement, PrecisionReport};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::prompter::{AdaptRequest, AdaptSettings, Adapted, Prompter};

/// Inputs adapted together.
const BATCH: usize = 32;

/// Measures `candidates`, prompters of the same model in other precisions, against `reference`, which
/// computes in f32, on `user_inputs`. Inputs that cannot be adapted are left out.
///
/// # Errors
/// [`Error::Config`] if no input gives an answer; [`Error::Interrupted`] after `stop`; whatever
/// decoding runs into.
pub fn measure(
    reference: &Prompter,
    candidates: &[(Precision, Prompter)],
    user_inputs: &[String],
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<PrecisionReport> {
    let settings = reference.settings(&AdaptRequest { filter: true, ..AdaptRequest::default() })?;
    let exact = adapt(reference, user_inputs, &settings, "adapt in f32", progress, stop)?;
    let drawn = adapt(reference, user_inputs, &drawing(&settings), "draw in f32", progress, stop)?;
    let mut answers = Vec::new();
    for adapted in drawn.iter().flatten() {
        if let Some(output) = adapted.outputs.first() {
            let prompt = reference.prompt(&adapted.user_input)?;
            answers.push((prompt.len(), [prompt, output.token_ids.clone()].concat()));
        }
    }
    let forced: Vec<ForcedText> = answers
        .iter()
        .map(|(from, token_ids)| ForcedText { token_ids, from: *from })
        .filter(|text| text.from < text.token_ids.len())
        .collect();
    if forced.is_empty() {
        return Err(Error::config("input", "gave no answer to compare"));
    }
    let expected = reference.observe(&forced)?;
    let mut precisions = Vec::with_capacity(candidates.len());
    for (precision, candidate) in candidates {
        let agreement = agreement(&expected, &candidate.observe(&forced)?);
        let adapted =
            adapt(candidate, user_inputs, &settings, &format!("adapt in {precision}"), progress, stop)?;
        let pairs = || exact.iter().zip(&adapted).filter_map(|(a, b)| Some((a.as_ref()?, b.as_ref()?)));
        let text = |adapted: &Adapted| adapted.outputs.first().map(|output| output.text.clone());
        let same = pairs().filter(|(a, b)| text(a) == text(b)).count();
        precisions.push(PrecisionAgreement {
            precision: *precision,
            agreement,
            same_prompts: same as f64 / pairs().count().max(1) as f64,
        });
    }
    Ok(PrecisionReport {
        sha256: reference.identity().sha256.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        texts: forced.len(),
        precisions,
    })
}

/// Settings that draw from the model's own distribution, as it is.
fn drawing(settings: &AdaptSettings) -> AdaptSettings {
    let mut drawing = AdaptSettings { guidance_scale: 1.0, filter: false, ..settings.clone() };
    let decoding = &mut drawing.decoding;
    (decoding.do_sample, decoding.num_beams, decoding.num_beam_groups) = (true, 1, 1);
    (decoding.diversity_penalty, decoding.num_return_sequences) = (0.0, 1);
    (decoding.temperature, decoding.top_k, decoding.top_p, decoding.min_p) = (1.0, 0, 1.0, 0.0);
    (decoding.repetition_penalty, decoding.no_repeat_ngram_size, decoding.min_new_tokens) = (1.0, 0, 0);
    drawing
}

/// Answers by input, `None` where there is none.
fn adapt(
    prompter: &Prompter,
    user_inputs: &[String],
    settings: &AdaptSettings,
    name: &str,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Vec<Option<Adapted>>> {
    let mut adapted = Vec::with_capacity(user_inputs.len());
    progress.begin(name, Some(user_inputs.len() as u64), "prompts");
    for inputs in user_inputs.chunks(BATCH) {
        adapted.extend(prompter.adapt(inputs, settings, adapted.len() as u64).into_iter().map(Result::ok));
        progress.advance(inputs.len() as u64, "");
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
    }
    progress.end();
    Ok(adapted)
}

/// Agreement of what two models observed on the same texts.
fn agreement(reference: &[Vec<Observation>], candidate: &[Vec<Observation>]) -> Agreement {
    let (mut tokens, mut same, mut clear, mut clear_same) = (0_u64, 0_u64, 0_u64, 0_u64);
    let (mut reference_nats, mut nats) = (0.0, 0.0);
    for (expected, found) in reference.iter().flatten().zip(candidate.iter().flatten()) {
        let agrees = u64::from(expected.top == found.top);
        let is_clear = u64::from(expected.margin > CLEAR_MARGIN);
        tokens += 1;
        same += agrees;
        clear += is_clear;
        clear_same += agrees * is_clear;
        reference_nats -= f64::from(expected.logprob);
        nats -= f64::from(found.logprob);
    }
    let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    Agreement {
        tokens,
        reference_perplexity: (reference_nats / tokens.max(1) as f64).exp(),
        perplexity: (nats / tokens.max(1) as f64).exp(),
        top1: share(same, tokens),
        clear_tokens: clear,
        clear_top1: share(clear_same, clear),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_counts_clear_tokens_apart() {
        let observation = |logprob: f32, top: u32, margin: f32| Observation { logprob, top, margin };
        let reference = vec![
            vec![observation(-1.0, 1, 2.0), observation(-1.0, 2, 0.05)],
            vec![observation(-4.0, 3, 0.2)],
        ];
        let candidate =
            vec![vec![observation(-1.0, 1, 0.0), observation(-1.0, 7, 0.0)], vec![observation(-1.0, 9, 0.0)]];
        let found = agreement(&reference, &candidate);
        assert_eq!((found.tokens, found.clear_tokens), (3, 2));
        assert!((found.top1 - 1.0 / 3.0).abs() < 1e-12 && found.clear_top1 == 0.5);
        assert!((found.reference_perplexity - 2.0_f64.exp()).abs() < 1e-9);
        assert!((found.perplexity - 1.0_f64.exp()).abs() < 1e-9);
        assert!(!found.holds());
    }
}
