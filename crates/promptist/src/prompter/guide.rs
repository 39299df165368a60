//! The rules of a request as a search follows them, token by token: [`Guide`] over [`TextRules`] and a
//! [`Counter`].

use std::sync::Arc;

use super::layout::KeptText;
use super::rules::{AnswerRules, Rules};
use crate::constraints::TextState;
use crate::decoding::Guide;
use crate::error::{Error, Result};
use crate::output_filter::phrases;
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
    /// What was written since the last comma.
    phrase: Vec<u8>,
    /// Phrases that may not come again, lower case; none if answers are not filtered.
    seen: Option<Arc<Vec<String>>>,
    /// Bytes of a character that is not whole yet.
    partial: Vec<u8>,
    counter: Option<Counter>,
}

impl AnswerGuide {
    /// The rules before the first token of an answer that opens with `kept`.
    ///
    /// # Errors
    /// [`Error::Config`] for `budget` if the user's text and what must come do not fit.
    pub(super) fn new(
        rules: &Arc<Rules>,
        kept: Option<&KeptText>,
        is_filtered: bool,
    ) -> Result<Option<Self>> {
        let Some(answer_rules) = &rules.of_answer else { return Ok(None) };
        // What comes next opens with its own white space.
        let context =
            kept.map(|kept| [&kept.opening, kept.separator().trim_end()].concat()).unwrap_or_default();
        let text = answer_rules.text.read_context(&answer_rules.text.start(), &context);
        let met = answer_rules.text.met_so_far(&text);
        let counter = match &answer_rules.budget {
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
            phrase: Vec::new(),
            // The filter takes out what is said twice, so it is not said: it would take of the budget.
            seen: is_filtered.then(|| Arc::new(phrases(&context).map(str::to_lowercase).collect())),
            partial: Vec::new(),
            counter,
        };
        if let Some(budget) = &answer_rules.budget {
            let used = budget.target.count(&kept.map_or(String::new(), |kept| kept.with("")))?;
            let reserve = guide.reserve();
            if used.saturating_add(reserve) > budget.tokens {
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

    fn answer_rules(&self) -> &AnswerRules {
        self.rules.of_answer.as_ref().expect("made with rules")
    }

    fn unmet(&self) -> impl Iterator<Item = usize> {
        let met = self.met;
        (0..self.answer_rules().musts.len()).filter(move |must| met >> must & 1 == 0)
    }

    fn has_met_all(&self) -> bool {
        self.unmet().next().is_none()
    }

    /// Tokens that what must come still takes, a comma for each included.
    fn needed(&self) -> usize {
        let musts = &self.answer_rules().musts;
        let mut needed: usize = self.unmet().map(|must| musts[must].token_ids.len() + 1).sum();
        if let Some((must, written)) = self.writing {
            // Its comma is there.
            needed -= (written + 1) * usize::from(self.met >> must & 1 == 0);
        }
        needed
    }

    /// Tokens of the target that what must come still takes.
    fn reserve(&self) -> usize {
        self.unmet().map(|must| self.answer_rules().musts[must].cost).sum()
    }

    /// Whether a comma here may be there to make room, and not because a phrase was over.
    fn is_tight(&self) -> bool {
        if self.has_met_all() {
            return false;
        }
        let in_budget = match (&self.counter, &self.answer_rules().budget) {
            (Some(counter), Some(budget)) => {
                counter.tokens().saturating_add(self.reserve() + LONGEST_TOKEN) > budget.tokens
            }
            _ => false,
        };
        self.hurries || in_budget
    }

    /// Whether these bytes end a phrase that was there before.
    fn repeats(&self, bytes: &[u8]) -> bool {
        let Some(seen) = &self.seen else { return false };
        let Some(end) = bytes.iter().position(|&byte| byte == b',') else { return false };
        let phrase = [&self.phrase, &bytes[..end]].concat();
        let phrase = String::from_utf8_lossy(&phrase).trim().to_lowercase();
        seen.contains(&phrase)
    }

    /// Fills in what follows from the rest.
    fn looked(mut self) -> Self {
        let rules = Arc::clone(&self.rules);
        let Some(answer_rules) = &rules.of_answer else { return self };
        let (musts, max_new_tokens) = (&answer_rules.musts, answer_rules.max_new_tokens);
        let mut wanted = Vec::new();
        match self.writing {
            Some((must, written)) => wanted.push(musts[must].token_ids[written]),
            None if self.has_met_all() => {}
            None if self.at_phrase => {
                wanted.extend(self.unmet().map(|must| musts[must].token_ids[0]));
            }
            None => wanted.extend(answer_rules.comma.first()),
        }
        self.hurries = self.writing.is_some();
        if !wanted.is_empty() && !self.hurries {
            let margin = if self.at_phrase { PHRASE } else { 0 };
            let in_tokens = self.len + self.needed() + margin >= max_new_tokens;
            let in_budget = match (&self.counter, &answer_rules.budget) {
                (Some(counter), Some(budget)) if self.at_phrase => {
                    counter.tokens().saturating_add(self.reserve() + PHRASE) >= budget.tokens
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
        let answer_rules = self.answer_rules();
        let bytes = answer_rules.tokens.get(token_id);
        if bytes.is_empty() {
            return true;
        }
        let is_wanted = self.wanted.contains(&token_id);
        if self.hurries && !is_wanted {
            return false;
        }
        let Some(text) = answer_rules.text.advance(&self.text, bytes) else { return false };
        // "hat" could still become "hatch", but a model that was about to say "hat" makes "hatk" of it:
        // a banned word is not even begun to its end. So of longer words only those can come that the
        // tokenizer spells otherwise, and what must.
        if !is_wanted && !answer_rules.text.may_end(&text) {
            return false;
        }
        if !is_wanted && self.repeats(bytes) {
            return false;
        }
        // What had to come was not the model's own idea: it is a phrase, or goes on with a word, and is not
        // made the end of a sentence.
        if self.ends_must && !bytes.starts_with(b",") && !bytes.starts_with(b" ") {
            return false;
        }
        if answer_rules.musts.is_empty() {
            return true;
        }
        // A must that is met stays so: "artstation" does not go on to "artstations".
        let keeps = answer_rules.text.met(&text) & self.met == self.met;
        // A token may leave the end of a phrase, which costs a comma more.
        let in_time = self.len + 1 + self.needed() < answer_rules.max_new_tokens;
        keeps && (in_time || self.has_met_all() || is_wanted)
    }

    fn after(&self, token_id: u32) -> Arc<dyn Guide> {
        Arc::new(self.next(token_id))
    }

    fn may_end(&self) -> bool {
        self.has_met_all() && !self.repeats(b",") && self.answer_rules().text.may_end(&self.text)
    }

    fn is_whole(&self) -> bool {
        (self.at_phrase || self.ends_must) && self.has_words && self.may_end()
    }

    fn has_room(&self, token_id: u32) -> bool {
        let (Some(counter), Some(budget)) = (&self.counter, &self.answer_rules().budget) else { return true };
        // What must come has had its room kept.
        if self.writing.is_some() {
            return true;
        }
        let mut bytes = self.partial.clone();
        bytes.extend(self.answer_rules().tokens.get(token_id));
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
        self.answer_rules().musts.len() + 1 - self.met_before as usize
    }
}

impl AnswerGuide {
    /// The rules after a token.
    pub(super) fn next(&self, token_id: u32) -> Self {
        let answer_rules = self.answer_rules();
        let bytes = answer_rules.tokens.get(token_id);
        let mut next = self.clone();
        next.len += 1;
        if let Some(text) = answer_rules.text.advance(&self.text, bytes) {
            next.text = text;
        }
        if !answer_rules.musts.is_empty() {
            next.met = answer_rules.text.met(&next.text);
        }
        next.writing = match self.writing {
            Some((must, written)) => Some((must, written + 1)),
            None if self.at_phrase => self
                .unmet()
                .find(|&must| answer_rules.musts[must].token_ids[0] == token_id)
                .map(|must| (must, 1)),
            None => None,
        };
        next.ends_must = false;
        if let Some((must, written)) = next.writing {
            let token_ids = &answer_rules.musts[must].token_ids;
            if token_ids.get(written - 1) != Some(&token_id) {
                next.writing = None;
            } else if written == token_ids.len() {
                (next.writing, next.ends_must) = (None, true);
            }
        }
        let text = bytes.trim_ascii_end();
        let commas = text.iter().filter(|&&byte| byte == b',').count();
        if text.ends_with(b",") {
            let breaks_off = !self.at_phrase && !self.ends_must && self.writing.is_none();
            let is_forced = breaks_off && self.has_words && self.is_tight();
            if is_forced {
                next.cut.push(self.num_phrases);
            }
            next.at_phrase = true;
            next.phrase.extend(text);
            if let Some(seen) = &mut next.seen {
                let phrase = String::from_utf8_lossy(&next.phrase);
                let new = phrases(&phrase).map(str::to_lowercase);
                *seen = Arc::new(seen.iter().cloned().chain(new).collect());
            }
            next.phrase.clear();
        } else {
            next.at_phrase &= text.is_empty();
            next.phrase.extend(bytes);
        }
        next.num_phrases += commas;
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
