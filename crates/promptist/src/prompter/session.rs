//! Inputs that come and go, led together through one model. They join and
//! leave between any two steps and share the passes of the model; each gets the answer that it gets
//! alone. Here is only the lead: what is asked of the model and what is made of its answers is
//! [`Job`]'s. [`Prompter::adapt`] is a session of inputs that are all there.
//!
//! An input that wants several answers by seeds is several requests of the model, and those of different
//! inputs take turns, so that a long list does not hold up a short one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::job::Job;
use super::request::AdaptSettings;
use super::{Adapted, Model, Prompter};
use crate::decoding::{BatchLoop, Finished, Guided, Hypothesis, LanguageModel, Request, RequestId};
use crate::error::{Error, Result};

/// Names an input within its [`Session`]. Later inputs have greater ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId(u64);

/// Inputs that are answered together. They may be added and cancelled between steps.
pub struct Session<'a> {
    prompter: &'a Prompter,
    max_rows: usize,
    last_id: u64,
    tickets: BTreeMap<TicketId, Ticket>,
    /// Tickets that have requests which are not with the model, in the order of their turns.
    turns: VecDeque<TicketId>,
    /// Those in use: none of them is idle.
    loops: Vec<Loop<'a>>,
    /// Requests that are with the model.
    running: Vec<Running>,
}

/// An input on its way.
struct Ticket {
    job: Job,
    guidance: Guidance,
    /// When the model first saw it.
    started: Option<Instant>,
    /// Its round's requests that are not with the model.
    waiting: VecDeque<Request>,
    /// One a request of its round, as they come in.
    answers: Vec<Option<Vec<Hypothesis>>>,
}

/// A request that is with the model.
struct Running {
    ticket: TicketId,
    /// Which of its round's.
    at: usize,
    guidance: Guidance,
    request: RequestId,
}

/// What requests have to share to be in one batch: the model itself, or one guidance of it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Guidance {
    None,
    /// The neutral prompt depends on whether the user's words are kept.
    Scale {
        scale: f32,
        is_kept: bool,
    },
}

struct Loop<'a> {
    guidance: Guidance,
    batch: Box<dyn Batch + 'a>,
}

/// A [`BatchLoop`] over whatever model.
trait Batch {
    fn add(&mut self, request: Request) -> Result<RequestId>;
    fn cancel(&mut self, request: RequestId) -> bool;
    fn step(&mut self) -> Vec<Finished>;
    fn progress(&self, request: RequestId) -> Option<&[u32]>;
    fn is_idle(&self) -> bool;
    fn num_rows_wanted(&self) -> usize;
}

impl<'a> Session<'a> {
    /// A session without inputs that never holds more than `max_rows` rows of the model's cache.
    ///
    /// A beam search takes `num_beams` rows, sampling `num_return_sequences`, each seed one; guidance
    /// doubles them. A request waits until there is room for all of its own, and none overtakes another.
    pub fn new(prompter: &'a Prompter, max_rows: usize) -> Self {
        Self {
            prompter,
            max_rows,
            last_id: 0,
            tickets: BTreeMap::new(),
            turns: VecDeque::new(),
            loops: Vec::new(),
            running: Vec::new(),
        }
    }

    /// Takes an input; a [`step`](Self::step) starts it as soon as there is room. `row` is its number
    /// among those that were asked for together, for `vary_rows`.
    ///
    /// # Errors
    /// - [`Error::EmptyPrompt`], [`Error::PromptTooLong`], [`Error::Tokenizer`] as in [`Prompter::adapt`]
    /// - [`Error::Config`] if the settings are impossible with the model or with `max_rows`, or if rules
    ///   were changed after they were compiled
    pub fn add(&mut self, user_input: &str, settings: Arc<AdaptSettings>, row: u64) -> Result<TicketId> {
        let prepared = self.prompter.prepare(user_input, &settings, row)?;
        settings.decoding.validate()?;
        settings.decoding.validate_vocabulary(self.prompter.config().vocab_size)?;
        let is_kept = prepared.layout.kept.is_some();
        let guidance = match settings.guidance_scale == 1.0 {
            true => Guidance::None,
            false => Guidance::Scale { scale: settings.guidance_scale, is_kept },
        };
        let key = if settings.decoding.do_sample { "num_return_sequences" } else { "num_beams" };
        let job = Job::new(prepared, settings);
        let rows = guidance.rows(job.max_rows());
        if rows > self.max_rows {
            let reason = format!("takes {rows} rows of the model, and at most {} fit", self.max_rows);
            return Err(Error::config(key, reason));
        }
        self.last_id += 1;
        let id = TicketId(self.last_id);
        let (waiting, answers) = asked(&job);
        self.tickets.insert(id, Ticket { job, guidance, started: None, waiting, answers });
        self.turns.push_back(id);
        Ok(id)
    }

    /// Drops an input, waiting or running. False if there is none of this id: it may be over.
    pub fn cancel(&mut self, id: TicketId) -> bool {
        if self.tickets.remove(&id).is_none() {
            return false;
        }
        self.withdraw(id);
        true
    }

    /// Whether there is no input.
    pub fn is_idle(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Inputs that the model has not seen.
    pub fn num_waiting(&self) -> usize {
        self.tickets.values().filter(|ticket| ticket.started.is_none()).count()
    }

    /// Inputs that the model is at.
    pub fn num_running(&self) -> usize {
        self.tickets.len() - self.num_waiting()
    }

    /// Rows of the model's cache that are spoken for.
    pub fn num_rows(&self) -> usize {
        num_rows(&self.loops)
    }

    /// The answer as far as it is, the user's kept text included: of greedy search and of a single drawn
    /// answer. None of a search, for its best hypothesis is another at every step, nor before the first
    /// token. The filter and the rules have yet to look at it.
    pub fn progress(&self, id: TicketId) -> Option<String> {
        let ticket = self.tickets.get(&id)?;
        let [_] = ticket.answers.as_slice() else { return None };
        let running = self.running.iter().find(|running| running.ticket == id)?;
        let found = self.loops.iter().find(|found| found.guidance == running.guidance)?;
        let token_ids = found.batch.progress(running.request)?;
        let text = self.prompter.tokenizer().decode(token_ids).ok()?;
        let text = text.trim();
        let kept = ticket.job.prepared().layout.kept.as_ref();
        (!text.is_empty()).then(|| kept.map_or_else(|| text.to_owned(), |kept| kept.with(text)))
    }

    /// Lets inputs in, takes each that runs one token further, and returns those that are over.
    pub fn step(&mut self) -> Vec<(TicketId, Result<Adapted>)> {
        let mut over = Vec::new();
        self.admit(&mut over);
        let mut finished = Vec::new();
        for found in &mut self.loops {
            let guidance = found.guidance;
            finished.extend(found.batch.step().into_iter().map(|finished| (guidance, finished)));
        }
        self.loops.retain(|found| !found.batch.is_idle());
        for (guidance, Finished { id, answers }) in finished {
            let is_it = |running: &Running| running.request == id && running.guidance == guidance;
            // None of a ticket that was over before: another of its requests failed.
            let Some(idx) = self.running.iter().position(is_it) else { continue };
            let Running { ticket, at, .. } = self.running.swap_remove(idx);
            match answers {
                Err(error) => self.end(ticket, Err(error), &mut over),
                Ok(answers) => self.take(ticket, at, answers, &mut over),
            }
        }
        over
    }

    /// Hands requests to the model while there is room, one of each ticket in turn.
    fn admit(&mut self, over: &mut Vec<(TicketId, Result<Adapted>)>) {
        while let Some(&id) = self.turns.front() {
            let Some(ticket) = self.tickets.get_mut(&id) else {
                self.turns.pop_front();
                continue;
            };
            let guidance = ticket.guidance;
            let rows = ticket.waiting.front().map_or(0, |request| guidance.rows(request.settings.num_rows()));
            if rows > 0 && num_rows(&self.loops).saturating_add(rows) > self.max_rows {
                return;
            }
            self.turns.pop_front();
            ticket.started.get_or_insert_with(Instant::now);
            let at = ticket.answers.len() - ticket.waiting.len();
            let Some(request) = ticket.waiting.pop_front() else {
                // Nothing is asked of the model.
                self.close_round(id, over);
                continue;
            };
            if !ticket.waiting.is_empty() {
                self.turns.push_back(id);
            }
            match self.hand_over(id, guidance, request) {
                Ok(request) => self.running.push(Running { ticket: id, at, guidance, request }),
                Err(error) => self.end(id, Err(error), over),
            }
        }
    }

    fn hand_over(&mut self, id: TicketId, guidance: Guidance, request: Request) -> Result<RequestId> {
        let idx = match self.loops.iter().position(|found| found.guidance == guidance) {
            Some(idx) => idx,
            None => {
                let neutral_prompt = self.tickets[&id].job.prepared().neutral_prompt.clone();
                let batch = match &self.prompter.model {
                    Model::Engine(engine) => batch(&**engine, guidance, neutral_prompt),
                    Model::TensorLibrary(model) => batch(&**model, guidance, neutral_prompt),
                };
                self.loops.push(Loop { guidance, batch });
                self.loops.len() - 1
            }
        };
        self.loops[idx].batch.add(request)
    }

    /// Takes the answers to one request of a ticket.
    fn take(
        &mut self,
        id: TicketId,
        at: usize,
        answers: Vec<Hypothesis>,
        over: &mut Vec<(TicketId, Result<Adapted>)>,
    ) {
        let Some(ticket) = self.tickets.get_mut(&id) else { return };
        ticket.answers[at] = Some(answers);
        if ticket.answers.iter().all(Option::is_some) {
            self.close_round(id, over);
        }
    }

    /// Hands a round's answers to the job; ends the ticket or begins its next round.
    fn close_round(&mut self, id: TicketId, over: &mut Vec<(TicketId, Result<Adapted>)>) {
        let Some(ticket) = self.tickets.get_mut(&id) else { return };
        let answers = std::mem::take(&mut ticket.answers).into_iter().flatten().collect();
        ticket.job.take(self.prompter, answers);
        if ticket.job.is_over() {
            return self.end(id, Ok(()), over);
        }
        (ticket.waiting, ticket.answers) = asked(&ticket.job);
        // It has waited its turn already.
        self.turns.push_front(id);
    }

    /// Ends a ticket; what else of it is with the model is dropped.
    fn end(&mut self, id: TicketId, outcome: Result<()>, over: &mut Vec<(TicketId, Result<Adapted>)>) {
        let Some(Ticket { job, started, .. }) = self.tickets.remove(&id) else { return };
        self.withdraw(id);
        let elapsed_ms = started.map_or(0.0, |started| started.elapsed().as_secs_f64() * 1e3);
        over.push((id, outcome.and_then(|()| job.into_adapted(self.prompter, elapsed_ms))));
    }

    /// Takes back what of a ticket waits or is with the model.
    fn withdraw(&mut self, id: TicketId) {
        self.turns.retain(|&other| other != id);
        for running in self.running.extract_if(.., |running| running.ticket == id) {
            if let Some(found) = self.loops.iter_mut().find(|found| found.guidance == running.guidance) {
                found.batch.cancel(running.request);
            }
        }
        self.loops.retain(|found| !found.batch.is_idle());
    }
}

/// The requests of a job's round, and room for their answers.
fn asked(job: &Job) -> (VecDeque<Request>, Vec<Option<Vec<Hypothesis>>>) {
    let waiting = VecDeque::from(job.requests());
    let answers = waiting.iter().map(|_| None).collect();
    (waiting, answers)
}

fn num_rows(loops: &[Loop<'_>]) -> usize {
    loops.iter().map(|found| found.guidance.rows(found.batch.num_rows_wanted())).sum()
}

impl Guidance {
    /// How many of the model's rows that many rows are.
    fn rows(self, rows: usize) -> usize {
        match self {
            Self::None => rows,
            Self::Scale { .. } => rows.saturating_mul(2),
        }
    }
}

/// A batch without requests. Rows are counted by the session.
fn batch<'a, M: LanguageModel>(
    model: &'a M,
    guidance: Guidance,
    neutral_prompt: Vec<u32>,
) -> Box<dyn Batch + 'a> {
    match guidance {
        Guidance::None => Box::new(BatchLoop::new(model, usize::MAX)),
        Guidance::Scale { scale, .. } => {
            let guided = Guided { model, scale, neutral_prompt: neutral_prompt.into() };
            Box::new(BatchLoop::new(guided, usize::MAX))
        }
    }
}

impl<M: LanguageModel> Batch for BatchLoop<M> {
    fn add(&mut self, request: Request) -> Result<RequestId> {
        self.add(request)
    }

    fn cancel(&mut self, request: RequestId) -> bool {
        self.cancel(request)
    }

    fn step(&mut self) -> Vec<Finished> {
        self.step()
    }

    fn progress(&self, request: RequestId) -> Option<&[u32]> {
        self.progress(request)
    }

    fn is_idle(&self) -> bool {
        self.is_idle()
    }

    fn num_rows_wanted(&self) -> usize {
        self.num_rows_wanted()
    }
}
