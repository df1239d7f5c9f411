//! Tiles of the processor (AMX): their configuration, and products of tiles of bytes.
//!
//! Owns the instructions, which are assembly, as their intrinsics are not stable, and what a thread's tiles are left as. It
//! must not know matrices.
//!
//! The configuration of tiles belongs to a thread, and ONNX Runtime's products set theirs once a thread and rely on it from
//! then on. So [`Tiles`] remembers what it finds and puts it back. What tiles hold is lost, which nobody keeps between calls.
#![expect(
    unsafe_code,
    reason = "instructions of tiles, run where `isa` has asked the processor and the system for them"
)]

use std::arch::asm;
use std::marker::PhantomData;

use crate::quantise::TILE_ROWS;

/// Columns of two tiles of sums beside each other.
pub(super) const COLUMNS: usize = 32;

/// A row of a tile has as many bytes.
pub(super) use crate::lines::LINE;

/// Bytes of a tile.
pub(super) const TILE: usize = TILE_ROWS * LINE;

/// Sums of two tiles of rows and two of columns.
pub(super) type Sums = [[i32; COLUMNS]; 2 * TILE_ROWS];

/// Rows and columns of a tile of sums.
pub(super) const SQUARE: usize = 16;

/// Sums of four tiles: a tile of rows with either of columns, then another tile of the same rows likewise.
pub(super) type Squares = [[[i32; SQUARE]; SQUARE]; 4];

/// What `ldtilecfg` reads: the palette, then from byte 16 on two bytes a tile for the bytes of a row, and from byte 48 on one
/// a tile for its rows.
#[derive(Clone, Copy, PartialEq)]
#[repr(C, align(64))]
struct Configuration([u8; 64]);

/// All eight tiles of the greatest size.
const WHOLE: Configuration = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    Configuration(bytes)
};

/// This thread's tiles, of the greatest size until it is dropped.
pub(super) struct Tiles {
    before: Configuration,
    /// They stay with their thread.
    thread: PhantomData<*const ()>,
}

#[expect(clippy::unused_self, reason = "a value is the proof that the thread's tiles are configured")]
impl Tiles {
    /// Configures the tiles of this thread.
    ///
    /// # Safety
    /// The processor has tiles, and the system lets this process use them.
    pub(super) unsafe fn configured() -> Self {
        let mut before = Configuration([0; 64]);
        // SAFETY: writes 64 bytes, which is the size of it.
        unsafe { asm!("sttilecfg [{0}]", in(reg) &raw mut before, options(nostack, preserves_flags)) };
        if before != WHOLE {
            load(&WHOLE);
        }
        Self { before, thread: PhantomData }
    }

    /// Makes the sums zeros that [`Self::advance`] adds to.
    #[inline(always)]
    pub(super) fn clear(&self) {
        // SAFETY: the tiles are configured, as `self` exists on this thread; nothing but them is changed.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nomem, nostack, preserves_flags),
            );
        }
    }

    /// Adds `Σ_k rows[r, k] · panels[c / 16][k, c % 16]` to the sums, for 32 rows, or the first 16 where `T` is one, with
    /// wrapping.
    ///
    /// Rows are `stride` bytes apart and as many steps of 64 bytes are read of each as the panels have tiles; a panel is
    /// `[steps, 16, 16, 4]`. The sums are in tiles from [`Self::clear`] to [`Self::take`], which only this module touches:
    /// the compiler has no use for tiles, and what runs meanwhile is code of this crate.
    #[inline(always)]
    pub(super) fn advance<const T: usize>(&self, rows: &[u8], stride: usize, panels: [&[i8]; 2]) {
        const { assert!(T == 1 || T == 2) }
        let steps = panels[0].len() / TILE;
        assert!(
            steps > 0 && panels[1].len() / TILE >= steps && rows.len() >= (T * TILE_ROWS - 1) * stride + steps * LINE,
            "operands that are too short"
        );
        let (first, [left, right]) = (rows.as_ptr(), panels.map(<[i8]>::as_ptr));
        // SAFETY: the tiles are configured, as `self` exists on this thread. What is read are `steps` pieces of 64 bytes of
        // each of 16 or 32 rows, the last of which ends within the rows, and `steps` tiles of each panel, as was compared.
        // Only tiles, the named registers and flags are changed.
        unsafe {
            if T == 2 {
                asm!(
                    "2:",
                    "tileloadd tmm6, [{left} + {line}]",
                    "tileloadd tmm4, [{row} + {stride}]",
                    "tileloadd tmm7, [{right} + {line}]",
                    "tdpbssd tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{below} + {stride}]",
                    "tdpbssd tmm1, tmm4, tmm7",
                    "tdpbssd tmm2, tmm5, tmm6",
                    "tdpbssd tmm3, tmm5, tmm7",
                    "add {row}, 64", "add {below}, 64", "add {left}, 1024", "add {right}, 1024",
                    "dec {steps}",
                    "jnz 2b",
                    row = inout(reg) first => _,
                    below = inout(reg) first.wrapping_add(TILE_ROWS * stride) => _,
                    left = inout(reg) left => _,
                    right = inout(reg) right => _,
                    steps = inout(reg) steps => _,
                    stride = in(reg) stride,
                    line = in(reg) LINE,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(readonly, nostack),
                );
            } else {
                asm!(
                    "2:",
                    "tileloadd tmm6, [{left} + {line}]",
                    "tileloadd tmm4, [{row} + {stride}]",
                    "tileloadd tmm7, [{right} + {line}]",
                    "tdpbssd tmm0, tmm4, tmm6",
                    "tdpbssd tmm1, tmm4, tmm7",
                    "add {row}, 64", "add {left}, 1024", "add {right}, 1024",
                    "dec {steps}",
                    "jnz 2b",
                    row = inout(reg) first => _,
                    left = inout(reg) left => _,
                    right = inout(reg) right => _,
                    steps = inout(reg) steps => _,
                    stride = in(reg) stride,
                    line = in(reg) LINE,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                    options(readonly, nostack),
                );
            }
        }
    }

    /// Writes the sums of 32 rows, or of the first 16 where `T` is one.
    #[inline(always)]
    pub(super) fn take<const T: usize>(&self, out: &mut Sums) {
        let (out, wide) = (out.as_mut_ptr(), 2 * LINE);
        // SAFETY: the tiles are configured, as `self` exists on this thread. Written are 16 or 32 rows of 128 bytes, those of
        // `out`.
        unsafe {
            asm!(
                "tilestored [{out} + {wide}], tmm0",
                "tilestored [{out} + {wide} + 64], tmm1",
                out = in(reg) out,
                wide = in(reg) wide,
                options(nostack, preserves_flags),
            );
            if T == 2 {
                asm!(
                    "tilestored [{out} + {wide} + 2048], tmm2",
                    "tilestored [{out} + {wide} + 2112], tmm3",
                    out = in(reg) out,
                    wide = in(reg) wide,
                    options(nostack, preserves_flags),
                );
            }
        }
    }
}

/// Instructions of a product of rows in halves, in order: high bytes with the left panel and the right one, then low bytes.
macro_rules! halves {
    ($high_left:literal, $high_right:literal, $low_left:literal, $low_right:literal, $operands:expr) => {{
        let ([high, low], stride, [left, right], steps, out): ([*const u8; 2], usize, [*const i8; 2], usize, &mut Squares) =
            $operands;
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            "tileloadd tmm6, [{left} + {line}]",
            "tileloadd tmm4, [{high} + {stride}]",
            "tileloadd tmm7, [{right} + {line}]",
            concat!($high_left, " tmm0, tmm4, tmm6"),
            "tileloadd tmm5, [{low} + {stride}]",
            concat!($high_right, " tmm1, tmm4, tmm7"),
            concat!($low_left, " tmm2, tmm5, tmm6"),
            concat!($low_right, " tmm3, tmm5, tmm7"),
            "add {high}, 64", "add {low}, 64", "add {left}, 1024", "add {right}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{out} + {line}], tmm0",
            "tilestored [{out} + {line} + 1024], tmm1",
            "tilestored [{out} + {line} + 2048], tmm2",
            "tilestored [{out} + {line} + 3072], tmm3",
            high = inout(reg) high => _,
            low = inout(reg) low => _,
            left = inout(reg) left => _,
            right = inout(reg) right => _,
            steps = inout(reg) steps => _,
            stride = in(reg) stride,
            line = in(reg) LINE,
            out = in(reg) out.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }};
}

#[expect(clippy::unused_self, reason = "a value is the proof that the thread's tiles are configured")]
impl Tiles {
    /// Sums of 16 rows in halves, of which `rows` are the high and the low bytes, with two panels: of bytes with a sign, or,
    /// where `HALVED`, of one's high and low bytes. Rows and panels are as in [`Self::advance`].
    #[inline(always)]
    pub(super) fn multiply_halves<const HALVED: bool>(
        &self,
        rows: [&[u8]; 2],
        stride: usize,
        panels: [&[i8]; 2],
        out: &mut Squares,
    ) {
        let steps = panels[0].len() / TILE;
        let ends = (TILE_ROWS - 1) * stride + steps * LINE;
        assert!(
            steps > 0 && panels[1].len() / TILE >= steps && rows.iter().all(|rows| rows.len() >= ends),
            "operands that are too short"
        );
        let operands = (rows.map(<[u8]>::as_ptr), stride, panels.map(<[i8]>::as_ptr), steps, out);
        // SAFETY: as in `advance`: of either half of the rows `steps` pieces of each of 16 rows are read, and `steps` tiles of
        // each panel, as was compared; written are four tiles, those of `out`.
        unsafe {
            if HALVED {
                halves!("tdpbssd", "tdpbsud", "tdpbusd", "tdpbuud", operands);
            } else {
                halves!("tdpbssd", "tdpbssd", "tdpbusd", "tdpbusd", operands);
            }
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        if self.before.0[0] == 0 {
            // SAFETY: there are tiles, as `self` exists; nobody has configured them before it.
            unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
        } else if self.before != WHOLE {
            load(&self.before);
        }
    }
}

/// Configures this thread's tiles, of which there are such: it is called where [`Tiles`] is or will be.
fn load(configuration: &Configuration) {
    // SAFETY: reads 64 bytes, which is the size of it, and they are what `sttilecfg` has stored or of the right form.
    unsafe { asm!("ldtilecfg [{0}]", in(reg) &raw const *configuration, options(readonly, nostack, preserves_flags)) };
}

/// Eight products of tiles a round, from registers alone.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn pace(rounds: u64) {
    assert!(crate::isa::Path::available().contains(&crate::isa::Path::AmxInt8), "a processor without tiles");
    // SAFETY: the processor has tiles, and the system lets this process use them, as was asked just now.
    let tiles = unsafe { Tiles::configured() };
    // SAFETY: tiles alone are read and written, and they are configured.
    unsafe {
        asm!(
            "tilezero tmm6", "tilezero tmm7",
            "2:",
            "tdpbssd tmm0, tmm6, tmm7", "tdpbssd tmm1, tmm6, tmm7", "tdpbssd tmm2, tmm6, tmm7", "tdpbssd tmm3, tmm6, tmm7",
            "tdpbssd tmm0, tmm6, tmm7", "tdpbssd tmm1, tmm6, tmm7", "tdpbssd tmm2, tmm6, tmm7", "tdpbssd tmm3, tmm6, tmm7",
            "dec {rounds}",
            "jnz 2b",
            rounds = inout(reg) rounds => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm6") _, out("tmm7") _,
            options(nomem, nostack),
        );
    }
    drop(tiles);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Path;

    /// This thread's configuration.
    fn configuration() -> Configuration {
        let mut now = Configuration([0; 64]);
        // SAFETY: there are tiles, as the test has asked; 64 bytes are written.
        unsafe { asm!("sttilecfg [{0}]", in(reg) &raw mut now, options(nostack, preserves_flags)) };
        now
    }

    #[test]
    #[ignore = "needs a processor with AMX"]
    fn what_a_thread_had_configured_is_put_back() {
        assert!(Path::AmxInt8.is_available(), "a processor or a system without tiles");
        let small = {
            let mut bytes = [0; 64];
            (bytes[0], bytes[16], bytes[48]) = (1, 16, 4);
            Configuration(bytes)
        };
        for before in [Configuration([0; 64]), WHOLE, small] {
            if before.0[0] == 0 {
                // SAFETY: there are tiles.
                unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
            } else {
                load(&before);
            }
            // SAFETY: there are tiles.
            let tiles = unsafe { Tiles::configured() };
            assert!(configuration() == WHOLE);
            drop(tiles);
            assert!(configuration() == before);
        }
    }
}
