//! Products in tiles: the order of panels and blocks of rows.
//!
//! Owns which sums are in the making while others become results. It must not know instructions.
#![expect(unsafe_code, reason = "tiles are configured where `isa` has asked the processor and the system for them")]

use super::amx::{COLUMNS, LINE, Sums, TILE, Tiles};
use super::{Aligned, Block, Call, chunk_of, store};
use crate::quantise::TILE_ROWS;

/// Rows of a block.
const ROWS: usize = 2 * TILE_ROWS;

/// Parts of a block at most, between which sums of the block before become results.
const PARTS: usize = 8;

impl Call<'_> {
    /// Chunks of panels, of each chunk a block of rows after the other, of each block two panels at once. Between steps of
    /// a block's products some sums of the block before become results: the processor does both at once, and looks ahead
    /// too little to find that out by itself.
    #[inline(always)]
    pub(super) fn in_tiles(mut self) {
        // SAFETY: products are computed by `isa::compiled_for` alone, which has asked for the tiles of this path.
        let tiles = unsafe { Tiles::configured() };
        let (matrix, rows) = (self.matrix, self.rows);
        let panel = matrix.groups / TILE_ROWS * TILE;
        let pairs = chunk_of(2 * panel);
        let mut sums = [const { Aligned([[0; COLUMNS]; ROWS]) }; 2];
        let [mut made, mut making] = sums.each_mut().map(|Aligned(sums)| sums);
        let mut before = Block { first: 0, rows: 0, column: 0 };
        for (chunk, weights) in matrix.bytes().chunks(pairs * 2 * panel).enumerate() {
            for first in (0..rows.rows).step_by(ROWS) {
                let count = ROWS.min(rows.rows - first);
                for (number, pair) in weights.chunks_exact(2 * panel).enumerate() {
                    let block = Block { first, rows: count, column: (chunk * pairs + number) * COLUMNS };
                    let panels = [&pair[..panel], &pair[panel..]];
                    if count > TILE_ROWS {
                        self.in_parts::<2>(&tiles, block, panels, (before, made));
                        tiles.take::<2>(making);
                    } else {
                        self.in_parts::<1>(&tiles, block, panels, (before, made));
                        tiles.take::<1>(making);
                    }
                    before = block;
                    std::mem::swap(&mut made, &mut making);
                }
            }
        }
        if before.rows > 0 {
            store(&mut self, before, made);
        }
    }

    /// A block's sums, in the tiles, and the results of the block before.
    #[inline(always)]
    fn in_parts<const T: usize>(
        &mut self,
        tiles: &Tiles,
        block: Block,
        panels: [&[i8]; 2],
        (before, made): (Block, &Sums),
    ) {
        let steps = panels[0].len() / TILE;
        let own = &self.rows.bytes[block.first * self.rows.stride..];
        let (part, done) = (steps.div_ceil(PARTS), before.rows.div_ceil(steps.min(PARTS)));
        tiles.clear();
        let mut row = 0;
        for begin in (0..steps).step_by(part) {
            let range = begin * TILE..steps.min(begin + part) * TILE;
            tiles.advance::<T>(&own[begin * LINE..], self.rows.stride, panels.map(|panel| &panel[range.clone()]));
            let end = before.rows.min(row + done);
            store(self, Block { first: before.first + row, rows: end - row, ..before }, &made[row..end]);
            row = end;
        }
        store(self, Block { first: before.first + row, rows: before.rows - row, ..before }, &made[row..before.rows]);
    }
}
