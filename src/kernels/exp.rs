//! The exponential function, for values that are not above zero, written so that compilers vectorise it.

/// 1.5 · 2^23 + 127: a float of this size has no bits below one, so adding it rounds to the nearest integer, which is then in
/// the low bits, and with 127 added they are the exponent of that power of two.
const ROUND: f32 = 12_583_039.0;

/// The least argument, `-127 · ln 2`: the power of two that belongs to it has the bits of zero.
const LEAST: f32 = -88.029_69;

/// `e^x - 1` by powers of `x`, the highest first, down to the first: the polynomial of degree 5 whose greatest relative error
/// from `e^x` between `-ln 2 / 2` and `ln 2 / 2` is the least (1e-7), found by Lawson's iteration.
const FACTORS: [f32; 5] = [0.008_290_193, 0.041_897_953, 0.166_676_39, 0.499_991_5, 0.999_999_7];

/// `e^x` for `x <= 0`; zero below -88, NaN for NaN. Relative error below 2e-7 down to -87, below which results are smaller
/// than normal floats.
///
/// `e^x = 2^whole · e^rest` with `whole` the integer nearest to `x / ln 2`; `ln 2` is in the two parts that Cephes' `expf`
/// has (S. Moshier, netlib.org/cephes).
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    let clamped = if x < LEAST { LEAST } else { x };
    let shifted = fused::<FMA>(clamped, std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = fused::<FMA>(whole, -0.693_359_4, clamped);
    let rest = fused::<FMA>(whole, 2.121_944_4e-4, rest);
    let power = f32::from_bits(shifted.to_bits() << 23);
    let [mut sum, others @ ..] = FACTORS;
    for factor in others {
        sum = fused::<FMA>(sum, rest, factor);
    }
    fused::<FMA>(sum, rest * power, power)
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
                if x >= -87.0 {
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
