//! Relative terms of one head: products with the tables' rows, and which of them belongs to a query and a key.
//!
//! Owns the part of the tables that a pair's distances need. It must not know how scores become weights.

use super::head::{Block, Head, blocks, sized};
use super::{Attention, Positions};
use crate::product::{Matrix, Tile, put_row, row_of, row_of_mut};

/// Relative terms of one head. A block of rows is as in [`Tile`].
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    /// Rows of the tables by distance, from the farthest key behind to the farthest before.
    rows: Vec<u32>,
    /// First row of the tables that any distance needs, and how many, in whole panels.
    first: usize,
    count: usize,
    /// That part of a table for one head, turned, in panels: `[count / C, width, C]`.
    keys: Vec<f32>,
    queries: Vec<f32>,
    /// Some keys, and what comes of them, as blocks.
    block: Vec<f32>,
    results: Vec<f32>,
    /// A block's queries times the keys' part, `[count / C, R, C]`.
    of_block: Vec<f32>,
    /// Every key times the queries' part, `[tokens, count]`.
    of_keys: Vec<f32>,
}

impl Terms {
    /// The part of the relative tables that this pair's distances need, and every key times it.
    #[inline(always)]
    pub(super) fn prepare<const C: usize, T: Tile<C>>(&mut self, head: &Head<'_>) {
        let Positions::Relative(relative) = &head.call.attention.positions else { return };
        let Attention { heads, width, scale, .. } = *head.call.attention;
        let farthest = head.tokens.cast_signed() - 1;
        self.rows.clear();
        // By place of the key less that of the query.
        let rows = (-farthest..=farthest).map(|distance| relative.row(-distance));
        self.rows.extend(rows.map(|row| u32::try_from(row).unwrap_or(u32::MAX)));
        self.first = self.rows.iter().copied().min().unwrap_or(0) as usize;
        let last = self.rows.iter().copied().max().unwrap_or(0) as usize;
        self.rows.iter_mut().for_each(|row| *row -= u32::try_from(self.first).unwrap_or(0));
        self.count = (last + 1 - self.first).next_multiple_of(C);
        let (row, offset) = (heads * width, head.number * width);
        let part = |table: &[f32], factor: f32, into: &mut Vec<f32>| {
            into.clear();
            sized(into, width * self.count);
            for (at, line) in table.chunks_exact(row).skip(self.first).take(last + 1 - self.first).enumerate() {
                let panel = &mut into[at / C * C * width..];
                for (value, &entry) in line[offset..offset + width].iter().enumerate() {
                    panel[value * C + at % C] = entry * factor;
                }
            }
        };
        // Queries come with the scale in them, keys without.
        part(relative.keys, 1.0, &mut self.keys);
        part(relative.queries, scale, &mut self.queries);
        self.multiply_keys::<C, T>(head);
    }

    /// Every key times the queries' part of the tables.
    #[inline(always)]
    fn multiply_keys<const C: usize, T: Tile<C>>(&mut self, head: &Head<'_>) {
        let Attention { heads, width, .. } = *head.call.attention;
        let Terms { count, queries, block, results, of_keys, .. } = self;
        sized(of_keys, head.tokens * *count);
        let panels = *count / C;
        let table = Matrix { values: queries, rows: width, stride: C, panels, panel: C * width };
        for (first, rows) in blocks(head.tokens, T::ROWS) {
            sized(block, width.div_ceil(C) * rows * C);
            for row in 0..rows {
                let from = ((head.start + first + row) * heads + head.number) * width;
                put_row::<C>(&head.call.inputs.key[from..from + width], 1.0, block, rows, row);
            }
            sized(results, panels * rows * C);
            T::multiply(rows, block, table, results);
            for row in 0..rows {
                let into = of_keys[(first + row) * *count..][..*count].as_chunks_mut::<C>().0;
                into.iter_mut().zip(row_of::<C>(results, rows, row)).for_each(|(into, from)| *into = *from);
            }
        }
    }

    /// Adds the terms of a block's queries and of the keys to its scores.
    #[inline(always)]
    pub(super) fn add<const C: usize, T: Tile<C>>(
        &mut self,
        head: &Head<'_>,
        block: Block,
        queries: &[f32],
        scores: &mut [f32],
    ) {
        let Positions::Relative(_) = &head.call.attention.positions else { return };
        let (width, count) = (head.call.attention.width, block.rows());
        let panels = self.count / C;
        let table = Matrix { values: &self.keys, rows: width, stride: C, panels, panel: C * width };
        sized(&mut self.of_block, panels * count * C);
        T::multiply(count, queries, table, &mut self.of_block);
        for place in block.begin..block.end {
            let row = place - block.begin;
            // The distance from this query to key `low`, as an index of `rows`.
            let by_key = &self.rows[block.low + head.tokens - 1 - place..][..block.high - block.low];
            let others = self.of_keys[block.low * self.count..].chunks_exact(self.count.max(1));
            let line = row_of_mut::<C>(scores, count, row).flatten();
            for ((score, &distance), others) in line.zip(by_key).zip(others) {
                let distance = distance as usize;
                let own = self.of_block[(distance / C * count + row) * C + distance % C];
                *score += own + others[distance];
            }
        }
    }
}
