//! The embeddings of a model as one file of 32-bit floats, to be mapped into memory and summed row by row.
//!
//! Owns the file's layout: a header of five little-endian words, or of six where padding has no position, then the rows of
//! words, positions and types. It must not know files.

use crate::CrossEncoder;
use crate::cross_encoder::Table;

/// What the file begins with: the format and its version.
const MAGIC: u32 = u32::from_le_bytes(*b"RTB1");
/// The same, with the padding's id behind the sizes: its row of positions is the first.
const MAGIC_PADDED: u32 = u32::from_le_bytes(*b"RTB2");

/// What is wrong with a file that is too short.
const CUT: &str = "the file ends in its header";

/// The bytes are not a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("embeddings: {reason}; run: rescored compile --provider coreml")]
pub struct BadTable {
    reason: String,
}

/// Sizes of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Values of a row.
    pub width: usize,
    /// Rows of words.
    pub words: usize,
    /// Rows of positions.
    pub positions: usize,
    /// Rows of types; none where the model knows no segments.
    pub types: usize,
    /// The id whose tokens have the first row of positions and count for none.
    pub padding: Option<usize>,
}

/// A model's table, as bytes, multiplied with what its graph was written for.
pub fn table(model: &CrossEncoder) -> Vec<u8> {
    let embeddings = &model.embeddings;
    let tables = [Some(&embeddings.words), embeddings.positions.table(), embeddings.types.as_ref()];
    let rows = |table: Option<&Table>| table.map_or(0, |table| table.rows);
    let sizes = [embeddings.words.columns, rows(tables[0]), rows(tables[1]), rows(tables[2])];
    let magic = if embeddings.padding.is_some() { MAGIC_PADDED } else { MAGIC };
    let words = sizes.into_iter().chain(embeddings.padding).map(|size| u32::try_from(size).unwrap_or(u32::MAX));
    let mut bytes: Vec<u8> = std::iter::once(magic).chain(words).flat_map(u32::to_le_bytes).collect();
    let scale = super::embedding_scale(model);
    for table in tables.into_iter().flatten() {
        bytes.extend(table.values.iter().flat_map(|value| (value * scale).to_le_bytes()));
    }
    bytes
}

impl Header {
    /// Reads a table's sizes and holds its length against them.
    ///
    /// # Errors
    /// [`BadTable`] when the bytes are not a whole table.
    pub fn read(bytes: &[u8]) -> Result<Self, BadTable> {
        let bad = |reason: &str| BadTable { reason: reason.to_owned() };
        let words: Vec<u32> = bytes.as_chunks::<4>().0.iter().take(6).map(|word| u32::from_le_bytes(*word)).collect();
        let &[magic @ (MAGIC | MAGIC_PADDED), ref sizes @ ..] = words.as_slice() else {
            return Err(bad("the file is no table of this version"));
        };
        let (&[width, words, positions, types], rest) = sizes.split_first_chunk().ok_or_else(|| bad(CUT))?;
        let [width, words, positions, types] = [width, words, positions, types].map(|size| size as usize);
        let padding = match (magic, rest) {
            (MAGIC, _) => None,
            (_, &[id, ..]) => Some(id as usize),
            (_, []) => return Err(bad(CUT)),
        };
        let header = Self { width, words, positions, types, padding };
        let expected = (words.checked_add(positions))
            .and_then(|rows| rows.checked_add(types)?.checked_mul(width)?.checked_mul(4)?.checked_add(header.bytes()));
        if expected == Some(bytes.len()) && width > 0 {
            Ok(header)
        } else {
            Err(bad("its length is not that of its rows"))
        }
    }

    /// Bytes before the rows.
    const fn bytes(&self) -> usize {
        if self.padding.is_some() { 24 } else { 20 }
    }

    /// Writes the sum of a token's rows into `row`; an index past its table reads the last row.
    pub fn sum(&self, bytes: &[u8], [word, position, kind]: [usize; 3], row: &mut [f32]) {
        let at = |first: usize, rows: usize, index: usize| first + index.min(rows.saturating_sub(1));
        let word = self.row(bytes, at(0, self.words, word));
        let position = self.row(bytes, at(self.words, self.positions, position));
        if self.types == 0 {
            for ((value, word), position) in row.iter_mut().zip(word).zip(position) {
                *value = f32::from_le_bytes(*word) + f32::from_le_bytes(*position);
            }
            return;
        }
        let kind = self.row(bytes, at(self.words + self.positions, self.types, kind));
        // The order of a written graph: word and type first.
        for (((value, word), kind), position) in row.iter_mut().zip(word).zip(kind).zip(position) {
            *value = f32::from_le_bytes(*word) + f32::from_le_bytes(*kind) + f32::from_le_bytes(*position);
        }
    }

    fn row<'b>(&self, bytes: &'b [u8], row: usize) -> &'b [[u8; 4]] {
        let start = self.bytes() + row * self.width * 4;
        bytes.get(start..start + self.width * 4).unwrap_or_default().as_chunks::<4>().0
    }
}
