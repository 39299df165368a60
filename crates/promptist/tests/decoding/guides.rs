//! Rules over what tokens spell, on a toy model whose tokens spell themselves: in every search no
//! banned pair comes, every phrase that must come does, no answer is over its budget or cut in a phrase.

use std::sync::Arc;

use promptist::decoding::{
    Finish, Guide, Hypothesis, RawDecodingSettings, Request, generate_each, sample_key,
};
use proptest::prelude::*;

use super::toy::Toy;

const EOS: u32 = 0;
/// The comma: phrases end with it.
const COMMA: u32 = 1;

/// What an answer must keep to.
#[derive(Debug, Clone)]
struct Rules {
    /// Pairs of tokens that may not follow each other.
    banned: Vec<(u32, u32)>,
    /// Phrases, each to come as a whole, comma and all.
    musts: Vec<Vec<u32>>,
    max_new_tokens: usize,
    budget: usize,
}

/// The rules after some tokens.
#[derive(Debug, Clone)]
struct State {
    rules: Arc<Rules>,
    tokens: Vec<u32>,
    /// The must that is being written, and how many of its tokens are there.
    writing: Option<(usize, usize)>,
    met: Vec<bool>,
    wanted: Vec<u32>,
}

impl State {
    fn new(rules: Rules) -> Self {
        let met = vec![false; rules.musts.len()];
        let mut state = Self { rules: Arc::new(rules), tokens: vec![], writing: None, met, wanted: vec![] };
        state.look();
        state
    }

    fn is_at_phrase(&self) -> bool {
        self.tokens.last().is_none_or(|&token| token == COMMA)
    }

    /// Tokens that the musts still take, a comma before them included.
    fn needed(&self) -> usize {
        let all: usize = (0..self.met.len())
            .filter(|&must| !self.met[must])
            .map(|must| self.rules.musts[must].len())
            .sum();
        let written = self.writing.map_or(0, |(_, written)| written);
        all - written + usize::from(!self.is_at_phrase() && self.writing.is_none() && all > 0)
    }

    fn look(&mut self) {
        self.wanted = match self.writing {
            Some((must, written)) => vec![self.rules.musts[must][written]],
            None if self.met.iter().all(|&met| met) => vec![],
            None if !self.is_at_phrase() => vec![COMMA],
            None => (0..self.met.len()).filter(|&m| !self.met[m]).map(|m| self.rules.musts[m][0]).collect(),
        };
    }

    fn next(&self, token_id: u32) -> Self {
        let mut next = self.clone();
        next.tokens.push(token_id);
        next.writing = match self.writing {
            Some((must, written)) => Some((must, written + 1)),
            None if self.is_at_phrase() => (0..self.met.len())
                .find(|&must| !self.met[must] && self.rules.musts[must][0] == token_id)
                .map(|must| (must, 1)),
            None => None,
        };
        if let Some((must, written)) = next.writing
            && written == self.rules.musts[must].len()
        {
            next.met[must] = true;
            next.writing = None;
        }
        next.look();
        next
    }
}

impl Guide for State {
    fn allows(&self, token_id: u32) -> bool {
        if token_id == EOS {
            return true;
        }
        let banned = self.tokens.last().is_some_and(|&last| self.rules.banned.contains(&(last, token_id)));
        let next = self.next(token_id);
        let in_time = next.tokens.len() + next.needed() <= self.rules.max_new_tokens;
        let continues = self.writing.is_none() || self.wanted.contains(&token_id);
        !banned && in_time && continues
    }

    fn after(&self, token_id: u32) -> Arc<dyn Guide> {
        Arc::new(self.next(token_id))
    }

    fn may_end(&self) -> bool {
        self.met.iter().all(|&met| met)
    }

    fn is_whole(&self) -> bool {
        self.is_at_phrase() && self.may_end() && self.tokens.iter().any(|&token| token != COMMA)
    }

    fn has_room(&self, token_id: u32) -> bool {
        let next = self.next(token_id);
        next.tokens.len() + next.needed() <= self.rules.budget
    }

    fn wanted(&self) -> &[u32] {
        &self.wanted
    }

    fn bank(&self) -> usize {
        self.met.iter().filter(|&&met| met).count() + usize::from(self.writing.is_some())
    }

    fn num_banks(&self) -> usize {
        self.met.len() + 1
    }
}

fn answers(raw: &RawDecodingSettings, rules: &Rules, seed: u64) -> Vec<Hypothesis> {
    let toy = Toy::new(24, seed, &[EOS], 3.0);
    let settings = RawDecodingSettings {
        max_new_tokens: Some(rules.max_new_tokens),
        eos_token_id: Some(vec![EOS]),
        ..raw.clone()
    };
    let request = Request {
        prompt: vec![5, 3],
        settings: settings.resolve().expect("possible"),
        sample_key: sample_key("x"),
        guide: Some(Arc::new(State::new(rules.clone()))),
    };
    generate_each(&toy, [request]).expect("decodes").remove(0)
}

fn holds(phrase: &[u32], tokens: &[u32]) -> bool {
    (0..tokens.len()).any(|at| (at == 0 || tokens[at - 1] == COMMA) && tokens[at..].starts_with(phrase))
}

fn searches() -> impl Strategy<Value = RawDecodingSettings> {
    let beams = (1..9_usize, any::<bool>()).prop_map(|(num_beams, long)| RawDecodingSettings {
        num_beams: Some(num_beams),
        length_penalty: Some(if long { 1.0 } else { -1.0 }),
        ..Default::default()
    });
    let groups = (1..4_usize, 1..4_usize).prop_map(|(groups, size)| RawDecodingSettings {
        num_beams: Some(groups * size),
        num_beam_groups: Some(groups),
        diversity_penalty: Some(if groups > 1 { 1.0 } else { 0.0 }),
        num_return_sequences: Some(groups),
        ..Default::default()
    });
    let draws = (0..9_usize, any::<u64>()).prop_map(|(top_k, seed)| RawDecodingSettings {
        do_sample: Some(true),
        top_k: Some(top_k),
        seed: Some(seed),
        num_return_sequences: Some(3),
        ..Default::default()
    });
    prop_oneof![beams, groups, draws]
}

fn rules() -> impl Strategy<Value = Rules> {
    // No banned pair has a token of a must: those are 2..8, and the comma is free.
    let pair = (8..24_u32, 8..24_u32);
    let must = prop::collection::vec(2..8_u32, 1..4).prop_map(|mut must| {
        must.push(COMMA);
        must
    });
    (prop::collection::vec(pair, 0..150), prop::collection::vec(must, 0..3), 14..30_usize, 14..40_usize)
        .prop_map(|(banned, mut musts, max_new_tokens, budget)| {
            // A must that begins as another does could not be told from it while it is written.
            musts.sort();
            musts.dedup_by_key(|must| must[0]);
            Rules { banned, musts, max_new_tokens, budget }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rules_hold_in_every_search(raw in searches(), rules in rules(), seed in 0..1000_u64) {
        let found = answers(&raw, &rules, seed);
        prop_assert!(!found.is_empty());
        for Hypothesis { token_ids, finish, score } in &found {
            prop_assert!(!token_ids.is_empty() || rules.musts.is_empty(), "{finish:?}");
            prop_assert!(score.is_finite());
            for pair in token_ids.windows(2) {
                prop_assert!(!rules.banned.contains(&(pair[0], pair[1])), "{token_ids:?}");
            }
            for must in &rules.musts {
                prop_assert!(holds(must, token_ids), "{must:?} in {token_ids:?} {finish:?}");
            }
            prop_assert!(token_ids.len() <= rules.max_new_tokens.min(rules.budget), "{token_ids:?}");
            let is_whole = token_ids.last().is_none_or(|&token| token == COMMA);
            // Commas before the first phrase end none.
            let is_one = token_ids.iter().skip_while(|&&token| token == COMMA).all(|&token| token != COMMA);
            prop_assert!(*finish == Finish::Eos || is_whole || is_one, "{finish:?} {token_ids:?}");
        }
    }
}

/// Rules that forbid nothing and ask for nothing change no answer that ends by itself.
#[test]
fn empty_rules_change_nothing() {
    let rules = Rules { banned: vec![], musts: vec![], max_new_tokens: 30, budget: 99 };
    for seed in 0..60 {
        for raw in [
            RawDecodingSettings { num_beams: Some(1 + seed as usize % 6), ..Default::default() },
            RawDecodingSettings {
                num_beams: Some(4),
                num_beam_groups: Some(2),
                diversity_penalty: Some(0.5),
                ..Default::default()
            },
            RawDecodingSettings { do_sample: Some(true), seed: Some(seed), ..Default::default() },
        ] {
            let toy = Toy::new(24, seed, &[EOS], 3.0);
            let settings = RawDecodingSettings {
                max_new_tokens: Some(30),
                eos_token_id: Some(vec![EOS]),
                ..raw.clone()
            };
            let request = Request {
                prompt: vec![5, 3],
                settings: settings.resolve().expect("possible"),
                sample_key: sample_key("x"),
                guide: None,
            };
            let free = generate_each(&toy, [request]).expect("decodes").remove(0);
            if free.iter().all(|answer| answer.finish == Finish::Eos) {
                assert_eq!(answers(&raw, &rules, seed), free, "{raw:?}");
            }
        }
    }
}
