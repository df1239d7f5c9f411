//! What a request asks of the engine, why it is not taken, and what is kept of one that is.
//!
//! Owns how much an admitted request is expected to have left. It must not know other requests.

use std::time::{Duration, Instant};

use rescored_core::domain::Priority;

use super::shares::Share;

/// Names an admitted request in the admission state.
pub(crate) type EntryId = u64;

/// What a request asks of the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Which of the engine's models.
    pub(crate) model: usize,
    /// Its estimated tokens.
    pub(crate) tokens: u64,
    /// When its caller stops waiting.
    pub(crate) deadline: Instant,
    /// Who waits.
    pub(crate) priority: Priority,
    /// Whether its caller takes a part of the answer, so that being late costs nothing.
    pub(crate) partial: bool,
}

/// Why a request is not taken, and when it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) why: RejectReason,
    /// Estimated tokens waiting: the model's where its part of the queue has no room, else everybody's.
    pub(crate) queued: u64,
    /// Estimated tokens of the model that may wait.
    pub(crate) limit: u64,
    pub(crate) retry_after: Duration,
}

/// See [`Rejection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RejectReason {
    /// The queue has no room.
    Full,
    /// It would be late; predicted to take this long.
    Late(Duration),
    /// Somebody who was admitted before would be late.
    Crowded,
}

impl RejectReason {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Full => "queue_full",
            Self::Late(_) => "late",
            Self::Crowded => "crowded",
        }
    }
}

/// A request that was admitted and is not finished.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) model: usize,
    /// Tokens of pairs that were read and not answered.
    pub(super) known: u64,
    /// Estimated tokens of pairs that were neither read nor answered.
    pub(super) unread: u64,
    /// Of pairs that were read: what they were estimated at, and what they are.
    pub(super) learnt: (u64, u64),
    pub(super) deadline: Instant,
    pub(super) priority: Priority,
    /// Whether it was predicted to be done in time, so that nobody may make it late.
    pub(super) promised: bool,
}

impl Entry {
    pub(super) fn share(&self, now: Instant) -> Share {
        let slack = self.deadline.saturating_duration_since(now).as_secs_f64();
        Share { left: self.left(), slack, promised: self.promised }
    }

    /// Tokens that it is expected to have left.
    pub(super) fn left(&self) -> u64 {
        let (estimated, real) = self.learnt;
        if estimated == 0 || self.unread == 0 {
            return self.known + self.unread;
        }
        let unread = u128::from(self.unread) * u128::from(real) / u128::from(estimated);
        self.known + u64::try_from(unread).unwrap_or(u64::MAX).max(1)
    }
}

/// How a pair stands that has no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// It was not read: its estimated tokens.
    Unread(u64),
    /// It was: its tokens.
    Read(u64),
}
