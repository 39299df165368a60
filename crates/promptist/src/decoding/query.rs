//! What a search asks about the tokens that may follow a row, and what a model answers.
//!
//! A search rarely needs every logit: beam search wants the best few and what they are relative to,
//! rules want the tokens that they change. A model that streams its vocabulary answers just that and
//! never writes the logits down; one that has them answers through [`Answers::push_row`].
//!
//! Both lists are flat and keep their memory from step to step.

use std::ops::Range;
use std::sync::Arc;

use super::candidates::TopCandidates;
use super::guide::{Allowed, Guide};
use super::log_softmax::Normalizer;
use crate::error::{Error, Result};

/// A question about the logits that follow one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query<'a> {
    /// Every logit.
    All,
    /// The largest logits, and those of chosen tokens.
    Top {
        /// How many of the largest; all there are if the vocabulary is smaller. May be 0.
        count: usize,
        /// Which tokens may be among these.
        allowed: Allowed<'a>,
        /// Tokens whose logits are wanted whatever they are, each below V.
        token_ids: &'a [u32],
    },
}

impl<'a> Query<'a> {
    /// Which tokens may be among the largest.
    pub fn allowed(self) -> Allowed<'a> {
        match self {
            Self::All => Allowed::ALL,
            Self::Top { allowed, .. } => allowed,
        }
    }
}

/// A [`Query`] per row.
#[derive(Debug, Clone, Default)]
pub struct Queries {
    /// `None` asks for every logit.
    rows: Vec<Option<TopQuery>>,
    token_ids: Vec<u32>,
}

#[derive(Debug, Clone)]
struct TopQuery {
    count: usize,
    guide: Option<Arc<dyn Guide>>,
    token_ids: Range<usize>,
}

impl Queries {
    /// Asks every one of `num_rows` rows for every logit.
    pub fn all(num_rows: usize) -> Self {
        Self { rows: vec![None; num_rows], token_ids: Vec::new() }
    }

    /// Number of rows asked about.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What is asked about row `row`.
    pub fn row(&self, row: usize) -> Query<'_> {
        match &self.rows[row] {
            None => Query::All,
            Some(top) => Query::Top {
                count: top.count,
                allowed: top.guide.as_ref().map_or(Allowed::ALL, Allowed::by),
                token_ids: &self.token_ids[top.token_ids.clone()],
            },
        }
    }

    /// What is asked, row by row.
    pub fn iter(&self) -> impl Iterator<Item = Query<'_>> {
        (0..self.len()).map(|row| self.row(row))
    }

    /// Asks about one row more.
    pub fn push(&mut self, query: Query<'_>) {
        let row = match query {
            Query::All => None,
            Query::Top { count, allowed, token_ids } => {
                let start = self.token_ids.len();
                self.token_ids.extend_from_slice(token_ids);
                let guide = allowed.guide().cloned();
                Some(TopQuery { count, guide, token_ids: start..self.token_ids.len() })
            }
        };
        self.rows.push(row);
    }

    /// Forgets every row and keeps the memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.token_ids.clear();
    }
}

/// A token and its logit, or its score where rules have changed it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLogit {
    /// The token.
    pub token_id: u32,
    /// Its logit.
    pub logit: f32,
}

/// The answers to [`Queries`], row by row in their order.
#[derive(Debug, Default)]
pub struct Answers {
    rows: Vec<AnswerRanges>,
    top: Vec<TokenLogit>,
    asked: Vec<f32>,
    /// Those of the rows that were asked for all, in order; the last may wait for their rows.
    logits: Vec<f32>,
    /// How many of `logits` belong to rows.
    logits_taken: usize,
    best: TopCandidates,
}

#[derive(Debug)]
struct AnswerRanges {
    normalizer: Normalizer,
    top: Range<usize>,
    asked: Range<usize>,
    logits: Range<usize>,
}

/// The answer to one row's [`Query`].
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// What turns logits into log-probabilities. Not finite if the logits are not: see
    /// [`Normalizer::checked`].
    pub normalizer: Normalizer,
    /// The largest logits, best first, of equal ones the lower id first. No `-inf` (such a token cannot
    /// come), and none that the query does not allow: fewer than asked only if no others can come. May be
    /// more than asked. Empty if all were asked for.
    pub top: &'a [TokenLogit],
    /// The logits of the tokens asked for, in that order. Empty if all were asked for.
    pub asked: &'a [f32],
    /// `[V]` if all were asked for, else empty.
    pub logits: &'a [f32],
}

impl Answers {
    /// Number of rows answered.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing was answered.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The answer about row `row`.
    pub fn row(&self, row: usize) -> Answer<'_> {
        let ranges = &self.rows[row];
        Answer {
            normalizer: ranges.normalizer,
            top: &self.top[ranges.top.clone()],
            asked: &self.asked[ranges.asked.clone()],
            logits: &self.logits[ranges.logits.clone()],
        }
    }

    /// Forgets every row and keeps the memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.top.clear();
        self.asked.clear();
        self.logits.clear();
        self.logits_taken = 0;
    }

    /// Answers the next row's `query` from its full logits: what a model does that has them.
    ///
    /// # Shapes
    /// - `logits`: `[V]`, f32, before softmax
    ///
    /// # Errors
    /// [`Error::Shape`] if a token asked for is outside the vocabulary.
    pub fn push_row(&mut self, query: Query<'_>, logits: &[f32]) -> Result<()> {
        let normalizer = Normalizer::of(logits);
        let Query::Top { count, allowed, token_ids } = query else {
            self.extend_logits(logits.len()).copy_from_slice(logits);
            self.push_all(normalizer, logits.len());
            return Ok(());
        };
        if let Some(id) = token_ids.iter().find(|&&id| id as usize >= logits.len()) {
            return Err(Error::Shape(format!(
                "token {id} was asked for of a vocabulary of {}",
                logits.len()
            )));
        }
        let mut best = std::mem::take(&mut self.best);
        best.reset(count.min(logits.len()));
        best.offer_row(logits, allowed);
        let top = best.best_first().iter();
        self.push_top(
            normalizer,
            top.map(|best| TokenLogit { token_id: best.token_id, logit: best.score }),
            token_ids.iter().map(|&id| logits[id as usize]),
        );
        self.best = best;
        Ok(())
    }

    /// Answers the next row's [`Query::Top`]; see [`Answer`] for what must be in `top` and `asked`.
    pub fn push_top(
        &mut self,
        normalizer: Normalizer,
        top: impl IntoIterator<Item = TokenLogit>,
        asked: impl IntoIterator<Item = f32>,
    ) {
        let (top_start, asked_start) = (self.top.len(), self.asked.len());
        self.top.extend(top);
        self.asked.extend(asked);
        self.rows.push(AnswerRanges {
            normalizer,
            top: top_start..self.top.len(),
            asked: asked_start..self.asked.len(),
            logits: 0..0,
        });
    }

    /// Answers the next row's [`Query::All`] with the next `vocab_size` values of the room that
    /// [`extend_logits`](Self::extend_logits) made.
    ///
    /// # Panics
    /// If no such room is left.
    pub fn push_all(&mut self, normalizer: Normalizer, vocab_size: usize) {
        let logits = self.logits_taken..self.logits_taken + vocab_size;
        assert!(logits.end <= self.logits.len(), "room for a row's logits is made before it is answered");
        self.logits_taken = logits.end;
        self.rows.push(AnswerRanges { normalizer, top: 0..0, asked: 0..0, logits });
    }

    /// Makes room for `len` logits, V for each row that was asked for all, and returns it to be
    /// filled: rows in their order, before or between their [`push_all`](Self::push_all).
    pub fn extend_logits(&mut self, len: usize) -> &mut [f32] {
        let start = self.logits.len();
        self.logits.resize(start + len, 0.0);
        &mut self.logits[start..]
    }

    /// Checks that these are answers to `queries` over a vocabulary of `vocab_size`.
    pub(super) fn check(&self, queries: &Queries, vocab_size: usize) -> Result<()> {
        let wrong = |what: String| Err(Error::Shape(format!("a model's answer: {what}")));
        if self.len() != queries.len() {
            return wrong(format!("{} rows, {} were asked about", self.len(), queries.len()));
        }
        for (row, query) in queries.iter().enumerate() {
            let answer = self.row(row);
            let found = (answer.top.len(), answer.asked.len(), answer.logits.len());
            let fits = match query {
                Query::All => found == (0, 0, vocab_size),
                Query::Top { token_ids, .. } => (found.1, found.2) == (token_ids.len(), 0),
            };
            let in_vocabulary = answer.top.iter().all(|top| (top.token_id as usize) < vocab_size);
            if !fits || !in_vocabulary {
                return wrong(format!("{found:?} top, asked and all logits for {query:?}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(pairs: &[(u32, f32)]) -> Vec<TokenLogit> {
        pairs.iter().map(|&(token_id, logit)| TokenLogit { token_id, logit }).collect()
    }

    #[test]
    fn a_row_of_logits_answers_every_query() {
        let logits = [1.0, 3.0, f32::NEG_INFINITY, 3.0, 2.0];
        let mut queries = Queries::default();
        queries.push(Query::Top { count: 3, allowed: Allowed::ALL, token_ids: &[4, 2] });
        queries.push(Query::All);
        queries.push(Query::Top { count: 9, allowed: Allowed::ALL, token_ids: &[] });
        queries.push(Query::Top { count: 0, allowed: Allowed::ALL, token_ids: &[0] });
        queries.push(Query::All);
        let mut answers = Answers::default();
        for _ in 0..2 {
            answers.clear();
            for query in queries.iter() {
                answers.push_row(query, &logits).expect("ids of the vocabulary");
            }
        }
        answers.check(&queries, 5).expect("answers");
        assert_eq!(answers.row(0).top, top(&[(1, 3.0), (3, 3.0), (4, 2.0)]));
        assert_eq!(answers.row(0).asked, [2.0, f32::NEG_INFINITY]);
        assert_eq!(answers.row(1).logits, logits);
        assert_eq!(answers.row(2).top, top(&[(1, 3.0), (3, 3.0), (4, 2.0), (0, 1.0)]));
        assert_eq!((answers.row(3).top, answers.row(3).asked), (&[][..], &[1.0][..]));
        assert_eq!(answers.row(4).logits, logits);
        assert!((0..5).all(|row| answers.row(row).normalizer == Normalizer::of(&logits)));
        let outside = Query::Top { count: 1, allowed: Allowed::ALL, token_ids: &[5] };
        assert!(matches!(answers.push_row(outside, &logits), Err(Error::Shape(_))));
    }

    #[test]
    fn answers_to_other_questions_are_errors() {
        let mut queries = Queries::default();
        queries.push(Query::Top { count: 1, allowed: Allowed::ALL, token_ids: &[0] });
        let normalizer = Normalizer { max: 0.0, log_sum: 0.0 };
        let check = |fill: &dyn Fn(&mut Answers)| {
            let mut answers = Answers::default();
            fill(&mut answers);
            answers.check(&queries, 2)
        };
        assert!(check(&|answers| answers.push_top(normalizer, top(&[(1, 0.0)]), [0.0])).is_ok());
        let wrong: [&dyn Fn(&mut Answers); 4] = [
            &|_| (),
            &|answers| answers.push_top(normalizer, top(&[(1, 0.0)]), []),
            &|answers| answers.push_top(normalizer, top(&[(2, 0.0)]), [0.0]),
            &|answers| {
                answers.extend_logits(2);
                answers.push_all(normalizer, 2);
            },
        ];
        assert!(wrong.iter().all(|fill| matches!(check(fill), Err(Error::Shape(_)))));
    }
}
