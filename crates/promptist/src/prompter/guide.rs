//! The rules of a request as a search follows them, token by token: [`Guide`] over [`TextRules`] and a
//! [`Counter`].

use std::sync::Arc;

use super::layout::KeptText;
use super::rules::{Guided, Rules};
use crate::constraints::TextState;
use crate::decoding::Guide;
use crate::error::{Error, Result};
use crate::target::Counter;

/// Room, in tokens, that a phrase may take: with less left at the end of one, only what must come does,
/// so that none is left half written.
const PHRASE: usize = 12;

/// What a token of ours takes of a budget at most, as a rule.
const LONGEST_TOKEN: usize = 4;

/// An answer so far.
#[derive(Debug, Clone)]
pub(super) struct AnswerGuide {
    rules: Arc<Rules>,
    /// Tokens written.
    len: usize,
    text: TextState,
    /// Musts that stand in the text if it ends here: a bit each.
    met: u64,
    /// Musts that stood in the user's own text.
    met_before: u32,
    /// The must that is being written, and how many of its tokens are there.
    writing: Option<(usize, usize)>,
    wanted: Vec<u32>,
    /// Nothing but what is wanted may come.
    hurries: bool,
    /// Ends with a comma, and a phrase may begin.
    at_phrase: bool,
    /// Ends with the last token of a must.
    ends_must: bool,
    /// Something but commas and white space was written.
    has_words: bool,
    /// Phrases that were cut to make room: their numbers, from 0.
    cut: Vec<usize>,
    num_phrases: usize,
    /// Bytes of a character that is not whole yet.
    partial: Vec<u8>,
    counter: Option<Counter>,
}

impl AnswerGuide {
    /// The rules before the first token of an answer that opens with `kept`.
    ///
    /// # Errors
    /// [`Error::Config`] for `budget` if the user's text and what must come do not fit.
    pub(super) fn new(rules: &Arc<Rules>, kept: Option<&KeptText>) -> Result<Option<Self>> {
        let Some(guided) = &rules.guided else { return Ok(None) };
        let context = kept.map(|kept| [&kept.opening, kept.separator()].concat()).unwrap_or_default();
        let text = guided.text.read_context(&guided.text.start(), &context);
        let met = guided.text.met_so_far(&text);
        let counter = match &guided.budget {
            None => None,
            // What closes the answer is counted where it does not stand; whole texts are counted again
            // at the end.
            Some(budget) => {
                let closing = kept.map_or("", |kept| &kept.closing);
                Some(budget.target.counter(&format!("{closing} {context}"))?)
            }
        };
        let guide = Self {
            rules: Arc::clone(rules),
            len: 0,
            text,
            met,
            met_before: met.count_ones(),
            writing: None,
            wanted: Vec::new(),
            hurries: false,
            at_phrase: true,
            ends_must: false,
            has_words: false,
            cut: Vec::new(),
            num_phrases: 0,
            partial: Vec::new(),
            counter,
        };
        if let (Some(counter), Some(budget)) = (&guide.counter, &guided.budget) {
            let (used, reserve) = (counter.tokens(), guide.reserve());
            if used + reserve > budget.tokens {
                let musts =
                    if reserve > 0 { format!(" and what must come {reserve}") } else { String::new() };
                let reason = format!(
                    "{} of {} tokens, but the input takes {used}{musts}",
                    budget.tokens,
                    budget.target.name()
                );
                return Err(Error::config("budget", reason));
            }
        }
        Ok(Some(guide.looked()))
    }

    /// Numbers of the phrases that were cut to make room for what must come.
    pub(super) fn cut_phrases(&self) -> &[usize] {
        &self.cut
    }

    fn guided(&self) -> &Guided {
        self.rules.guided.as_ref().expect("made with rules")
    }

    fn unmet(&self) -> impl Iterator<Item = usize> {
        let met = self.met;
        (0..self.guided().musts.len()).filter(move |must| met >> must & 1 == 0)
    }

    fn has_met_all(&self) -> bool {
        self.unmet().next().is_none()
    }

    /// Tokens that what must come still takes, a comma for each included.
    fn needed(&self) -> usize {
        let musts = &self.guided().musts;
        let mut needed: usize = self.unmet().map(|must| musts[must].token_ids.len() + 1).sum();
        if let Some((must, written)) = self.writing {
            // Its comma is there.
            needed -= (written + 1) * usize::from(self.met >> must & 1 == 0);
        }
        needed
    }

    /// Tokens of the target that what must come still takes.
    fn reserve(&self) -> usize {
        self.unmet().map(|must| self.guided().musts[must].cost).sum()
    }

    /// Whether a comma here may be there to make room, and not because a phrase was over.
    fn is_tight(&self) -> bool {
        if self.has_met_all() {
            return false;
        }
        let in_budget = match (&self.counter, &self.guided().budget) {
            (Some(counter), Some(budget)) => {
                counter.tokens() + self.reserve() + LONGEST_TOKEN > budget.tokens
            }
            _ => false,
        };
        self.hurries || in_budget
    }

    /// Fills in what follows from the rest.
    fn looked(mut self) -> Self {
        let rules = Arc::clone(&self.rules);
        let Some(guided) = &rules.guided else { return self };
        let (musts, max_new_tokens) = (&guided.musts, guided.max_new_tokens);
        let mut wanted = Vec::new();
        match self.writing {
            Some((must, written)) => wanted.push(musts[must].token_ids[written]),
            None if self.has_met_all() => {}
            None if self.at_phrase => {
                wanted.extend(self.unmet().map(|must| musts[must].token_ids[0]));
            }
            None => wanted.extend(guided.comma.first()),
        }
        self.hurries = self.writing.is_some();
        if !wanted.is_empty() && !self.hurries {
            let margin = if self.at_phrase { PHRASE } else { 0 };
            let in_tokens = self.len + self.needed() + margin >= max_new_tokens;
            let in_budget = match (&self.counter, &guided.budget) {
                (Some(counter), Some(budget)) if self.at_phrase => {
                    counter.tokens() + self.reserve() + PHRASE >= budget.tokens
                }
                _ => false,
            };
            self.hurries = in_tokens || in_budget;
        }
        self.wanted = wanted;
        self
    }
}

impl Guide for AnswerGuide {
    fn allows(&self, token_id: u32) -> bool {
        let guided = self.guided();
        let bytes = guided.tokens.get(token_id);
        if bytes.is_empty() {
            return true;
        }
        if self.hurries && !self.wanted.contains(&token_id) {
            return false;
        }
        let Some(text) = guided.text.advance(&self.text, bytes) else { return false };
        if guided.musts.is_empty() {
            return true;
        }
        // A must that is met stays so: "artstation" does not go on to "artstations".
        let keeps = guided.text.met(&text) & self.met == self.met;
        // A token may leave the end of a phrase, which costs a comma more.
        let in_time = self.len + 1 + self.needed() < guided.max_new_tokens;
        keeps && (in_time || self.has_met_all() || self.wanted.contains(&token_id))
    }

    fn after(&self, token_id: u32) -> Arc<dyn Guide> {
        Arc::new(self.next(token_id))
    }

    fn may_end(&self) -> bool {
        self.has_met_all() && self.guided().text.may_end(&self.text)
    }

    fn is_whole(&self) -> bool {
        (self.at_phrase || self.ends_must) && self.has_words && self.may_end()
    }

    fn has_room(&self, token_id: u32) -> bool {
        let (Some(counter), Some(budget)) = (&self.counter, &self.guided().budget) else { return true };
        // What must come has had its room kept.
        if self.writing.is_some() {
            return true;
        }
        let mut bytes = self.partial.clone();
        bytes.extend(self.guided().tokens.get(token_id));
        let tokens = counter.tokens_with(&String::from_utf8_lossy(&bytes));
        let is_wanted = self.wanted.contains(&token_id);
        let reserve = if is_wanted { 0 } else { self.reserve() };
        tokens.saturating_add(reserve) <= budget.tokens
    }

    fn wanted(&self) -> &[u32] {
        &self.wanted
    }

    fn bank(&self) -> usize {
        let is_begun = self.writing.is_some_and(|(must, _)| self.met >> must & 1 == 0);
        (self.met.count_ones() - self.met_before) as usize + usize::from(is_begun)
    }

    fn num_banks(&self) -> usize {
        self.guided().musts.len() + 1 - self.met_before as usize
    }
}

impl AnswerGuide {
    /// The rules after a token.
    pub(super) fn next(&self, token_id: u32) -> Self {
        let guided = self.guided();
        let bytes = guided.tokens.get(token_id);
        let mut next = self.clone();
        next.len += 1;
        if let Some(text) = guided.text.advance(&self.text, bytes) {
            next.text = text;
        }
        if !guided.musts.is_empty() {
            next.met = guided.text.met(&next.text);
        }
        next.writing = match self.writing {
            Some((must, written)) => Some((must, written + 1)),
            None if self.at_phrase => {
                self.unmet().find(|&must| guided.musts[must].token_ids[0] == token_id).map(|must| (must, 1))
            }
            None => None,
        };
        next.ends_must = false;
        if let Some((must, written)) = next.writing {
            let token_ids = &guided.musts[must].token_ids;
            if token_ids.get(written - 1) != Some(&token_id) {
                next.writing = None;
            } else if written == token_ids.len() {
                (next.writing, next.ends_must) = (None, true);
            }
        }
        let text = bytes.trim_ascii_end();
        if text.ends_with(b",") {
            let is_forced = self.is_tight() && !self.at_phrase && !self.ends_must && self.has_words;
            if is_forced {
                next.cut.push(self.num_phrases);
            }
            next.at_phrase = true;
            next.num_phrases += 1;
        } else if !text.is_empty() {
            next.at_phrase = false;
        }
        next.has_words |= text.iter().any(|&byte| byte != b',' && !byte.is_ascii_whitespace());
        if let Some(counter) = &self.counter {
            next.partial.extend(bytes);
            let valid = match std::str::from_utf8(&next.partial) {
                Ok(text) => text.len(),
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(_) => next.partial.len(),
            };
            if valid > 0 {
                next.counter = Some(counter.with(&String::from_utf8_lossy(&next.partial[..valid])));
                next.partial.drain(..valid);
            }
        }
        next.looked()
    }
}
