//! Memory against the limit that the system sets: what is given up first when it runs short.
//!
//! Owns the levels of memory pressure. In this order, and back again: half of the score cache is given up, new work is
//! refused (cached scores are still served), new connections are left waiting. [`PressureController`] is pure; where
//! the numbers come from is below it. It must not know how anything is given up.

use std::fs;
use std::path::{Path, PathBuf};

/// Levels of memory pressure, by the share of the limit in use, in percent.
const SHRINK: u64 = 85;
const SHED: u64 = 92;
const REFUSE: u64 = 97;

/// A step is left when use has fallen this far (in percent of the limit) below it, so that nothing flutters.
const BACK: u64 = 4;

/// Looks between two shrinkings: what was given up takes a while to come back to the system.
const LOOKS_BETWEEN: u32 = 100;

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PressureLevel {
    /// There is enough.
    #[default]
    None,
    /// Caches are to be given up.
    Shrink,
    /// New work is to be refused, too.
    Shed,
    /// New connections are to be left waiting, too.
    Refuse,
}

impl PressureLevel {
    /// Its number: 0 for none.
    pub(super) const fn step(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Shrink => 1,
            Self::Shed => 2,
            Self::Refuse => 3,
        }
    }

    /// Its name in the log.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Shrink => "shrink",
            Self::Shed => "shed",
            Self::Refuse => "refuse",
        }
    }

    /// Whether it asks for what another asks for, and perhaps for more.
    pub(super) const fn reaches(self, other: Self) -> bool {
        self.step() >= other.step()
    }
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) pressure: PressureLevel,
    /// Half of the caches is to be given up now.
    pub(super) shrink: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct PressureController {
    pressure: PressureLevel,
    since_shrinking: Option<u32>,
}

impl PressureController {
    /// Looks at how much is in use.
    pub(super) fn look(&mut self, used: u64, limit: u64) -> Steps {
        let percent = used.saturating_mul(100) / limit.max(1);
        let at = |percent: u64| match percent {
            REFUSE.. => PressureLevel::Refuse,
            SHED.. => PressureLevel::Shed,
            SHRINK.. => PressureLevel::Shrink,
            _ => PressureLevel::None,
        };
        // Up at once, down only when use is well below.
        let (up, down) = (at(percent), at(percent + BACK));
        if up.step() > self.pressure.step() {
            self.pressure = up;
        } else if down.step() < self.pressure.step() {
            self.pressure = down;
        }
        let due = self.since_shrinking.is_none_or(|looks| looks >= LOOKS_BETWEEN);
        let shrink = self.pressure.reaches(PressureLevel::Shrink) && due;
        self.since_shrinking = if shrink { Some(1) } else { self.since_shrinking.map(|looks| looks.saturating_add(1)) };
        Steps { pressure: self.pressure, shrink }
    }
}

/// Memory in use and its limit.
#[derive(Clone, Debug)]
pub(super) struct MemoryMonitor {
    limit: u64,
    /// Where the cgroup keeps its numbers, when its limit is the one in force.
    cgroup: Option<Cgroup>,
}

/// A cgroup's folder and the names of its numbers, which differ between the versions.
#[derive(Clone, Debug)]
struct Cgroup {
    folder: PathBuf,
    limit: &'static str,
    used: &'static str,
    /// In `memory.stat`: file pages that the system takes back by itself.
    reclaimable: &'static str,
}

impl MemoryMonitor {
    /// Watches against `limit`, or against the cgroup's; `None` when there is neither.
    pub(super) fn new(limit: Option<u64>) -> Option<Self> {
        match limit {
            Some(limit) => Some(Self { limit, cgroup: None }),
            None => Cgroup::own().and_then(|cgroup| Some(Self { limit: cgroup.limit()?, cgroup: Some(cgroup) })),
        }
    }

    /// The limit.
    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    /// What is in use: of the cgroup, less what the system takes back by itself; else resident memory.
    pub(super) fn used(&self) -> Option<u64> {
        match &self.cgroup {
            Some(cgroup) => cgroup.used(),
            None => resident(),
        }
    }
}

/// Bytes that this process may still take before its control group's limit; `None` where there is none.
pub fn headroom() -> Option<u64> {
    let monitor = MemoryMonitor::new(None)?;
    Some(monitor.limit().saturating_sub(monitor.used()?))
}

/// Resident memory of this process.
pub(super) fn resident() -> Option<u64> {
    memory_stats::memory_stats().map(|memory| memory.physical_mem as u64)
}

/// Memory of the machine.
pub(super) fn machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

impl Cgroup {
    /// The cgroup of this process, or one above it, that sets the lowest limit.
    fn own() -> Option<Self> {
        let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::lowest(&membership, Path::new("/sys/fs/cgroup"))
    }

    fn lowest(membership: &str, root: &Path) -> Option<Self> {
        let second =
            |folder| Self { folder, limit: "memory.max", used: "memory.current", reclaimable: "inactive_file " };
        let first = |folder| Self {
            folder,
            limit: "memory.limit_in_bytes",
            used: "memory.usage_in_bytes",
            reclaimable: "total_inactive_file ",
        };
        // Inside a container the path may be the host's, and the root the container's own.
        let lowest = |root: PathBuf, path: &str, at: fn(PathBuf) -> Self| {
            let own = root.join(path.trim_start_matches('/'));
            own.ancestors()
                .take_while(|at| at.starts_with(&root))
                .map(|folder| at(folder.to_owned()))
                .filter(|at| at.limit().is_some())
                .min_by_key(Self::limit)
        };
        membership.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                return None;
            };
            match controllers {
                "" => lowest(root.to_owned(), path, second),
                _ if controllers.split(',').any(|one| one == "memory") => lowest(root.join("memory"), path, first),
                _ => None,
            }
        })
    }

    /// The limit; the first version writes a number near 2^63 for none.
    fn limit(&self) -> Option<u64> {
        read(&self.folder.join(self.limit)).filter(|limit| *limit < 1 << 60)
    }

    fn used(&self) -> Option<u64> {
        let stat = fs::read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let reclaimable = stat.lines().find_map(|line| line.strip_prefix(self.reclaimable)?.parse().ok()).unwrap_or(0);
        Some(read(&self.folder.join(self.used))?.saturating_sub(reclaimable))
    }
}

/// A number in a file; `max` and anything else is none.
fn read(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_climbed_at_once_and_left_when_use_is_well_below() {
        let mut controller = PressureController::default();
        let story = [
            (50, PressureLevel::None, "enough"),
            (85, PressureLevel::Shrink, "caches first"),
            (92, PressureLevel::Shed, "then new work"),
            (97, PressureLevel::Refuse, "then new connections"),
            (94, PressureLevel::Refuse, "not well below yet"),
            (92, PressureLevel::Shed, "connections again"),
            (89, PressureLevel::Shed, "not well below yet"),
            (87, PressureLevel::Shrink, "work again"),
            (82, PressureLevel::Shrink, "not well below yet"),
            (80, PressureLevel::None, "enough again"),
            (99, PressureLevel::Refuse, "all at once"),
        ];
        for (percent, pressure, why) in story {
            assert_eq!(controller.look(percent, 100).pressure, pressure, "{percent}: {why}");
        }
    }

    #[test]
    fn caches_are_halved_once_and_again_only_after_a_while() {
        let mut controller = PressureController::default();
        assert!(!controller.look(10, 100).shrink);
        let shrinkings = (0..250).filter(|_| controller.look(90, 100).shrink).count();
        assert_eq!(shrinkings, 3);
    }

    #[test]
    fn the_lowest_limit_counts_in_either_version_of_cgroups() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert!(Cgroup::lowest("0::/pod/box\n", root.path()).is_none(), "no limit anywhere");
        write("pod/memory.max", "4000\n");
        write("pod/box/memory.max", "max\n");
        write("pod/memory.current", "3000\n");
        write("pod/memory.stat", "anon 1\ninactive_file 500\n");
        let second = Cgroup::lowest("0::/pod/box\n", root.path()).unwrap();
        assert_eq!((second.limit(), second.used()), (Some(4000), Some(2500)));
        write("pod/box/memory.max", "9000\n");
        assert_eq!(Cgroup::lowest("0::/pod/box\n", root.path()).unwrap().limit(), Some(4000), "the pod's is lower");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/box/memory.limit_in_bytes", "2000\n");
        write("memory/box/memory.usage_in_bytes", "1500\n");
        write("memory/box/memory.stat", "inactive_file 7\ntotal_inactive_file 100\n");
        let first = Cgroup::lowest("5:cpu,cpuacct:/box\n4:memory:/box\n", root.path()).unwrap();
        assert_eq!((first.limit(), first.used()), (Some(2000), Some(1400)));
        assert!(Cgroup::lowest("4:memory:/\n", root.path()).is_none(), "a number near 2^63 is no limit");
    }

    #[test]
    fn a_limit_of_ones_own_is_watched_by_resident_memory() {
        let monitor = MemoryMonitor::new(Some(1 << 30)).unwrap();
        assert_eq!(monitor.limit(), 1 << 30);
        assert!(monitor.used().is_some_and(|used| used > 1 << 20), "{:?}", monitor.used());
    }
}
