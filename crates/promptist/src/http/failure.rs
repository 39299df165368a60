//! What can go wrong with a call, sorted by what it means for the next one.

use std::time::Duration;

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub kind: FailureKind,
    /// What came back, for people.
    pub reason: String,
    /// The answer's status, if there was an answer and it was a refusal.
    pub status: Option<u16>,
}

/// What a failure means for the next try.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum FailureKind {
    /// The server cannot work now and the call was not begun: refused connections, 429, 502, 503. Costs no try.
    Away { retry_after: Option<Duration> },
    /// It was tried and went wrong; the next time it may not: broken connections, 500, wrong answers, timeouts.
    Passing,
    /// This server will not do it; another may: 401, 404, another model, pictures of another size.
    ThisServer,
    /// Nobody will do it: 400, 422, settings that the contract cannot carry.
    Anywhere,
    /// It was called off.
    Cancelled,
}

impl Failure {
    pub fn away(reason: impl Into<String>) -> Self {
        Self { kind: FailureKind::Away { retry_after: None }, reason: reason.into(), status: None }
    }

    pub fn passing(reason: impl Into<String>) -> Self {
        Self { kind: FailureKind::Passing, reason: reason.into(), status: None }
    }

    pub fn this_server(reason: impl Into<String>) -> Self {
        Self { kind: FailureKind::ThisServer, reason: reason.into(), status: None }
    }

    pub fn anywhere(reason: impl Into<String>) -> Self {
        Self { kind: FailureKind::Anywhere, reason: reason.into(), status: None }
    }

    pub fn cancelled() -> Self {
        Self { kind: FailureKind::Cancelled, reason: "called off".to_owned(), status: None }
    }

    pub fn has_status(&self, status: u16) -> bool {
        self.status == Some(status)
    }

    /// As it counts once the server has taken the job: if it went away over it, that was a try.
    /// Otherwise a job that brings servers down would be tried for ever.
    pub fn after_acceptance(self) -> Self {
        match self.kind {
            FailureKind::Away { .. } => Self { kind: FailureKind::Passing, ..self },
            _ => self,
        }
    }

    /// As it counts while the server is only asked what it makes: that is no try of an image.
    pub fn before_work(self) -> Self {
        match self.kind {
            FailureKind::Passing => Self { kind: FailureKind::Away { retry_after: None }, ..self },
            _ => self,
        }
    }
}
