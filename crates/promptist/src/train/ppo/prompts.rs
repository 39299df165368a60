//! Users' prompts: what each round explores on, and what is held out to evaluate on.
//!
//! Which prompts a round has is a pure function of the config and the round's number, so a resumed
//! run needs no other position.

use std::collections::HashSet;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::config::PromptsConfig;
use crate::data::{lines, safety};
use crate::error::{Error, Result};
use crate::train::examples::stage_seed;

/// Prompts handed out in one cycle of the sources' shares.
const CYCLE: usize = 1000;

/// The sources of a run, cleaned and split.
#[derive(Debug, Clone)]
pub struct Prompts {
    sources: Vec<Source>,
    /// Which source each prompt of a cycle comes from.
    cycle: Vec<usize>,
    round_size: usize,
    /// What rounds never see.
    validation: Vec<String>,
    left_out: LeftOut,
}

#[derive(Debug, Clone)]
struct Source {
    prompts: Vec<String>,
    seed: u64,
    /// The order of the epoch that was asked for last.
    order: Option<(u64, Vec<usize>)>,
}

/// Lines of the sources that no round has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Longer than `max_tokens`.
    pub too_long: usize,
    /// Unsafe.
    pub not_safe: usize,
    /// Empty, or like an earlier one but for case and white space.
    pub repeated: usize,
}

impl Prompts {
    /// Reads the sources. `num_tokens` counts the tokens of what the model reads for a prompt.
    ///
    /// # Errors
    /// Those of reading; [`Error::File`] if a source has no usable prompt left for rounds.
    pub fn open(
        config: &PromptsConfig,
        seed: u64,
        num_tokens: impl Fn(&str) -> Result<usize>,
    ) -> Result<Self> {
        let mut left_out = LeftOut::default();
        let mut seen = HashSet::new();
        let mut sources = Vec::with_capacity(config.sources.len());
        for (idx, source) in config.sources.iter().enumerate() {
            let mut prompts = Vec::new();
            for text in lines::read_texts(&source.path, &source.field)? {
                let text = text.trim();
                let key = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
                if key.is_empty() || !seen.insert(key) {
                    left_out.repeated += 1;
                } else if safety::check(text).is_some() {
                    left_out.not_safe += 1;
                } else if num_tokens(text)? > config.max_tokens {
                    left_out.too_long += 1;
                } else {
                    prompts.push(text.to_owned());
                }
            }
            let seed = stage_seed(seed, &format!("prompts {idx}"));
            prompts.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            sources.push(Source { prompts, seed, order: None });
        }

        let shares: Vec<f64> = config.sources.iter().map(|source| source.share).collect();
        let mut validation = Vec::new();
        for (source, count) in sources.iter_mut().zip(apportion(&shares, config.validation)) {
            let count = count.min(source.prompts.len());
            validation.extend(source.prompts.drain(..count));
        }
        if let Some((_, source)) = sources.iter().zip(&config.sources).find(|(own, _)| own.prompts.is_empty())
        {
            return Err(Error::file(&source.path, "has no usable prompt left for rounds"));
        }
        let counts = apportion(&shares, CYCLE);
        let mut cycle: Vec<usize> =
            counts.iter().enumerate().flat_map(|(idx, &count)| std::iter::repeat_n(idx, count)).collect();
        cycle.shuffle(&mut ChaCha8Rng::seed_from_u64(stage_seed(seed, "prompt cycle")));
        Ok(Self { sources, cycle, round_size: config.round_size, validation, left_out })
    }

    /// The prompts that no round has, source by source.
    pub fn validation(&self) -> &[String] {
        &self.validation
    }

    /// What was left out.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// Prompts that rounds draw from.
    pub fn num_training(&self) -> usize {
        self.sources.iter().map(|source| source.prompts.len()).sum()
    }

    /// The prompts of round `round`, from 0. A source gives each of its prompts once before it gives one
    /// again.
    pub fn round(&mut self, round: u64) -> Vec<String> {
        let first = round * self.round_size as u64;
        (first..first + self.round_size as u64).map(|position| self.at(position)).collect()
    }

    fn at(&mut self, position: u64) -> String {
        let (cycle, slot) = (position / CYCLE as u64, (position % CYCLE as u64) as usize);
        let source_idx = self.cycle[slot];
        let of_source = |slots: &[usize]| slots.iter().filter(|&&idx| idx == source_idx).count() as u64;
        let nth = cycle * of_source(&self.cycle) + of_source(&self.cycle[..slot]);
        self.sources[source_idx].nth(nth)
    }
}

impl Source {
    fn nth(&mut self, nth: u64) -> String {
        let len = self.prompts.len() as u64;
        let (epoch, idx) = (nth / len, nth % len);
        if self.order.as_ref().is_none_or(|(current, _)| *current != epoch) {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(epoch + 1);
            let mut order: Vec<usize> = (0..self.prompts.len()).collect();
            order.shuffle(&mut rng);
            self.order = Some((epoch, order));
        }
        let at = self.order.as_ref().map_or(0, |(_, order)| order[idx as usize]);
        self.prompts[at].clone()
    }
}

/// `count` in whole parts by `shares`, largest remainders first.
fn apportion(shares: &[f64], count: usize) -> Vec<usize> {
    let total: f64 = shares.iter().sum();
    let exact: Vec<f64> = shares.iter().map(|share| share / total * count as f64).collect();
    let mut parts: Vec<usize> = exact.iter().map(|part| part.floor() as usize).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()).then(a.cmp(&b)));
    let missing = count - parts.iter().sum::<usize>().min(count);
    for &idx in order.iter().take(missing) {
        parts[idx] += 1;
    }
    parts
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::train::ppo::config::PromptSource;

    fn prompts(folder: &TempDir, counts: &[usize], shares: &[f64], validation: usize) -> Prompts {
        let source = |(idx, (&count, &share)): (usize, (&usize, &f64))| {
            let path = folder.path().join(format!("{idx}.txt"));
            let lines: Vec<String> = (0..count).map(|n| format!("source {idx} prompt {n}")).collect();
            std::fs::write(&path, lines.join("\n")).unwrap();
            PromptSource { path, field: "text".to_owned(), share }
        };
        let sources = counts.iter().zip(shares).enumerate().map(source).collect();
        let config = PromptsConfig { round_size: 8, validation, max_tokens: 100, sources };
        Prompts::open(&config, 7, |text| Ok(text.len())).unwrap()
    }

    #[test]
    fn every_prompt_comes_once_before_one_comes_again() {
        let folder = TempDir::new().unwrap();
        let mut all = prompts(&folder, &[37], &[1.0], 5);
        assert_eq!((all.num_training(), all.validation().len()), (32, 5));
        for epoch in 0..3 {
            let seen: HashSet<String> = (0..4).flat_map(|round| all.round(4 * epoch + round)).collect();
            assert_eq!(seen.len(), 32);
            assert!(all.validation().iter().all(|prompt| !seen.contains(prompt)));
        }
    }

    #[test]
    fn a_round_does_not_depend_on_those_before_it() {
        let folder = TempDir::new().unwrap();
        let mut forwards = prompts(&folder, &[30, 50], &[1.0, 3.0], 4);
        let mut backwards = forwards.clone();
        let in_order: Vec<_> = (0..200).map(|round| forwards.round(round)).collect();
        for round in (0..200).rev() {
            assert_eq!(backwards.round(round), in_order[round as usize]);
        }
        let of_second = in_order.iter().flatten().filter(|prompt| prompt.starts_with("source 1")).count();
        assert!((1150..1250).contains(&of_second), "{of_second} of 1600");
    }

    #[test]
    fn what_no_round_can_use_is_left_out_and_counted() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "a cat\nA  Cat\na dog\na very long prompt that has too many tokens\n").unwrap();
        let source = PromptSource { path, field: "text".to_owned(), share: 1.0 };
        let config = PromptsConfig { round_size: 1, validation: 1, max_tokens: 10, sources: vec![source] };
        let prompts = Prompts::open(&config, 1, |text| Ok(text.len())).unwrap();
        assert_eq!(prompts.left_out(), LeftOut { too_long: 1, not_safe: 0, repeated: 1 });
        assert_eq!(prompts.num_training(), 1);
        let all_held_out = PromptsConfig { validation: 2, ..config };
        assert!(Prompts::open(&all_held_out, 1, |text| Ok(text.len())).is_err());
    }

    proptest! {
        #[test]
        fn parts_add_up(shares in prop::collection::vec(0.01..10.0f64, 1..6), count in 0usize..2000) {
            let parts = apportion(&shares, count);
            prop_assert_eq!(parts.iter().sum::<usize>(), count);
            let total: f64 = shares.iter().sum();
            for (part, share) in parts.iter().zip(&shares) {
                prop_assert!((*part as f64 - share / total * count as f64).abs() < 1.0 + 1e-9);
            }
        }
    }
}
