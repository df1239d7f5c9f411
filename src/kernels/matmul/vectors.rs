//! The inner loop in vectors, for every size of them.
//!
//! Owns what is read and written, and why that is within bounds; the instructions are the caller's.

use std::arch::asm;

/// Implements [`Tile`](super::Tile) for a kind of products: a group of each row, in all lanes, meets a group of the panel.
///
/// The loop is a function of its own: as a part of the caller's, which has more to keep, its registers would not do.
macro_rules! inner_loop {
    (
        $kind:ty: $row:ty, $weight:ty, $features:literal,
        $vectors:literal of $vector:ty [$zero:ident, $load:ident, $splat:ident, $store:ident],
        |$sum:ident, $lanes:ident, $weights:ident| $step:expr
    ) => {
        impl Tile<{ $vectors * size_of::<$vector>() / 4 }> for $kind {
            type Row = $row;
            type Weight = $weight;

            #[inline(always)]
            fn sums<const R: usize>(
                operands: Operands<'_, $row, $weight>,
                out: &mut Sums<{ $vectors * size_of::<$vector>() / 4 }>,
            ) {
                const COLUMNS: usize = $vectors * size_of::<$vector>() / 4;
                #[target_feature(enable = $features)]
                #[inline(never)]
                #[expect(
                    clippy::cast_ptr_alignment,
                    reason = "vectors are loaded and stored by instructions that ask for none"
                )]
                fn inner<const R: usize>(operands: Operands<'_, $row, $weight>, out: &mut Sums<COLUMNS>) {
                    const { assert!(R > 0 && R <= ROWS) }
                    let group = 4 / size_of::<$row>();
                    let Operands { rows, stride, panel, groups } = operands;
                    let (ends, panel_ends) = ((R - 1) * stride + groups * group, groups * COLUMNS * group);
                    assert!(rows.len() >= ends && panel.len() >= panel_ends, "operands that are too short");
                    let firsts: [*const $row; R] = from_fn(|at| opaque(rows[at * stride..].as_ptr()));
                    let mut sums = [[$zero(); $vectors]; R];
                    let mut panel = panel.as_ptr().cast::<$vector>();
                    for at in 0..groups {
                        // SAFETY: a group of the panel is so many vectors, and there are `groups` of them, as was compared.
                        let loaded: [$vector; $vectors] = from_fn(|vector| unsafe { $load(panel.add(vector)) });
                        for (first, sums) in firsts.iter().zip(&mut sums) {
                            // SAFETY: a group is four bytes. Of each of `R` rows this is one of `groups` groups, and that of
                            // the last row ends within the rows, as was compared. Nothing is assumed of alignment.
                            let $lanes = $splat(unsafe { first.add(at * group).cast::<i32>().read_unaligned() });
                            for (sum, $weights) in sums.iter_mut().zip(loaded) {
                                let $sum = *sum;
                                *sum = $step;
                            }
                        }
                        // SAFETY: at most the end of what was compared.
                        panel = unsafe { panel.add($vectors) };
                    }
                    for (out, sums) in out.iter_mut().zip(sums) {
                        for (at, sum) in sums.into_iter().enumerate() {
                            // SAFETY: a row of `out` is so many vectors. Nothing is assumed of alignment.
                            unsafe { $store(out.as_mut_ptr().cast::<$vector>().add(at), sum) };
                        }
                    }
                }
                // SAFETY: products are computed by `isa::compiled_for` alone, which has asked the processor for this.
                unsafe { inner::<R>(operands, out) }
            }
        }
    };
}
pub(super) use inner_loop;

/// The same pointer, of which the compiler knows nothing: so it keeps one for each row in a register, where it would compute
/// them one from the other in every round of the loop.
#[inline(always)]
#[expect(unsafe_code, reason = "an empty line of assembly")]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "the pointer is not followed")]
pub(super) fn opaque<T>(mut pointer: *const T) -> *const T {
    // SAFETY: nothing is done.
    unsafe { asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack, preserves_flags)) };
    pointer
}
