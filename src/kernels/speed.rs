//! What tests that measure share: seconds, the pace of instructions, and the paths that are worth a measurement.

#[cfg(target_arch = "x86_64")]
mod pace;

use std::time::Instant;

use crate::isa::Path;
use crate::quantise::Layout;

/// Seconds that one call takes: the best of several, each of enough calls. By the clock, as a thread's time is counted in
/// ticks on some systems; so the machine should be idle.
pub(crate) fn seconds(mut call: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let (begin, mut calls) = (Instant::now(), 0);
        while begin.elapsed().as_secs_f64() < 0.012 {
            call();
            calls += 1;
        }
        best = best.min(begin.elapsed().as_secs_f64() / f64::from(calls));
    }
    best
}

/// Paths of this processor but the plain one.
pub(crate) fn paths() -> impl Iterator<Item = Path> {
    Path::available().into_iter().filter(|&path| path != Path::Portable)
}

/// Multiplications and additions a second of the instructions that a path multiplies with, from registers alone; NaN where
/// that is not measured.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "what is not measured"))]
pub(crate) fn pace(path: Path, layout: Layout) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        let (run, lanes): (fn(u64), usize) = match (path, layout) {
            (Path::Portable, _) => return f64::NAN,
            (Path::Avx2, _) => (pace::words_avx2, 8),
            (Path::AvxVnni, Layout::Words) => (pace::words_avx_vnni, 8),
            (Path::AvxVnni, _) => (pace::bytes_avx_vnni, 8),
            (Path::AmxInt8, _) => {
                let rounds = 20_000;
                // Eight products of tiles a round, of 16 rows, 16 columns and 64 terms.
                return 8.0 * 2.0 * 16.0 * 16.0 * 64.0 * rounds as f64 / seconds(|| crate::matmul::tile_pace(rounds));
            }
            (Path::Avx512Vnni, Layout::Words) => (pace::words_avx512, 16),
            (Path::Avx512Vnni, _) => (pace::bytes_avx512, 16),
        };
        let rounds = 100_000;
        let operations = f64::from(pace::SUMS) * rounds as f64 * 2.0 * (lanes * layout.group()) as f64;
        operations / seconds(|| run(rounds))
    }
    #[cfg(not(target_arch = "x86_64"))]
    f64::NAN
}
