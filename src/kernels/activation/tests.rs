//! Every path against the definition.

use super::*;

/// `x · Φ(x)` in 64 bits. Φ is summed as `1/2 + φ(x) Σ x^(2n+1) / (1·3·5···(2n+1))` (Marsaglia 2004), which for negative `x`
/// cancels to about 1e-16.
fn plainly(x: f64) -> f64 {
    if x.abs() > 20.0 {
        return if x > 0.0 { x } else { 0.0 };
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-18 * sum.abs() {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    x * (0.5 + sum * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt())
}

#[test]
fn it_is_gelu_within_its_bound_and_the_same_bits_on_every_path() {
    let values: Vec<f32> =
        (-80_000..=80_000_i32).map(|step| step as f32 / 10_000.0).chain([1e3, -1e3, 3e38, -3e38]).collect();
    let mut first: Option<Vec<u32>> = None;
    for path in Path::available() {
        let mut got = values.clone();
        gelu_rows(path, &mut got);
        for (&x, &got) in values.iter().zip(&got) {
            let bound = if x.abs() < 8.0 { 6e-7 } else { 6e-8 * f64::from(x.abs()) };
            let right = plainly(f64::from(x));
            assert!((f64::from(got) - right).abs() <= bound, "{path}: {got} for {x}, not {right}");
        }
        let bits: Vec<u32> = got.iter().map(|value| value.to_bits()).collect();
        assert!(*first.get_or_insert_with(|| bits.clone()) == bits, "{path}");
    }
}

#[test]
fn what_is_not_finite_does_not_become_finite() {
    for path in Path::available() {
        let mut values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0];
        gelu_rows(path, &mut values);
        assert!(values[..3].iter().all(|value| !value.is_finite()) && values[3].is_finite(), "{path}: {values:?}");
    }
}

#[test]
fn gates_multiply_the_first_half_by_the_second() {
    for path in Path::available() {
        for width in [1, 5, 16, 37] {
            let rows: Vec<f32> = (0..6 * width).map(|at| at as f32 / 10.0 - 3.0).collect();
            let mut out = vec![f32::NAN; 3 * width];
            gate_rows(path, &rows, width, &mut out).unwrap();
            for (at, got) in out.iter().enumerate() {
                let first = at / width * 2 * width + at % width;
                let right = gelu(rows[first]) * rows[first + width];
                assert_eq!(got.to_bits(), right.to_bits(), "{path}");
            }
        }
    }
}

#[test]
fn gates_of_other_sizes_are_refused() {
    for (rows, width, out) in [(12, 3, 5), (11, 3, 6), (12, 0, 6), (13, 3, 6)] {
        assert!(
            gate_rows(Path::Portable, &vec![0.0; rows], width, &mut vec![0.0; out]).is_err(),
            "{rows} {width} {out}"
        );
    }
    assert!(gate_rows(Path::Portable, &[], 3, &mut []).is_ok());
}
