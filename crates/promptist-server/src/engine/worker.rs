//! The thread that decodes: takes in what came, drops what nobody waits for, steps the model, answers.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;

use promptist::prompter::{Adapted, Prompter, Session, TicketId};
use tokio::sync::watch;

use super::{Adapt, Pending, Rescore, Work};
use crate::metrics::Metrics;

/// Additions of one request that are scored between two steps, so that they hold up no one.
const ADDITIONS_A_STEP: usize = 4;

/// Works until there is no one left to send work.
///
/// A panic of the model ends the inputs that are in it, whose clients are told, and nothing else.
pub(super) fn run(prompter: &Prompter, max_rows: usize, work: &Receiver<Work>, metrics: &Metrics) {
    loop {
        let worker = Worker::new(prompter, max_rows, metrics);
        match catch_unwind(AssertUnwindSafe(|| worker.run(work))) {
            Ok(()) => return,
            Err(_) => {
                metrics.panics.inc();
                tracing::error!("decoding panicked: its inputs are dropped");
            }
        }
    }
}

struct Worker<'a> {
    prompter: &'a Prompter,
    session: Session<'a>,
    tickets: BTreeMap<TicketId, Ticket>,
    rescores: VecDeque<Rescore>,
    metrics: &'a Metrics,
}

/// An input in the session.
struct Ticket {
    progress: Option<watch::Sender<String>>,
    pending: Pending<Adapted>,
}

impl<'a> Worker<'a> {
    fn new(prompter: &'a Prompter, max_rows: usize, metrics: &'a Metrics) -> Self {
        let session = Session::new(prompter, max_rows);
        Self { prompter, session, tickets: BTreeMap::new(), rescores: VecDeque::new(), metrics }
    }

    fn run(mut self, work: &Receiver<Work>) {
        loop {
            if self.session.is_idle() && self.rescores.is_empty() {
                self.observe();
                match work.recv() {
                    Ok(work) => self.take(work),
                    Err(_) => return,
                }
            }
            // When there is no one left to send, those accepted are still answered.
            while let Ok(work) = work.try_recv() {
                self.take(work);
            }
            self.drop_cancelled();
            self.rescore();
            for (id, result) in self.session.step() {
                if let Some(ticket) = self.tickets.remove(&id) {
                    self.metrics.adapted(&result, ticket.pending.accepted.elapsed());
                    ticket.pending.reply(result);
                }
            }
            self.report_progress();
            self.observe();
        }
    }

    fn take(&mut self, work: Work) {
        match work {
            Work::Rescore(rescore) => self.rescores.push_back(rescore),
            Work::Adapt(Adapt { user_input, settings, row, progress, pending }) => {
                if pending.is_cancelled() {
                    self.metrics.cancelled.inc();
                    return;
                }
                match self.session.add(&user_input, settings, row) {
                    Ok(id) => _ = self.tickets.insert(id, Ticket { progress, pending }),
                    Err(error) => pending.reply(Err(error)),
                }
            }
        }
    }

    fn drop_cancelled(&mut self) {
        for (id, _) in self.tickets.extract_if(.., |_, ticket| ticket.pending.is_cancelled()) {
            self.session.cancel(id);
            self.metrics.cancelled.inc();
        }
        let before = self.rescores.len();
        self.rescores.retain(|rescore| !rescore.pending.is_cancelled());
        self.metrics.cancelled.inc_by((before - self.rescores.len()) as u64);
    }

    /// Scores some additions of the request whose turn it is.
    fn rescore(&mut self) {
        let Some(mut rescore) = self.rescores.pop_front() else { return };
        let done = rescore.scores.len();
        let until = rescore.additions.len().min(done + ADDITIONS_A_STEP);
        let additions = rescore.additions[done..until].iter();
        let additions: Vec<Vec<&str>> =
            additions.map(|phrases| phrases.iter().map(String::as_str).collect()).collect();
        match self.prompter.rescore(&rescore.user_input, &additions, &rescore.settings) {
            Err(error) => rescore.pending.reply(Err(error)),
            Ok(scores) => {
                rescore.scores.extend(scores);
                match until == rescore.additions.len() {
                    true => rescore.pending.reply(Ok(rescore.scores)),
                    false => self.rescores.push_back(rescore),
                }
            }
        }
    }

    fn report_progress(&self) {
        for (&id, ticket) in &self.tickets {
            let Some(progress) = &ticket.progress else { continue };
            if let Some(text) = self.session.progress(id) {
                progress.send_if_modified(|last| {
                    let is_new = *last != text;
                    *last = text;
                    is_new
                });
            }
        }
    }

    fn observe(&self) {
        self.metrics.waiting.set(self.session.num_waiting() as i64);
        self.metrics.running.set(self.session.num_running() as i64);
        self.metrics.rows.set(self.session.num_rows() as i64);
    }
}
