//! Inner loops in 512-bit vectors with VNNI: six rows by four vectors of sixteen sums, which with four vectors of weights
//! and two of rows take thirty of the thirty-two registers.
//!
//! Owns the instructions. It must not know panels beyond the one that it is given.
#![expect(unsafe_code, reason = "intrinsics, run where `isa` has asked the processor for them")]

use std::arch::x86_64::{
    __m512i, _mm512_dpbusd_epi32, _mm512_dpwssd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_storeu_si512,
};

use super::{Operands, ROWS, Sums, Tile};

/// Products of words with `vpdpwssd`.
pub(super) struct Words;

/// Products of bytes without a sign and bytes with one, with `vpdpbusd`, which does not saturate.
pub(super) struct Bytes;

impl Tile<64> for Words {
    type Row = i16;
    type Weight = i16;

    #[inline(always)]
    fn sums<const R: usize>(operands: Operands<'_, i16, i16>, out: &mut Sums<64>) {
        // SAFETY: compiled into `isa::x86::avx512_vnni` alone, which asks for AVX-512 VNNI.
        sums::<R, _, _>(operands, |sum, row, weights| unsafe { _mm512_dpwssd_epi32(sum, row, weights) }, out);
    }
}

impl Tile<64> for Bytes {
    type Row = u8;
    type Weight = i8;

    #[inline(always)]
    fn sums<const R: usize>(operands: Operands<'_, u8, i8>, out: &mut Sums<64>) {
        // SAFETY: compiled into `isa::x86::avx512_vnni` alone, which asks for AVX-512 VNNI.
        sums::<R, _, _>(operands, |sum, row, weights| unsafe { _mm512_dpbusd_epi32(sum, row, weights) }, out);
    }
}

/// The loop, whatever a step is: a group of each row, in all lanes, meets four vectors of weights.
#[inline(always)]
fn sums<const R: usize, A: Copy, B: Copy>(
    operands: Operands<'_, A, B>,
    step: impl Fn(__m512i, __m512i, __m512i) -> __m512i,
    out: &mut Sums<64>,
) {
    const { assert!(R <= ROWS && size_of::<A>() == size_of::<B>()) }
    let Operands { rows, stride, panel, groups } = operands;
    let group = 4 / size_of::<A>();
    assert!(
        rows.len() >= (R - 1) * stride + groups * group && panel.len() >= groups * 64 * group,
        "operands are short"
    );
    // SAFETY: AVX-512 is there, see above. A group is four bytes. Reads are of group `0..groups` of row `0..R`, which end at
    // `(R - 1) · stride + groups · group` elements, and of 256 bytes of the panel a group, which end at `groups · 64 · group`
    // elements: both were compared just now. Nothing is assumed of alignment. A row of `out` is four vectors.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); 4]; R];
        let (mut row, mut weights) = (rows.as_ptr(), panel.as_ptr().cast::<__m512i>());
        for _ in 0..groups {
            let vectors = [
                _mm512_loadu_si512(weights),
                _mm512_loadu_si512(weights.add(1)),
                _mm512_loadu_si512(weights.add(2)),
                _mm512_loadu_si512(weights.add(3)),
            ];
            for (at, sums) in sums.iter_mut().enumerate() {
                let lanes = _mm512_set1_epi32(row.add(at * stride).cast::<i32>().read_unaligned());
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = step(*sum, lanes, vector);
                }
            }
            row = row.add(group);
            weights = weights.add(4);
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            let out = out.as_mut_ptr().cast::<__m512i>();
            for (at, sum) in sums.into_iter().enumerate() {
                _mm512_storeu_si512(out.add(at), sum);
            }
        }
    }
}
