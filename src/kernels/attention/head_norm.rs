//! The root mean square norm of one head's values.
//!
//! Owns the order of the sum: in `LANES` parts of a row's values, then over the parts, on every instruction set.

/// Parts of the sum, so that it need not wait for itself.
const LANES: usize = 8;

/// Divides values by the root of the mean of their squares, and multiplies them with the gain, one a value.
#[inline(always)]
pub(super) fn normalise(values: &mut [f32], gain: &[f32], epsilon: f32) {
    let mut parts = [0.0_f32; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        parts.iter_mut().zip(values).for_each(|(part, value)| *part += value * value);
    }
    parts.iter_mut().zip(rest).for_each(|(part, value)| *part += value * value);
    let mean = parts.iter().sum::<f32>() / values.len() as f32;
    let factor = 1.0 / (mean + epsilon).sqrt();
    values.iter_mut().zip(gain).for_each(|(value, gain)| *value = *value * factor * gain);
}
