//! Pooling: one row a pair out of the rows of its tokens.

use crate::attention::{Misfit, total};

/// The mean of each pair's rows: `rows` is `[sum of lengths, width]`, `out` `[lengths, width]`.
///
/// Sums run over a pair's rows in their order, in 64 bits, as long texts have thousands of them.
///
/// # Errors
/// [`Misfit`] for a pair without tokens, and when the slices are not as long as said.
pub fn mean_rows(rows: &[f32], lengths: &[usize], width: usize, out: &mut [f32]) -> Result<(), Misfit> {
    let fits = |what, got, wanted| if got == wanted { Ok(()) } else { Err(Misfit { what, got, wanted }) };
    fits("the mean's input", rows.len(), total(lengths)?.saturating_mul(width))?;
    fits("the mean's output", out.len(), lengths.len().saturating_mul(width))?;
    let mut sums = vec![0.0_f64; width];
    let mut rest = rows;
    for (&length, out) in lengths.iter().zip(out.chunks_exact_mut(width.max(1))) {
        let (own, others) = rest.split_at(length * width);
        rest = others;
        sums.fill(0.0);
        for row in own.chunks_exact(width.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let count = length as f64;
        #[expect(clippy::cast_possible_truncation, reason = "rounded to the row's floats")]
        out.iter_mut().zip(&sums).for_each(|(out, sum)| *out = (sum / count) as f32);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_has_the_mean_of_its_own_rows() {
        let mut out = [9.0; 4];
        mean_rows(&[1.0, 2.0, 3.0, 6.0, 5.0, 7.0], &[2, 1], 2, &mut out).unwrap();
        assert_eq!(out.map(f32::to_bits), [2.0, 4.0, 5.0, 7.0].map(f32::to_bits));
    }

    #[test]
    fn lengths_that_are_not_those_of_the_rows_are_refused() {
        let mut out = [0.0; 4];
        for lengths in [&[2, 0, 1][..], &[2, 2], &[usize::MAX, 2], &[3]] {
            assert!(mean_rows(&[0.0; 6], lengths, 2, &mut out).is_err(), "{lengths:?}");
        }
    }
}
