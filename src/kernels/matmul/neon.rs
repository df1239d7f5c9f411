//! Products of bytes in 128-bit vectors with Arm's dot product: six rows by four vectors of four sums, which with four
//! vectors of weights take most of the thirty-two registers.
//!
//! Owns the instructions. It must not know panels beyond the one that it is given.
#![expect(unsafe_code, reason = "intrinsics, run where `isa` has asked the processor for them")]

use std::arch::aarch64::{int32x4_t, vdupq_n_s32, vld1q_u8, vreinterpretq_s32_u8, vst1q_s32};
use std::arch::asm;
use std::array::from_fn;

use super::vectors::{inner_loop, opaque};
use super::{Operands, ROWS, Sums, Tile};

/// Products of bytes with a sign, with `sdot`.
pub(super) struct Bytes;

inner_loop!(
    Bytes: u8, i8, "neon,dotprod",
    4 of int32x4_t [zero, load, vdupq_n_s32, store],
    |sum, row, weights| dot(sum, row, weights)
);

#[target_feature(enable = "neon,dotprod")]
#[inline]
fn zero() -> int32x4_t {
    vdupq_n_s32(0)
}

/// # Safety
/// Sixteen bytes can be read there.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn load(from: *const int32x4_t) -> int32x4_t {
    // SAFETY: the caller's; Arm's loads of vectors want no more alignment than an element's, and bytes are told as such.
    unsafe { vreinterpretq_s32_u8(vld1q_u8(from.cast())) }
}

/// # Safety
/// Four integers can be written there.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn store(to: *mut int32x4_t, sums: int32x4_t) {
    // SAFETY: the caller's; the integers are those of an array of them.
    unsafe { vst1q_s32(to.cast(), sums) }
}

/// `sum[i] + Σ row[4 i + j] · weights[4 i + j]` over four bytes with a sign each; the intrinsic `vdotq_s32` is not stable.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn dot(mut sum: int32x4_t, row: int32x4_t, weights: int32x4_t) -> int32x4_t {
    // SAFETY: registers alone, and the function asks for the instruction.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {row:v}.16b, {weights:v}.16b",
            sum = inout(vreg) sum,
            row = in(vreg) row,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
