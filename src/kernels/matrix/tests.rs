//! Ranges and blocks that keep sums in 32 bits, and floats as integers.

use proptest::prelude::*;

use super::*;

fn packed(precision: Precision, rows: usize, columns: usize, values: &[i8]) -> PackedMatrix {
    let weights = Weights { values, rows, columns, bias: &[] };
    PackedMatrix::from_integers(Path::best(), precision, &weights, &vec![1.0; columns]).unwrap()
}

/// The greatest magnitude that a block's sum can have, for rows of the matrix's range.
fn greatest(matrix: &PackedMatrix, value: impl Fn(usize) -> i64) -> i64 {
    let block = matrix.block * matrix.format.layout.group();
    let of = |column: usize, first: usize| {
        let rows = first..(first + block).min(matrix.rows);
        rows.map(|row| value(row * matrix.columns + column).abs()).sum::<i64>() * i64::from(matrix.format.range)
    };
    let all = (0..matrix.columns).flat_map(|column| (0..matrix.rows).step_by(block).map(move |first| (column, first)));
    all.map(|(column, first)| of(column, first)).max().unwrap_or(0)
}

proptest! {
    #[test]
    fn no_block_can_overflow_and_the_range_is_kept(rows in 1..3000_usize, columns in 1..4_usize, most in 1..=128_i16, seed: u64) {
        let mut state = seed | 1;
        let values: Vec<i8> = (0..rows * columns)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                i8::try_from(i64::from(state.to_le_bytes()[5]) * i64::from(most) / 128 - i64::from(most)).unwrap()
            })
            .collect();
        let matrix = packed(Precision::Int16, rows, columns, &values);
        prop_assert!(matrix.format.range >= LEAST_RANGE);
        prop_assert!(greatest(&matrix, |at| i64::from(values[at])) <= i64::from(i32::MAX));
    }

    #[test]
    fn floats_become_the_nearest_integers(columns in 1..6_usize, values in prop::collection::vec(-3.0_f32..3.0, 60)) {
        let values = &values[..60 / columns * columns];
        for most in [127, MOST_WEIGHT] {
            let weights = Weights { values, rows: 60 / columns, columns, bias: &[] };
            let (integers, scales) = quantised(&weights, most);
            for (at, (&integer, &value)) in integers.iter().zip(values).enumerate() {
                let right = f64::from(value) / f64::from(scales[at % columns]);
                prop_assert!((f64::from(integer) - right).abs() <= 0.5);
            }
            for column in 0..columns {
                let most_of = integers.iter().skip(column).step_by(columns).map(|integer| integer.abs()).max();
                prop_assert_eq!(most_of, Some(most));
            }
        }
    }
}

#[test]
fn the_largest_weights_are_cut_into_blocks() {
    let (rows, columns) = (8192, 2);
    let small = packed(Precision::Int16, 384, columns, &[127; 768]);
    assert_eq!((small.block, small.format.range), (small.groups, 32_767), "one block of 384 rows");
    let large = packed(Precision::Int16, rows, columns, &vec![-128; rows * columns]);
    assert!(large.block < large.groups && large.format.range >= LEAST_RANGE);
    assert!(greatest(&large, |_| 128) <= i64::from(i32::MAX));
    let values: Vec<f32> = (0..rows * columns).map(|at| if at % 3 == 0 { -1.0 } else { 1.0 }).collect();
    let weights = Weights { values: &values, rows, columns, bias: &[] };
    let floats = PackedMatrix::from_floats(Path::best(), Precision::Int16, &weights).unwrap();
    assert!(floats.format.range >= LEAST_RANGE);
    assert!(greatest(&floats, |_| i64::from(MOST_WEIGHT)) <= i64::from(i32::MAX));
    // Few blocks: each but the last takes nearly all that the range allows.
    assert!(greatest(&floats, |_| i64::from(MOST_WEIGHT)) > i64::from(i32::MAX) / 2);
    let zeros = packed(Precision::Int16, 5, 1, &[0; 5]);
    assert_eq!(zeros.format.range, 32_767);
}

#[test]
fn columns_that_are_zero_or_not_finite_have_such_scales() {
    let values = [0.0, 1.0, 2.0, f32::NAN, 0.0, 4.0, f32::INFINITY, 1.0];
    let weights = Weights { values: &values, rows: 2, columns: 4, bias: &[] };
    let (integers, scales) = quantised(&weights, 127);
    assert_eq!(integers[4], 0);
    assert_eq!(integers[0], 0);
    assert_eq!(scales[0].to_bits(), 0.0_f32.to_bits());
    assert_eq!(scales[1].to_bits(), (4.0_f32 / 127.0).to_bits());
    assert!(scales[2].is_nan() && scales[3].is_nan());
}

#[test]
fn weights_that_do_not_fit_their_shape_are_refused() {
    let of = |values: usize, rows: usize, columns: usize, scales: usize, bias: usize| {
        let (values, bias) = (vec![1; values], vec![0.0; bias]);
        let weights = Weights { values: &values, rows, columns, bias: &bias };
        PackedMatrix::from_integers(Path::Portable, Precision::Int8, &weights, &vec![1.0; scales]).map(|_| ())
    };
    assert!(of(6, 2, 3, 3, 0).is_ok() && of(6, 2, 3, 3, 3).is_ok() && of(0, 2, 0, 0, 0).is_ok());
    for misfit in [of(5, 2, 3, 3, 0), of(6, 2, 3, 2, 0), of(6, 2, 3, 3, 2), of(0, 0, 3, 3, 0)] {
        assert!(misfit.is_err());
    }
    let misfit = of(MOST_ROWS + 1, MOST_ROWS + 1, 1, 1, 0).unwrap_err();
    assert_eq!(misfit.to_string(), "a column of weights has 65537 values, expected 65536");
}
