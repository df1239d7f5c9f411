//! A cross-encoder that is ready to run: its tokenizer, and a way to build the thing that turns batches into logits.
//!
//! Owns the seam between the engine and whatever does the arithmetic: [`Scorer`]. ONNX Runtime implements it in
//! `session`; tests plug in a fake one. It must not know queues, caches or HTTP.

pub mod batch;
pub mod catalogue;
pub mod checksum;
pub mod compiled;
pub mod coreml;
mod device;
mod external;
mod feed;
mod fingerprint;
pub mod golden;
mod halves;
mod kernels;
pub mod manifest;
mod mapped;
pub mod open;
mod operators;
pub mod options;
pub mod origin;
mod outputs;
mod paged;
pub mod prompt;
pub mod prompted;
pub mod provider;
pub mod ragged;
mod reopen;
pub mod runner;
pub mod session;
mod shared;
pub mod tokenizer;
pub mod tuned;

use std::sync::Arc;
use std::time::Duration;

use rescored_core::domain::ModelCard;

pub use batch::Batch;
pub use external::{ExternalData, ExternalError};
pub use manifest::Manifest;
pub use options::Options;
pub use tokenizer::{Encoding, PairTokenizer};

/// Turns batches into logits. Built in the thread that uses it and never leaves it: an ONNX Runtime session belongs to
/// one thread for life.
pub trait Scorer {
    /// One raw output a pair, in the batch's order. A non-finite number is a value like any other here; the engine
    /// refuses it for its document.
    ///
    /// # Errors
    /// [`ScorerError`] when the forward pass failed as a whole.
    fn score(&mut self, batch: &Batch) -> Result<Vec<f32>, ScorerError>;

    /// What stops a forward pass of this scorer from another thread, where something can.
    fn cancel_handle(&self) -> Option<Arc<dyn CancelHandle>> {
        None
    }
}

/// Stops forward passes of one scorer.
pub trait CancelHandle: Send + Sync {
    /// Has the pass that is going on fail as soon as it can, and every later one until [`CancelHandle::release`].
    fn stop(&self);

    /// Lets the next pass run.
    fn release(&self);
}

/// Builds one [`Scorer`] a worker, in that worker's thread.
pub trait ScorerFactory: Send + Sync + std::fmt::Debug {
    /// Loads whatever one worker needs.
    ///
    /// # Errors
    /// [`ScorerError`] when the model cannot be loaded.
    fn build(&self) -> Result<Box<dyn Scorer>, ScorerError>;
}

/// Which pairs may share a forward pass without changing each other's score (DESIGN, exactness 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchingPolicy {
    /// None: every pair runs alone at its exact length. Dynamic int8 takes one scale for the whole activation tensor,
    /// so a neighbour, or padding, moves every other pair's logit.
    Alone,
    /// Pairs of exactly the same length, so that no padding enters.
    SameLength,
    /// Pairs whose length is at least this share (in percent) of the longest in the batch; the rest is padding.
    Padded {
        /// 1 to 100.
        least_percent: u8,
    },
    /// Pairs of any length, one after the other without padding; the graph attends within each alone.
    Packed {
        /// Pairs that one forward pass holds at most; `None` when the graph takes any number.
        slots: Option<u32>,
    },
}

/// How large this model's forward passes are on its provider, where the settings leave it to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Tokens, padding included, of one pass at most.
    pub tokens: usize,
    /// How long a pass that is not full waits for more pairs.
    pub wait: Duration,
    /// Workers that run its passes; `None` means one a core.
    pub workers: Option<usize>,
}

impl Batching {
    /// About what a core's cache holds beside the weights that stream past; waiting would gain nothing, as passes are
    /// short and whatever comes meanwhile shares the next one.
    pub const CPU: Self = Self { tokens: 512, wait: Duration::ZERO, workers: None };

    /// Of a decoder on the CPU: about half of a prompt is its request's, and computed once a pass.
    pub const CPU_PROMPTS: Self = Self { tokens: 1024, ..Self::CPU };

    /// An accelerator runs thousands of tokens in the time of one, so a pass is better large than early.
    pub const ACCELERATOR: Self = Self { tokens: 32_768, wait: Duration::from_millis(1), workers: None };

    /// A GPU needs some ten thousand tokens to be busy and gains little past thirty thousand; two workers on each, so that
    /// one copies and launches while the other computes (`src/decisions/0048-two-workers-per-gpu.md`).
    #[must_use]
    pub const fn gpus(devices: usize) -> Self {
        Self { workers: Some(2 * devices), ..Self::ACCELERATOR }
    }
}

impl BatchingPolicy {
    /// Puts encodings side by side as the graph wants them.
    pub fn arrange(self, encodings: &[&Encoding], batch: &mut Batch) {
        match self {
            Self::Packed { slots } => batch.pack(encodings, slots.map_or(encodings.len(), |slots| slots as usize)),
            Self::Alone | Self::SameLength | Self::Padded { .. } => batch.pad(encodings),
        }
    }
}

/// A model that is ready to run.
#[derive(Debug)]
pub struct Model {
    /// What callers may know.
    pub card: ModelCard,
    /// Turns texts into encodings.
    pub tokenizer: PairTokenizer,
    /// Builds one scorer a worker.
    pub scorers: Box<dyn ScorerFactory>,
    /// Which pairs may share a forward pass.
    pub batching_policy: BatchingPolicy,
    /// How large a pass is.
    pub batching: Batching,
}

/// Why a forward pass, or the loading of a model, failed.
#[derive(Debug, thiserror::Error)]
pub enum ScorerError {
    /// ONNX Runtime refused.
    #[error("onnx runtime: {message}")]
    Runtime {
        /// What it said. It speaks of shapes, names and files, never of texts: it sees token ids only.
        message: String,
    },
    /// The graph is not a cross-encoder as we know them.
    #[error("graph: {message}")]
    Graph {
        /// What is missing or unexpected.
        message: String,
    },
    /// A program answered with another number of logits than pairs.
    #[error("graph: {got} logits for {pairs} pairs")]
    Shape {
        /// Pairs in the batch.
        pairs: usize,
        /// Logits that came back.
        got: usize,
    },
}
