//! A round is explored chunk by chunk and scored meanwhile; never beyond the round, so training stays
//! on policy.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::rollout::{Explorer, Response};
use crate::error::{Error, Result};
use crate::generator::Cancel;
use crate::progress::Progress;
use crate::reward::{Pair, TermScores, WeightedSum};

/// Time between two words about scores that are waited for.
const WAIT: Duration = Duration::from_secs(1);

/// A round, explored and scored.
pub struct ScoredRound {
    /// One for each prompt, in their order.
    pub responses: Vec<Response>,
    /// What each is worth, or why that is not known.
    pub scores: Vec<Result<TermScores, String>>,
    /// Time spent exploring.
    pub generate_seconds: f64,
    /// Time that the rewards worked, most of it beside exploration.
    pub score_seconds: f64,
    /// Time that nothing but scores was waited for.
    pub wait_seconds: f64,
}

/// Explores `prompts` in chunks of `chunk_size` and scores each chunk while the next is explored. Chunks
/// that wait are scored together.
///
/// # Errors
/// [`Error::Interrupted`] if `cancel` was raised; those of exploring and scoring.
pub fn explore_and_score(
    explorer: &Explorer,
    reward: &WeightedSum,
    (prompts, round, chunk_size): (&[String], u64, usize),
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<ScoredRound> {
    let started = Instant::now();
    let mut scores: Vec<Option<Result<TermScores, String>>> = vec![None; prompts.len()];
    let mut responses: Vec<Response> = Vec::with_capacity(prompts.len());
    let (to_scorer, chunks) = mpsc::channel::<(usize, Vec<Pair>)>();
    let (to_us, scored) = mpsc::channel();
    std::thread::scope(|scope| {
        let scorer = scope.spawn(move || score_chunks(reward, &chunks, &to_us, cancel));
        let mut num_scored = 0;
        let mut take = |first: usize, new: Vec<Result<TermScores, String>>| {
            num_scored += new.len();
            for (place, score) in scores[first..].iter_mut().zip(new) {
                *place = Some(score);
            }
            num_scored
        };
        let mut explore = || -> Result<()> {
            for (chunk_idx, chunk) in prompts.chunks(chunk_size).enumerate() {
                cancel.check()?;
                let first = responses.len();
                responses.extend(explorer.explore(chunk, round, chunk_idx)?);
                let pairs = responses[first..].iter().map(|response| response.pair.clone()).collect();
                // If the scorer is gone, it says why when it is joined.
                if to_scorer.send((first, pairs)).is_err() {
                    break;
                }
                for (first, new) in scored.try_iter() {
                    take(first, new);
                }
                let num_scored = take(0, Vec::new());
                let seconds = started.elapsed().as_secs_f64();
                progress.advance(0, &note(round, responses.len(), num_scored, prompts.len(), seconds));
            }
            Ok(())
        };
        let explored = explore();
        let generate_seconds = started.elapsed().as_secs_f64();
        drop(to_scorer);
        loop {
            match scored.recv_timeout(WAIT) {
                Ok((first, new)) => drop(take(first, new)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let num_scored = take(0, Vec::new());
            let seconds = started.elapsed().as_secs_f64();
            progress.advance(0, &note(round, prompts.len(), num_scored, prompts.len(), seconds));
        }
        let wait_seconds = started.elapsed().as_secs_f64() - generate_seconds;
        let score_seconds = match scorer.join() {
            Ok(score_seconds) => score_seconds,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        explored?;
        let score_seconds = score_seconds?;
        let scores = scores.into_iter().map(|score| score.unwrap_or_else(|| Err("no score came".to_owned())));
        Ok(ScoredRound { scores: scores.collect(), responses, generate_seconds, score_seconds, wait_seconds })
    })
}

/// Scores of some responses, from the first one's number on.
type Scored = (usize, Vec<Result<TermScores, String>>);

/// Scores what comes, as much at once as has come, and returns the seconds that this took.
fn score_chunks(
    reward: &WeightedSum,
    chunks: &Receiver<(usize, Vec<Pair>)>,
    scored: &mpsc::Sender<Scored>,
    cancel: &Cancel,
) -> Result<f64> {
    let mut seconds = 0.0;
    while let Ok((first, mut pairs)) = chunks.recv() {
        pairs.extend(chunks.try_iter().flat_map(|(_, pairs)| pairs));
        let started = Instant::now();
        let scores = reward.score(&pairs, cancel)?;
        seconds += started.elapsed().as_secs_f64();
        if scored.send((first, scores)).is_err() {
            return Err(Error::Interrupted);
        }
    }
    Ok(seconds)
}

/// How far a round is; rates and time left are of what is slower.
fn note(round: u64, explored: usize, scored: usize, prompts: usize, seconds: f64) -> String {
    let left = |done: usize| match done {
        0 => String::new(),
        done => format!(
            " ({:.1}/s, {:.0} s left)",
            done as f64 / seconds,
            (prompts - done) as f64 * seconds / done as f64
        ),
    };
    format!(
        "round {}: explore {explored}/{prompts}{} · score {scored}/{prompts}{}",
        round + 1,
        left(explored),
        left(scored)
    )
}
