//! The tensors that a graph for NVIDIA GPUs reads, from a packed batch.
//!
//! Pure: owns the offsets and bounds that ONNX Runtime's packed operators want. It must not know sessions.

use super::Batch;

/// 32-bit tensors of one forward pass. Filled anew for each, keeping its buffers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ragged {
    pairs: usize,
    longest: usize,
    ids: Vec<i32>,
    types: Vec<i32>,
    positions: Vec<i32>,
    starts: Vec<i32>,
    cumulative: Vec<i32>,
    offset: Vec<i32>,
    lengths: Vec<i32>,
    columns: Vec<i32>,
}

/// A tensor of such a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tensor {
    /// Token ids, `[tokens]`.
    Ids,
    /// Segments, `[tokens]`.
    Types,
    /// Places in the pair, `[tokens]`.
    Positions,
    /// First rows of the pairs, `[pairs]`.
    Starts,
    /// Tokens before each pair, and all of them, `[pairs + 1]`.
    Cumulative,
    /// Places of the tokens in rows padded to the longest, then those of the padding, `[pairs, longest]`.
    Offset,
    /// Tokens of the pairs, `[pairs, 1, 1]`.
    Lengths,
    /// 0 up to the longest pair, `[longest]`.
    Columns,
}

impl Tensor {
    /// The one of this name.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "input_ids" => Self::Ids,
            "token_type_ids" => Self::Types,
            "position_ids" => Self::Positions,
            "starts" => Self::Starts,
            "cumulative_lengths" => Self::Cumulative,
            "token_offset" => Self::Offset,
            "lengths" => Self::Lengths,
            "columns" => Self::Columns,
            _ => return None,
        })
    }
}

impl Ragged {
    /// Takes a packed batch without free slots.
    pub fn fill(&mut self, batch: &Batch) {
        self.pairs = batch.lengths().len();
        self.longest = batch.lengths().iter().copied().max().map_or(0, as_usize);
        for (to, from) in [
            (&mut self.ids, batch.ids()),
            (&mut self.types, batch.types()),
            (&mut self.positions, batch.positions()),
            (&mut self.lengths, batch.lengths()),
        ] {
            to.clear();
            to.extend(from.iter().map(|&value| narrow(value)));
        }
        self.bounds();
        self.offsets();
        self.columns.clear();
        self.columns.extend((0..).take(self.longest));
    }

    fn bounds(&mut self) {
        self.starts.clear();
        self.cumulative.clear();
        self.cumulative.push(0);
        let mut tokens = 0;
        for &length in &self.lengths {
            self.starts.push(tokens);
            tokens += length;
            self.cumulative.push(tokens);
        }
    }

    fn offsets(&mut self) {
        self.offset.clear();
        let longest = narrow(i64::try_from(self.longest).unwrap_or(i64::MAX));
        let rows = || self.lengths.iter().enumerate();
        for (row, &length) in rows() {
            let start = as_i32(row) * longest;
            self.offset.extend(start..start + length);
        }
        for (row, &length) in rows() {
            let start = as_i32(row) * longest;
            self.offset.extend(start + length..start + longest);
        }
    }

    /// Dimensions and values of a tensor.
    pub fn tensor(&self, tensor: Tensor) -> (Vec<usize>, &[i32]) {
        let values = match tensor {
            Tensor::Ids => &self.ids,
            Tensor::Types => &self.types,
            Tensor::Positions => &self.positions,
            Tensor::Starts => &self.starts,
            Tensor::Cumulative => &self.cumulative,
            Tensor::Offset => return (vec![self.pairs, self.longest], &self.offset),
            Tensor::Lengths => return (vec![self.pairs, 1, 1], &self.lengths),
            Tensor::Columns => &self.columns,
        };
        (vec![values.len()], values)
    }
}

/// Ids, lengths and offsets of one pass are far below the limit.
fn narrow(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn as_i32(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn as_usize(value: i64) -> usize {
    usize::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Encoding;

    fn filled(lengths: &[usize]) -> Ragged {
        let encodings: Vec<Encoding> = lengths.iter().map(|&length| Encoding::new(vec![7; length], 1, 1)).collect();
        let mut batch = Batch::default();
        batch.pack(&encodings.iter().collect::<Vec<_>>(), encodings.len());
        let mut ragged = Ragged::default();
        ragged.fill(&batch);
        ragged
    }

    #[test]
    fn bounds_and_offsets_are_those_of_onnx_runtimes_packed_operators() {
        let ragged = filled(&[3, 1]);
        assert_eq!(ragged.tensor(Tensor::Cumulative), (vec![3], [0, 3, 4].as_slice()));
        assert_eq!(ragged.tensor(Tensor::Starts), (vec![2], [0, 3].as_slice()));
        assert_eq!(ragged.tensor(Tensor::Offset), (vec![2, 3], [0, 1, 2, 3, 4, 5].as_slice()));
        assert_eq!(filled(&[1, 3]).tensor(Tensor::Offset), (vec![2, 3], [0, 3, 4, 5, 1, 2].as_slice()));
        assert_eq!(ragged.tensor(Tensor::Lengths), (vec![2, 1, 1], [3, 1].as_slice()));
        assert_eq!(ragged.tensor(Tensor::Columns), (vec![3], [0, 1, 2].as_slice()));
    }

    proptest! {
        #[test]
        fn every_place_is_named_once_and_tokens_come_first(lengths in prop::collection::vec(1_usize..40, 1..20)) {
            let ragged = filled(&lengths);
            let (dims, offsets) = ragged.tensor(Tensor::Offset);
            let mut sorted = offsets.to_vec();
            sorted.sort_unstable();
            prop_assert!(sorted.iter().copied().eq(0..i32::try_from(dims[0] * dims[1]).unwrap()));
            let tokens: usize = lengths.iter().sum();
            let longest = dims[1];
            for &offset in &offsets[..tokens] {
                let offset = usize::try_from(offset).unwrap();
                prop_assert!(offset % longest < lengths[offset / longest]);
            }
            prop_assert_eq!(ragged.tensor(Tensor::Ids).1.len(), tokens);
        }
    }
}
