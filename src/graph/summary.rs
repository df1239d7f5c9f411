//! What a graph says of itself, without being understood.
//!
//! Owns the few facts that decide how a graph is fed and whether it may be served. It must not know how it computes.

use std::collections::{HashMap, HashSet};

use super::external::{External, externals};
use super::proto::{Model, ValueInfo};
use super::{NotOnnx, Operator, decode, operators_of};

/// Key of a written graph's metadata that marks a shape for benchmarks.
pub const SHAPE_ONLY: &str = "rescored.shape_only";

/// Key of a written graph's metadata that names the provider it was written for, where that is not the portable one.
pub const PROVIDER: &str = "rescored.provider";

/// Facts of a graph.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The operators that it uses, those of nested graphs included.
    pub operators: HashSet<Operator>,
    /// Pairs of one forward pass when it takes them packed: the size of its input `lengths`.
    pub slots: Option<u32>,
    /// Whether it takes any number of packed pairs, as graphs for GPUs do: it reads where they lie in padded rows.
    pub is_ragged: bool,
    /// Entries that its writer left.
    pub metadata: HashMap<String, String>,
    /// Files beside it that hold its weights.
    pub externals: Vec<External>,
}

impl Summary {
    /// Whether scores of this graph mean nothing.
    pub fn is_shape_only(&self) -> bool {
        self.metadata.get(SHAPE_ONLY).is_some_and(|value| value == "true")
    }

    /// The provider that it was written for, when that is not the portable one.
    pub fn provider(&self) -> Option<&str> {
        self.metadata.get(PROVIDER).map(String::as_str)
    }
}

/// Reads a graph's facts.
///
/// # Errors
/// [`NotOnnx`] when the bytes do not decode or hold no graph.
pub fn summary(onnx: &[u8]) -> Result<Summary, NotOnnx> {
    let model = decode(onnx)?;
    let (operators, externals) = (operators_of(&model), externals(&model));
    let Model { graph, metadata_props, .. } = model;
    let slots = graph.iter().flat_map(|graph| &graph.input).find(|input| input.name == "lengths").and_then(slots);
    let is_ragged = graph.iter().flat_map(|graph| &graph.input).any(|input| input.name == "token_offset");
    let metadata = metadata_props.into_iter().map(|entry| (entry.key, entry.value)).collect();
    Ok(Summary { operators, slots, is_ragged, metadata, externals })
}

fn slots(lengths: &ValueInfo) -> Option<u32> {
    let shape = lengths.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?;
    u32::try_from(shape.dim.first()?.value?).ok()
}
