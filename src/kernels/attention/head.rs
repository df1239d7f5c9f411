//! A head of a pair: its places, what its queries see, and how they are divided into blocks.
//!
//! Owns no arithmetic but that of places, and what a head's values go through before they meet.

use std::ops::Range;

use super::head_norm::normalise;
use super::{Attention, Inputs, Positions, Queries, Reach, rotary};

/// One pass of attention.
pub(super) struct Call<'a> {
    pub(super) attention: &'a Attention<'a>,
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) rotary: &'a rotary::Table,
}

/// A head of a pair.
pub(super) struct Head<'a> {
    pub(super) call: &'a Call<'a>,
    /// The head, and that of its keys and values.
    pub(super) number: usize,
    pub(super) key_number: usize,
    /// The first row of the pair's own tokens, and its place among the pairs.
    pub(super) start: usize,
    pub(super) pair: usize,
    /// Its tokens, its beginning's among them.
    pub(super) tokens: usize,
    /// Tokens of a beginning that is given apart, and their first row.
    pub(super) before: usize,
    pub(super) before_start: usize,
}

/// Some queries of a head.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Places of the first and after the last.
    pub(super) begin: usize,
    pub(super) end: usize,
    /// The keys that any of them sees, from a whole panel on.
    pub(super) low: usize,
    pub(super) high: usize,
}

impl Block {
    pub(super) fn rows(self) -> usize {
        self.end - self.begin
    }
}

impl Call<'_> {
    /// Whether queries and keys meet as they were given.
    pub(super) fn are_as_given(&self) -> bool {
        let Attention { positions, head_norms, .. } = self.attention;
        !matches!(positions, Positions::Rotary(_)) && head_norms.is_none()
    }

    /// A head's values of a query or key, put into `out` as they meet: normalised with its gain, then turned by its place.
    #[inline(always)]
    pub(super) fn ready(&self, values: &[f32], gain: &[f32], place: usize, out: &mut [f32]) {
        out.copy_from_slice(values);
        if let Some(norms) = &self.attention.head_norms {
            normalise(out, gain, norms.epsilon);
        }
        self.rotary.turn(out, place);
    }

    /// What normalised queries are multiplied with; empty where they are not normalised.
    pub(super) fn query_gain(&self) -> &[f32] {
        self.attention.head_norms.as_ref().map_or(&[], |norms| norms.query)
    }

    /// The same of keys.
    pub(super) fn key_gain(&self) -> &[f32] {
        self.attention.head_norms.as_ref().map_or(&[], |norms| norms.key)
    }
}

impl Head<'_> {
    /// Places of the queries that are given, of this pair.
    pub(super) fn places(&self) -> Range<usize> {
        match self.call.inputs.queries {
            Queries::All => self.before..self.tokens,
            Queries::First => self.before..self.before + 1,
            Queries::Last => self.tokens - 1..self.tokens,
        }
    }

    /// Keys that a query sees.
    #[inline(always)]
    pub(super) fn seen(&self, place: usize) -> Range<usize> {
        match self.call.attention.reach {
            Reach::All => 0..self.tokens,
            Reach::Window(side) => place.saturating_sub(side)..place.saturating_add(side + 1).min(self.tokens),
            Reach::Causal => 0..place + 1,
            Reach::CausalWindow(side) => place.saturating_sub(side)..place + 1,
        }
    }

    /// The row of a query among those that are given.
    pub(super) fn query_row(&self, place: usize) -> usize {
        if self.call.inputs.queries == Queries::All { self.start + place - self.before } else { self.pair }
    }

    /// The row of a token's key and value.
    #[inline(always)]
    pub(super) fn row(&self, token: usize) -> usize {
        if token < self.before { self.before_start + token } else { self.start + token - self.before }
    }

    /// Whether so many tokens from this one on stand one after the other.
    #[inline(always)]
    pub(super) fn are_neighbours(&self, token: usize, count: usize) -> bool {
        token >= self.before || token + count <= self.before
    }
}

/// Blocks of at most so many rows, as equal as may be: of a short one the inner loop would wait for its sums.
#[inline(always)]
pub(super) fn blocks(rows: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(most).max(1);
    let (size, longer) = (rows / count, rows % count);
    (0..count).map(move |at| (at * size + at.min(longer), size + usize::from(at < longer)))
}

/// A buffer of so many values at least; those that it held stay.
pub(super) fn sized(buffer: &mut Vec<f32>, count: usize) {
    buffer.resize(count, 0.0);
}
