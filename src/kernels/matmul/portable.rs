//! The inner loop in plain Rust.

use super::{Operands, ROWS, Sums, Tile};

/// Products of words.
pub(super) struct Words;

impl Tile<16> for Words {
    type Row = i16;
    type Weight = i16;

    #[inline(always)]
    fn sums<const R: usize>(operands: Operands<'_, i16, i16>, out: &mut Sums<16>) {
        const { assert!(R <= ROWS) }
        let Operands { rows, stride, panel, groups } = operands;
        let mut sums = [[0_i32; 16]; R];
        for (group, weights) in panel.as_chunks::<32>().0.iter().enumerate().take(groups) {
            for (row, sums) in sums.iter_mut().enumerate() {
                let at = row * stride + 2 * group;
                let (first, second) = (i32::from(rows[at]), i32::from(rows[at + 1]));
                for (column, sum) in sums.iter_mut().enumerate() {
                    let term = first * i32::from(weights[2 * column]) + second * i32::from(weights[2 * column + 1]);
                    *sum = sum.wrapping_add(term);
                }
            }
        }
        out[..R].copy_from_slice(&sums);
    }
}
