//! Every path against the definition, and the same bits alone and in company.

use proptest::prelude::*;

use super::*;
use crate::quantise::Layout;

/// The definition, in 64 bits, with what a result may be off: rounding errors of the row's largest element, which the
/// division makes larger where elements are nearly equal.
fn plainly(norm: &LayerNorm<'_>, row: &[f32], add: &[f32]) -> Vec<(f64, f64)> {
    // The addition is one of floats.
    let row: Vec<f64> = row.iter().zip(add).map(|(x, add)| f64::from(x + add)).collect();
    let count = row.len() as f64;
    let mean = row.iter().sum::<f64>() / count;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    let of = |at: usize, values: &[f32], none: f64| values.get(at).map_or(none, |&value| f64::from(value));
    let deviation = (variance + f64::from(norm.epsilon)).sqrt();
    let rounding = row.iter().map(|x| x.abs()).fold(0.0, f64::max) / deviation * 5e-7;
    let term = |(at, x): (usize, &f64)| {
        let result = (x - mean) / deviation * of(at, norm.gain, 1.0) + of(at, norm.bias, 0.0);
        (result, (4.0 + result.abs()) * (rounding + 1e-6))
    };
    row.iter().enumerate().map(term).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #[test]
    fn every_path_computes_the_definition_with_the_same_bits_alone_and_in_company(
        width in 1..150_usize,
        with_bias in any::<bool>(),
        with_add in any::<bool>(),
        values in prop::collection::vec(-5.0_f32..5.0, 900),
        terms in prop::collection::vec(-2.0_f32..2.0, 300),
    ) {
        let rows = &values[..450 / width * width];
        let others = &values[450..][..rows.len()];
        let norm = LayerNorm {
            gain: &terms[..width],
            bias: if with_bias { &terms[150..][..width] } else { &[] },
            epsilon: 1e-5,
        };
        let format = Format { layout: Layout::Words, range: 32_767 };
        let mut first: Option<Vec<u32>> = None;
        for path in Path::available() {
            let (mut out, mut quantised, mut after) = (vec![f32::NAN; rows.len()], Rows::new(), Rows::new());
            norm.run(path, rows, with_add.then_some(others), &mut out, Some((&mut quantised, format))).unwrap();
            after.quantise(path, format, &out, width).unwrap();
            prop_assert_eq!(&quantised.words, &after.words);
            prop_assert_eq!(bits(quantised.scales()), bits(after.scales()));
            for (number, got) in out.chunks(width).enumerate() {
                let own = number * width..(number + 1) * width;
                let zeros = vec![0.0; width];
                let add = if with_add { &others[own.clone()] } else { &zeros };
                let right = plainly(&norm, &rows[own.clone()], add);
                for (got, (right, off)) in got.iter().zip(&right) {
                    prop_assert!((f64::from(*got) - right).abs() <= *off, "{path}: {got}, not {right}");
                }
                let mut alone = vec![f32::NAN; width];
                norm.run(path, &rows[own], with_add.then_some(add), &mut alone, None).unwrap();
                prop_assert_eq!(bits(&alone), bits(got));
            }
            prop_assert_eq!(&bits(&out), first.get_or_insert_with(|| bits(&out)), "{}", path);
        }
    }
}

#[test]
fn rows_without_a_finite_norm_become_none_and_their_neighbours_keep_theirs() {
    let norm = LayerNorm { gain: &[1.0; 20], bias: &[0.5; 20], epsilon: 1e-12 };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e30] {
        let mut rows: Vec<f32> = (0..60).map(|at| (at % 7) as f32).collect();
        rows[33] = bad;
        for path in Path::available() {
            let mut out = vec![0.0; 60];
            norm.run(path, &rows, None, &mut out, None).unwrap();
            let finite: Vec<bool> = out.chunks(20).map(|row| row.iter().any(|x| x.is_finite())).collect();
            assert_eq!(finite, [true, false, true], "{path}: {bad}");
        }
    }
}

#[test]
fn equal_elements_become_the_bias() {
    let norm = LayerNorm { gain: &[3.0; 33], bias: &[0.25; 33], epsilon: 1e-12 };
    for path in Path::available() {
        let mut out = vec![0.0; 33];
        norm.run(path, &[0.0; 33], None, &mut out, None).unwrap();
        assert_eq!(bits(&out), bits(&[0.25; 33]), "{path}");
    }
}

#[test]
fn slices_of_other_lengths_are_refused() {
    let norm = LayerNorm { gain: &[1.0; 4], bias: &[], epsilon: 1e-5 };
    let run = |norm: &LayerNorm<'_>, rows: usize, add: Option<&[f32]>, out: usize| {
        norm.run(Path::Portable, &vec![0.0; rows], add, &mut vec![0.0; out], None)
    };
    assert!(run(&norm, 8, Some(&[0.0; 8]), 8).is_ok() && run(&norm, 0, None, 0).is_ok());
    assert!(run(&norm, 9, None, 9).is_err() && run(&norm, 8, None, 4).is_err());
    assert!(run(&norm, 8, Some(&[0.0; 4]), 8).is_err());
    assert!(run(&LayerNorm { bias: &[0.0; 3], ..norm }, 8, None, 8).is_err());
    assert!(run(&LayerNorm { gain: &[], ..norm }, 0, None, 0).is_err());
}
