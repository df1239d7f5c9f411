//! Encodings side by side, as the tensors that a model reads.
//!
//! Pure: owns the row-major layout and the padding. It must not know sessions.

use super::Encoding;

/// Encodings padded to one length; every tensor is `[pairs, length]`, row-major, `i64` as exported graphs want them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pairs: usize,
    length: usize,
    ids: Vec<i64>,
    mask: Vec<i64>,
    types: Vec<i64>,
}

impl Batch {
    /// Fills the batch anew, keeping its buffers.
    ///
    /// Padding has id 0, mask 0 and type 0. `[PAD]` is id 0 in BERT's vocabularies; elsewhere the mask hides it.
    pub fn fill(&mut self, encodings: &[&Encoding]) {
        self.pairs = encodings.len();
        self.length = encodings.iter().map(|encoding| encoding.len()).max().unwrap_or(0);
        for tensor in [&mut self.ids, &mut self.mask, &mut self.types] {
            tensor.clear();
            tensor.resize(self.pairs * self.length, 0);
        }
        for (row, encoding) in encodings.iter().enumerate() {
            let start = row * self.length;
            let document = start + encoding.document_starts();
            let end = start + encoding.len();
            for (cell, &id) in self.ids[start..end].iter_mut().zip(encoding.ids()) {
                *cell = i64::from(id);
            }
            self.mask[start..end].fill(1);
            self.types[document..end].fill(i64::from(encoding.document_type()));
        }
    }

    /// Rows.
    pub const fn pairs(&self) -> usize {
        self.pairs
    }

    /// Columns: tokens of the longest pair.
    pub const fn length(&self) -> usize {
        self.length
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

    /// Real tokens, padding not counted.
    pub fn tokens(&self) -> usize {
        self.mask.iter().filter(|&&cell| cell == 1).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_rows_are_padded_on_the_right() {
        let long = Encoding::new(vec![101, 7, 102, 8, 9, 102], 3, 1);
        let short = Encoding::new(vec![101, 7, 102, 102], 3, 1);
        let mut batch = Batch::default();
        batch.fill(&[&long, &short]);
        assert_eq!((batch.pairs(), batch.length(), batch.tokens()), (2, 6, 10));
        assert_eq!(batch.ids()[6..], [101, 7, 102, 102, 0, 0]);
        assert_eq!(batch.mask()[6..], [1, 1, 1, 1, 0, 0]);
        assert_eq!(batch.types()[..], [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_refilled_batch_forgets_its_former_rows() {
        let mut batch = Batch::default();
        batch.fill(&[&Encoding::new(vec![1; 9], 4, 1), &Encoding::new(vec![1; 3], 1, 1)]);
        let mut fresh = Batch::default();
        for target in [&mut batch, &mut fresh] {
            target.fill(&[&Encoding::new(vec![5, 6], 1, 1)]);
        }
        assert_eq!(batch, fresh);
    }
}
