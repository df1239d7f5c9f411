//! A session on a GPU: packed pairs in, logits out.
//!
//! Owns the feeding of graphs that were written for GPUs. The session's own stream copies the inputs, runs, and gives the
//! logits, so that two sessions on a device overlap: one copies and launches while the other computes. Inputs are a few
//! hundred kilobytes a pass and lie in ordinary memory: from pinned memory ONNX Runtime lets kernels read them across the
//! bus, which was slower (`src/decisions/0047-ordinary-input-memory.md`).

use std::sync::Arc;

use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;
use rescored_graph::MARKS;

use super::outputs::Output;
use super::paged::{self, Paged};
use super::ragged::{self, Ragged};
use super::session::{Placed, runtime};
use super::{Batch, CancelHandle, Scorer, ScorerError};

/// A session on a device, and what it is fed.
pub(super) struct DeviceScorer {
    placed: Placed,
    feeds: Feeds,
    output: Output,
}

/// What a graph reads: where tokens lie in padded rows, or in the blocks of a cache.
enum Feeds {
    Ragged(Vec<(String, ragged::Tensor)>, Ragged),
    Paged(Vec<(String, paged::Tensor)>, Paged),
}

/// Whether a graph was written for GPUs.
pub(super) fn is_for_devices(session: &Session) -> bool {
    session.inputs().iter().any(|input| MARKS.contains(&input.name()))
}

impl DeviceScorer {
    /// Takes a session of a graph for GPUs.
    ///
    /// # Errors
    /// [`ScorerError::Graph`] when it has an input that is not known.
    pub(super) fn new(placed: Placed, output: Output) -> Result<Self, ScorerError> {
        let refused = |name: &str| ScorerError::Graph {
            message: format!("input `{name}` is none of a graph for GPUs; run: rescored compile --provider cuda"),
        };
        let names: Vec<String> = placed.session.inputs().iter().map(|input| input.name().to_owned()).collect();
        let feeds = if names.iter().any(|name| paged::Tensor::of(name) == Some(paged::Tensor::Table)) {
            let known =
                |name: String| paged::Tensor::of(&name).map(|it| (name.clone(), it)).ok_or_else(|| refused(&name));
            Feeds::Paged(names.into_iter().map(known).collect::<Result<_, _>>()?, Paged::default())
        } else {
            let known =
                |name: String| ragged::Tensor::of(&name).map(|it| (name.clone(), it)).ok_or_else(|| refused(&name));
            Feeds::Ragged(names.into_iter().map(known).collect::<Result<_, _>>()?, Ragged::default())
        };
        Ok(Self { placed, feeds, output })
    }

    fn run(&mut self, batch: &Batch) -> Result<Vec<f32>, ScorerError> {
        let inputs = self.feeds.fill(batch).map_err(|error| runtime(&error))?;
        let outputs =
            self.placed.session.run_with_options(inputs, &self.placed.terms).map_err(|error| runtime(&error))?;
        self.output.read(&outputs, batch.pairs())
    }
}

impl Feeds {
    /// The inputs of a pass.
    fn fill(&mut self, batch: &Batch) -> ort::Result<Vec<(String, SessionInputValue<'_>)>> {
        match self {
            Self::Ragged(feeds, ragged) => {
                ragged.fill(batch);
                let ragged = &*ragged;
                let feed = |(name, tensor): &(String, ragged::Tensor)| {
                    let value = TensorRef::from_array_view(ragged.tensor(*tensor))?;
                    Ok((name.clone(), SessionInputValue::from(value)))
                };
                feeds.iter().map(feed).collect()
            }
            Self::Paged(feeds, paged) => {
                paged.fill(batch);
                let paged = &*paged;
                feeds.iter().map(|(name, tensor)| Ok((name.clone(), paged.value(*tensor)?))).collect()
            }
        }
    }
}

impl Scorer for DeviceScorer {
    fn score(&mut self, batch: &Batch) -> Result<Vec<f32>, ScorerError> {
        let logits = self.run(batch);
        self.placed.note();
        logits
    }

    fn cancel_handle(&self) -> Option<Arc<dyn CancelHandle>> {
        Some(Arc::clone(&self.placed.terms) as Arc<dyn CancelHandle>)
    }
}
