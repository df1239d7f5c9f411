//! Products in 512-bit vectors with VNNI: six rows by four vectors of sixteen sums, which with four vectors of weights and
//! two of rows take thirty of the thirty-two registers.
//!
//! Owns the instructions. It must not know panels beyond the one that it is given.
#![expect(unsafe_code, reason = "intrinsics, run where `isa` has asked the processor for them")]

use std::arch::x86_64::{
    __m512i, _mm512_dpbusd_epi32, _mm512_dpwssd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_storeu_si512,
};
use std::array::from_fn;

use super::vectors::{inner_loop, opaque};
use super::{Operands, ROWS, Sums, Tile};

/// Products of words with `vpdpwssd`.
pub(super) struct Words;

inner_loop!(
    Words: i16, i16, "avx512f,avx512vnni",
    4 of __m512i [_mm512_setzero_si512, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_storeu_si512],
    |sum, row, weights| _mm512_dpwssd_epi32(sum, row, weights)
);

/// Products of bytes without a sign and bytes with one, with `vpdpbusd`, which does not saturate.
pub(super) struct Bytes;

inner_loop!(
    Bytes: u8, i8, "avx512f,avx512vnni",
    4 of __m512i [_mm512_setzero_si512, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_storeu_si512],
    |sum, row, weights| _mm512_dpbusd_epi32(sum, row, weights)
);
