//! Why a request has no answer, in words that a caller can act on.
//!
//! Owns the sentences and the map from what the engine says. It must not know HTTP statuses.

use std::time::Duration;

use rescored_engine::{AdmissionError, PairError};

/// Why a request has no answer. Texts never appear in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RerankError {
    /// The model is not served here.
    #[error(
        "model: `{name}` is not served here; served: {served} (leave `model` out for the first; RESCORED_ALIASES gives models further names)"
    )]
    UnknownModel {
        /// The name, shortened to what may be printed.
        name: String,
        /// Ids served, comma-separated.
        served: String,
    },
    /// A document does not fit and the caller forbade cutting.
    #[error("documents[{index}]: {tokens} tokens with its query, the limit is {limit}; allow truncation or shorten it")]
    TooLong {
        /// The caller's index.
        index: usize,
        /// Tokens of the whole pair.
        tokens: u32,
        /// The limit in force.
        limit: u32,
    },
    /// The instruction leaves no room for query and document.
    #[error("instruction: {tokens} tokens, and {limit} fit beside the model's prompt and both texts; shorten it")]
    LongInstruction {
        /// Its tokens, as far as they were read.
        tokens: u32,
        /// Tokens that it may have.
        limit: u32,
    },
    /// More work is waiting than the queue may hold.
    #[error("queue: {queued} tokens are waiting, the limit is {limit}; retry in {} s", retry_after.as_secs().max(1))]
    Overloaded {
        /// Tokens waiting.
        queued: u64,
        /// Tokens that may wait.
        limit: u64,
        /// When room is expected.
        retry_after: Duration,
    },
    /// It would not be answered in time, or would make others late that were admitted before.
    #[error("queue: {}; retry in {} s", why_late(*predicted, *queued), retry_after.as_secs().max(1))]
    Crowded {
        /// Tokens waiting.
        queued: u64,
        /// How long it was predicted to take, when that is longer than its deadline allows.
        predicted: Option<Duration>,
        /// When there is time for it again.
        retry_after: Duration,
    },
    /// Memory is short.
    #[error("memory: nearly used up, no new work is taken; retry in a second")]
    Memory,
    /// The deadline passed before every pair was scored.
    #[error("deadline: {scored} of {pairs} documents were scored in time; raise the timeout or send fewer documents")]
    Deadline {
        /// Pairs scored in time.
        scored: usize,
        /// Pairs asked for.
        pairs: usize,
    },
    /// The model's output for a document is not a finite number, or its forward pass failed.
    #[error("documents[{index}]: {reason}")]
    Document {
        /// The caller's index.
        index: usize,
        /// What happened.
        reason: &'static str,
    },
    /// No worker can take work, or the process is going down.
    #[error("no worker can take work: {reason}")]
    Unavailable {
        /// What happened.
        reason: &'static str,
    },
}

impl From<AdmissionError> for RerankError {
    fn from(refusal: AdmissionError) -> Self {
        match refusal {
            AdmissionError::Full { queued, limit, retry_after } => Self::Overloaded { queued, limit, retry_after },
            AdmissionError::Late { queued, predicted, retry_after } => Self::Crowded { queued, predicted, retry_after },
            AdmissionError::Memory => Self::Memory,
            AdmissionError::Closed => Self::Unavailable { reason: "the engine is stopping" },
        }
    }
}

impl RerankError {
    /// What the caller learns of a pair's fault; `index` is its document.
    pub(super) const fn of(fault: PairError, index: usize) -> Self {
        match fault {
            PairError::TooLong { tokens, limit } => Self::TooLong { index, tokens, limit },
            PairError::LongInstruction { tokens, limit } => Self::LongInstruction { tokens, limit },
            PairError::Untokenisable => Self::Document { index, reason: "the tokenizer refused its text" },
            PairError::NonFinite => Self::Document { index, reason: "the model's output is not a finite number" },
            PairError::Failed => Self::Document { index, reason: "its forward pass failed" },
            PairError::Stuck => Self::Document { index, reason: "its forward pass did not end" },
            PairError::Expired | PairError::Abandoned | PairError::Lost => {
                Self::Unavailable { reason: "the worker that scored it went away" }
            }
        }
    }
}

/// Whether a pair's fault says something of the work by which the pair was led, rather than of the pair.
pub(super) const fn is_the_leaders(fault: PairError) -> bool {
    matches!(fault, PairError::Expired | PairError::Abandoned | PairError::Lost)
}

/// Whether a pair is worth another try of whoever learns its fault: not when its own work was lost.
pub(super) const fn is_anothers(fault: PairError) -> bool {
    matches!(fault, PairError::Expired | PairError::Abandoned)
}

fn why_late(predicted: Option<Duration>, queued: u64) -> String {
    match predicted {
        Some(time) => format!(
            "{queued} tokens are waiting, so this would take {} ms, more than four fifths of its deadline",
            time.as_millis()
        ),
        None => format!("{queued} tokens are waiting, and this would make requests late that were taken before"),
    }
}
