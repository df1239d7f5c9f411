//! Multiplies a block of rows by a matrix: the inner loop of attention.

use crate::exp::fused;

/// A row-major matrix with a row stride; rows may be padded.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// Its elements.
    pub(crate) values: &'a [f32],
    /// Elements between the starts of consecutive rows.
    pub(crate) stride: usize,
}

/// `out[r, ..columns] = Σ_k a[k, r] · b[k, ..columns]` for `R` rows: `a` is `[depth, R]`, `out` `[R, stride]`; `columns` is
/// a multiple of `C` and at most either stride.
///
/// Terms are accumulated in a fixed order, so a result does not depend on the other rows.
#[inline(always)]
pub(crate) fn rows_by_matrix<const R: usize, const C: usize, const FMA: bool>(
    a: &[f32],
    b: Matrix<'_>,
    (out, stride): (&mut [f32], usize),
    columns: usize,
) {
    let factors = a.as_chunks::<R>().0;
    for column in (0..columns).step_by(C) {
        let mut sums = [[0.0_f32; C]; R];
        for (factors, line) in factors.iter().zip(b.values.chunks(b.stride)) {
            let Some(values) = line.get(column..).and_then(|line| line.first_chunk::<C>()) else { break };
            for (sums, factor) in sums.iter_mut().zip(factors) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = fused::<FMA>(*factor, *value, *sum);
                }
            }
        }
        for (line, sums) in out.chunks_mut(stride).zip(&sums) {
            line[column..column + C].copy_from_slice(sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_rows_is_multiplied_by_a_matrix() {
        // Two rows [1, 2] and [3, 4], transposed; a matrix of two rows whose third column is not used.
        let (a, b) = ([1.0, 3.0, 2.0, 4.0], [1.0, 10.0, 9.0, 2.0, 20.0, 9.0]);
        let mut out = [0.0; 4];
        rows_by_matrix::<2, 1, false>(&a, Matrix { values: &b, stride: 3 }, (&mut out, 2), 2);
        assert_eq!(out.map(f32::to_bits), [5.0, 50.0, 11.0, 110.0].map(f32::to_bits));
    }
}
