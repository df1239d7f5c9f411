//! Pooling: one row a pair out of the rows of its tokens.

/// The mean of each pair's rows: `rows` is `[sum of lengths, width]`, `out` `[lengths, width]`. A pair without tokens has
/// a row of zeros.
///
/// Sums run over a pair's rows in their order, in 64 bits, as long texts have thousands of them.
///
/// # Panics
/// Never where the slices are as long as said; the caller checks that.
pub fn mean_rows(rows: &[f32], lengths: &[usize], width: usize, out: &mut [f32]) {
    let mut sums = vec![0.0_f64; width];
    let mut rest = rows;
    for (&length, out) in lengths.iter().zip(out.chunks_exact_mut(width.max(1))) {
        let (own, others) = rest.split_at(length * width);
        rest = others;
        sums.fill(0.0);
        for row in own.chunks_exact(width.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let count = length.max(1) as f64;
        #[expect(clippy::cast_possible_truncation, reason = "rounded to the row's floats")]
        out.iter_mut().zip(&sums).for_each(|(out, sum)| *out = (sum / count) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_has_the_mean_of_its_own_rows() {
        let mut out = [9.0; 6];
        mean_rows(&[1.0, 2.0, 3.0, 6.0, 5.0, 7.0], &[2, 0, 1], 2, &mut out);
        assert_eq!(out.map(f32::to_bits), [2.0, 4.0, 0.0, 0.0, 5.0, 7.0].map(f32::to_bits));
    }
}
