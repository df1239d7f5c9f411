//! What else ran on this machine while something was measured.
//!
//! Owns the arithmetic on Linux' counters of CPU time: all that the machine did, less what this process and its
//! descendants did. The load average cannot tell the two apart. Elsewhere nothing is known. It must not know experiments.

use std::collections::HashMap;
use std::fs::{read_dir, read_to_string};
use std::time::Instant;

use super::host;

/// Share of the machine's cores that others may keep busy before figures are marked: less is within the spread of rounds.
const TOLERATED: f64 = 0.1;

/// Linux counts CPU time for programs in hundredths of a second.
const TICKS: f64 = 100.0;

/// The counters at one moment.
#[derive(Debug)]
pub struct Background {
    since: Instant,
    others: Option<f64>,
}

impl Background {
    /// The counters now.
    pub fn now() -> Self {
        Self { since: Instant::now(), others: others() }
    }

    /// Cores that other programs, and other guests of the same host, have kept busy since; `None` where the system does
    /// not count.
    pub fn cores(&self) -> Option<f64> {
        let others = others()? - self.others?;
        Some((others / self.since.elapsed().as_secs_f64().max(1e-3)).max(0.0))
    }

    /// A sentence for the report when the machine was not idle otherwise.
    pub fn warning(&self) -> Option<String> {
        warning(self.cores()?, host::machine_cores())
    }
}

fn warning(busy: f64, cores: usize) -> Option<String> {
    (busy > TOLERATED * cores as f64).then(|| {
        format!(
            "loaded machine: other work kept {busy:.1} of {cores} cores busy meanwhile; measure again on an idle one"
        )
    })
}

/// Seconds of CPU that others have used so far.
fn others() -> Option<f64> {
    let stat = read_to_string("/proc/stat").ok()?;
    Some((busy(&stat)? - family()?) / TICKS)
}

/// Ticks of all CPUs that were not idle. Guests' time is in the user's already; what a hypervisor took away (steal) is
/// missing from the figures, too.
fn busy(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    Some([0, 1, 2, 5, 6, 7].into_iter().filter_map(|at| ticks.get(at)).sum())
}

/// One process: its parent, and the ticks of itself and of the children that it has waited for.
struct Process {
    parent: u32,
    ticks: f64,
}

/// Ticks of this process and all its descendants.
fn family() -> Option<f64> {
    let mut all = HashMap::new();
    for entry in read_dir("/proc").ok()?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that has ended meanwhile is in its parent's time.
        let Ok(stat) = read_to_string(entry.path().join("stat")) else { continue };
        all.extend(process(&stat).map(|process| (id, process)));
    }
    Some(sum(&all, std::process::id()))
}

fn process(stat: &str) -> Option<Process> {
    // The name, in brackets, may hold anything; the third field comes after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let ticks = fields.get(11..15)?.iter().map_while(|field| field.parse::<f64>().ok()).sum();
    Some(Process { parent, ticks })
}

fn sum(all: &HashMap<u32, Process>, root: u32) -> f64 {
    let descends = |id: u32| {
        // Ids are read one by one: one that was reused could close a circle.
        let line = std::iter::successors(Some(id), |id| all.get(id).map(|process| process.parent));
        line.take(all.len() + 1).any(|id| id == root)
    };
    all.iter().filter(|(id, _)| descends(**id)).map(|(_, process)| process.ticks).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_all_cpus_is_read_without_idle_time() {
        let stat = "cpu  100 10 20 5000 300 1 2 7 50 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy(stat), Some(140.0));
        assert_eq!(busy("intr 1"), None);
    }

    #[test]
    fn descendants_are_ours_and_nobody_else_is() {
        let stat = |parent: u32, ticks: u32| {
            let text = format!("7 (a) b) S {parent} 1 1 0 -1 4 5 0 0 0 {ticks} 1 2 3 20 0 1 0");
            process(&text).unwrap()
        };
        let all = HashMap::from([(1, stat(0, 1000)), (5, stat(1, 10)), (6, stat(5, 20)), (9, stat(1, 40))]);
        assert!((sum(&all, 5) - (16.0 + 26.0)).abs() < 1e-9);
        assert!(process("7 (cut short").is_none());
    }

    #[test]
    fn a_busy_machine_is_reported_and_an_idle_one_is_not() {
        assert!(warning(0.1, 2).is_none());
        assert!(warning(1.3, 2).unwrap().contains("1.3 of 2 cores"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn work_of_this_process_is_not_taken_for_the_work_of_others() {
        let before = family().unwrap();
        let until = Instant::now() + std::time::Duration::from_millis(300);
        while Instant::now() < until {
            std::hint::black_box(before.sqrt());
        }
        assert!(family().unwrap() > before, "its own time is counted as its own");
    }
}
