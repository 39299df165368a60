//! Inputs that come and go, answered together: what a server runs on.
//!
//! A [`Session`] leads any number of inputs, each with its own settings, through one model. They join and
//! leave between any two steps and share the passes of the model; each gets the answer that
//! [`Prompter::adapt`] gives it alone. Here is only the lead: what is asked of the model and what is made
//! of its answers is the prompter's own code.
//!
//! An input that wants several answers by seeds is several requests of the model, and those of different
//! inputs take turns, so that a long list does not hold up a short one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::answer::Output;
use super::request::AdaptSettings;
use super::variants::{ROUNDS, Taken, of_round, take_apart};
use super::{Adapted, Model, Prepared, Prompter, identity};
use crate::decoding::{BatchLoop, Finished, Guided, Hypothesis, LanguageModel, Request, RequestId};
use crate::error::{Error, Result};
use crate::template::Keep;

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
    prepared: Prepared,
    settings: Arc<AdaptSettings>,
    /// When the model first saw it.
    started: Option<Instant>,
    round: Round,
    /// With a distance: the outputs of the rounds before.
    taken: Vec<Taken>,
}

/// Requests whose answers are looked at together: all there are, unless answers are to be apart.
struct Round {
    number: u64,
    settings: Arc<AdaptSettings>,
    waiting: VecDeque<Request>,
    /// One a request, as they come in.
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
    /// The neutral prompt depends on what is kept.
    Scale(f32, Keep),
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
    /// - [`Error::Config`] if the settings are impossible with the model or with `max_rows`
    pub fn add(&mut self, user_input: &str, settings: Arc<AdaptSettings>, row: u64) -> Result<TicketId> {
        let prepared = self.prompter.prepare(user_input, &settings, row)?;
        settings.decoding.validate()?;
        settings.decoding.validate_vocabulary(self.prompter.config().vocab_size)?;
        // The rounds after the second are like it.
        let rounds = if settings.min_distance.is_some() { 2 } else { 1 };
        for round in 0..rounds {
            self.check_rows(&settings_of(&settings, round))?;
        }
        self.last_id += 1;
        let id = TicketId(self.last_id);
        let round = self.round(&prepared, &settings, 0);
        self.tickets.insert(id, Ticket { prepared, settings, started: None, round, taken: Vec::new() });
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

    /// The whole text so far of an input with one answer that is drawn or greedy; none of others.
    pub fn progress(&self, _id: TicketId) -> Option<String> {
        None
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
                // As the same failure reads in a batch.
                Err(error) => self.end(ticket, Err(Error::Decoding(error.to_string())), &mut over),
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
            let round = &mut ticket.round;
            let guidance = Guidance::of(&round.settings);
            let rows = guidance.rows(round.settings.decoding.num_rows());
            if num_rows(&self.loops) + rows > self.max_rows && !round.waiting.is_empty() {
                return;
            }
            self.turns.pop_front();
            ticket.started.get_or_insert_with(Instant::now);
            let at = round.answers.len() - round.waiting.len();
            let Some(request) = round.waiting.pop_front() else {
                // Nothing is asked of the model.
                self.close_round(id, over);
                continue;
            };
            if !round.waiting.is_empty() {
                self.turns.push_back(id);
            }
            match self.hand_over(id, guidance, request) {
                Ok(request) => self.running.push(Running { ticket: id, at, guidance, request }),
                Err(error) => self.end(id, Err(Error::Decoding(error.to_string())), over),
            }
        }
    }

    fn hand_over(&mut self, id: TicketId, guidance: Guidance, request: Request) -> Result<RequestId> {
        let idx = match self.loops.iter().position(|found| found.guidance == guidance) {
            Some(idx) => idx,
            None => {
                let neutral_prompt = self.tickets[&id].prepared.neutral_prompt.clone().unwrap_or_default();
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
        ticket.round.answers[at] = Some(answers);
        if ticket.round.answers.iter().all(Option::is_some) {
            self.close_round(id, over);
        }
    }

    /// Makes outputs of a round's answers; ends the ticket or begins its next round.
    fn close_round(&mut self, id: TicketId, over: &mut Vec<(TicketId, Result<Adapted>)>) {
        let prompter = self.prompter;
        let Some(ticket) = self.tickets.get_mut(&id) else { return };
        let Ticket { prepared, settings, round, taken, .. } = ticket;
        let outputs = match settings.adds_nothing() {
            true => Ok(vec![identity(prepared)]),
            false => {
                let answers = std::mem::take(&mut round.answers).into_iter().flatten();
                prompter.row_outputs(prepared, &round.settings, answers)
            }
        };
        let Some(min_distance) = settings.min_distance else { return self.end(id, outputs, over) };
        match outputs {
            Ok(candidates) => {
                let asked = settings.decoding.num_return_sequences;
                take_apart(taken, candidates, &prepared.layout, (min_distance, asked));
            }
            Err(error) if round.number == 0 => return self.end(id, Err(error), over),
            Err(_) => {}
        }
        let next = round.number + 1;
        if taken.len() >= settings.decoding.num_return_sequences || next == ROUNDS {
            let outputs = std::mem::take(taken).into_iter().map(|(_, output)| output).collect();
            return self.end(id, Ok(outputs), over);
        }
        let settings = Arc::clone(settings);
        if let Some(mut ticket) = self.tickets.remove(&id) {
            ticket.round = self.round(&ticket.prepared, &settings, next);
            self.tickets.insert(id, ticket);
            // It has waited its turn already.
            self.turns.push_front(id);
        }
    }

    /// Ends a ticket; what else of it is with the model is dropped.
    fn end(
        &mut self,
        id: TicketId,
        outputs: Result<Vec<Output>>,
        over: &mut Vec<(TicketId, Result<Adapted>)>,
    ) {
        let Some(ticket) = self.tickets.remove(&id) else { return };
        self.withdraw(id);
        let elapsed_ms = ticket.started.map_or(0.0, |started| started.elapsed().as_secs_f64() * 1e3);
        let adapted = outputs.and_then(|outputs| {
            self.prompter.adapted(ticket.prepared, outputs, &ticket.settings, elapsed_ms)
        });
        over.push((id, adapted));
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

    fn round(&self, prepared: &Prepared, settings: &Arc<AdaptSettings>, number: u64) -> Round {
        let settings = settings_of(settings, number);
        let waiting: VecDeque<Request> = match settings.adds_nothing() {
            true => VecDeque::new(),
            false => self.prompter.requests(prepared, &settings, number).into(),
        };
        let answers = waiting.iter().map(|_| None).collect();
        Round { number, settings, waiting, answers }
    }

    fn check_rows(&self, settings: &AdaptSettings) -> Result<()> {
        let rows = Guidance::of(settings).rows(settings.decoding.num_rows());
        if rows <= self.max_rows {
            return Ok(());
        }
        let key = if settings.decoding.do_sample { "num_return_sequences" } else { "num_beams" };
        Err(Error::config(key, format!("takes {rows} rows of the model, and at most {} fit", self.max_rows)))
    }
}

fn num_rows(loops: &[Loop<'_>]) -> usize {
    loops.iter().map(|found| found.guidance.rows(found.batch.num_rows_wanted())).sum()
}

/// The settings of a round: the request's own, unless answers are to be apart.
fn settings_of(settings: &Arc<AdaptSettings>, round: u64) -> Arc<AdaptSettings> {
    match settings.min_distance {
        Some(_) => Arc::new(of_round(settings, round)),
        None => Arc::clone(settings),
    }
}

impl Guidance {
    fn of(settings: &AdaptSettings) -> Self {
        match settings.guidance_scale == 1.0 {
            true => Self::None,
            false => Self::Scale(settings.guidance_scale, settings.keep),
        }
    }

    /// How many of the model's rows that many rows are.
    fn rows(self, rows: usize) -> usize {
        match self {
            Self::None => rows,
            Self::Scale(..) => rows.saturating_mul(2),
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
        Guidance::Scale(scale, _) => {
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

    fn is_idle(&self) -> bool {
        self.is_idle()
    }

    fn num_rows_wanted(&self) -> usize {
        self.num_rows_wanted()
    }
}
