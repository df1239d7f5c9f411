//! The tensors that a decoder's graph for NVIDIA GPUs reads, from a packed batch.
//!
//! Owns their names and widths; where tokens lie in the blocks of the cache is `rescored_graph::paging`'s. It must not know
//! sessions.

use ort::session::SessionInputValue;
use ort::value::TensorRef;
use rescored_graph::paging::Paged as Blocks;

use super::Batch;

/// Tensors of one forward pass. Filled anew for each.
#[derive(Debug, Default)]
pub(super) struct Paged {
    ids: Vec<i32>,
    cumulative: Vec<i32>,
    past: Vec<i32>,
    table: Vec<i32>,
    columns: usize,
    lasts: Vec<i32>,
    blocks: [i64; 1],
}

/// A tensor of such a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tensor {
    /// Token ids, `[tokens]`.
    Ids,
    /// Tokens before each slot, and all of them, `[slots + 1]`.
    Cumulative,
    /// Tokens of each slot's beginning, `[slots]`.
    Past,
    /// Blocks of each slot, `[slots, columns]`.
    Table,
    /// Rows of the pairs' last tokens, `[pairs]`.
    Lasts,
    /// Blocks of the cache, 64 bits wide, `[1]`.
    Blocks,
}

impl Tensor {
    /// The one of this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "input_ids" => Self::Ids,
            "cumulative_lengths" => Self::Cumulative,
            "past_lengths" => Self::Past,
            "block_table" => Self::Table,
            "lasts" => Self::Lasts,
            "cache_blocks" => Self::Blocks,
            _ => return None,
        })
    }
}

impl Paged {
    /// Takes a packed batch without free slots.
    pub(super) fn fill(&mut self, batch: &Batch) {
        let Blocks { ids, cumulative, past, table, columns, lasts, blocks } = Blocks::new(&batch.sequences());
        for (to, from) in [
            (&mut self.ids, ids),
            (&mut self.cumulative, cumulative),
            (&mut self.past, past),
            (&mut self.table, table),
            (&mut self.lasts, lasts),
        ] {
            to.clear();
            // Ids, lengths and blocks of one pass are far below the limit.
            to.extend(from.iter().map(|&value| i32::try_from(value).unwrap_or(i32::MAX)));
        }
        self.columns = columns;
        self.blocks = [i64::try_from(blocks).unwrap_or(i64::MAX)];
    }

    /// A tensor's value.
    ///
    /// # Errors
    /// What ONNX Runtime says of it.
    pub(super) fn value(&self, tensor: Tensor) -> ort::Result<SessionInputValue<'_>> {
        match tensor {
            Tensor::Ids => list(&self.ids),
            Tensor::Cumulative => list(&self.cumulative),
            Tensor::Past => list(&self.past),
            Tensor::Lasts => list(&self.lasts),
            Tensor::Table => {
                let dims = vec![self.past.len(), self.columns];
                Ok(TensorRef::from_array_view((dims, self.table.as_slice()))?.into())
            }
            Tensor::Blocks => Ok(TensorRef::from_array_view((vec![1], self.blocks.as_slice()))?.into()),
        }
    }
}

/// A vector as a tensor.
fn list(values: &[i32]) -> ort::Result<SessionInputValue<'_>> {
    Ok(TensorRef::from_array_view((vec![values.len()], values))?.into())
}
