//! A session on a GPU: packed pairs in, logits out.
//!
//! Owns the feeding of graphs that were written for GPUs. The session's own stream copies the inputs, runs, and gives the
//! logits, so that two sessions on a device overlap: one copies and launches while the other computes. Inputs are a few
//! hundred kilobytes a pass and lie in ordinary memory: from pinned memory ONNX Runtime lets kernels read them across the
//! bus, which was slower (`src/decisions/0047-ordinary-input-memory.md`).

use std::sync::Arc;

use ort::session::SessionInputValue;
use ort::value::TensorRef;

use super::outputs::Output;
use super::ragged::{self, Ragged};
use super::session::{Placed, runtime};
use super::{Batch, CancelHandle, Scorer, ScorerError};

/// The input that graphs for GPUs have and no others.
pub(super) const MARK: &str = "token_offset";

/// A session on a device, and what it is fed.
pub(super) struct DeviceScorer {
    placed: Placed,
    feeds: Vec<(String, ragged::Tensor)>,
    ragged: Ragged,
    output: Output,
}

impl DeviceScorer {
    /// Takes a session of a graph for GPUs.
    ///
    /// # Errors
    /// [`ScorerError::Graph`] when it has an input that is not known.
    pub(super) fn new(placed: Placed, output: Output) -> Result<Self, ScorerError> {
        let known = |name: &str| {
            let message =
                || format!("input `{name}` is none of a graph for GPUs; run: rescored compile --provider cuda");
            let tensor = ragged::Tensor::of(name).ok_or_else(|| ScorerError::Graph { message: message() })?;
            Ok((name.to_owned(), tensor))
        };
        let feeds = placed.session.inputs().iter().map(|input| known(input.name())).collect::<Result<_, _>>()?;
        Ok(Self { placed, feeds, ragged: Ragged::default(), output })
    }

    fn run(&mut self, batch: &Batch) -> Result<Vec<f32>, ScorerError> {
        self.ragged.fill(batch);
        let feed = |(name, tensor): &(String, ragged::Tensor)| {
            let value = TensorRef::from_array_view(self.ragged.tensor(*tensor))?;
            Ok((name.clone(), SessionInputValue::from(value)))
        };
        let inputs = self.feeds.iter().map(feed).collect::<ort::Result<Vec<_>>>().map_err(|error| runtime(&error))?;
        let outputs =
            self.placed.session.run_with_options(inputs, &self.placed.terms).map_err(|error| runtime(&error))?;
        self.output.read(&outputs, batch.pairs())
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
