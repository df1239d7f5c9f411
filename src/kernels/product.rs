//! Multiplies a block of rows by a matrix: the inner loop of attention.

use crate::exp::fused;

/// A matrix in panels of `C` columns, one after the other: `[columns / C, rows, C]`. What an inner loop reads lies together,
/// whatever the matrix's size.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    /// Its elements.
    pub(crate) values: &'a [f32],
    /// Rows of a panel.
    pub(crate) rows: usize,
    /// The first row that is read.
    pub(crate) first: usize,
}

/// `out[r, ..columns] = Σ_k a[k, r] · b[first + k, ..columns]` for `R` rows: `a` is `[depth, R]`, `out` `[R, stride]`;
/// `columns` is a multiple of `C` and at most `stride`.
///
/// Terms are accumulated in a fixed order, so a result does not depend on the other rows.
#[inline(always)]
pub(crate) fn rows_by_matrix<const R: usize, const C: usize, const FMA: bool>(
    a: &[f32],
    b: Panels<'_>,
    (out, stride): (&mut [f32], usize),
    columns: usize,
) {
    let factors = a.as_chunks::<R>().0;
    for column in (0..columns).step_by(C) {
        let mut sums = [[0.0_f32; C]; R];
        let panel = b.values[(column * b.rows)..].as_chunks::<C>().0;
        for (factors, values) in factors.iter().zip(&panel[b.first..b.rows]) {
            // Copied, and by index: so the compiler keeps the sums in registers.
            let (factors, values) = (*factors, *values);
            for row in 0..R {
                for at in 0..C {
                    sums[row][at] = fused::<FMA>(factors[row], values[at], sums[row][at]);
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
        // Two rows [1, 2] and [3, 4], transposed; a matrix of two columns whose first row is not read.
        let (a, b) = ([1.0, 3.0, 2.0, 4.0], [9.0, 1.0, 2.0, 9.0, 10.0, 20.0]);
        let mut out = [0.0; 4];
        rows_by_matrix::<2, 1, false>(&a, Panels { values: &b, rows: 3, first: 1 }, (&mut out, 2), 2);
        assert_eq!(out.map(f32::to_bits), [5.0, 50.0, 11.0, 110.0].map(f32::to_bits));
    }
}
