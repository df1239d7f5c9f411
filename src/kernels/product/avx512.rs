//! Products in 512-bit vectors: twelve rows by two vectors of sixteen sums, which with two vectors of the matrix and one
//! of a factor take twenty-seven of the thirty-two registers.
#![expect(unsafe_code, reason = "intrinsics, run where attention has asked the processor for them")]

use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_max_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_storeu_ps,
};
use std::array::from_fn;

use super::vectors::tile;
use super::{Matrix, Tile, check, folded, greater, row_of, row_of_mut, weights};

/// AVX-512.
pub(crate) struct Avx512;

tile!(
    Avx512: "avx512f", rows 12 [1 2 3 4 5 6 7 8 9 10 11],
    2 of __m512 [
        _mm512_setzero_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_max_ps
    ]
);
