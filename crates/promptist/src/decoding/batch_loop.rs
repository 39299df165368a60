//! Many requests through one model: which rows of the cache belong to which search.
//!
//! A prompt is read once, as one row. A search then asks for as many rows as it has hypotheses to
//! continue, and a search that asks for none is over: its rows leave. Requests join between any two
//! steps, and the rows of all share one pass of the model. Searches know neither the model nor each
//! other, so no answer can depend on what else is in the batch.

use std::collections::VecDeque;
use std::sync::Arc;

use super::LanguageModel;
use super::guide::Guide;
use super::hypotheses::Hypothesis;
use super::logits::LogitsProcessors;
use super::query::{Answers, Queries};
use super::search::{Extension, Rows, Scratch, Search, Task, search};
use super::settings::DecodingSettings;
use crate::error::{Error, Result};

/// A prompt to be answered.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its tokens.
    pub prompt: Vec<u32>,
    /// How to search.
    pub settings: DecodingSettings,
    /// What stands for the input in its draws: see [`sample_key`](super::sample_key). Only sampling
    /// looks at it.
    pub sample_key: u64,
    /// Rules about what the answer spells, as they stand before its first token.
    pub guide: Option<Arc<dyn Guide>>,
}

/// Names a request within its [`BatchLoop`]. Later requests have greater ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// A request that is over.
#[derive(Debug)]
pub struct Finished {
    /// Which.
    pub id: RequestId,
    /// As [`generate`](super::generate) returns them for one prompt.
    pub answers: Result<Vec<Hypothesis>>,
}

/// Requests that are decoded together. They may be added and cancelled between steps.
///
/// Each gets the answers that it would get alone: bit for bit if the model's rows do not depend on each
/// other. `M` is a model or a reference to one.
pub struct BatchLoop<M: LanguageModel> {
    model: M,
    max_rows: usize,
    last_id: u64,
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
    /// In the order of their rows.
    running: Vec<Running>,
    cache: M::Cache,
    /// Rows in `cache`.
    num_rows: usize,
    queries: Queries,
    answers: Answers,
    scratch: Scratch,
}

struct Waiting {
    id: RequestId,
    task: Arc<Task>,
    search: Box<dyn Search>,
}

struct Running {
    id: RequestId,
    task: Arc<Task>,
    search: Box<dyn Search>,
    /// Where its rows are in the cache, since the last step.
    first_row: usize,
    next: Next,
}

/// What a request has the model read at the next step.
enum Next {
    Prompt,
    /// The rows that it wants, by its own numbers.
    Extensions(Vec<Extension>),
}

impl<M: LanguageModel> BatchLoop<M> {
    /// A loop without requests that never holds more than `max_rows` rows of the model's cache.
    ///
    /// A beam search needs `num_beams` rows, sampling `num_return_sequences`, greedy search one. A
    /// request waits until there is room for all of its own, and none overtakes another.
    pub fn new(model: M, max_rows: usize) -> Self {
        Self {
            cache: model.new_cache(),
            model,
            max_rows,
            last_id: 0,
            waiting: VecDeque::new(),
            running: Vec::new(),
            num_rows: 0,
            queries: Queries::default(),
            answers: Answers::default(),
            scratch: Scratch::default(),
        }
    }

    /// Takes a request; the next [`step`](Self::step) starts it if there is room.
    ///
    /// # Errors
    /// - [`Error::Config`] if the settings are impossible, alone, with the model's vocabulary or with
    ///   `max_rows`
    /// - [`Error::EmptyPrompt`], [`Error::PromptTooLong`]: nothing is cut silently
    /// - [`Error::Shape`] if the prompt has an id that is none of the model's
    pub fn add(&mut self, request: Request) -> Result<RequestId> {
        let Request { prompt, settings, sample_key, guide } = request;
        settings.validate()?;
        settings.validate_vocabulary(self.model.vocab_size())?;
        check_prompt(&self.model, &prompt, settings.max_new_tokens)?;
        let processors = LogitsProcessors::new(&settings);
        let task = Arc::new(Task { prompt, settings, processors, sample_key, guide });
        let search = search(Arc::clone(&task));
        if search.max_rows() > self.max_rows {
            let key = if task.settings.do_sample { "num_return_sequences" } else { "num_beams" };
            let reason = format!("takes {} rows, and at most {} fit", search.max_rows(), self.max_rows);
            return Err(Error::config(key, reason));
        }
        self.last_id += 1;
        let id = RequestId(self.last_id);
        self.waiting.push_back(Waiting { id, task, search });
        Ok(id)
    }

    /// Drops a request, waiting or running. False if there is none of this id: it may be over.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        let before = self.num_waiting() + self.num_running();
        self.waiting.retain(|request| request.id != id);
        self.running.retain(|request| request.id != id);
        self.drop_rows_if_none_run();
        before > self.num_waiting() + self.num_running()
    }

    /// Whether nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Requests that wait for room.
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Requests that are being decoded.
    pub fn num_running(&self) -> usize {
        self.running.len()
    }

    /// The tokens of an answer that is being decoded, where the search has but one: greedy search, and
    /// sampling of one. None before the first, and of no other request.
    pub fn progress(&self, id: RequestId) -> Option<&[u32]> {
        let request = self.running.iter().find(|request| request.id == id)?;
        request.search.progress().filter(|token_ids| !token_ids.is_empty())
    }

    /// The most rows that its requests may still want at once, those included that wait.
    pub fn num_rows_wanted(&self) -> usize {
        let waiting = self.waiting.iter().map(|request| request.search.max_rows());
        waiting.chain(self.running.iter().map(|request| request.search.max_rows())).sum()
    }

    /// Lets requests in, takes each that runs one token further by one pass of the model, and returns
    /// those that are over, answered or failed. If the model fails, all that run have failed.
    pub fn step(&mut self) -> Vec<Finished> {
        self.admit();
        let finished = match self.read() {
            Ok(()) => self.advance(),
            Err(error) => self.fail(error),
        };
        self.drop_rows_if_none_run();
        finished
    }

    /// Moves requests from waiting to running, in order, while there is room.
    fn admit(&mut self) {
        let mut rows: usize = self.running.iter().map(|request| request.search.max_rows()).sum();
        while let Some(Waiting { search, .. }) = self.waiting.front() {
            rows = rows.saturating_add(search.max_rows());
            if rows > self.max_rows {
                return;
            }
            let Some(Waiting { id, task, search }) = self.waiting.pop_front() else { return };
            self.running.push(Running { id, task, search, first_row: 0, next: Next::Prompt });
        }
    }

    /// Has the model read what every running request wants, and asks it about the rows.
    fn read(&mut self) -> Result<()> {
        // Requests that have rows come first, in the order of these.
        let (mut parents, mut next_ids) = (Vec::new(), Vec::new());
        let mut prompts: Vec<&[u32]> = Vec::new();
        let mut first_row = 0;
        self.queries.clear();
        for request in &mut self.running {
            match &request.next {
                Next::Prompt => prompts.push(&request.task.prompt),
                Next::Extensions(extensions) => {
                    parents.extend(extensions.iter().map(|extension| request.first_row + extension.row));
                    next_ids.extend(extensions.iter().map(|extension| extension.token_id));
                }
            }
            request.search.ask(&mut self.queries);
            request.first_row = std::mem::replace(&mut first_row, self.queries.len());
        }
        let token_ids: Vec<&[u32]> = next_ids.chunks(1).chain(prompts).collect();
        if token_ids.is_empty() {
            return Ok(());
        }

        if parents.is_empty() && self.num_rows > 0 {
            self.cache = self.model.new_cache();
        } else if !parents.iter().copied().eq(0..self.num_rows) {
            self.model.reorder(&mut self.cache, &parents)?;
        }
        self.num_rows = token_ids.len();
        self.model.append(&mut self.cache, &token_ids, &self.queries, &mut self.answers)?;
        self.answers.check(&self.queries, self.model.vocab_size())
    }

    /// Hands the answers to the searches and takes out those that are over.
    fn advance(&mut self) -> Vec<Finished> {
        let mut finished = Vec::new();
        for mut request in std::mem::take(&mut self.running) {
            let rows = Rows { queries: &self.queries, answers: &self.answers, first: request.first_row };
            let mut next = Vec::new();
            if let Err(error) = request.search.advance(rows, &mut self.scratch, &mut next) {
                finished.push(Finished { id: request.id, answers: Err(error) });
            } else if next.is_empty() {
                let answers = Ok(request.search.into_hypotheses());
                finished.push(Finished { id: request.id, answers });
            } else {
                self.running.push(Running { next: Next::Extensions(next), ..request });
            }
        }
        finished
    }

    /// Ends everything that runs; the first gets the error, the others its text.
    fn fail(&mut self, error: Error) -> Vec<Finished> {
        let text = error.to_string();
        let errors = std::iter::once(error).chain(std::iter::repeat_with(|| Error::Decoding(text.clone())));
        let failed = self.running.drain(..).zip(errors);
        failed.map(|(request, error)| Finished { id: request.id, answers: Err(error) }).collect()
    }

    /// Idle, the loop holds no keys and values.
    fn drop_rows_if_none_run(&mut self) {
        if self.running.is_empty() && self.num_rows > 0 {
            self.cache = self.model.new_cache();
            self.num_rows = 0;
        }
    }
}

fn check_prompt<M: LanguageModel>(model: &M, prompt: &[u32], max_new_tokens: usize) -> Result<()> {
    if prompt.is_empty() {
        return Err(Error::EmptyPrompt);
    }
    let (n_positions, vocab_size) = (model.n_positions(), model.vocab_size());
    if prompt.len().saturating_add(max_new_tokens) > n_positions {
        return Err(Error::PromptTooLong { prompt_tokens: prompt.len(), max_new_tokens, n_positions });
    }
    match prompt.iter().find(|&&id| id as usize >= vocab_size) {
        Some(id) => {
            Err(Error::Shape(format!("token {id} of a prompt is outside the vocabulary of {vocab_size}")))
        }
        None => Ok(()),
    }
}
