//! The rules of a request, compiled once for all its rows.

use std::sync::Arc;

use super::request::AdaptSettings;
use crate::constraints::{Entry, TextRules};
use crate::error::{Error, Result};
use crate::syntax::Protect;
use crate::target::Target;
use crate::tokenizer::{TokenBytes, Tokenizer};

/// The target of a budget that names none: one row of CLIP.
const DEFAULT_TARGET: &str = "sd15";

/// What a request forbids, asks for and protects.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// What they were compiled of.
    source: RulesSource,
    pub(super) protect: Protect,
    /// None if nothing is forbidden, asked for or limited.
    pub(super) of_answer: Option<AnswerRules>,
}

/// The settings that rules are compiled of.
#[derive(Debug, Default, PartialEq)]
struct RulesSource {
    ban: Vec<Entry>,
    must_include: Vec<String>,
    protect: Vec<String>,
    target: Option<String>,
    budget: Option<usize>,
    max_new_tokens: usize,
}

/// What has to be looked after while an answer is decoded.
#[derive(Debug)]
pub(crate) struct AnswerRules {
    pub(super) text: TextRules,
    pub(super) tokens: Arc<TokenBytes>,
    pub(super) musts: Vec<Must>,
    pub(super) budget: Option<Budget>,
    /// Tokens of a comma.
    pub(super) comma: Vec<u32>,
    pub(super) max_new_tokens: usize,
}

/// A phrase that must come, in the model's tokens, after a comma.
#[derive(Debug)]
pub(super) struct Must {
    pub(super) phrase: String,
    pub(super) token_ids: Vec<u32>,
    /// What it takes of the budget, a comma included.
    pub(super) cost: usize,
}

/// A number of the target's tokens.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) target: Arc<Target>,
    pub(super) tokens: usize,
}

impl Rules {
    /// Compiles the rules of `settings`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting and what is wrong with it.
    pub(super) fn compile(settings: &AdaptSettings, tokenizer: &Tokenizer) -> Result<Self> {
        let protect = Protect::new(&settings.protect)?;
        let budget = match (&settings.target, settings.budget) {
            (None, None) => None,
            (target, tokens) => {
                let target = Arc::new(Target::open(target.as_deref().unwrap_or(DEFAULT_TARGET))?);
                let tokens = tokens.unwrap_or_else(|| target.default_budget());
                if tokens == 0 {
                    return Err(Error::config("budget", "must be at least 1"));
                }
                Some(Budget { target, tokens })
            }
        };
        let source = RulesSource {
            ban: settings.ban.clone(),
            must_include: settings.must_include.clone(),
            protect: settings.protect.clone(),
            target: settings.target.clone(),
            budget: settings.budget,
            max_new_tokens: settings.decoding.max_new_tokens,
        };
        if source.ban.is_empty() && source.must_include.is_empty() && budget.is_none() {
            return Ok(Self { source, protect, of_answer: None });
        }
        let text = TextRules::compile(&settings.ban, &settings.must_include)?;
        let must = |phrase: &String| {
            let phrase = phrase.trim().to_owned();
            if phrase.contains(',') {
                let reason = format!("`{phrase}` has a comma, which parts phrases: give each on its own");
                return Err(Error::config("must_include", reason));
            }
            let token_ids = tokenizer.encode(&format!(" {phrase}"))?;
            let cost = match &budget {
                Some(budget) => budget.target.count(&format!(", {phrase}"))?,
                None => 0,
            };
            Ok(Must { phrase, token_ids, cost })
        };
        let musts = settings.must_include.iter().map(must).collect::<Result<Vec<Must>>>()?;
        let needed: usize = musts.iter().map(|must| must.token_ids.len() + 1).sum();
        let max_new_tokens = settings.decoding.max_new_tokens;
        if needed > max_new_tokens {
            let reason =
                format!("the phrases take {needed} tokens, and `max_new_tokens` is {max_new_tokens}");
            return Err(Error::config("must_include", reason));
        }
        let of_answer = AnswerRules {
            text,
            tokens: Arc::new(tokenizer.token_bytes()?),
            musts,
            budget,
            comma: tokenizer.encode(",")?,
            max_new_tokens,
        };
        Ok(Self { source, protect, of_answer: Some(of_answer) })
    }

    /// Whether they were compiled of these settings.
    pub(super) fn are_of(&self, settings: &AdaptSettings) -> bool {
        let RulesSource { ban, must_include, protect, target, budget, max_new_tokens } = &self.source;
        (ban, must_include, protect) == (&settings.ban, &settings.must_include, &settings.protect)
            && (target, budget) == (&settings.target, &settings.budget)
            && (self.of_answer.is_none() || *max_new_tokens == settings.decoding.max_new_tokens)
    }

    /// Whether something in a text of the user's own is banned.
    pub(super) fn ban_some_of(&self, user_input: &str) -> bool {
        self.of_answer.as_ref().is_some_and(|rules| !rules.text.bans_in(user_input).is_empty())
    }
}
