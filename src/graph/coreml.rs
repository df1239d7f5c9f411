//! Graphs for CoreML's execution provider, and the table of embeddings that belongs to them.
//!
//! One written graph serves all shapes: [`fixed`] gives it a bucket's. Its inputs are rows of embeddings, additive masks and
//! one-hot rows; whoever runs it makes them. Pure: bytes in, bytes out. It must not know sessions.

use prost::Message;
use serde::{Deserialize, Serialize};

use super::{CrossEncoder, NotOnnx, Provenance, Unfit, array::Array, cross_encoder::Table, decode, emit, proto};

mod table;

pub use table::{BadTable, Header, table};

/// No dimension may exceed this: Apple's framework refuses to load such a model.
pub const LARGEST_DIMENSION: usize = 16_384;

/// Entry of the metadata under which the provider keeps what it compiled: letters and digits, fewer than 64.
const CACHE_KEY: &str = "COREML_CACHE_KEY";

/// Names of the graph's inputs, its output, and the shapes that a bucket fixes.
pub mod names {
    /// Sums of the embeddings' rows, `[batch · length, width]`.
    pub const ROWS: &str = "rows";
    /// Added to attention's scores, `[batch, 1, queries, length]`; one query stands for all where a row holds one pair.
    pub const MASK: &str = "mask";
    /// One-hot rows that choose each pair's first token, `[batch, slots, length]`.
    pub const FIRST: &str = "first";
    /// The mask of those tokens' queries, `[batch, 1, slots, length]`.
    pub const FIRST_MASK: &str = "first_mask";
    /// The output, `[batch · slots, 1]`.
    pub const LOGITS: &str = "logits";
    pub(crate) const DEEP_SHAPE: &str = "shape.deep";
    pub(crate) const FIRST_SHAPE: &str = "shape.first";
    pub(crate) const BATCH_SHAPE: &str = "shape.batch";
    pub(crate) const ROWS_SHAPE: &str = "shape.rows";
}

/// The arithmetic of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats inside; inputs and logits are 32-bit ones.
    Fp16,
}

/// The shape that one compiled program has: rows of places, places of a row, pairs of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Rows.
    pub batch: usize,
    /// Places for tokens in a row.
    pub length: usize,
    /// Pairs that a row holds at most; with more than one, the mask keeps them apart.
    pub slots: usize,
}

impl Arithmetic {
    /// The word in names of files and in metadata.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
        }
    }
}

impl Shape {
    /// A batch of rows that hold one pair each.
    pub const fn padded(batch: usize, length: usize) -> Self {
        Self { batch, length, slots: 1 }
    }

    /// Whether rows hold several pairs.
    pub const fn is_packed(self) -> bool {
        self.slots > 1
    }

    /// Places for tokens in all rows.
    pub const fn places(self) -> usize {
        self.batch * self.length
    }

    /// Pairs in all rows at most.
    pub const fn pairs(self) -> usize {
        self.batch * self.slots
    }

    /// Queries that the mask tells apart in a row.
    pub const fn queries(self) -> usize {
        if self.is_packed() { self.length } else { 1 }
    }

    /// Dimensions of an input.
    pub fn dims(self, input: &str, width: usize) -> Vec<usize> {
        match input {
            names::ROWS => vec![self.places(), width],
            names::MASK => vec![self.batch, 1, self.queries(), self.length],
            names::FIRST => vec![self.batch, self.slots, self.length],
            names::FIRST_MASK => vec![self.batch, 1, self.slots, self.length],
            _ => vec![self.pairs(), 1],
        }
    }

    /// The size behind a dimension's name.
    fn size(self, name: &str) -> Option<usize> {
        Some(match name {
            "tokens" => self.places(),
            "batch" => self.batch,
            "length" => self.length,
            "slots" => self.slots,
            "queries" => self.queries(),
            "pairs" => self.pairs(),
            _ => return None,
        })
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.batch, self.length)?;
        if self.is_packed() { write!(f, "p{}", self.slots) } else { Ok(()) }
    }
}

/// What the embeddings are multiplied with before their norm, which does not see it: the power of two that brings their
/// sums near 1. A norm in 16 bits has an epsilon that would drown what embeddings are by themselves, some hundredths.
fn embedding_scale(model: &CrossEncoder) -> f32 {
    let embeddings = &model.embeddings;
    let tables = [Some(&embeddings.words), embeddings.positions.table(), embeddings.types.as_ref()];
    let mean_square = |table: &Table| {
        table.values.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>()
            / table.values.len().max(1) as f64
    };
    let size = tables.into_iter().flatten().map(mean_square).sum::<f64>().sqrt();
    if size > 0.0 && size.is_finite() { exp2(-size.log2().round()) } else { 1.0 }
}

#[expect(clippy::cast_possible_truncation, reason = "powers of two within a float's range")]
fn exp2(power: f64) -> f32 {
    power.clamp(-20.0, 20.0).exp2() as f32
}

/// Writes the graph of a model, its last layer for the first tokens only.
///
/// # Errors
/// [`Unfit`] for a model with a part that BERT has not.
pub fn write(model: &CrossEncoder, arithmetic: Arithmetic, provenance: &Provenance) -> Result<Vec<u8>, Unfit> {
    if let Some(part) = model.beyond_bert() {
        return Err(Unfit::Part { part, device: "coreml" });
    }
    Ok(emit::coreml::emit(model, (arithmetic, embedding_scale(model)), provenance))
}

/// The graph with every dimension fixed for one shape, and the key under which the provider keeps its compilation: the
/// provider does not look at shapes or weights when it finds a key again.
///
/// # Errors
/// [`NotOnnx`] when the bytes do not decode.
pub fn fixed(onnx: &[u8], shape: Shape, key: &str) -> Result<Vec<u8>, NotOnnx> {
    let mut model = decode(onnx)?;
    if let Some(graph) = &mut model.graph {
        graph.input.iter_mut().chain(&mut graph.output).for_each(|value| fix_value(value, shape));
        graph.initializer.iter_mut().for_each(|tensor| fix_shape(tensor, shape));
    }
    let key: String = key.chars().filter(char::is_ascii_alphanumeric).take(63).collect();
    model.metadata_props.retain(|entry| entry.key != CACHE_KEY);
    model.metadata_props.push(proto::StringEntry { key: CACHE_KEY.to_owned(), value: key });
    Ok(model.encode_to_vec())
}

fn fix_value(value: &mut proto::ValueInfo, shape: Shape) {
    let tensor = value.r#type.as_mut().and_then(|kind| kind.tensor_type.as_mut());
    let Some(dims) = tensor.and_then(|tensor| tensor.shape.as_mut()) else { return };
    for dim in &mut dims.dim {
        if let Some(size) = dim.parameter.as_deref().and_then(|name| shape.size(name)) {
            *dim = proto::Dimension { value: Some(as_int(size)), parameter: None };
        }
    }
}

fn fix_shape(tensor: &mut proto::Tensor, shape: Shape) {
    let second = match tensor.name.as_str() {
        names::DEEP_SHAPE | names::BATCH_SHAPE => shape.length,
        names::FIRST_SHAPE => shape.slots,
        _ => return,
    };
    if let Some(mut dims) = Array::try_from(&*tensor).ok().and_then(|array| array.as_ints())
        && let [batch, places, ..] = dims.as_mut_slice()
    {
        (*batch, *places) = (as_int(shape.batch), as_int(second));
        *tensor = Array::ints(&dims).to_tensor(&tensor.name);
    }
}

fn as_int(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
