//! Products in 256-bit vectors: six rows by two vectors of eight sums, which with two vectors of the matrix and one of a
//! factor take fifteen of the sixteen registers.
#![expect(unsafe_code, reason = "intrinsics, run where attention has asked the processor for them")]

use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_storeu_ps,
};
use std::array::from_fn;

use super::vectors::tile;
use super::{Matrix, Tile, check, folded, greater, row_of, row_of_mut, weights};

/// AVX2 with fused multiply-add.
pub(crate) struct Avx2;

tile!(
    Avx2: "avx2,fma", rows 6 [1 2 3 4 5],
    2 of __m256 [
        _mm256_setzero_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_max_ps
    ]
);
