//! One head of one pair at a time, a block of queries after the other.
//!
//! Owns the order of the sums, which decides a result's bits: scores over a head's values, context over a pair's tokens,
//! both one after the other, for every instruction set. Keys lie turned, so that the inner loops read whole vectors; scores
//! become weights and meet the values where they lie.

use std::ops::Range;

use super::head::{Block, Call, Head, blocks, sized};
use super::relative::Terms;
use super::{Attention, Positions};
use crate::product::{Matrix, TURNED, Tile, put_row, row_of, row_of_mut};

/// See [`super::Scratch`]. A block of `R` rows is as in [`Tile`].
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers {
    /// Keys of one head, turned, in panels: `[tokens / C, width, C]`.
    keys: Vec<f32>,
    /// Values of one head, in panels: `[width / C, tokens, C]`; empty where they are read in place.
    values: Vec<f32>,
    /// A block's queries, times the scale, `[width / C, R, C]`.
    queries: Vec<f32>,
    /// Scores, then weights, of a block, of the keys that any of its queries sees: `[keys / C, R, C]`.
    scores: Vec<f32>,
    /// The sums of a block's weights.
    sums: Vec<f32>,
    /// A block's context, `[width / C, R, C]`.
    context: Vec<f32>,
    /// One head's values of so many tokens.
    rows: Vec<f32>,
    terms: Terms,
}

impl Call<'_> {
    /// Everything.
    #[inline(always)]
    pub(super) fn run<const C: usize, T: Tile<C>>(&self, buffers: &mut Buffers, out: &mut [f32]) {
        let group = (self.attention.heads / self.attention.key_heads.max(1)).max(1);
        let mut start = 0;
        for (pair, &own) in self.inputs.lengths.iter().enumerate() {
            let (before_start, before) = self.beginning(pair);
            for number in 0..self.attention.heads {
                let key_number = number / group;
                let head =
                    Head { call: self, number, key_number, start, pair, tokens: before + own, before, before_start };
                if number.is_multiple_of(group) {
                    head.gather_keys::<C, T>(buffers);
                    head.gather_values::<C, T>(buffers);
                }
                head.attend::<C, T>(buffers, out);
            }
            start += own;
        }
    }

    /// The first row of a pair's beginning, and its tokens.
    fn beginning(&self, pair: usize) -> (usize, usize) {
        let Some(other) = self.inputs.beginning(pair) else { return (0, 0) };
        (self.inputs.lengths[..other].iter().sum(), self.inputs.lengths[other])
    }
}

impl Head<'_> {
    /// Lays out the keys of the head, and nothing beyond the last.
    #[inline(always)]
    fn gather_keys<const C: usize, T: Tile<C>>(&self, buffers: &mut Buffers) {
        let Attention { key_heads, width, .. } = self.call.attention;
        let (width, row) = (*width, key_heads * width);
        let Buffers { keys, rows, .. } = buffers;
        sized(keys, width * self.tokens.next_multiple_of(C));
        let last = self.tokens / C * C * width;
        keys[last..].fill(0.0);
        let source = &self.call.inputs.key[self.key_number * width..];
        for token in (0..self.tokens).step_by(TURNED) {
            let panel = &mut keys[token / C * C * width..][..C * width];
            let count = TURNED.min(self.tokens - token);
            if count == TURNED && self.call.are_as_given() && self.are_neighbours(token, count) {
                T::turn(&source[self.row(token) * row..], row, width, panel, token % C);
                continue;
            }
            sized(rows, TURNED * width);
            rows[count * width..].fill(0.0);
            for at in 0..count {
                let (from, to) = (self.row(token + at) * row, at * width);
                let gain = self.call.key_gain();
                self.call.ready(&source[from..from + width], gain, token + at, &mut rows[to..to + width]);
            }
            T::turn(rows, width, width, panel, token % C);
        }
    }

    /// Whether values are read where they stand: once, so that laying them out would take longer.
    fn are_values_in_place<const C: usize, T: Tile<C>>(&self) -> bool {
        self.before == 0 && self.places().len() <= T::ROWS && self.call.attention.width.is_multiple_of(C)
    }

    /// Lays out the values of the head.
    #[inline(always)]
    fn gather_values<const C: usize, T: Tile<C>>(&self, buffers: &mut Buffers) {
        if self.are_values_in_place::<C, T>() {
            return;
        }
        let Attention { key_heads, width, .. } = *self.call.attention;
        let row = key_heads * width;
        let values = &mut buffers.values;
        sized(values, self.tokens * width.next_multiple_of(C));
        if !width.is_multiple_of(C) {
            values.fill(0.0);
        }
        let source = &self.call.inputs.value[self.key_number * width..];
        for (panel, first) in values.chunks_exact_mut(self.tokens * C).zip((0..width).step_by(C)) {
            for (token, into) in panel.as_chunks_mut::<C>().0.iter_mut().enumerate() {
                let from = &source[self.row(token) * row + first..];
                match from.first_chunk::<C>() {
                    Some(whole) if first + C <= width => *into = *whole,
                    _ => into.iter_mut().zip(&from[..width - first]).for_each(|(into, value)| *into = *value),
                }
            }
        }
    }

    /// The values that meet a block's weights.
    #[inline(always)]
    fn values<'b, const C: usize, T: Tile<C>>(&'b self, values: &'b [f32], block: Block) -> Matrix<'b> {
        let Attention { key_heads, width, .. } = *self.call.attention;
        let (row, rows, panels) = (key_heads * width, block.high - block.low, width.div_ceil(C));
        if self.are_values_in_place::<C, T>() {
            let first = (self.start + block.low) * row + self.key_number * width;
            Matrix { values: &self.call.inputs.value[first..], rows, stride: row, panels, panel: C }
        } else {
            Matrix { values: &values[block.low * C..], rows, stride: C, panels, panel: self.tokens * C }
        }
    }

    /// Context of every query of the head.
    #[inline(always)]
    fn attend<const C: usize, T: Tile<C>>(&self, buffers: &mut Buffers, out: &mut [f32]) {
        let width = self.call.attention.width;
        buffers.terms.prepare::<C, T>(self);
        let places = self.places();
        for (first, count) in blocks(places.len(), T::ROWS) {
            let (begin, end) = (places.start + first, places.start + first + count);
            let block = Block { begin, end, low: self.seen(begin).start / C * C, high: self.seen(end - 1).end };
            self.lay_queries::<C>(block, buffers);
            let panels = (block.high - block.low).div_ceil(C);
            let keys = &buffers.keys[block.low * width..];
            let keys = Matrix { values: keys, rows: width, stride: C, panels, panel: C * width };
            sized(&mut buffers.scores, panels * count * C);
            T::multiply(count, &buffers.queries, keys, &mut buffers.scores);
            let Buffers { terms, queries, scores, .. } = buffers;
            terms.add::<C, T>(self, block, queries, scores);
            self.weigh::<C, T>(block, buffers);
            let values = self.values::<C, T>(&buffers.values, block);
            sized(&mut buffers.context, values.panels * count * C);
            T::multiply(count, &buffers.scores, values, &mut buffers.context);
            self.put_context::<C>(block, buffers, out);
        }
    }

    #[inline(always)]
    fn lay_queries<const C: usize>(&self, block: Block, buffers: &mut Buffers) {
        let Attention { heads, width, scale, .. } = self.call.attention;
        let (count, width) = (block.rows(), *width);
        let Buffers { queries, rows, .. } = buffers;
        sized(queries, width.div_ceil(C) * count * C);
        sized(rows, width);
        for place in block.begin..block.end {
            let from = (self.query_row(place) * heads + self.number) * width;
            let query = &self.call.inputs.query[from..from + width];
            let query = if self.call.are_as_given() {
                query
            } else {
                self.call.ready(query, self.call.query_gain(), place, &mut rows[..width]);
                &rows[..width]
            };
            put_row::<C>(query, *scale, queries, count, place - block.begin);
        }
    }

    /// From scores to weights that are not normalised yet, and their sums.
    #[inline(always)]
    fn weigh<const C: usize, T: Tile<C>>(&self, block: Block, buffers: &mut Buffers) {
        let Buffers { scores, sums, .. } = buffers;
        for place in block.begin..block.end {
            self.add_slopes::<C>(block, place, scores);
            let seen = self.seen(place);
            let seen = seen.start - block.low..seen.end - block.low;
            mask::<C>(scores, block.rows(), place - block.begin, seen);
        }
        sized(sums, block.rows());
        T::softmax(scores, sums);
    }

    /// Takes a head's slope times the distance off.
    #[inline(always)]
    fn add_slopes<const C: usize>(&self, block: Block, place: usize, scores: &mut [f32]) {
        let Positions::Slopes(slopes) = &self.call.attention.positions else { return };
        let slope = slopes[self.number];
        let mut distance = block.low as f32 - place as f32;
        for scores in row_of_mut::<C>(scores, block.rows(), place - block.begin) {
            for (at, score) in scores.iter_mut().enumerate() {
                *score -= slope * (distance + at as f32).abs();
            }
            distance += C as f32;
        }
    }

    /// Writes a block's results.
    #[inline(always)]
    fn put_context<const C: usize>(&self, block: Block, buffers: &Buffers, out: &mut [f32]) {
        let Attention { heads, width, .. } = *self.call.attention;
        for (row, &sum) in buffers.sums.iter().enumerate() {
            let to = (self.query_row(block.begin + row) * heads + self.number) * width;
            let (whole, rest) = out[to..to + width].as_chunks_mut::<C>();
            let mut context = row_of::<C>(&buffers.context, block.rows(), row);
            for (out, context) in whole.iter_mut().zip(context.by_ref()) {
                *out = context.map(|value| value / sum);
            }
            if let Some(context) = context.next() {
                rest.iter_mut().zip(context).for_each(|(out, value)| *out = value / sum);
            }
        }
    }
}

/// Scores of what is not seen are such that they weigh nothing.
#[inline(always)]
fn mask<const C: usize>(scores: &mut [f32], rows: usize, row: usize, seen: Range<usize>) {
    let columns = scores.len() / rows.max(1);
    for column in (0..seen.start).chain(seen.end..columns) {
        scores[(column / C * rows + row) * C + column % C] = f32::NEG_INFINITY;
    }
}
