//! Products of blocks of rows against the plain sum, on every instruction set of this processor.

use super::*;

/// `[columns / C, rows, C]` of rows, with ones of no meaning in the padding.
fn blocked<const C: usize>(rows: &[Vec<f32>]) -> Vec<f32> {
    let width = rows[0].len();
    let mut block = vec![f32::NAN; width.div_ceil(C) * rows.len() * C];
    for (at, row) in rows.iter().enumerate() {
        put_row::<C>(row, 1.0, &mut block, rows.len(), at);
    }
    block
}

/// Whole numbers, whose sums are exact in whatever order.
fn whole(row: usize, column: usize) -> f32 {
    f32::from(u8::try_from((row * 7 + column * 3) % 11).unwrap()) - 5.0
}

fn is_the_product<const C: usize, T: Tile<C>>() {
    for (rows, depth, panels, gap) in [(1, 1, 1, 0), (T::ROWS, 3, 2, 5), (T::ROWS - 1, C, 1, 0), (2, 2 * C + 3, 3, 0)] {
        let factors: Vec<Vec<f32>> = (0..rows).map(|row| (0..depth).map(|at| whole(row, at)).collect()).collect();
        let (stride, panel) = (C + gap, depth * (C + gap));
        // No element beyond the last that is read.
        let matrix: Vec<f32> = (0..panels * panel - gap).map(|at| whole(at / stride, at % stride)).collect();
        let mut out = vec![f32::NAN; panels * rows * C];
        let operand = Matrix { values: &matrix, rows: depth, stride, panels, panel };
        T::multiply(rows, &blocked::<C>(&factors), operand, &mut out);
        for number in 0..panels {
            for (row, factors) in factors.iter().enumerate() {
                for column in 0..C {
                    let terms = factors.iter().enumerate();
                    let right: f32 = terms.map(|(k, f)| f * matrix[number * panel + k * stride + column]).sum();
                    let got = out[(number * rows + row) * C + column];
                    assert_eq!(got.to_bits(), (right + 0.0).to_bits(), "{rows} by {depth}, panel {number}, row {row}");
                }
            }
        }
    }
}

fn turns_rows<const C: usize, T: Tile<C>>() {
    for width in [1, 8, 20, 32] {
        let stride = width + 3;
        let rows: Vec<f32> = (0..7 * stride + width).map(|at| at as f32).collect();
        let mut panel = vec![-1.0; width * C];
        T::turn(&rows, stride, width, &mut panel, C - TURNED);
        for value in 0..width {
            for column in 0..C {
                let row = column.checked_sub(C - TURNED);
                let right = row.map_or(-1.0, |row| (row * stride + value) as f32);
                assert_eq!(panel[value * C + column].to_bits(), right.to_bits(), "{width}: {value}, {column}");
            }
        }
    }
}

#[test]
fn blocks_of_rows_are_multiplied_by_a_matrix() {
    is_the_product::<8, Portable>();
    #[cfg(target_arch = "x86_64")]
    for isa in crate::Isa::available() {
        match isa {
            crate::Isa::Portable => {}
            crate::Isa::Avx2 => is_the_product::<16, Avx2>(),
            crate::Isa::Avx512 => is_the_product::<32, Avx512>(),
        }
    }
}

#[test]
fn rows_become_columns() {
    turns_rows::<8, Portable>();
    #[cfg(target_arch = "x86_64")]
    for isa in crate::Isa::available() {
        match isa {
            crate::Isa::Portable => {}
            crate::Isa::Avx2 => turns_rows::<16, Avx2>(),
            crate::Isa::Avx512 => turns_rows::<32, Avx512>(),
        }
    }
}

#[test]
#[should_panic(expected = "operands that are too short")]
fn operands_that_are_too_short_are_not_read() {
    let matrix = Matrix { values: &[0.0; 15], rows: 2, stride: 8, panels: 1, panel: 16 };
    Portable::multiply(1, &[0.0; 8], matrix, &mut [0.0; 8]);
}
