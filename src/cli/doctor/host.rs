//! The host: memory, open files, the clock.
//!
//! Owns these checks and their bounds; the figures come from the system, the judgements are pure. It must not know how a
//! model is loaded.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rescored_server::config::Config;

use super::Finding;

/// Memory of the process beside models, workers and cache: code, the runtime library, connections, one large body.
const BASE_BYTES: u64 = 128 << 20;

/// What a worker needs for its activations; `src/decisions/0020-shared-weights.md` measured 13 to 18 MiB.
const WORKER_BYTES: u64 = 24 << 20;

/// Open files that connections, models and sockets need at least: a node's search threads each keep a connection.
const OPEN_FILES: u64 = 1024;

/// 2026-01-01: this program is younger, so a clock before it is wrong.
const YOUNGEST: Duration = Duration::from_hours(490_896);

/// All three.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let files = rlimit::Resource::NOFILE.get();
    vec![memory(needed(config), available()), open_files(files.ok()), clock(SystemTime::now())]
}

/// Estimated bytes that `serve` takes under these settings.
fn needed(config: &Config) -> u64 {
    let weights: u64 = config.model.ids.iter().map(|id| super::models::weight(&config.model.dir, id)).sum();
    let workers =
        config.engine.workers.unwrap_or(config.engine.tokenisers) as u64 * WORKER_BYTES * config.model.ids.len() as u64;
    BASE_BYTES + weights + workers + rescored_server::app::cache_bytes(config)
}

/// Bytes that this process may still take, by the control group and the system; `None` where neither reports it.
fn available() -> Option<u64> {
    let of_system = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| from_meminfo(&text));
    [of_system, rescored_server::app::headroom()].into_iter().flatten().min()
}

fn from_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn memory(needed: u64, available: Option<u64>) -> Finding {
    let check = "memory";
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    match available {
        None => Finding::skipped(check, format!("about {} MiB are needed; this system reports no figure", mib(needed))),
        Some(available) if available < needed => Finding::fault(
            check,
            format!("about {} MiB are needed, {} MiB are to be had", mib(needed), mib(available)),
            "lower RESCORED_CACHE_BYTES or RESCORED_WORKERS, serve fewer RESCORED_MODELS, or raise the container's limit",
        ),
        Some(available) => {
            Finding::fine(check, format!("about {} MiB are needed, {} MiB are to be had", mib(needed), mib(available)))
        }
    }
}

fn open_files(limits: Option<(u64, u64)>) -> Finding {
    let check = "open files";
    match limits {
        None => Finding::skipped(check, "this system reports no limit"),
        Some((soft, _)) if soft >= OPEN_FILES => Finding::fine(check, format!("{soft} may be open")),
        Some((soft, hard)) => Finding::warning(
            check,
            format!("{soft} may be open ({hard} at most), {OPEN_FILES} are wanted; connections past that are refused"),
            format!("ulimit -n {OPEN_FILES} before the start, or LimitNOFILE= in the unit"),
        ),
    }
}

fn clock(now: SystemTime) -> Finding {
    let check = "clock";
    match now.duration_since(UNIX_EPOCH) {
        Ok(since) if since >= YOUNGEST => Finding::fine(check, format!("{} s since 1970", since.as_secs())),
        Ok(_) | Err(_) => Finding::fault(
            check,
            "the system's clock is before 2026",
            "set it (timedatectl set-ntp true): ages of cached scores and certificates depend on it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn figures_of_the_host_are_judged() {
        let cases = [
            ("too little memory", memory(2 << 30, Some(1 << 30)), State::Fault),
            ("enough memory", memory(1 << 30, Some(2 << 30)), State::Fine),
            ("a system that reports nothing", memory(1 << 30, None), State::Skipped),
            ("few open files", open_files(Some((256, 4096))), State::Warning),
            ("enough open files", open_files(Some((1024, 1024))), State::Fine),
            ("a clock of 1970", clock(UNIX_EPOCH), State::Fault),
            ("a clock of 2025", clock(UNIX_EPOCH + YOUNGEST - Duration::from_secs(1)), State::Fault),
            ("today's clock", clock(SystemTime::now()), State::Fine),
        ];
        for (case, finding, state) in cases {
            assert_eq!(finding.state, state, "{case}: {finding:?}");
            assert_eq!(finding.remedy.is_empty(), matches!(state, State::Fine | State::Skipped), "{case}: {finding:?}");
        }
    }

    #[test]
    fn available_memory_is_read_in_bytes() {
        let text = "MemTotal:       24689012 kB\nMemFree:  1 kB\nMemAvailable:   20000000 kB\n";
        assert_eq!(from_meminfo(text), Some(20_000_000 * 1024));
        assert_eq!(from_meminfo("MemTotal: 1 kB\n"), None);
    }
}
