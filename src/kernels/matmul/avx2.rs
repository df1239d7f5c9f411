//! Products in 256-bit vectors: six rows by two vectors of eight sums, which with two vectors of weights, one of a row and
//! one of products fill the sixteen registers.
//!
//! Owns the instructions. It must not know panels beyond the one that it is given.
#![expect(unsafe_code, reason = "intrinsics, run where `isa` has asked the processor for them")]

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_dpbusd_avx_epi32, _mm256_dpwssd_avx_epi32, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_set1_epi32, _mm256_setzero_si256, _mm256_storeu_si256,
};
use std::array::from_fn;

use super::vectors::{inner_loop, opaque};
use super::{Operands, ROWS, Sums, Tile};

/// Products of words with `vpmaddwd`: two products of 16 bits and their sum, exact in 32 bits for every operand that a
/// format allows, then an addition.
pub(super) struct Words;

inner_loop!(
    Words: i16, i16, "avx2",
    2 of __m256i [_mm256_setzero_si256, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256],
    |sum, row, weights| _mm256_add_epi32(sum, _mm256_madd_epi16(row, weights))
);

/// Products of words with `vpdpwssd`.
pub(super) struct VnniWords;

inner_loop!(
    VnniWords: i16, i16, "avx2,avxvnni",
    2 of __m256i [_mm256_setzero_si256, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256],
    |sum, row, weights| _mm256_dpwssd_avx_epi32(sum, row, weights)
);

/// Products of bytes without a sign and bytes with one, with `vpdpbusd`, which does not saturate.
pub(super) struct VnniBytes;

inner_loop!(
    VnniBytes: u8, i8, "avx2,avxvnni",
    2 of __m256i [_mm256_setzero_si256, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256],
    |sum, row, weights| _mm256_dpbusd_avx_epi32(sum, row, weights)
);
