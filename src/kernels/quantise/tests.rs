//! Every path against the definition, and rows that have no scale.

use proptest::prelude::*;

use super::*;

/// The definition, in 64 bits.
fn plainly(row: &[f32], range: u16) -> (f64, Vec<f64>) {
    let most = row.iter().map(|x| f64::from(x.abs())).fold(0.0, f64::max);
    if most < f64::from(LEAST) {
        return (0.0, vec![0.0; row.len()]);
    }
    let scale = most / f64::from(range);
    (scale, row.iter().map(|&x| f64::from(x) / scale).collect())
}

fn formats() -> Vec<Format> {
    [
        (Layout::Bytes, 127),
        (Layout::SignedBytes, 127),
        (Layout::Halves, 8191),
        (Layout::Halves, 32_767),
        (Layout::Words, 127),
        (Layout::Words, 8191),
        (Layout::Words, 32_767),
    ]
    .map(|(layout, range)| Format { layout, range })
    .to_vec()
}

/// Floats of every finite size, most of them ordinary.
fn floats() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -4.0_f32..4.0,
        1 => prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO,
        1 => prop_oneof![Just(f32::MAX), Just(f32::MIN), Just(0.0), Just(-0.0), Just(LEAST), Just(1e-31_f32)],
    ]
}

proptest! {
    #[test]
    fn integers_are_the_nearest_ones(
        width in 1..100_usize,
        values in prop::collection::vec(floats(), 300),
    ) {
        let values = &values[..values.len() / width * width];
        for format in formats() {
            let mut first: Option<Rows> = None;
            for path in Path::available() {
                let mut rows = Rows::new();
                rows.quantise(path, format, values, width).unwrap();
                for (number, row) in values.chunks(width).enumerate() {
                    let (scale, right) = plainly(row, format.range);
                    let got = f64::from(rows.scales()[number]);
                    // Scales below the normal floats have fewer digits.
                    prop_assert!((got - scale).abs() <= scale * 1e-7 + f64::from(f32::MIN_POSITIVE) * 1e-7);
                    let integers = rows.integers(number);
                    for (&integer, right) in integers.iter().zip(&right) {
                        let slack = 0.5 + right.abs() * 2e-7;
                        prop_assert!((f64::from(integer) - right).abs() <= slack, "{path}: {integer} for {right}");
                        prop_assert!(integer.unsigned_abs() <= u32::from(format.range));
                    }
                    if scale > 0.0 {
                        let most = integers.iter().map(|integer| integer.unsigned_abs()).max();
                        prop_assert_eq!(most, Some(u32::from(format.range)), "the greatest takes the range");
                    }
                }
                let first = first.get_or_insert_with(|| rows.clone());
                prop_assert_eq!(&first.bytes, &rows.bytes, "{}", path);
                prop_assert_eq!(&first.words, &rows.words, "{}", path);
                prop_assert_eq!(bits(&first.scales), bits(&rows.scales), "{}", path);
            }
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_row_that_is_not_finite_has_no_scale_and_its_neighbours_have_theirs() {
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let values = [1.0, -2.0, 0.5, bad, 3.0, 3.0, 0.0, 4.0, -4.0];
        for (path, format) in
            Path::available().into_iter().flat_map(|path| formats().into_iter().map(move |f| (path, f)))
        {
            let mut rows = Rows::new();
            rows.quantise(path, format, &values, 3).unwrap();
            assert!(rows.scales()[1].is_nan(), "{path}");
            assert_eq!(rows.integers(1), [0, 0, 0], "{path}");
            let range = f32::from(format.range);
            assert_eq!(bits(&[rows.scales()[0], rows.scales()[2]]), bits(&[2.0 / range, 4.0 / range]), "{path}");
            assert_eq!(rows.integers(2), [0, i32::from(format.range), -i32::from(format.range)], "{path}");
        }
    }
}

#[test]
fn buffers_of_an_earlier_use_leave_nothing_behind() {
    for format in formats() {
        let path = Path::best();
        let (mut used, mut fresh) = (Rows::new(), Rows::new());
        for other in formats() {
            used.quantise(path, other, &[9.0; 700], 70).unwrap();
        }
        for rows in [&mut used, &mut fresh] {
            rows.quantise(path, format, &[1.0, 2.0, 3.0, -4.0, 5.0, 6.0], 3).unwrap();
        }
        assert_eq!(used.shape(), (2, 3));
        assert_eq!(used.bytes, fresh.bytes);
        assert_eq!(used.words, fresh.words);
        assert_eq!(bits(used.scales()), bits(fresh.scales()));
    }
}

#[test]
fn what_is_no_whole_number_of_rows_is_refused() {
    let format = Format { layout: Layout::Words, range: 127 };
    let mut rows = Rows::new();
    let misfit = rows.quantise(Path::Portable, format, &[0.0; 7], 3).unwrap_err();
    assert_eq!(misfit.to_string(), "the rows to quantise has 7 values, expected 6");
    assert!(rows.quantise(Path::Portable, format, &[0.0; 7], 0).is_err());
    assert!(rows.quantise(Path::Portable, format, &[], 5).is_ok());
    assert_eq!(rows.shape(), (0, 5));
}

#[test]
fn two_matrices_share_rows_of_the_lesser_range() {
    let [bytes, signed, halves, _, eight, thirteen, sixteen] = <[Format; 7]>::try_from(formats()).unwrap();
    assert_eq!(thirteen.for_both(sixteen), Some(thirteen));
    assert_eq!(sixteen.for_both(thirteen), Some(thirteen));
    assert_eq!(bytes.for_both(eight), None);
    assert_eq!(bytes.for_both(signed), None);
    assert_eq!(thirteen.for_both(halves), None);
}
