//! One rule a test, on pairs of prompts.

use super::*;

/// What is lost, each as its kind and what.
fn losses(user_input: &str, adapted_prompt: &str) -> Vec<String> {
    let kept = ContentKept::of(user_input, adapted_prompt);
    let of = |(name, kept): (&str, &Kept)| -> Vec<String> {
        kept.lost.iter().map(|loss| format!("{name}: {}", loss.what)).collect()
    };
    kept.kinds().into_iter().flat_map(of).collect()
}
