//! Encodings side by side, as the tensors that a model reads.
//!
//! Pure: owns the two arrangements, padded and packed. It must not know sessions.

use super::Encoding;

/// Encodings of one forward pass, in the arrangement that the graph wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pairs: usize,
    tokens: usize,
    /// Dimensions of the per-token tensors.
    shape: Vec<usize>,
    ids: Vec<i64>,
    mask: Vec<i64>,
    types: Vec<i64>,
    positions: Vec<i64>,
    lengths: Vec<i64>,
}

impl Batch {
    /// Fills the batch anew, keeping its buffers: every per-token tensor is `[pairs, longest]`, row-major.
    ///
    /// Padding has id 0, mask 0 and type 0. `[PAD]` is id 0 in BERT's vocabularies; elsewhere the mask hides it.
    pub fn pad(&mut self, encodings: &[&Encoding]) {
        let longest = encodings.iter().map(|encoding| encoding.len()).max().unwrap_or(0);
        self.clear(encodings);
        self.shape.extend([encodings.len(), longest]);
        for encoding in encodings {
            self.push(encoding);
            let filled = self.ids.len() + longest - encoding.len();
            for tensor in [&mut self.ids, &mut self.mask, &mut self.types, &mut self.positions] {
                tensor.resize(filled, 0);
            }
        }
    }

    /// Fills the batch anew without padding: pairs one after the other, every per-token tensor is `[tokens]`, and
    /// [`Batch::lengths`] is `[slots]`. A free slot holds one token of id 0.
    pub fn pack(&mut self, encodings: &[&Encoding], slots: usize) {
        self.clear(encodings);
        for encoding in encodings {
            self.push(encoding);
        }
        let free = slots.saturating_sub(encodings.len());
        let filled = self.ids.len() + free;
        for tensor in [&mut self.ids, &mut self.mask, &mut self.types, &mut self.positions] {
            tensor.resize(filled, 0);
        }
        self.lengths.resize(encodings.len() + free, 1);
        self.shape.push(filled);
    }

    fn clear(&mut self, encodings: &[&Encoding]) {
        self.pairs = encodings.len();
        self.tokens = encodings.iter().map(|encoding| encoding.len()).sum();
        self.shape.clear();
        for tensor in [&mut self.ids, &mut self.mask, &mut self.types, &mut self.positions, &mut self.lengths] {
            tensor.clear();
        }
    }

    fn push(&mut self, encoding: &Encoding) {
        let length = encoding.len();
        self.ids.extend(encoding.ids().iter().map(|&id| i64::from(id)));
        self.mask.resize(self.ids.len(), 1);
        self.types.resize(self.types.len() + encoding.document_starts().min(length), 0);
        self.types.resize(self.ids.len(), encoding.document_type().into());
        self.positions.extend((0..).take(length));
        self.lengths.push(i64::try_from(length).unwrap_or(i64::MAX));
    }

    /// Pairs to be scored.
    pub const fn pairs(&self) -> usize {
        self.pairs
    }

    /// Real tokens, padding not counted.
    pub const fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens that are there only to fill the arrangement.
    pub fn padding(&self) -> usize {
        self.ids.len() - self.tokens
    }

    /// Dimensions of the per-token tensors.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Token ids.
    pub fn ids(&self) -> &[i64] {
        &self.ids
    }

    /// 1 where a token is, 0 where padding is.
    pub fn mask(&self) -> &[i64] {
        &self.mask
    }

    /// Segment of each token.
    pub fn types(&self) -> &[i64] {
        &self.types
    }

    /// Place of each token in its own pair, from 0.
    pub fn positions(&self) -> &[i64] {
        &self.positions
    }

    /// The ids of each packed pair, free slots left out.
    pub fn sequences(&self) -> Vec<&[i64]> {
        let mut rest = self.ids.as_slice();
        let lengths = self.lengths.iter().take(self.pairs);
        lengths
            .map(|&length| {
                let (these, others) = rest.split_at(usize::try_from(length).unwrap_or(0).min(rest.len()));
                rest = others;
                these
            })
            .collect()
    }

    /// Tokens of each pair, free slots included when packed.
    pub fn lengths(&self) -> &[i64] {
        &self.lengths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> [Encoding; 2] {
        [Encoding::new(vec![101, 7, 102, 8, 9, 102], 3, 1), Encoding::new(vec![101, 7, 102, 102], 3, 1)]
    }

    #[test]
    fn shorter_rows_are_padded_on_the_right() {
        let [long, short] = pairs();
        let mut batch = Batch::default();
        batch.pad(&[&long, &short]);
        assert_eq!((batch.pairs(), batch.shape(), batch.tokens(), batch.padding()), (2, [2, 6].as_slice(), 10, 2));
        assert_eq!(batch.ids()[6..], [101, 7, 102, 102, 0, 0]);
        assert_eq!(batch.mask()[6..], [1, 1, 1, 1, 0, 0]);
        assert_eq!(batch.types()[..], [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn packed_pairs_follow_each_other_and_free_slots_hold_one_token() {
        let [long, short] = pairs();
        let mut batch = Batch::default();
        batch.pack(&[&long, &short], 3);
        assert_eq!((batch.pairs(), batch.shape(), batch.tokens(), batch.padding()), (2, [11].as_slice(), 10, 1));
        assert_eq!(batch.ids()[6..], [101, 7, 102, 102, 0]);
        assert_eq!(batch.types()[..], [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0]);
        assert_eq!(batch.positions()[..], [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 0]);
        assert_eq!(batch.lengths(), [6, 4, 1]);
    }

    #[test]
    fn a_refilled_batch_forgets_its_former_rows() {
        let [long, short] = pairs();
        let (mut used, mut fresh) = (Batch::default(), Batch::default());
        used.pack(&[&long, &short], 4);
        for batch in [&mut used, &mut fresh] {
            batch.pad(&[&short]);
        }
        assert_eq!(used, fresh);
    }
}
