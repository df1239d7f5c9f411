//! GELU, and gates.
//!
//! Owns the function and its accuracy. It must not know matrices.

use crate::attention::Misfit;
use crate::isa::{Path, Work, compiled_for};
use crate::matrix::fits;

/// From here on the normal distribution's function is 0 or 1 within 7.6e-8, and taken to be.
const END: f32 = 5.25;

/// `(Φ(x) - 1/2) / x` as a polynomial in `2 x² / END² - 1`, the constant first: a fit of least greatest error of `x` times
/// `Φ(x)` over `0..END`, 3.5e-8 in exact arithmetic. In this variable its terms stay small, so that floats suffice.
const TERMS: [f32; 15] = [
    0.134_659_35,
    -0.067_126_77,
    0.049_645_677,
    -0.039_764_877,
    0.032_033_976,
    -0.025_027_584,
    0.018_517_753,
    -0.012_834_434,
    0.008_496_078,
    -0.005_331_75,
    0.002_747_226,
    -0.001_148_631_8,
    0.000_794_795_4,
    -0.000_617_829_7,
    0.000_195_110_4,
];

/// `x · Φ(x)` with the normal distribution's function, `Φ(x) = (1 + erf(x / √2)) / 2` (Hendrycks and Gimpel 2016), within
/// 6e-7 for `|x| < 8` and within a unit of the last digit beyond; NaN for NaN and for minus infinity.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    let at = (x * x).mul_add(2.0 / (END * END), -1.0);
    let mut sum = TERMS[TERMS.len() - 1];
    for &term in TERMS.iter().rev().skip(1) {
        sum = sum.mul_add(at, term);
    }
    let inner = x.mul_add(sum, 0.5);
    let low = if x < -END { 0.0 } else { inner };
    x * if x > END { 1.0 } else { low }
}

/// GELU of each value, `x · Φ(x)` within 6e-7 for `|x| < 8` and a unit of the last digit beyond, in place.
pub fn gelu_rows(path: Path, values: &mut [f32]) {
    compiled_for(path, Gelu(values));
}

/// Gated rows: `out[r, j] = gelu(rows[r, j]) · rows[r, width + j]`; `rows` is `[rows, 2 · width]`, `out` `[rows, width]`
/// (Shazeer 2020, `GeGLU`).
///
/// # Errors
/// [`Misfit`] when the slices are not as long as that, or the width is zero.
pub fn gate_rows(path: Path, rows: &[f32], width: usize, out: &mut [f32]) -> Result<(), Misfit> {
    if width == 0 {
        return Err(Misfit { what: "a row of a gate", got: 0, wanted: 1 });
    }
    fits("the gate's output, beyond whole rows,", out.len() % width, 0)?;
    fits("the gate's input", rows.len(), out.len().saturating_mul(2))?;
    compiled_for(path, Gate { rows, width, out });
    Ok(())
}

struct Gelu<'a>(&'a mut [f32]);

impl Work for Gelu<'_> {
    #[inline(always)]
    fn run(self, _: Path) {
        self.0.iter_mut().for_each(|value| *value = gelu(*value));
    }
}

struct Gate<'a> {
    rows: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl Work for Gate<'_> {
    #[inline(always)]
    fn run(self, _: Path) {
        for (row, out) in self.rows.chunks_exact(2 * self.width).zip(self.out.chunks_exact_mut(self.width)) {
            let (values, gates) = row.split_at(self.width);
            for ((out, &value), gate) in out.iter_mut().zip(values).zip(gates) {
                *out = gelu(value) * gate;
            }
        }
    }
}

#[cfg(test)]
mod tests;
