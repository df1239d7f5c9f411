//! Keys: the identity of a pair's score.
//!
//! Owns their derivation. Pure. It must not know what is kept under a key.

use std::hash::Hasher;

use rescored_core::domain::{CutSide, LongDocuments, Truncation};

/// Identity of a pair's score: 128 bits of BLAKE3 over the model's fingerprint, the way of cutting, the query and the
/// document. Every part is fixed in length or ends its hash, so no two different pairs share an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u128);

impl Key {
    /// The key that [`Key::bytes`] wrote down.
    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }

    /// The key as it is written down.
    pub(super) const fn bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// A number to sort keys by.
    pub(super) const fn order(self) -> u128 {
        self.0
    }

    /// Another key, for a variant of the same pair that must not be mixed up with it.
    #[must_use]
    pub const fn variant(self) -> Self {
        Self(!self.0)
    }

    /// A number that spreads keys evenly: any of its bits will do.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half of a hash is a hash")]
    pub const fn spread(self) -> u64 {
        self.0 as u64
    }
}

/// Makes the keys of one query's documents: the model, the cut and the query are hashed once.
#[derive(Clone, Debug)]
pub struct QueryKey([u8; 32]);

impl QueryKey {
    /// The keys of `query`'s documents under a model with this fingerprint and this way of cutting.
    pub fn new(fingerprint: &str, cut: &Truncation, query: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("rescored 2026-11 pair score");
        for part in [fingerprint.as_bytes(), &cut_bytes(cut), query.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// As [`QueryKey::new`], of a query that comes with an instruction of its own.
    #[must_use]
    pub fn instructed(fingerprint: &str, cut: &Truncation, query: &str, instruction: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("rescored 2026-11 pair score with an instruction");
        for part in [fingerprint.as_bytes(), &cut_bytes(cut), query.as_bytes(), instruction.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The key of one document: a hash of the document alone, keyed by all the rest.
    pub fn document(&self, document: &str) -> Key {
        let hash = blake3::keyed_hash(&self.0, document.as_bytes());
        let mut half = [0; 16];
        half.copy_from_slice(&hash.as_bytes()[..16]);
        Key(u128::from_le_bytes(half))
    }
}

/// Every field of a cut in a fixed place.
fn cut_bytes(cut: &Truncation) -> [u8; 12] {
    let Truncation { max_length, max_document, side, long_documents } = *cut;
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&max_length.unwrap_or(u32::MAX).to_le_bytes());
    bytes[4..8].copy_from_slice(&max_document.unwrap_or(u32::MAX).to_le_bytes());
    bytes[8] = match side {
        CutSide::Right => 0,
        CutSide::Left => 1,
    };
    let (kind, windows) = match long_documents {
        LongDocuments::Truncate => (0, 0),
        LongDocuments::MaxPassage { windows } => (1, windows),
    };
    bytes[9] = kind;
    bytes[10..].copy_from_slice(&windows.to_le_bytes());
    bytes
}

/// Keys are hashes already: their own bits are the table's hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(31) ^ u64::from_le_bytes(word);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "both halves of the key are hashes")]
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64 ^ (key >> 64) as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn key(fingerprint: &str, cut: &Truncation, query: &str, document: &str) -> Key {
        QueryKey::new(fingerprint, cut, query).document(document)
    }

    proptest! {
        #[test]
        fn moving_text_between_query_and_document_changes_the_key(text in "[ab]{2,12}", at in 0usize..12, other in 0usize..12) {
            let (at, other) = (at % text.len(), other % text.len());
            let of = |at: usize| { let (query, document) = text.split_at(at); key("m", &Truncation::MODEL, query, document) };
            prop_assert_eq!(of(at) == of(other), at == other);
        }
    }

    #[test]
    fn an_instruction_is_part_of_the_key_and_no_part_of_the_query() {
        let of = |query, instruction| QueryKey::instructed("m", &Truncation::MODEL, query, instruction).document("d");
        let keys = [
            of("q", "i"),
            of("q", "j"),
            of("qi", ""),
            of("", "qi"),
            of("q", ""),
            key("m", &Truncation::MODEL, "q", "d"),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    }

    #[test]
    fn every_field_of_a_cut_enters_the_key() {
        let cuts = [
            Truncation::MODEL,
            Truncation { max_length: Some(128), ..Truncation::MODEL },
            Truncation { max_document: Some(128), ..Truncation::MODEL },
            Truncation { side: CutSide::Left, ..Truncation::MODEL },
            Truncation { long_documents: LongDocuments::MaxPassage { windows: 1 }, ..Truncation::MODEL },
            Truncation { long_documents: LongDocuments::MaxPassage { windows: 2 }, ..Truncation::MODEL },
        ];
        let keys: HashSet<Key> = cuts.iter().map(|cut| key("m", cut, "q", "d")).collect();
        assert_eq!(keys.len(), cuts.len());
        assert_ne!(key("m", &Truncation::MODEL, "q", "d"), key("n", &Truncation::MODEL, "q", "d"));
    }
}
