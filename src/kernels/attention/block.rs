//! One head of one pair at a time, a block of queries after the other.
//!
//! Owns the order of the sums, which decides a result's bits: scores over a head's values, context over a pair's tokens,
//! both one after the other, for every instruction set. Keys lie turned and values padded, so that the inner loops read
//! whole vectors.

use super::{Attention, Inputs, Positions, Queries, Reach, rotary};
use crate::exp::exp;
use crate::product::{Panels, rows_by_matrix};

/// One pass of attention.
pub(super) struct Call<'a> {
    pub(super) attention: &'a Attention<'a>,
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) rotary: &'a rotary::Table,
}

/// See [`super::Scratch`].
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers {
    /// Keys of one head, turned, in panels: `[tokens / C, width, C]`.
    keys: Vec<f32>,
    /// Values of one head, in panels: `[width / C, tokens, C]`.
    values: Vec<f32>,
    /// A block's queries, `[width, block]`.
    queries: Vec<f32>,
    /// Scores, then weights, of a block, `[block, tokens]`.
    scores: Vec<f32>,
    /// The weights turned, `[tokens, block]`.
    weights: Vec<f32>,
    /// A block's context, `[block, width]`.
    context: Vec<f32>,
    /// One head's values of one token.
    row: Vec<f32>,
    terms: Terms,
}

/// Relative terms of one head.
#[derive(Clone, Debug, Default)]
struct Terms {
    /// Rows of the tables by distance, from the farthest key behind to the farthest before.
    rows: Vec<u32>,
    /// First row of the tables that any distance needs, and how many.
    first: usize,
    count: usize,
    /// That part of a table for one head, turned, in panels: `[count / C, width, C]`.
    keys: Vec<f32>,
    queries: Vec<f32>,
    /// A block's queries times the keys' part, `[block, count]`.
    of_block: Vec<f32>,
    /// Every key times the queries' part, `[tokens, count]`.
    of_keys: Vec<f32>,
}

/// A head of a pair.
struct Head<'a> {
    call: &'a Call<'a>,
    /// The head, and that of its keys and values.
    number: usize,
    key_number: usize,
    /// The pair's first token, its tokens, and its place among the pairs.
    start: usize,
    tokens: usize,
    pair: usize,
}

impl Call<'_> {
    /// Everything, `R` queries and `C` columns at a time.
    #[inline(always)]
    pub(super) fn run<const R: usize, const C: usize, const FMA: bool>(&self, buffers: &mut Buffers, out: &mut [f32]) {
        let group = self.attention.heads / self.attention.key_heads.max(1);
        let mut start = 0;
        for (pair, &tokens) in self.inputs.lengths.iter().enumerate() {
            if tokens > 0 {
                for number in 0..self.attention.heads {
                    let key_number = number / group.max(1);
                    let head = Head { call: self, number, key_number, start, tokens, pair };
                    if number.is_multiple_of(group.max(1)) {
                        head.gather_keys::<C>(buffers);
                    }
                    head.attend::<R, C, FMA>(buffers, out);
                }
            }
            start += tokens;
        }
    }
}

impl Head<'_> {
    /// Lays out the keys and values of the head.
    #[inline(always)]
    fn gather_keys<const C: usize>(&self, buffers: &mut Buffers) {
        let Attention { key_heads, width, .. } = *self.call.attention;
        let (columns, padded) = (self.tokens.next_multiple_of(C), width.next_multiple_of(C));
        let (row, offset) = (key_heads * width, self.key_number * width);
        let Buffers { keys, values, row: turned, .. } = buffers;
        fill(keys, width * columns);
        fill(values, self.tokens * padded);
        turned.resize(width, 0.0);
        for token in 0..self.tokens {
            let from = (self.start + token) * row + offset;
            self.call.rotary_of(&self.call.inputs.key[from..from + width], token, turned);
            let panel = &mut keys[token / C * C * width..];
            for (at, &value) in turned.iter().enumerate() {
                panel[at * C + token % C] = value;
            }
            for (at, part) in self.call.inputs.value[from..from + width].chunks(C).enumerate() {
                values[(at * self.tokens + token) * C..][..part.len()].copy_from_slice(part);
            }
        }
    }

    /// Places of the queries that are given, of this pair.
    fn places(&self) -> std::ops::Range<usize> {
        match self.call.inputs.queries {
            Queries::All => 0..self.tokens,
            Queries::First => 0..1,
            Queries::Last => self.tokens - 1..self.tokens,
        }
    }

    /// Keys that a query sees.
    #[inline(always)]
    fn seen(&self, place: usize) -> std::ops::Range<usize> {
        match self.call.attention.reach {
            Reach::All => 0..self.tokens,
            Reach::Window(side) => place.saturating_sub(side)..(place + side + 1).min(self.tokens),
            Reach::Causal => 0..place + 1,
        }
    }

    #[inline(always)]
    fn attend<const R: usize, const C: usize, const FMA: bool>(&self, buffers: &mut Buffers, out: &mut [f32]) {
        let Attention { heads, width, scale, .. } = *self.call.attention;
        let (columns, padded) = (self.tokens.next_multiple_of(C), width.next_multiple_of(C));
        let places = self.places();
        let first_row = if self.call.inputs.queries == Queries::All { self.start } else { self.pair };
        let (row, offset) = (heads * width, self.number * width);
        if let Positions::Relative(_) = &self.call.attention.positions {
            self.relative_terms::<R, C, FMA>(buffers);
        }
        fill(&mut buffers.scores, R * columns);
        fill(&mut buffers.context, R * padded);
        for begin in places.clone().step_by(R) {
            let end = (begin + R).min(places.end);
            fill(&mut buffers.queries, width * R);
            for place in begin..end {
                let from = (first_row + place - places.start) * row + offset;
                buffers.row.resize(width, 0.0);
                self.call.rotary_of(&self.call.inputs.query[from..from + width], place, &mut buffers.row);
                for (at, &value) in buffers.row.iter().enumerate() {
                    buffers.queries[at * R + place - begin] = value * scale;
                }
            }
            // The keys that any of the block's queries sees, from a whole vector on.
            let low = self.seen(begin).start / C * C;
            let high = self.seen(end - 1).end;
            let span = (high - low).next_multiple_of(C);
            let keys = Panels { values: &buffers.keys[low * width..], rows: width, first: 0 };
            rows_by_matrix::<R, C, FMA>(&buffers.queries, keys, (&mut buffers.scores[low..], columns), span);
            if let Positions::Relative(_) = &self.call.attention.positions {
                self.add_relative::<R, C, FMA>(buffers, (begin, end), (low, high));
            }
            let mut sums = [1.0_f32; R];
            for (at, sum) in sums.iter_mut().enumerate().take(end - begin) {
                let scores = &mut buffers.scores[at * columns + low..at * columns + low + span];
                let seen = self.seen(begin + at);
                self.add_slopes(scores, begin + at, low);
                *sum = softmax::<C, FMA>(scores, seen.start - low..seen.end - low);
            }
            fill(&mut buffers.weights, (high - low) * R);
            for at in 0..end - begin {
                let scores = &buffers.scores[at * columns + low..at * columns + high];
                for (weights, &score) in buffers.weights.chunks_exact_mut(R).zip(scores) {
                    weights[at] = score;
                }
            }
            let values = Panels { values: &buffers.values, rows: self.tokens, first: low };
            rows_by_matrix::<R, C, FMA>(&buffers.weights, values, (&mut buffers.context, padded), padded);
            for (at, sum) in sums.iter().enumerate().take(end - begin) {
                let to = (first_row + begin + at - places.start) * row + offset;
                let context = &buffers.context[at * padded..at * padded + width];
                out[to..to + width].iter_mut().zip(context).for_each(|(out, value)| *out = value / sum);
            }
        }
    }

    /// Takes a head's slope times the distance off.
    #[inline(always)]
    fn add_slopes(&self, scores: &mut [f32], place: usize, low: usize) {
        let Positions::Slopes(slopes) = &self.call.attention.positions else { return };
        let slope = slopes[self.number];
        for (at, score) in scores.iter_mut().enumerate() {
            *score -= slope * (low + at).abs_diff(place) as f32;
        }
    }

    /// The part of the relative tables that this pair's distances need, and every key times it.
    #[inline(always)]
    fn relative_terms<const R: usize, const C: usize, const FMA: bool>(&self, buffers: &mut Buffers) {
        let Positions::Relative(relative) = &self.call.attention.positions else { return };
        let Attention { heads, width, scale, .. } = *self.call.attention;
        let Buffers { keys, terms, .. } = buffers;
        let farthest = self.tokens.cast_signed() - 1;
        terms.rows.clear();
        // By place of the key less that of the query.
        let rows = (-farthest..=farthest).map(|distance| relative.row(-distance));
        terms.rows.extend(rows.map(|row| u32::try_from(row).unwrap_or(u32::MAX)));
        terms.first = terms.rows.iter().copied().min().unwrap_or(0) as usize;
        let last = terms.rows.iter().copied().max().unwrap_or(0) as usize;
        terms.rows.iter_mut().for_each(|row| *row -= u32::try_from(terms.first).unwrap_or(0));
        terms.count = (last + 1 - terms.first).next_multiple_of(C);
        let (row, offset) = (heads * width, self.number * width);
        let part = |table: &[f32], factor: f32, into: &mut Vec<f32>| {
            fill(into, width * terms.count);
            if !table.is_empty() {
                for (at, line) in table.chunks_exact(row).skip(terms.first).take(last + 1 - terms.first).enumerate() {
                    let panel = &mut into[at / C * C * width..];
                    for (value, &entry) in line[offset..offset + width].iter().enumerate() {
                        panel[value * C + at % C] = entry * factor;
                    }
                }
            }
        };
        // Queries come with the scale in them, keys without.
        part(relative.keys, 1.0, &mut terms.keys);
        part(relative.queries, scale, &mut terms.queries);
        fill(&mut terms.of_keys, self.tokens.next_multiple_of(R) * terms.count);
        fill(&mut terms.of_block, R * terms.count);
        if relative.queries.is_empty() {
            return;
        }
        let mut block = vec![0.0; width * R];
        for begin in (0..self.tokens).step_by(R) {
            block.fill(0.0);
            for at in 0..R.min(self.tokens - begin) {
                let token = begin + at;
                let panel = &keys[token / C * C * width..];
                for value in 0..width {
                    block[value * R + at] = panel[value * C + token % C];
                }
            }
            let table = Panels { values: &terms.queries, rows: width, first: 0 };
            let out = (&mut terms.of_keys[begin * terms.count..], terms.count);
            rows_by_matrix::<R, C, FMA>(&block, table, out, terms.count);
        }
    }

    #[inline(always)]
    fn add_relative<const R: usize, const C: usize, const FMA: bool>(
        &self,
        buffers: &mut Buffers,
        (begin, end): (usize, usize),
        (low, high): (usize, usize),
    ) {
        let columns = self.tokens.next_multiple_of(C);
        let Buffers { terms, scores, queries, .. } = buffers;
        let table = Panels { values: &terms.keys, rows: self.call.attention.width, first: 0 };
        rows_by_matrix::<R, C, FMA>(queries, table, (&mut terms.of_block, terms.count), terms.count);
        for place in begin..end {
            let at = place - begin;
            let line = &mut scores[at * columns + low..at * columns + high];
            let own = &terms.of_block[at * terms.count..][..terms.count];
            // The distance from this query to key `low`, as an index of `rows`.
            let rows = &terms.rows[low + self.tokens - 1 - place..];
            let others = terms.of_keys[low * terms.count..].chunks_exact(terms.count.max(1));
            for ((score, &row), others) in line.iter_mut().zip(rows).zip(others) {
                *score += own[row as usize] + others[row as usize];
            }
        }
    }
}

impl Call<'_> {
    #[inline(always)]
    fn rotary_of(&self, values: &[f32], place: usize, out: &mut [f32]) {
        match &self.attention.positions {
            Positions::Rotary(_) => self.rotary.turn(values, place, out),
            Positions::Absolute | Positions::Slopes(_) | Positions::Relative(_) => out.copy_from_slice(values),
        }
    }
}

/// Turns the scores that are seen into weights that are not normalised yet, all others into zeros; answers with their sum.
#[inline(always)]
fn softmax<const C: usize, const FMA: bool>(scores: &mut [f32], seen: std::ops::Range<usize>) -> f32 {
    scores[..seen.start].fill(f32::NEG_INFINITY);
    scores[seen.end..].fill(f32::NEG_INFINITY);
    // Whole vectors: lane by lane, then the lanes in their order.
    let mut most = [f32::NEG_INFINITY; C];
    for chunk in scores.as_chunks::<C>().0 {
        most.iter_mut().zip(chunk).for_each(|(most, &score)| *most = if score > *most { score } else { *most });
    }
    let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0_f32; C];
    for chunk in scores.as_chunks_mut::<C>().0 {
        for (score, sum) in chunk.iter_mut().zip(&mut sums) {
            *score = exp::<FMA>(*score - most);
            *sum += *score;
        }
    }
    sums.into_iter().sum()
}

/// So many zeros, without new memory where there was enough.
fn fill(buffer: &mut Vec<f32>, count: usize) {
    buffer.clear();
    buffer.resize(count, 0.0);
}
