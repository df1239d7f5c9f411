//! The pace of the instructions that products are made of, from registers alone.
#![expect(unsafe_code, reason = "a loop of instructions that no compiler can move")]

use std::arch::asm;

/// Sums of a round of the loop, so many that none has to wait for itself.
pub(super) const SUMS: u32 = 12;

/// A function that runs so many rounds of `$step sum, 14, 15` for each of the sums, or of `$step 12, 14, 15` and
/// `$then sum, sum, 12`.
macro_rules! pace {
    ($name:ident, $register:literal, $clear:literal, $step:literal $(, $then:literal)?) => {
        pub(super) fn $name(rounds: u64) {
            pace!(@ rounds, $register, $clear, ($step $(, $then)?), 0 1 2 3 4 5 6 7 8 9 10 11);
        }
    };
    (@ $rounds:ident, $register:literal, $clear:literal, $steps:tt, $($sum:literal)+) => {
        // SAFETY: registers alone are read and written, and all of them are named; the caller has asked the processor for
        // the instructions.
        unsafe {
            asm!(
                concat!($clear, " ", $register, "14, ", $register, "14, ", $register, "14"),
                concat!($clear, " ", $register, "15, ", $register, "15, ", $register, "15"),
                "2:",
                $(pace!(line $register, $steps, $sum),)+
                "dec {rounds}",
                "jnz 2b",
                rounds = inout(reg) $rounds => _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
                out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _,
                out("xmm14") _, out("xmm15") _,
                options(nomem, nostack),
            );
        }
    };
    (line $register:literal, ($step:literal), $sum:literal) => {
        concat!($step, " ", $register, $sum, ", ", $register, "14, ", $register, "15")
    };
    (line $register:literal, ($step:literal, $then:literal), $sum:literal) => {
        concat!(
            $step, " ", $register, "12, ", $register, "14, ", $register, "15\n",
            $then, " ", $register, $sum, ", ", $register, $sum, ", ", $register, "12"
        )
    };
}

pace!(words_avx2, "ymm", "vpxor", "vpmaddwd", "vpaddd");
pace!(words_avx_vnni, "ymm", "vpxor", "{{vex}} vpdpwssd");
pace!(bytes_avx_vnni, "ymm", "vpxor", "{{vex}} vpdpbusd");
pace!(words_avx512, "zmm", "vpxord", "vpdpwssd");
pace!(bytes_avx512, "zmm", "vpxord", "vpdpbusd");
