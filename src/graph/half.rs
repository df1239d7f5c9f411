//! 16-bit floats (IEEE binary16), as their bits.
//!
//! Owns the two conversions that graphs need; arithmetic on halves is the runtime's business.

/// The nearest half, ties to even; what is too large becomes infinity.
#[expect(clippy::cast_possible_truncation, reason = "each part is masked to its width first")]
pub(super) fn narrow(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Below the smallest normal half: adding 0.5 leaves the multiple of 2^-24 in the low bits, rounded to even.
        let shifted = f32::from_bits(magnitude) + 0.5;
        return sign | (shifted.to_bits() - 0.5_f32.to_bits()) as u16;
    }
    let odd = (magnitude >> 13) & 1;
    sign | ((magnitude - 0x3800_0000 + 0x0fff + odd) >> 13) as u16
}

/// The float that a half stands for; exact.
pub fn widen(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits) & 0x3ff;
    let magnitude = match exponent {
        0 => (f32::from_bits(0.5_f32.to_bits() + fraction) - 0.5).to_bits(),
        0x1f => 0x7f80_0000 | (fraction << 13),
        _ => ((exponent + 112) << 23) | (fraction << 13),
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_through_a_float() {
        for bits in 0..=u16::MAX {
            let wide = widen(bits);
            if wide.is_nan() {
                assert!(widen(narrow(wide)).is_nan(), "{bits:#06x}");
            } else {
                assert_eq!(narrow(wide), bits, "{bits:#06x} is {wide}");
            }
        }
    }

    #[test]
    fn known_values_convert_as_the_standard_says() {
        let table = [
            (1.0, 0x3c00, "one"),
            (-2.0, 0xc000, "minus two"),
            (65504.0, 0x7bff, "the largest half"),
            (65519.9, 0x7bff, "just below the tie above the largest half"),
            (65520.0, 0x7c00, "the tie goes to infinity"),
            (1e-30, 0x0000, "underflow"),
            (5.960_464_5e-8, 0x0001, "the smallest half"),
            (2049.0, 0x6800, "a tie goes to the even neighbour below"),
            (2051.0, 0x6802, "a tie goes to the even neighbour above"),
        ];
        for (value, bits, case) in table {
            assert_eq!(narrow(value), bits, "{case}");
        }
    }
}
