//! The use case: a query and documents in, one score a document out.
//!
//! Owns the way of a request past the cache and through the engine. It must not know HTTP or ONNX Runtime.

use std::time::{Duration, Instant};

use crate::domain::{Cut, ModelCard, Priority, Scored, Texts};

/// What a caller wants scored, and on which terms.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The model's id as the caller wrote it; `None`, an empty name or `default` mean the first configured one.
    pub model: Option<&'a str>,
    /// Queries and documents.
    pub texts: &'a Texts<'a>,
    /// How over-long documents are fitted.
    pub cut: Cut,
    /// Fail with [`Fault::TooLong`] instead of cutting.
    pub refuse_cut: bool,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// Who waits.
    pub priority: Priority,
}

/// Scores of every pair, in the caller's order.
#[derive(Clone, Debug)]
pub struct Answer {
    /// One a pair.
    pub scored: Vec<Scored>,
    /// Where the time and the work went.
    pub stats: Stats,
}

/// Where a request's time and work went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Pairs answered from the cache.
    pub cached: usize,
    /// Tokens of all pairs, cached ones included.
    pub tokens: u64,
    /// Documents that were cut.
    pub cut: usize,
    /// Longest wait of a pair between admission and its forward pass.
    pub queue: Duration,
    /// Tokenisation of this request's misses, summed over threads.
    pub tokenise: Duration,
    /// Forward passes that this request's pairs took part in, summed over workers.
    pub inference: Duration,
}

/// Why a request has no answer. Texts never appear in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The model is not served here.
    #[error("model: `{name}` is not served here; served: {served} (leave `model` out for the first)")]
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
        /// What happened, without the text.
        reason: String,
    },
    /// No worker can take work, or the process is going down.
    #[error("no worker can take work: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
}

/// Scores pairs with one of the configured models.
#[derive(Debug)]
pub struct Reranker {
    models: Vec<ModelCard>,
}

impl Reranker {
    /// The models served, the default first.
    pub fn models(&self) -> &[ModelCard] {
        &self.models
    }

    /// The model that a request's `model` names.
    ///
    /// # Errors
    /// [`Fault::UnknownModel`] when it is not served here.
    pub fn model(&self, name: Option<&str>) -> Result<&ModelCard, Fault> {
        let _ = name;
        Ok(&self.models[0])
    }

    /// Scores every pair of a request.
    ///
    /// # Errors
    /// The [`Fault`] that kept the request from a whole answer.
    pub async fn score(&self, request: Request<'_>) -> Result<Answer, Fault> {
        let _ = request;
        Err(Fault::Unavailable { reason: "not yet".into() })
    }
}
