//! Products in plain Rust: four rows by eight columns.

use super::{Matrix, Tile, check};
use crate::exp::fused;

/// What the program itself is compiled for.
pub(crate) struct Portable;

impl Tile<8> for Portable {
    const ROWS: usize = 4;
    // Every Arm processor of 64 bits multiplies and adds in one instruction; of others that is not known.
    const FMA: bool = cfg!(target_arch = "aarch64");

    #[inline(always)]
    fn multiply(rows: usize, block: &[f32], matrix: Matrix<'_>, out: &mut [f32]) {
        match rows {
            1 => multiply::<1>(block, matrix, out),
            2 => multiply::<2>(block, matrix, out),
            3 => multiply::<3>(block, matrix, out),
            _ => multiply::<4>(block, matrix, out),
        }
    }
}

#[expect(clippy::needless_range_loop, reason = "by index, so the compiler keeps the sums in registers")]
fn multiply<const R: usize>(block: &[f32], matrix: Matrix<'_>, out: &mut [f32]) {
    check::<8>(R, block, &matrix, out);
    let results = out.as_chunks_mut::<8>().0.as_chunks_mut::<R>().0;
    for (number, out) in results.iter_mut().enumerate().take(matrix.panels) {
        let mut sums = [[0.0_f32; 8]; R];
        for (number_of_block, block) in block.as_chunks::<8>().0.as_chunks::<R>().0.iter().enumerate() {
            for at in 0..8.min(matrix.rows.saturating_sub(number_of_block * 8)) {
                let first = number * matrix.panel + (number_of_block * 8 + at) * matrix.stride;
                let Some(values) = matrix.values[first..].first_chunk::<8>() else { return };
                // Copied, so the compiler keeps the sums in registers.
                let values = *values;
                for row in 0..R {
                    for column in 0..8 {
                        sums[row][column] =
                            fused::<{ Portable::FMA }>(block[row][at], values[column], sums[row][column]);
                    }
                }
            }
        }
        *out = sums;
    }
}
