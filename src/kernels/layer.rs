//! A whole encoder layer in integers: products with a scale a token, attention in floats, and what stands between them.
//!
//! Owns the order of a layer's steps and what each hands to the next, so that rows are quantised where they are made. The
//! steps are those of the modules beside this one. It must not know where weights come from.

use crate::activation::gate_rows;
use crate::attention::{Attention, Inputs, Misfit, Positions, Queries, Reach, Relative, Scratch, total};
use crate::isa::Path;
use crate::lines::Lines;
use crate::matmul::Then;
use crate::matrix::{PackedMatrix, fits};
use crate::norm::LayerNorm;
use crate::quantise::{Format, Rows};

/// Tokens that go through a layer together: few enough that what one step leaves is in a near cache when the next one reads
/// it, and many enough that the weights' way from memory is a small part. Half as many made no difference.
const TOGETHER: usize = 512;

/// Where a layer's norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// After each part's sum with its input (BERT).
    After,
    /// Before each part (`ModernBERT`).
    Before,
}

/// How places enter a layer's attention; as [`Positions`], with values of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Places {
    /// Not at all.
    Absolute,
    /// Radians a token.
    Rotary(Vec<f32>),
    /// A slope a head.
    Slopes(Vec<f32>),
    /// Terms of the distance.
    Relative {
        /// The tables' rows by distance.
        rows: Vec<i64>,
        /// What queries meet.
        keys: Vec<f32>,
        /// What keys meet.
        queries: Vec<f32>,
    },
}

/// A layer norm's own values.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// One an element of a row.
    pub gain: Vec<f32>,
    /// One an element of a row; empty for none.
    pub bias: Vec<f32>,
    /// What is added to the variance.
    pub epsilon: f32,
}

/// What a layer is made of.
#[derive(Debug)]
pub struct Parts {
    /// Attention heads.
    pub heads: usize,
    /// What scores are multiplied with.
    pub scale: f32,
    /// Which tokens a token sees.
    pub reach: Reach,
    /// How places enter.
    pub places: Places,
    /// Where the norms stand.
    pub placement: Placement,
    /// `[hidden, hidden]`.
    pub query: PackedMatrix,
    /// `[hidden, hidden]`.
    pub key: PackedMatrix,
    /// `[hidden, hidden]`.
    pub value: PackedMatrix,
    /// `[hidden, hidden]`.
    pub output: PackedMatrix,
    /// `[hidden, wide]`; with a gate `[hidden, 2 · wide]`, what is activated first.
    pub up: PackedMatrix,
    /// Whether the feed-forward part has a gate.
    pub is_gated: bool,
    /// `[wide, hidden]`.
    pub down: PackedMatrix,
    /// Attention's norm; only layers with norms before their parts may do without.
    pub attention_norm: Option<Norm>,
    /// The feed-forward part's norm.
    pub norm: Norm,
}

/// See the module. The feed-forward part's activation is GELU.
#[derive(Debug)]
pub struct EncoderLayer {
    path: Path,
    parts: Parts,
    hidden: usize,
    wide: usize,
    /// Of the rows that meet the first three products.
    format: Format,
}

/// Buffers that a thread keeps from layer to layer.
#[derive(Clone, Debug, Default)]
pub struct LayerScratch {
    attention: Scratch,
    rows: Rows,
    other_rows: Rows,
    normed: Lines<f32>,
    first: Lines<f32>,
    residual: Lines<f32>,
    query: Lines<f32>,
    key: Lines<f32>,
    value: Lines<f32>,
    context: Lines<f32>,
    sum: Lines<f32>,
    middle: Lines<f32>,
    wide: Lines<f32>,
    gated: Lines<f32>,
}

impl Norm {
    fn borrowed(&self) -> LayerNorm<'_> {
        LayerNorm { gain: &self.gain, bias: &self.bias, epsilon: self.epsilon }
    }
}

impl Places {
    fn borrowed(&self) -> Positions<'_> {
        match self {
            Self::Absolute => Positions::Absolute,
            Self::Rotary(frequencies) => Positions::Rotary(frequencies),
            Self::Slopes(slopes) => Positions::Slopes(slopes),
            Self::Relative { rows, keys, queries } => Positions::Relative(Relative { rows, keys, queries }),
        }
    }
}

impl EncoderLayer {
    /// A layer of these parts, all of them packed for `path`.
    ///
    /// # Errors
    /// [`Misfit`] when they do not fit each other.
    pub fn new(path: Path, parts: Parts) -> Result<Self, Misfit> {
        let (hidden, wide) = (parts.query.shape().0, parts.down.shape().0);
        let square = [("query", &parts.query), ("key", &parts.key), ("value", &parts.value), ("output", &parts.output)];
        for (what, matrix) in square {
            fits(what, matrix.shape().0, hidden)?;
            fits(what, matrix.shape().1, hidden)?;
        }
        fits("rows of the first product of the feed-forward part", parts.up.shape().0, hidden)?;
        let outputs = if parts.is_gated { 2 * wide } else { wide };
        fits("columns of the first product of the feed-forward part", parts.up.shape().1, outputs)?;
        fits("columns of the last product", parts.down.shape().1, hidden)?;
        fits("the norm", parts.norm.gain.len(), hidden)?;
        match (&parts.attention_norm, parts.placement) {
            (Some(norm), _) => fits("attention's norm", norm.gain.len(), hidden)?,
            (None, Placement::Before) => {}
            (None, Placement::After) => return Err(Misfit { what: "attention's norm", got: 0, wanted: hidden }),
        }
        if parts.heads == 0 || !hidden.is_multiple_of(parts.heads) {
            return Err(Misfit { what: "a row of equal heads, which", got: parts.heads, wanted: hidden });
        }
        let three = parts.query.format().for_both(parts.key.format());
        let three = three.and_then(|format| format.for_both(parts.value.format()));
        let format = three.ok_or(Misfit { what: "products of several paths, which", got: 2, wanted: 1 })?;
        Ok(Self { path, parts, hidden, wide, format })
    }

    /// Bytes of its weights.
    pub fn size(&self) -> usize {
        let Parts { query, key, value, output, up, down, .. } = &self.parts;
        [query, key, value, output, up, down].map(PackedMatrix::size).iter().sum()
    }

    /// Rows after the layer, `[tokens or pairs, hidden]`, of `rows` before it, `[tokens, hidden]`, of pairs of these lengths;
    /// with [`Queries::First`] those of each pair's first token.
    ///
    /// # Errors
    /// [`Misfit`] when the slices are not as long as that, or the last tokens' rows are asked for.
    pub fn run(
        &self,
        rows: &[f32],
        (lengths, queries): (&[usize], Queries),
        scratch: &mut LayerScratch,
        out: &mut [f32],
    ) -> Result<(), Misfit> {
        let tokens = total(lengths)?;
        let wanted = match queries {
            Queries::All => tokens,
            Queries::First => lengths.len(),
            Queries::Last => return Err(Misfit { what: "the kind of queries", got: 2, wanted: 1 }),
        };
        fits("the layer's input", rows.len(), tokens.saturating_mul(self.hidden))?;
        fits("the layer's output", out.len(), wanted.saturating_mul(self.hidden))?;
        if queries == Queries::First {
            // Few rows leave attention: together they read the feed-forward part's weights once.
            self.attend(rows, (lengths, queries), scratch)?;
            return self.feed_forward_in_parts(scratch, out);
        }
        let (mut rows, mut out) = (rows, out);
        for pairs in groups(lengths) {
            let (own, others) = rows.split_at(pairs.iter().sum::<usize>() * self.hidden);
            let (own_out, others_out) = std::mem::take(&mut out).split_at_mut(own.len());
            (rows, out) = (others, others_out);
            self.attend(own, (pairs, queries), scratch)?;
            self.feed_forward_in_parts(scratch, own_out)?;
        }
        Ok(())
    }

    /// Attention and its sum with the wanted rows, into `sum`.
    fn attend(
        &self,
        rows: &[f32],
        (lengths, queries): (&[usize], Queries),
        scratch: &mut LayerScratch,
    ) -> Result<(), Misfit> {
        let Parts { query, key, value, output, .. } = &self.parts;
        let hidden = self.hidden;
        let LayerScratch { attention, rows: all, other_rows: other, normed, first, residual, .. } = scratch;
        let input = match (&self.parts.attention_norm, self.parts.placement) {
            (Some(norm), Placement::Before) => {
                let out = normed.sized(rows.len());
                norm.borrowed().run(self.path, rows, None, out, Some((&mut *all, self.format)))?;
                &*out
            }
            (None, Placement::Before) | (_, Placement::After) => {
                all.quantise(self.path, self.format, rows, hidden)?;
                rows
            }
        };
        let is_first = queries == Queries::First;
        let (wanted_rows, residual) = if is_first {
            other.quantise(self.path, self.format, first_rows(input, (lengths, hidden), first), hidden)?;
            (&*other, first_rows(rows, (lengths, hidden), residual))
        } else {
            (&*all, rows)
        };
        let wanted = residual.len();
        query.multiply(wanted_rows, Then::Store, scratch.query.sized(wanted))?;
        key.multiply(all, Then::Store, scratch.key.sized(rows.len()))?;
        value.multiply(all, Then::Store, scratch.value.sized(rows.len()))?;
        let inputs = Inputs {
            query: &scratch.query,
            key: &scratch.key,
            value: &scratch.value,
            lengths,
            beginnings: &[],
            queries,
        };
        let context = scratch.context.sized(wanted);
        self.attention().run(self.path.isa(), &inputs, attention, context)?;
        other.quantise(self.path, output.format(), context, hidden)?;
        output.multiply(other, Then::Add(residual), scratch.sum.sized(wanted))
    }

    fn attention(&self) -> Attention<'_> {
        let Parts { heads, scale, reach, places, .. } = &self.parts;
        Attention {
            heads: *heads,
            key_heads: *heads,
            width: self.hidden / heads,
            scale: *scale,
            reach: *reach,
            head_norms: None,
            positions: places.borrowed(),
        }
    }

    /// The feed-forward part of `sum`, [`TOGETHER`] rows after others.
    fn feed_forward_in_parts(&self, scratch: &mut LayerScratch, out: &mut [f32]) -> Result<(), Misfit> {
        let mut sum = std::mem::take(&mut scratch.sum);
        let part = TOGETHER * self.hidden;
        let mut parts = sum.chunks_mut(part).zip(out.chunks_mut(part));
        let result = parts.try_for_each(|(sum, out)| self.feed_forward(sum, scratch, out));
        scratch.sum = sum;
        result
    }

    /// The feed-forward part of `sum`, and the sums and norms about it.
    fn feed_forward(&self, sum: &mut [f32], scratch: &mut LayerScratch, out: &mut [f32]) -> Result<(), Misfit> {
        let Parts { up, down, attention_norm, norm, placement, is_gated, .. } = &self.parts;
        let wanted = sum.len() / self.hidden;
        let LayerScratch { rows, middle, wide, gated, .. } = scratch;
        let before = match (attention_norm, placement) {
            (Some(norm), Placement::After) => norm,
            (None, Placement::After) | (_, Placement::Before) => norm,
        };
        let middle = middle.sized(sum.len());
        before.borrowed().run(self.path, sum, None, middle, Some((&mut *rows, up.format())))?;
        let activated = if *is_gated {
            let both = wide.sized(wanted * 2 * self.wide);
            up.multiply(rows, Then::Store, both)?;
            let gated = gated.sized(wanted * self.wide);
            gate_rows(self.path, both, self.wide, gated)?;
            gated
        } else {
            let wide = wide.sized(wanted * self.wide);
            up.multiply(rows, Then::Gelu, wide)?;
            wide
        };
        rows.quantise(self.path, down.format(), activated, self.wide)?;
        match placement {
            Placement::Before => down.multiply(rows, Then::Add(&*sum), out),
            Placement::After => {
                down.multiply(rows, Then::Add(middle), sum)?;
                norm.borrowed().run(self.path, sum, None, out, None)
            }
        }
    }
}

/// Pairs that go through a layer together: as many as have [`TOGETHER`] tokens at most, or one.
fn groups(lengths: &[usize]) -> impl Iterator<Item = &[usize]> {
    let mut rest = lengths;
    std::iter::from_fn(move || {
        let mut tokens = 0_usize;
        let fits = |length: &&usize| {
            tokens += **length;
            tokens <= TOGETHER
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (group, others) = rest.split_at(count);
        rest = others;
        (count > 0).then_some(group)
    })
}

/// The first row of each pair.
fn first_rows<'b>(rows: &[f32], (lengths, hidden): (&[usize], usize), into: &'b mut Lines<f32>) -> &'b [f32] {
    let into = into.sized(lengths.len() * hidden);
    let mut start = 0;
    for (length, into) in lengths.iter().zip(into.chunks_exact_mut(hidden)) {
        into.copy_from_slice(&rows[start * hidden..(start + 1) * hidden]);
        start += length;
    }
    into
}

#[cfg(test)]
mod tests;
