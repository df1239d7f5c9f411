//! Every path against the definition in 64-bit integers, the same bits on every path, alone and in company.

use proptest::prelude::*;

use super::*;
use crate::matrix::Weights;
use crate::quantise::Precision;

/// Integers from a seed, from `-most - 1` to `most`.
fn integers(count: usize, most: i64, seed: u64) -> Vec<i64> {
    let mut state = seed | 1;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).cast_signed() % (2 * most + 2) - most - 1
    };
    (0..count).map(|_| next()).collect()
}

fn floats(count: usize, seed: u64) -> Vec<f32> {
    integers(count, 9999, seed).into_iter().map(|value| value as f32 / 5000.0).collect()
}

/// A matrix and rows for it.
struct Drawn {
    weights: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<f32>,
    rows: Vec<f32>,
    others: Vec<f32>,
    /// Rows, then rows and columns of the matrix.
    shape: [usize; 3],
}

impl Drawn {
    fn new(shape: [usize; 3], seed: u64) -> Self {
        let [count, depth, columns] = shape;
        Self {
            weights: integers(depth * columns, 127, seed)
                .into_iter()
                .map(|value| i8::try_from(value).unwrap())
                .collect(),
            scales: floats(columns, seed ^ 1).into_iter().map(|value| value / 300.0).collect(),
            bias: floats(columns, seed ^ 2),
            rows: floats(count * depth, seed ^ 3),
            others: floats(count * columns, seed ^ 4),
            shape,
        }
    }

    fn packed(&self, path: Path, precision: Precision) -> PackedMatrix {
        let [_, rows, columns] = self.shape;
        let weights = Weights { values: &self.weights, rows, columns, bias: &self.bias };
        PackedMatrix::from_integers(path, precision, &weights, &self.scales).unwrap()
    }

    fn quantised(&self, matrix: &PackedMatrix) -> Rows {
        let mut rows = Rows::new();
        rows.quantise(matrix.path(), matrix.format(), &self.rows, self.shape[1]).unwrap();
        rows
    }

    /// What comes out, and the bits of it.
    fn product(&self, matrix: &PackedMatrix, then: Then<'_>) -> Vec<f32> {
        multiplied(matrix, &self.quantised(matrix), then)
    }

    /// The definition: exact sums of the integers, the rest in 64 bits.
    fn plainly(&self, rows: &Rows, then: Then<'_>) -> Vec<f64> {
        let [count, depth, columns] = self.shape;
        let mut out = Vec::new();
        for row in 0..count {
            let integers = rows.integers(row);
            for column in 0..columns {
                let weight = |at: usize| i64::from(self.weights[at * columns + column]);
                let sum: i64 = (0..depth).map(|at| i64::from(integers[at]) * weight(at)).sum();
                let scale = f64::from(rows.scales()[row]) * f64::from(self.scales[column]);
                let result = sum as f64 * scale + f64::from(self.bias[column]);
                out.push(match then {
                    Then::Store => result,
                    Then::Add(others) => result + f64::from(others[row * columns + column]),
                    #[expect(clippy::cast_possible_truncation, reason = "the function is one of floats")]
                    Then::Gelu => f64::from(gelu(result as f32)),
                });
            }
        }
        out
    }
}

fn multiplied(matrix: &PackedMatrix, rows: &Rows, then: Then<'_>) -> Vec<f32> {
    let mut out = vec![f32::NAN; rows.shape().0 * matrix.shape().1];
    matrix.multiply(rows, then, &mut out).unwrap();
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn shapes() -> impl Strategy<Value = [usize; 3]> {
    let depth = prop_oneof![1..20_usize, 1..400_usize, Just(384)];
    let columns = prop_oneof![1..5_usize, 1..140_usize, Just(64), Just(128)];
    (0..20_usize, depth, columns).prop_map(|(rows, depth, columns)| [rows, depth, columns])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_path_computes_the_definition_with_the_same_bits(shape in shapes(), seed: u64) {
        let drawn = Drawn::new(shape, seed);
        for precision in [Precision::Int8, Precision::Int16] {
            for then in [Then::Store, Then::Add(&drawn.others), Then::Gelu] {
                let mut first: Option<Vec<u32>> = None;
                for path in Path::available() {
                    let matrix = drawn.packed(path, precision);
                    let got = drawn.product(&matrix, then);
                    let right = drawn.plainly(&drawn.quantised(&matrix), then);
                    for (got, right) in got.iter().zip(&right) {
                        let bound = 1e-5 * (1.0 + right.abs());
                        prop_assert!((f64::from(*got) - right).abs() < bound, "{path} {precision:?}: {got}, not {right}");
                    }
                    prop_assert_eq!(&bits(&got), first.get_or_insert_with(|| bits(&got)), "{}", path);
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_in_company(shape in shapes(), seed: u64, cut in 0..20_usize) {
        let drawn = Drawn::new(shape, seed);
        let [count, depth, columns] = shape;
        for (path, precision) in Path::available().into_iter().flat_map(|path| [(path, Precision::Int8), (path, Precision::Int16)]) {
            let matrix = drawn.packed(path, precision);
            let together = drawn.product(&matrix, Then::Gelu);
            let part = |from: usize, to: usize| {
                let mut rows = Rows::new();
                rows.quantise(path, matrix.format(), &drawn.rows[from * depth..to * depth], depth).unwrap();
                bits(&multiplied(&matrix, &rows, Then::Gelu))
            };
            let whole = bits(&together);
            for row in 0..count {
                prop_assert_eq!(&part(row, row + 1)[..], &whole[row * columns..(row + 1) * columns], "{} row {}", path, row);
            }
            let cut = cut.min(count);
            prop_assert_eq!([part(0, cut), part(cut, count)].concat(), whole, "{} cut at {}", path, cut);
        }
    }

    #[test]
    fn weights_of_floats_approach_the_product_of_floats(shape in shapes(), seed: u64) {
        let drawn = Drawn::new(shape, seed);
        let [count, depth, columns] = shape;
        let values = floats(depth * columns, seed ^ 5);
        let weights = Weights { values: &values, rows: depth, columns, bias: &[] };
        // Roundings of rows and of weights: half a step of each, for every term.
        for (precision, step) in [(Precision::Int8, 2.0 / 127.0), (Precision::Int16, 2.0 / 4095.0)] {
            for path in Path::available() {
                let matrix = PackedMatrix::from_floats(path, precision, &weights).unwrap();
                let got = drawn.product(&matrix, Then::Store);
                for (at, got) in got.iter().enumerate().take(count * columns) {
                    let (row, column) = (at / columns, at % columns);
                    let term = |k: usize| f64::from(drawn.rows[row * depth + k]) * f64::from(values[k * columns + column]);
                    let right: f64 = (0..depth).map(term).sum();
                    let bound = 2.1 * step * depth as f64 + 1e-6;
                    prop_assert!((f64::from(*got) - right).abs() <= bound, "{path}: {got}, not {right}");
                }
            }
        }
    }
}

/// Rows and weights of one magnitude each, with chosen signs: sums of the greatest size.
#[test]
fn sums_of_the_greatest_size_are_exact() {
    for (depth, weight, signed) in
        [(384, -128_i8, 1.0_f32), (1536, -128, -1.0), (1536, 127, 1.0), (8192, 127, -1.0), (4097, -128, 1.0)]
    {
        for precision in [Precision::Int8, Precision::Int16] {
            let drawn = Drawn {
                weights: vec![weight; depth * 17],
                scales: vec![1.0; 17],
                bias: vec![0.0; 17],
                rows: vec![signed * 3.0; depth * 7],
                others: Vec::new(),
                shape: [7, depth, 17],
            };
            let right = f64::from(signed) * 3.0 * f64::from(weight) * depth as f64;
            for path in Path::available() {
                let got = drawn.product(&drawn.packed(path, precision), Then::Store);
                assert!(got.iter().all(|&got| (f64::from(got) / right - 1.0).abs() < 1e-6), "{path} {depth}: {got:?}");
            }
        }
    }
}

#[test]
fn more_rows_than_a_chunk_are_all_multiplied() {
    // 1,700 elements a row, so that a chunk is a hundred rows and fewer.
    let drawn = Drawn::new([401, 1700, 3], 11);
    for path in Path::available() {
        let matrix = drawn.packed(path, Precision::Int16);
        let right = drawn.plainly(&drawn.quantised(&matrix), Then::Store);
        let got = drawn.product(&matrix, Then::Store);
        assert!(got.iter().zip(right).all(|(got, right)| (f64::from(*got) - right).abs() < 1e-3), "{path}");
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row_and_its_column() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (path, precision) in
            Path::available().into_iter().flat_map(|path| [(path, Precision::Int8), (path, Precision::Int16)])
        {
            let mut drawn = Drawn::new([3, 10, 5], 7);
            drawn.rows[14] = bad;
            let got = drawn.product(&drawn.packed(path, precision), Then::Gelu);
            assert!(got[5..10].iter().all(|value| value.is_nan()), "{path}");
            assert!(got[..5].iter().chain(&got[10..]).all(|value| value.is_finite()), "{path}");
            let mut values = vec![1.0_f32; 50];
            values[12] = bad;
            let weights = Weights { values: &values, rows: 10, columns: 5, bias: &[] };
            let matrix = PackedMatrix::from_floats(path, precision, &weights).unwrap();
            let got = Drawn::new([3, 10, 5], 7).product(&matrix, Then::Store);
            assert!(got.iter().enumerate().all(|(at, value)| value.is_nan() == (at % 5 == 2)), "{path}: {got:?}");
        }
    }
}

#[test]
fn huge_rows_become_infinite_and_tiny_ones_the_bias() {
    for path in Path::available() {
        let drawn = Drawn {
            weights: vec![100; 8],
            scales: vec![1.0; 2],
            bias: vec![0.5; 2],
            rows: vec![f32::MAX; 4].into_iter().chain([1e-31; 4]).collect(),
            others: Vec::new(),
            shape: [2, 4, 2],
        };
        let got = drawn.product(&drawn.packed(path, Precision::Int8), Then::Store);
        assert!(got[..2].iter().all(|value| !value.is_finite()), "{path}");
        assert_eq!(bits(&got[2..]), bits(&[0.5; 2]), "{path}");
    }
}

#[test]
fn blocks_are_as_equal_as_may_be_and_cover_the_rows() {
    for rows in 1..100 {
        let all: Vec<(usize, usize)> = blocks(rows).collect();
        let ends = all
            .iter()
            .scan(0, |next, &(first, count)| (std::mem::replace(next, first + count) == first).then_some(*next));
        assert_eq!(ends.last(), Some(rows));
        let sizes = || all.iter().map(|&(_, count)| count);
        assert!(sizes().max().unwrap() <= ROWS && sizes().max().unwrap() - sizes().min().unwrap() <= 1, "{rows}");
    }
}

#[test]
fn a_matrix_without_columns_and_no_rows_have_no_results() {
    for (path, precision) in
        Path::available().into_iter().flat_map(|path| [(path, Precision::Int8), (path, Precision::Int16)])
    {
        for shape in [[3, 70, 0], [0, 70, 3]] {
            let drawn = Drawn::new(shape, 3);
            assert!(drawn.product(&drawn.packed(path, precision), Then::Gelu).is_empty(), "{path}");
        }
    }
}

#[test]
fn rows_that_do_not_fit_the_matrix_are_refused() {
    let path = Path::best();
    let drawn = Drawn::new([2, 6, 4], 1);
    let [eight, sixteen] = [Precision::Int8, Precision::Int16].map(|precision| drawn.packed(path, precision));
    let rows = drawn.quantised(&eight);
    assert!(eight.multiply(&rows, Then::Store, &mut [0.0; 8]).is_ok());
    assert!(eight.multiply(&rows, Then::Store, &mut [0.0; 9]).is_err());
    assert!(eight.multiply(&rows, Then::Add(&[0.0; 7]), &mut [0.0; 8]).is_err());
    assert!(eight.multiply(&drawn.quantised(&sixteen), Then::Store, &mut [0.0; 8]).is_err(), "a greater range");
    let other = Drawn::new([2, 7, 4], 1);
    assert!(
        eight.multiply(&other.quantised(&other.packed(path, Precision::Int8)), Then::Store, &mut [0.0; 8]).is_err()
    );
}

#[cfg(target_os = "linux")]
mod speed;
