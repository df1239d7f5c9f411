//! Instruction sets that the kernels are compiled for, the best of this processor, and how code is compiled for each.
//!
//! Owns the questions to the processor and the calls into code for its instruction sets. It must not know what is computed.

#[cfg(target_arch = "x86_64")]
mod amx;

use std::fmt;

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// What the program itself is compiled for.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// Those that this processor runs, the best last.
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let mut found = vec![Self::Portable];
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Self::Avx2);
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                    found.push(Self::Avx512);
                }
            }
            found
        }
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::Portable]
    }

    /// The best of this processor.
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        })
    }
}

/// How integer products are computed: an instruction set, with or without its dot products of 8 and 16 bits (VNNI).
///
/// What is packed or quantised for one path is laid out for it, see [`Layout`](crate::quantise::Layout). Results have the
/// same bits on every path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// Plain Rust.
    Portable,
    /// Products of 16 bits in 256-bit vectors (`vpmaddwd`).
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Dot products in 256-bit vectors, of processors without AVX-512.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// Dot products in 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// Products of tiles of bytes (AMX); the rest is that of [`Path::Avx512Vnni`].
    #[cfg(target_arch = "x86_64")]
    AmxInt8,
    /// Dot products of bytes in 128-bit vectors (`sdot`); those of 16 bits are plain Rust.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
}

impl Path {
    /// Those that this processor runs, the best last.
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        found.extend(
            [Self::Avx2, Self::AvxVnni, Self::Avx512Vnni, Self::AmxInt8].into_iter().filter(|path| path.is_available()),
        );
        #[cfg(target_arch = "aarch64")]
        found.extend(Some(Self::NeonDot).filter(|path| path.is_available()));
        found
    }

    /// The best of this processor.
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }

    /// The instruction set for what has no integers, as attention.
    pub fn isa(self) -> Isa {
        match self {
            Self::Portable => Isa::Portable,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::AvxVnni => Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::AmxInt8 => Isa::Avx512,
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => Isa::Portable,
        }
    }

    /// Whether this processor has the instructions.
    pub(crate) fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => Self::Avx2.is_available() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Self::AmxInt8 => Self::Avx512Vnni.is_available() && amx::is_available(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::AmxInt8 => "amx-int8",
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => "neon-dot",
        })
    }
}

/// Code that is compiled once for each path: `run` and all that it calls are to be `#[inline(always)]`.
pub(crate) trait Work {
    /// Does it. The path is a constant where it is compiled for one, so that nothing of another is compiled with it.
    fn run(self, path: Path);
}

/// Does the work as compiled for a path.
pub(crate) fn compiled_for<W: Work>(path: Path, work: W) {
    match path {
        Path::Portable => work.run(Path::Portable),
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => x86::avx2(work),
        #[cfg(target_arch = "x86_64")]
        Path::AvxVnni => x86::avx_vnni(work),
        #[cfg(target_arch = "x86_64")]
        Path::Avx512Vnni => x86::avx512_vnni(work),
        // The instructions of tiles are assembly; the rest needs what AVX-512 has.
        #[cfg(target_arch = "x86_64")]
        Path::AmxInt8 => x86::tiles(work),
        // The inner loop asks for the dot product itself; the rest needs what every Arm processor of 64 bits has.
        #[cfg(target_arch = "aarch64")]
        Path::NeonDot => {
            assert!(path.is_available(), "a processor without Arm's dot product");
            work.run(Path::NeonDot);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "functions for processors that have an instruction set are called on such ones alone")]
mod x86 {
    use super::{Path, Work};

    pub(super) fn avx2<W: Work>(work: W) {
        #[target_feature(enable = "avx2,fma")]
        fn inner<W: Work>(work: W) {
            work.run(Path::Avx2);
        }
        assert!(Path::Avx2.is_available(), "a processor without AVX2");
        // SAFETY: the processor has the features, as was asked just now.
        unsafe { inner(work) }
    }

    pub(super) fn avx_vnni<W: Work>(work: W) {
        #[target_feature(enable = "avxvnni,avx2,fma")]
        fn inner<W: Work>(work: W) {
            work.run(Path::AvxVnni);
        }
        assert!(Path::AvxVnni.is_available(), "a processor without AVX-VNNI");
        // SAFETY: the processor has the features, as was asked just now.
        unsafe { inner(work) }
    }

    pub(super) fn avx512_vnni<W: Work>(work: W) {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512vnni,avx2,fma")]
        fn inner<W: Work>(work: W) {
            work.run(Path::Avx512Vnni);
        }
        assert!(Path::Avx512Vnni.is_available(), "a processor without AVX-512 VNNI");
        // SAFETY: the processor has the features, as was asked just now.
        unsafe { inner(work) }
    }

    pub(super) fn tiles<W: Work>(work: W) {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512vnni,avx2,fma")]
        fn inner<W: Work>(work: W) {
            work.run(Path::AmxInt8);
        }
        assert!(Path::AmxInt8.is_available(), "a processor or a system without tiles");
        // SAFETY: the processor has the features, as was asked just now.
        unsafe { inner(work) }
    }
}
