//! Inner loops in 256-bit vectors: six rows by two vectors of eight sums, which with two vectors of weights, one of a row
//! and one of products fill the sixteen registers.
//!
//! Owns the instructions. It must not know panels beyond the one that it is given.
#![expect(unsafe_code, reason = "intrinsics, run where `isa` has asked the processor for them")]

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_dpbusd_avx_epi32, _mm256_dpwssd_avx_epi32, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_set1_epi32, _mm256_setzero_si256, _mm256_storeu_si256,
};

use super::{Operands, ROWS, Sums, Tile};

/// Products of words with `vpmaddwd`: two products of 16 bits and their sum, exact in 32 bits for every operand that a
/// format allows, then an addition.
pub(super) struct Words;

/// Products of words with `vpdpwssd`.
pub(super) struct VnniWords;

/// Products of bytes without a sign and bytes with one, with `vpdpbusd`, which does not saturate.
pub(super) struct VnniBytes;

impl Tile<16> for Words {
    type Row = i16;
    type Weight = i16;

    #[inline(always)]
    fn sums<const R: usize>(operands: Operands<'_, i16, i16>, out: &mut Sums<16>) {
        // SAFETY: both are AVX2's, and this is compiled into `isa::x86::avx2` alone, which asks for it.
        let step = |sum, row, weights| unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(row, weights)) };
        sums::<R, _, _>(operands, step, out);
    }
}

impl Tile<16> for VnniWords {
    type Row = i16;
    type Weight = i16;

    #[inline(always)]
    fn sums<const R: usize>(operands: Operands<'_, i16, i16>, out: &mut Sums<16>) {
        // SAFETY: compiled into `isa::x86::avx_vnni` alone, which asks for AVX-VNNI.
        sums::<R, _, _>(operands, |sum, row, weights| unsafe { _mm256_dpwssd_avx_epi32(sum, row, weights) }, out);
    }
}

impl Tile<16> for VnniBytes {
    type Row = u8;
    type Weight = i8;

    #[inline(always)]
    fn sums<const R: usize>(operands: Operands<'_, u8, i8>, out: &mut Sums<16>) {
        // SAFETY: compiled into `isa::x86::avx_vnni` alone, which asks for AVX-VNNI.
        sums::<R, _, _>(operands, |sum, row, weights| unsafe { _mm256_dpbusd_avx_epi32(sum, row, weights) }, out);
    }
}

/// The loop, whatever a step is: a group of each row, in all lanes, meets two vectors of weights.
#[inline(always)]
fn sums<const R: usize, A: Copy, B: Copy>(
    operands: Operands<'_, A, B>,
    step: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
    out: &mut Sums<16>,
) {
    const { assert!(R <= ROWS && size_of::<A>() == size_of::<B>()) }
    let Operands { rows, stride, panel, groups } = operands;
    let group = 4 / size_of::<A>();
    assert!(
        rows.len() >= (R - 1) * stride + groups * group && panel.len() >= groups * 16 * group,
        "operands are short"
    );
    // SAFETY: AVX2 is there, see above. A group is four bytes. Reads are of group `0..groups` of row `0..R`, which end at
    // `(R - 1) · stride + groups · group` elements, and of 64 bytes of the panel a group, which end at `groups · 16 · group`
    // elements: both were compared just now. Nothing is assumed of alignment. A row of `out` is two vectors.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        let (mut row, mut weights) = (rows.as_ptr(), panel.as_ptr().cast::<__m256i>());
        for _ in 0..groups {
            let (left, right) = (_mm256_loadu_si256(weights), _mm256_loadu_si256(weights.add(1)));
            for (at, sums) in sums.iter_mut().enumerate() {
                let lanes = _mm256_set1_epi32(row.add(at * stride).cast::<i32>().read_unaligned());
                *sums = [step(sums[0], lanes, left), step(sums[1], lanes, right)];
            }
            row = row.add(group);
            weights = weights.add(2);
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            let out = out.as_mut_ptr().cast::<__m256i>();
            _mm256_storeu_si256(out, sums[0]);
            _mm256_storeu_si256(out.add(1), sums[1]);
        }
    }
}
