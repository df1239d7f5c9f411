//! Products of rows of 16 bits in tiles: high and low bytes apart, and weights that need more than 8 bits likewise.
//!
//! Owns how sums of bytes become sums of words. It must not know instructions.
//!
//! With a row `256 · h + l` and a weight `w`, a sum is `256 · Σ h w + Σ l w`; with a weight `256 · g + w`, it is
//! `65,536 · Σ h g + 256 · (Σ h w + Σ l g) + Σ l w`. High bytes have a sign, low ones none. All of it is computed with
//! wrapping, and the sum itself fits into 32 bits, as [`matrix`](crate::matrix) says: so it is exact, and the same as on
//! every path.
#![expect(unsafe_code, reason = "tiles are configured where `isa` has asked the processor and the system for them")]

use super::amx::{LINE, SQUARE, Squares, TILE, Tiles};
use super::{Aligned, AsFloat, Block, Call, chunk_of, store};
use crate::quantise::{Rows, TILE_ROWS};

/// Terms of a sum that a tile has.
const TERMS: usize = 64;

impl Call<'_> {
    /// With weights of 8 bits two panels at once, else both halves of one.
    #[inline(always)]
    pub(super) fn in_halves(self) {
        if self.matrix.is_halved() {
            self.by_halves::<SQUARE, true>();
        } else {
            self.by_halves::<{ 2 * SQUARE }, false>();
        }
    }

    /// Chunks of panels, of each chunk a block of rows after the other, of each block the panels.
    #[inline(always)]
    fn by_halves<const C: usize, const HALVED: bool>(mut self) {
        // SAFETY: products are computed by `isa::compiled_for` alone, which has asked for the tiles of this path.
        let tiles = unsafe { Tiles::configured() };
        let matrix = self.matrix;
        let panel = matrix.groups / TILE_ROWS * TILE;
        let pairs = chunk_of(2 * panel);
        let mut buffers = Buffers::<C>::default();
        // The tiles' sums become results while those of the next block are in the making.
        let (mut before, mut making) = (None, 0);
        for (chunk, weights) in matrix.bytes().chunks(pairs * 2 * panel).enumerate() {
            for first in (0..self.rows.rows).step_by(TILE_ROWS) {
                let count = TILE_ROWS.min(self.rows.rows - first);
                for (number, pair) in weights.chunks_exact(2 * panel).enumerate() {
                    let block = Block { first, rows: count, column: (chunk * pairs + number) * C };
                    let panels = [&pair[..panel], &pair[panel..]];
                    if matrix.block < matrix.groups {
                        buffers.in_blocks::<HALVED>(&mut self, &tiles, block, panels);
                        continue;
                    }
                    buffers.multiply::<HALVED>(&self, &tiles, block, (panels, 0), making);
                    if let Some(before) = before.replace(block) {
                        buffers.finish::<HALVED>(&mut self, before, 1 - making);
                    }
                    making = 1 - making;
                }
            }
        }
        if let Some(before) = before {
            buffers.finish::<HALVED>(&mut self, before, 1 - making);
        }
    }
}

/// Sums of a block of rows and columns on their way to results.
struct Buffers<const C: usize> {
    /// Of bytes, of two blocks.
    squares: [Aligned<Squares>; 2],
    /// Of words, of one block of the matrix's rows, and of those so far.
    sums: Aligned<[[i32; C]; TILE_ROWS]>,
    totals: Aligned<[[f32; C]; TILE_ROWS]>,
}

impl<const C: usize> Default for Buffers<C> {
    fn default() -> Self {
        Self {
            squares: [const { Aligned([[[0; SQUARE]; TILE_ROWS]; 4]) }; 2],
            sums: Aligned([[0; C]; TILE_ROWS]),
            totals: Aligned([[0.0; C]; TILE_ROWS]),
        }
    }
}

impl<const C: usize> Buffers<C> {
    /// Sums of bytes of a block, from a step of the panels on, into one of the places for them.
    #[inline(always)]
    fn multiply<const HALVED: bool>(
        &mut self,
        call: &Call<'_>,
        tiles: &Tiles,
        block: Block,
        (panels, begin): ([&[i8]; 2], usize),
        place: usize,
    ) {
        let Rows { stride, bytes, .. } = call.rows;
        let high = &bytes[block.first * stride + begin * LINE..];
        let low = &high[call.rows.low()..];
        tiles.multiply_halves::<HALVED>([high, low], *stride, panels, &mut self.squares[place].0);
    }

    #[inline(always)]
    fn finish<const HALVED: bool>(&mut self, call: &mut Call<'_>, block: Block, place: usize) {
        self.join::<HALVED>(place);
        store(call, block, &self.sums.0);
    }

    /// Results of sums that are cut into blocks of the matrix's rows.
    #[inline(always)]
    fn in_blocks<const HALVED: bool>(&mut self, call: &mut Call<'_>, tiles: &Tiles, block: Block, panels: [&[i8]; 2]) {
        let (steps, step) = (panels[0].len() / TILE, call.matrix.block * 4 / TERMS);
        for begin in (0..steps).step_by(step) {
            let part = begin * TILE..steps.min(begin + step) * TILE;
            self.multiply::<HALVED>(call, tiles, block, (panels.map(|panel| &panel[part.clone()]), begin), 0);
            self.join::<HALVED>(0);
            for (totals, sums) in self.totals.0.iter_mut().zip(&self.sums.0) {
                for (total, &sum) in totals.iter_mut().zip(sums) {
                    *total = if begin == 0 { sum.float() } else { *total + sum.float() };
                }
            }
        }
        store(call, block, &self.totals.0);
    }

    /// From sums of bytes to those of words.
    #[inline(always)]
    fn join<const HALVED: bool>(&mut self, place: usize) {
        let [first, second, third, fourth] = &self.squares[place].0;
        for (row, sums) in self.sums.0.iter_mut().enumerate() {
            let (first, second, third, fourth) = (first[row], second[row], third[row], fourth[row]);
            if HALVED {
                for at in 0..SQUARE {
                    let middle = second[at].wrapping_add(third[at]);
                    sums[at] = (first[at] << 16).wrapping_add(middle << 8).wrapping_add(fourth[at]);
                }
            } else {
                for at in 0..SQUARE {
                    sums[at] = (first[at] << 8).wrapping_add(third[at]);
                    sums[SQUARE + at] = (second[at] << 8).wrapping_add(fourth[at]);
                }
            }
        }
    }
}
