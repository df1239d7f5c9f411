//! Sequences of one forward pass as attention over a cache in blocks reads them.
//!
//! A beginning that sequences share is a sequence of its own, whose blocks the others name as their past: it has whole blocks,
//! and what is left of it is theirs. Pure: owns the blocks of a pass. It must not know what the cache holds.

use super::beginnings::Arranged;

/// Tokens of a block: the least that ONNX Runtime takes, so that little of a beginning is computed again.
pub const BLOCK: usize = 16;

/// Tensors of one forward pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paged {
    /// Token ids of all slots, one after the other, `[tokens]`.
    pub ids: Vec<i64>,
    /// Tokens before each slot, and all of them, `[slots + 1]`.
    pub cumulative: Vec<i64>,
    /// Tokens of each slot's beginning, `[slots]`.
    pub past: Vec<i64>,
    /// Blocks of each slot, its beginning's first, filled up with zeros, `[slots, columns]`.
    pub table: Vec<i64>,
    /// The most blocks of a slot.
    pub columns: usize,
    /// The row of each sequence's last token, in their order, `[sequences]`.
    pub lasts: Vec<i64>,
    /// Blocks of the whole pass.
    pub blocks: usize,
}

impl Paged {
    /// Arranges sequences, none of which may be empty.
    pub fn new(sequences: &[&[i64]]) -> Self {
        let Arranged { ids, lengths, beginnings, slots } = Arranged::in_units(sequences, BLOCK);
        let lengths: Vec<usize> = lengths.into_iter().map(as_size).collect();
        let mut paged = Self { ids, ..Self::default() };
        let (mut rows, mut tokens): (Vec<Vec<i64>>, usize) = (Vec::new(), 0);
        paged.cumulative.push(0);
        for (slot, (&length, &beginning)) in lengths.iter().zip(&beginnings).enumerate() {
            let beginning = as_size(beginning);
            let before = if beginning == slot { Vec::new() } else { rows[beginning].clone() };
            paged.past.push(as_int(before.len() * BLOCK));
            let own = length.div_ceil(BLOCK);
            rows.push(before.into_iter().chain((paged.blocks..paged.blocks + own).map(as_int)).collect());
            paged.blocks += own;
            tokens += length;
            paged.cumulative.push(as_int(tokens));
        }
        paged.columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        for mut row in rows {
            row.resize(paged.columns, 0);
            paged.table.extend(row);
        }
        paged.lasts = slots.iter().map(|&slot| paged.cumulative[slot + 1] - 1).collect();
        paged
    }
}

fn as_size(value: i64) -> usize {
    usize::try_from(value).unwrap_or(0)
}

fn as_int(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The tokens that a slot sees, read back through its blocks.
    fn read(paged: &Paged, slot: usize) -> Vec<i64> {
        // What each block holds once all slots have written their tokens.
        let mut cache = vec![-1; paged.blocks * BLOCK];
        for slot in 0..paged.past.len() {
            let own = as_size(paged.cumulative[slot])..as_size(paged.cumulative[slot + 1]);
            for (at, token) in own.enumerate() {
                let place = as_size(paged.past[slot]) + at;
                let block = as_size(paged.table[slot * paged.columns + place / BLOCK]);
                assert_eq!(cache[block * BLOCK + place % BLOCK], -1, "no place is written twice");
                cache[block * BLOCK + place % BLOCK] = paged.ids[token];
            }
        }
        let all = as_size(paged.past[slot] + paged.cumulative[slot + 1] - paged.cumulative[slot]);
        (0..all)
            .map(|place| cache[as_size(paged.table[slot * paged.columns + place / BLOCK]) * BLOCK + place % BLOCK])
            .collect()
    }

    proptest! {
        #[test]
        fn every_sequence_is_read_whole_through_its_blocks(
            beginnings in prop::collection::vec((prop::sample::select(vec![0_usize, 15, 16, 40, 64]), 0_i64..3), 1..8),
            ends in prop::collection::vec(prop::collection::vec(0_i64..3, 1..40), 8),
        ) {
            let sequences: Vec<Vec<i64>> = beginnings
                .iter()
                .zip(&ends)
                .map(|(&(length, seed), end)| [vec![seed + 7; length], end.clone()].concat())
                .collect();
            let all: Vec<&[i64]> = sequences.iter().map(Vec::as_slice).collect();
            let paged = Paged::new(&all);
            prop_assert_eq!(paged.lasts.len(), sequences.len());
            for (sequence, &last) in sequences.iter().zip(&paged.lasts) {
                let slot = paged.cumulative.iter().position(|&end| end == last + 1).unwrap() - 1;
                prop_assert_eq!(&read(&paged, slot), sequence);
            }
            prop_assert_eq!(paged.table.len(), paged.past.len() * paged.columns);
        }
    }

    #[test]
    fn a_beginning_is_shared_by_whole_blocks() {
        let prompt = |document: i64| [vec![1; 40], vec![document; 10]].concat();
        let prompts = [prompt(2), prompt(3)];
        let all: Vec<&[i64]> = prompts.iter().map(Vec::as_slice).collect();
        let paged = Paged::new(&all);
        assert_eq!(paged.cumulative, [0, 32, 50, 68]);
        assert_eq!((paged.past, paged.blocks), (vec![0, 32, 32], 6));
        assert_eq!(paged.table, [0, 1, 0, 0, 0, 1, 2, 3, 0, 1, 4, 5]);
        assert_eq!(paged.lasts, [49, 67]);
    }
}
