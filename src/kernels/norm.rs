//! Layer norms of rows, with what comes before and after: an addition, and the quantising of the result.
//!
//! Owns the order of the sums, which decides a result's bits. It must not know matrices.

use crate::attention::Misfit;
use crate::isa::{Path, Work, compiled_for};
use crate::matrix::fits;
use crate::quantise::{Format, Rows};

/// Sums that run beside each other over a row's elements.
const LANES: usize = 16;

/// A layer norm: `(x - mean) / √(variance + epsilon) · gain + bias` (Ba et al. 2016).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm<'a> {
    /// One an element of a row; as many as a row has.
    pub gain: &'a [f32],
    /// One an element of a row; empty for none.
    pub bias: &'a [f32],
    /// What is added to the variance.
    pub epsilon: f32,
}

impl LayerNorm<'_> {
    /// The norm of each row: `rows` and `out` are `[rows, width]` with the gain's width.
    ///
    /// With `add`, `[rows, width]`, the norm is that of the sums. With `quantised` the result is quantised as well, as
    /// [`Rows::quantise`] does. A row that has an element which is not finite, or so large that the variance is none,
    /// becomes NaN.
    ///
    /// # Errors
    /// [`Misfit`] when the slices are not as long as that, or the width is zero.
    pub fn run(
        &self,
        path: Path,
        rows: &[f32],
        add: Option<&[f32]>,
        out: &mut [f32],
        quantised: Option<(&mut Rows, Format)>,
    ) -> Result<(), Misfit> {
        let width = self.gain.len();
        if width == 0 {
            return Err(Misfit { what: "the norm's gain", got: 0, wanted: 1 });
        }
        if !self.bias.is_empty() {
            fits("the norm's bias", self.bias.len(), width)?;
        }
        fits("the norm's input, beyond whole rows,", rows.len() % width, 0)?;
        fits("the norm's output", out.len(), rows.len())?;
        if let Some(add) = add {
            fits("what is added before the norm", add.len(), rows.len())?;
        }
        let quantised = quantised.map(|(into, format)| {
            into.prepare(format, rows.len() / width, width);
            into
        });
        compiled_for(path, Call { norm: self, rows, add, out, quantised });
        Ok(())
    }
}

struct Call<'a> {
    norm: &'a LayerNorm<'a>,
    rows: &'a [f32],
    add: Option<&'a [f32]>,
    out: &'a mut [f32],
    quantised: Option<&'a mut Rows>,
}

impl Work for Call<'_> {
    #[inline(always)]
    fn run(mut self, _: Path) {
        let width = self.norm.gain.len();
        for (number, out) in self.out.chunks_exact_mut(width).enumerate() {
            let own = number * width..(number + 1) * width;
            out.copy_from_slice(&self.rows[own.clone()]);
            if let Some(add) = self.add {
                out.iter_mut().zip(&add[own]).for_each(|(out, add)| *out += add);
            }
            self.norm.row(out);
            if let Some(quantised) = &mut self.quantised {
                quantised.set(number, out);
            }
        }
    }
}

impl LayerNorm<'_> {
    /// The norm of one row, in place.
    #[inline(always)]
    fn row(&self, row: &mut [f32]) {
        let count = row.len() as f32;
        let mean = sum_of(row, |x| x) / count;
        let variance = sum_of(row, |x| (x - mean) * (x - mean)) / count;
        // One that is infinite would make zeros of what it divides, and a finite result out of none.
        let factor = if variance.is_finite() { 1.0 / (variance + self.epsilon).sqrt() } else { f32::NAN };
        if self.bias.is_empty() {
            row.iter_mut().zip(self.gain).for_each(|(x, gain)| *x = (*x - mean) * factor * gain);
        } else {
            let terms = self.gain.iter().zip(self.bias);
            row.iter_mut().zip(terms).for_each(|(x, (gain, bias))| *x = ((*x - mean) * factor).mul_add(*gain, *bias));
        }
    }
}

/// The sum of a row's terms: lane by lane, then the lanes by halves, then what is left of the row.
#[inline(always)]
fn sum_of(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for chunk in chunks {
        for at in 0..LANES {
            sums[at] += term(chunk[at]);
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        for at in 0..half {
            sums[at] += sums[at + half];
        }
        half /= 2;
    }
    rest.iter().fold(sums[0], |sum, &x| sum + term(x))
}

#[cfg(test)]
mod tests;
