//! Keeps a worker's thread on cores of its own, where its owner asks for it.
//!
//! Owns which cores those are. Threads that ONNX Runtime starts for a worker are started by it and stay on its cores. It
//! must not know what a worker does there.

use std::io;

/// The cores of one worker of so many: a part of those that the process may run on. `None` where there are fewer cores
/// than workers, which then share them all.
fn part(allowed: &[usize], worker: usize, workers: usize) -> Option<&[usize]> {
    let at = |worker: usize| worker * allowed.len() / workers.max(1);
    allowed.get(at(worker)..at(worker + 1)).filter(|cores| !cores.is_empty() && allowed.len() >= workers)
}

/// Keeps the calling thread, which is that worker's, on its cores. Says which they are; `None` where it stays free.
///
/// # Errors
/// When the system refuses, or knows no such thing.
#[cfg(target_os = "linux")]
pub(super) fn pin(worker: usize, workers: usize) -> io::Result<Option<Vec<usize>>> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let may = sched_getaffinity(None)?;
    let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| may.is_set(core)).collect();
    let Some(cores) = part(&allowed, worker, workers) else { return Ok(None) };
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    sched_setaffinity(None, &set)?;
    Ok(Some(cores.to_vec()))
}

/// As on Linux; here there is no such thing.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(super) fn pin(worker: usize, workers: usize) -> io::Result<Option<Vec<usize>>> {
    let _ = part(&[], worker, workers);
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_core_is_one_workers_and_every_worker_has_one(
            allowed in prop::collection::btree_set(0_usize..256, 1..64),
            workers in 1_usize..80,
        ) {
            let allowed: Vec<usize> = allowed.into_iter().collect();
            let parts: Vec<_> = (0..workers).map(|worker| part(&allowed, worker, workers)).collect();
            if workers > allowed.len() {
                prop_assert!(parts.iter().all(Option::is_none), "too few to share out: nobody is pinned");
                return Ok(());
            }
            let all: Vec<usize> = parts.iter().flat_map(|part| part.unwrap_or_default()).copied().collect();
            prop_assert_eq!(all, allowed.clone(), "each once");
            let sizes = parts.iter().map(|part| part.map_or(0, <[usize]>::len));
            let (least, most) = (sizes.clone().min(), sizes.max());
            prop_assert!(least >= Some(1) && most <= least.map(|least| least + 1), "{least:?} {most:?}");
        }
    }
}
