//! Whether tiles (AMX) can be used: the processor has them, the system keeps them, and lets this process use them.
//!
//! Owns the questions. It must not know what tiles are used for.
#![expect(unsafe_code, reason = "an instruction and a system call that the standard library does not have")]

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

/// Bits of leaf 7 in `edx`: tiles, and products of bytes in them (Intel's manual, volume 2, CPUID).
const TILES: u32 = 1 << 24;
const BYTES: u32 = 1 << 25;
/// Bit of leaf 1 in `ecx`: the system has turned `xgetbv` on.
const OSXSAVE: u32 = 1 << 27;
/// Bits of the state that the system keeps for a thread: configuration and data of tiles.
const STATE: u32 = 1 << 17 | 1 << 18;

/// Asked once: the system's permission holds for the process, and all its threads, until it ends.
pub(super) fn is_available() -> bool {
    static IS_AVAILABLE: OnceLock<bool> = OnceLock::new();
    *IS_AVAILABLE.get_or_init(|| has_tiles() && is_kept() && is_permitted())
}

fn has_tiles() -> bool {
    if __cpuid(0).eax < 7 {
        return false;
    }
    __cpuid_count(7, 0).edx & (TILES | BYTES) == TILES | BYTES
}

/// Whether the system keeps the tiles of a thread while another runs.
fn is_kept() -> bool {
    if __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let low: u32;
    // SAFETY: reads a register of the processor's, which the system has turned on, as was asked just now.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _, options(nomem, nostack, preserves_flags)) };
    low & STATE == STATE
}

/// Asks Linux to give tiles to threads of this process that use them (`arch_prctl(2)`, `ARCH_REQ_XCOMP_PERM`; the kernel's
/// Documentation/arch/x86/xstate.rst). It refuses where a thread's stack for signals has no room for them.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: isize = 158;
    const REQUEST_PERMISSION: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let result: isize;
    // SAFETY: the call takes two numbers and touches no memory of this process; `syscall` changes `rcx` and `r11`.
    unsafe {
        asm!(
            "syscall",
            inout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}
