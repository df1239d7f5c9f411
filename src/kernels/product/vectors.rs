//! The inner loop in vectors, for every size of them.
//!
//! Owns what is read and written, and why that is within bounds; the instructions are the caller's.

/// Implements [`Tile`](super::Tile) for an instruction set: a factor of each row, in all lanes, meets a row of the panel.
///
/// The loop is a function of its own: as a part of the caller's, which has more to keep, its registers would not do.
macro_rules! tile {
    (
        $kind:ty: $features:literal, rows $most:literal [$($rows:literal)+],
        $vectors:literal of $vector:ty [
            $zero:ident, $load:ident, $splat:ident, $fused:ident, $store:ident, $add:ident, $max:ident
        ]
    ) => {
        impl Tile<{ $vectors * size_of::<$vector>() / 4 }> for $kind {
            const ROWS: usize = $most;
            const FMA: bool = true;

            #[inline(always)]
            fn multiply(rows: usize, block: &[f32], matrix: Matrix<'_>, out: &mut [f32]) {
                const LANES: usize = size_of::<$vector>() / 4;
                const COLUMNS: usize = $vectors * LANES;
                #[target_feature(enable = $features)]
                #[inline(never)]
                fn inner<const R: usize>(block: &[f32], matrix: Matrix<'_>, out: &mut [f32]) {
                    check::<COLUMNS>(R, block, &matrix, out);
                    let Matrix { values, rows, stride, panels, panel } = matrix;
                    for number in 0..panels {
                        let mut sums = [[$zero(); $vectors]; R];
                        let mut row = values.as_ptr().wrapping_add(number * panel);
                        let mut factors = block.as_ptr();
                        let mut rest = rows;
                        while rest > 0 {
                            let count = rest.min(COLUMNS);
                            for at in 0..count {
                                // SAFETY: `COLUMNS` elements of a row that the matrix has in this panel, as was checked;
                                // nothing is assumed of alignment.
                                let loaded: [$vector; $vectors] =
                                    from_fn(|vector| unsafe { $load(row.add(vector * LANES)) });
                                for (number, sums) in sums.iter_mut().enumerate() {
                                    // SAFETY: of each of `R` rows one of `COLUMNS` elements, in one of the block's panels
                                    // that were checked to be there for all rows of the matrix.
                                    let factor = $splat(unsafe { *factors.add(number * COLUMNS + at) });
                                    for (sum, loaded) in sums.iter_mut().zip(loaded) {
                                        *sum = $fused(factor, loaded, *sum);
                                    }
                                }
                                row = row.wrapping_add(stride);
                            }
                            factors = factors.wrapping_add(R * COLUMNS);
                            rest -= count;
                        }
                        let out = &mut out[number * R * COLUMNS..][..R * COLUMNS];
                        for (out, sums) in out.as_chunks_mut::<COLUMNS>().0.iter_mut().zip(sums) {
                            for (at, sum) in sums.into_iter().enumerate() {
                                // SAFETY: a row of `out` is so many vectors. Nothing is assumed of alignment.
                                unsafe { $store(out.as_mut_ptr().add(at * LANES), sum) };
                            }
                        }
                    }
                }
                // SAFETY: attention, which alone multiplies in this way, has asked the processor for the instructions of the
                // kind that it names, see `attention::x86`.
                unsafe {
                    match rows {
                        $($rows => inner::<$rows>(block, matrix, out),)+
                        _ => inner::<$most>(block, matrix, out),
                    }
                }
            }

            #[inline(always)]
            fn softmax(block: &mut [f32], sums: &mut [f32]) {
                const LANES: usize = size_of::<$vector>() / 4;
                const COLUMNS: usize = $vectors * LANES;
                #[target_feature(enable = $features)]
                #[inline]
                fn vectors(values: &[f32; COLUMNS]) -> [$vector; $vectors] {
                    // SAFETY: so many vectors are the columns; nothing is assumed of alignment.
                    from_fn(|at| unsafe { $load(values.as_ptr().add(at * LANES)) })
                }
                #[target_feature(enable = $features)]
                #[inline]
                fn lanes(vector: $vector) -> [f32; LANES] {
                    let mut lanes = [0.0; LANES];
                    // SAFETY: so many lanes are a vector; nothing is assumed of alignment.
                    unsafe { $store(lanes.as_mut_ptr(), vector) };
                    lanes
                }
                // Vectors, and row by row twice: so sums stay in registers, and no row waits for the lanes of another.
                #[target_feature(enable = $features)]
                #[inline(never)]
                fn inner(block: &mut [f32], sums: &mut [f32]) {
                    let rows = sums.len();
                    for (row, most) in sums.iter_mut().enumerate() {
                        let mut greatest = [$splat(f32::NEG_INFINITY); $vectors];
                        for scores in row_of::<COLUMNS>(block, rows, row) {
                            for (greatest, scores) in greatest.iter_mut().zip(vectors(scores)) {
                                *greatest = $max(scores, *greatest);
                            }
                        }
                        let mut first = greatest[0];
                        for other in &greatest[1..] {
                            first = $max(*other, first);
                        }
                        *most = folded(lanes(first), greater);
                    }
                    for (row, sum) in sums.iter_mut().enumerate() {
                        let mut parts = [$zero(); $vectors];
                        for scores in row_of_mut::<COLUMNS>(block, rows, row) {
                            *scores = weights::<COLUMNS, true>(*scores, *sum);
                            for (part, weights) in parts.iter_mut().zip(vectors(scores)) {
                                *part = $add(*part, weights);
                            }
                        }
                        let mut first = parts[0];
                        for other in &parts[1..] {
                            first = $add(first, *other);
                        }
                        *sum = folded(lanes(first), |a, b| a + b);
                    }
                }
                // SAFETY: as for products.
                unsafe { inner(block, sums) }
            }

            #[inline(always)]
            fn turn(rows: &[f32], stride: usize, width: usize, panel: &mut [f32], first: usize) {
                super::vectors::turn::<{ $vectors * size_of::<$vector>() / 4 }>(rows, stride, width, panel, first);
            }
        }
    };
}
pub(super) use tile;

use std::arch::x86_64::{
    __m256, _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_unpackhi_ps,
    _mm256_unpacklo_ps,
};
use std::array::from_fn;

use super::{TURNED, turn_from};

/// See [`Tile::turn`](super::Tile::turn): eight values of eight rows at a time.
#[inline(always)]
#[expect(unsafe_code, reason = "intrinsics, run where attention has asked the processor for them")]
pub(super) fn turn<const C: usize>(rows: &[f32], stride: usize, width: usize, panel: &mut [f32], first: usize) {
    #[target_feature(enable = "avx2")]
    fn inner<const C: usize>(rows: &[f32], stride: usize, width: usize, panel: &mut [f32], first: usize) {
        let whole = width / TURNED * TURNED;
        for value in (0..whole).step_by(TURNED) {
            let loaded = from_fn(|row| {
                let values = &rows[row * stride + value..][..TURNED];
                // SAFETY: eight elements, as the slice says; nothing is assumed of alignment.
                unsafe { _mm256_loadu_ps(values.as_ptr()) }
            });
            for (at, column) in transposed(loaded).into_iter().enumerate() {
                let into = &mut panel[(value + at) * C + first..][..TURNED];
                // SAFETY: as above.
                unsafe { _mm256_storeu_ps(into.as_mut_ptr(), column) };
            }
        }
        turn_from::<C>(rows, stride, whole..width, panel, (first, TURNED));
    }
    // SAFETY: attention has asked the processor for this, see `attention::x86`; AVX-512 contains it.
    unsafe { inner::<C>(rows, stride, width, panel, first) }
}

/// Columns of eight rows of eight elements: pairs of elements, then fours, then halves of vectors change places.
#[target_feature(enable = "avx2")]
#[inline]
fn transposed(rows: [__m256; 8]) -> [__m256; 8] {
    let (upper, lower) = rows.split_at(4);
    let fours = |rows: &[__m256]| {
        // Half of eight.
        let [a, b, c, d] = [rows[0], rows[1], rows[2], rows[3]];
        let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (other_low, other_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0x44>(low, other_low),
            _mm256_shuffle_ps::<0xee>(low, other_low),
            _mm256_shuffle_ps::<0x44>(high, other_high),
            _mm256_shuffle_ps::<0xee>(high, other_high),
        ]
    };
    let (first, second) = (fours(upper), fours(lower));
    from_fn(|at| {
        let (first, second) = (first[at % 4], second[at % 4]);
        if at < 4 {
            _mm256_permute2f128_ps::<0x20>(first, second)
        } else {
            _mm256_permute2f128_ps::<0x31>(first, second)
        }
    })
}
