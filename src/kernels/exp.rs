//! The exponential function, for values that are not above zero, written so that compilers vectorise it.

/// 1.5 · 2^23: a float of this size has no bits below one, so adding it rounds to the nearest integer, which is then in
/// the low bits.
const ROUND: f32 = 12_582_912.0;

/// The least argument; below it the result is smaller than any normal float and is zero here.
const LEAST: f32 = -87.0;

/// `e^x` for `x <= 0`; zero below -87, NaN for NaN. Relative error below 2e-7.
///
/// `e^x = 2^whole · e^rest` with `whole` the integer nearest to `x / ln 2`; `ln 2` in two parts and the polynomial are those
/// of Cephes' `expf` (S. Moshier, netlib.org/cephes).
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    let clamped = if x < LEAST { LEAST } else { x };
    let shifted = fused::<FMA>(clamped, std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = fused::<FMA>(whole, -0.693_359_4, clamped);
    let rest = fused::<FMA>(whole, 2.121_944_4e-4, rest);
    let mut sum = 1.987_569_1e-4;
    for factor in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = fused::<FMA>(sum, rest, factor);
    }
    let small = fused::<FMA>(sum * rest, rest, rest) + 1.0;
    // The low bits of `shifted` hold it; shifted into the exponent they multiply by 2^n.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    if x < LEAST { 0.0 } else { small * power }
}

/// `a · b + c`, rounded once where the processor has an instruction for it.
#[inline(always)]
pub(crate) fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_exponential_within_two_units_of_the_seventh_digit() {
        let mut worst = 0.0_f64;
        for step in 0..=870_000 {
            let x = -f32::from(u16::try_from(step / 10_000).unwrap()) - (step % 10_000) as f32 / 10_000.0;
            let right = f64::from(x).exp();
            for got in [exp::<false>(x), exp::<true>(x)] {
                if x >= LEAST {
                    worst = worst.max((f64::from(got) / right - 1.0).abs());
                }
            }
        }
        assert!(worst < 2e-7, "{worst}");
    }

    #[test]
    fn what_is_masked_weighs_nothing_and_what_is_no_number_stays_none() {
        assert!(exp::<true>(f32::NEG_INFINITY).to_bits() == 0 && exp::<false>(-1e30).to_bits() == 0);
        assert!(exp::<true>(f32::NAN).is_nan() && exp::<false>(f32::NAN).is_nan());
        assert!((exp::<true>(0.0) - 1.0).abs() < f32::EPSILON);
    }
}
