//! Weights that all sessions of a graph share.
//!
//! ONNX Runtime lays large constants out anew for its kernels when a session is built, one copy a session, unless the
//! sessions are given the same values and one container to keep the new layout in. Owns both. Third user of `ort`
//! beside `session` and `runner`.

use std::sync::Arc;

use ort::session::builder::{PrepackedWeights, SessionBuilder};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};
use rescored_graph::array::{Array, Data};
use rescored_graph::{self as graph, Beside};

use super::ScorerError;
use super::external::ExternalData;

/// The large constants of one graph.
#[derive(Debug)]
pub(super) struct SharedWeights {
    values: Vec<(String, Arc<DynValue>)>,
    prepacked: PrepackedWeights,
}

/// Constants of fewer values than this stay the sessions' own: biases and shapes, which optimisers fold.
const SHARED_VALUES: usize = 16_384;

impl SharedWeights {
    /// Those of a graph, wherever they lie.
    pub(super) fn of(onnx: &[u8], external: &ExternalData) -> Result<Self, ScorerError> {
        let refused = |message| ScorerError::Graph { message };
        Self::of_graph(onnx, &external.map().map_err(|error| refused(error.to_string()))?)
    }

    /// Those of a graph and of the files beside it.
    pub(super) fn of_graph(onnx: &[u8], beside: &Beside) -> Result<Self, ScorerError> {
        let weights = graph::weights(onnx, beside, SHARED_VALUES);
        Self::new(weights.map_err(|error| ScorerError::Graph { message: error.to_string() })?)
    }

    /// Takes a graph's constants by name. Kinds that ONNX Runtime has no tensor for here stay the sessions' own.
    pub(super) fn new(weights: Vec<(String, Array)>) -> Result<Self, ScorerError> {
        let refused = |error: ort::Error| ScorerError::Runtime { message: error.to_string() };
        let values = weights
            .into_iter()
            .filter_map(|(name, array)| {
                let value = value(array)?;
                Some(value.map(|value| (name, Arc::new(value))))
            })
            .collect::<ort::Result<_>>()
            .map_err(refused)?;
        Ok(Self { values, prepacked: PrepackedWeights::new() })
    }

    /// Gives a session that is being built the shared values.
    pub(super) fn lend(&self, builder: SessionBuilder) -> ort::Result<SessionBuilder> {
        let mut builder = builder.with_prepacked_weights(&self.prepacked)?;
        for (name, value) in &self.values {
            builder = builder.with_initializer(name, Arc::clone(value))?;
        }
        Ok(builder)
    }
}

fn value(array: Array) -> Option<ort::Result<DynValue>> {
    let Array { dims, data } = array;
    match data {
        Data::F32(values) => Some(tensor(dims, values)),
        Data::I8(values) => Some(tensor(dims, values)),
        Data::U8(values) => Some(tensor(dims, values)),
        Data::F16(_) | Data::I32(_) | Data::I64(_) => None,
    }
}

fn tensor<T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static>(
    dims: Vec<usize>,
    values: Vec<T>,
) -> ort::Result<DynValue> {
    Tensor::from_array((dims, values)).map(Tensor::into_dyn)
}
