//! Memory against the limit that the system sets: what is given up first when it runs short.
//!
//! Owns the ladder. In this order, and back again: half of the score cache is given up, new work is refused (cached scores
//! are still served), new connections are left waiting. [`Ladder`] is pure; where the numbers come from is below it. It
//! must not know how anything is given up.

use std::fs;
use std::path::{Path, PathBuf};

/// Steps of the ladder, by the share of the limit in use, in percent.
const SHRINK: u64 = 85;
const SHED: u64 = 92;
const REFUSE: u64 = 97;

/// A step is left when use has fallen this far (in percent of the limit) below it, so that nothing flutters.
const BACK: u64 = 4;

/// Looks between two shrinkings: what was given up takes a while to come back to the system.
const LOOKS_BETWEEN: u32 = 10;

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pressure {
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

impl Pressure {
    /// Its step on the ladder: 0 for none.
    pub(super) const fn step(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Shrink => 1,
            Self::Shed => 2,
            Self::Refuse => 3,
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
    pub(super) pressure: Pressure,
    /// Half of the caches is to be given up now.
    pub(super) shrink: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ladder {
    pressure: Pressure,
    since_shrinking: Option<u32>,
}

impl Ladder {
    /// Looks at how much is in use.
    pub(super) fn look(&mut self, used: u64, limit: u64) -> Steps {
        let percent = used.saturating_mul(100) / limit.max(1);
        let at = |percent: u64| match percent {
            REFUSE.. => Pressure::Refuse,
            SHED.. => Pressure::Shed,
            SHRINK.. => Pressure::Shrink,
            _ => Pressure::None,
        };
        // Up at once, down only when use is well below.
        let (up, down) = (at(percent), at(percent + BACK));
        if up.step() > self.pressure.step() {
            self.pressure = up;
        } else if down.step() < self.pressure.step() {
            self.pressure = down;
        }
        let due = self.since_shrinking.is_none_or(|looks| looks >= LOOKS_BETWEEN);
        let shrink = self.pressure.reaches(Pressure::Shrink) && due;
        self.since_shrinking = if shrink { Some(1) } else { self.since_shrinking.map(|looks| looks.saturating_add(1)) };
        Steps { pressure: self.pressure, shrink }
    }
}

/// Memory in use and its limit.
#[derive(Clone, Debug)]
pub(super) struct Gauge {
    limit: u64,
    /// The cgroup's folder, where its limit is the one in force.
    cgroup: Option<PathBuf>,
}

impl Gauge {
    /// Watches against `limit`, or against the cgroup's; `None` when there is neither.
    pub(super) fn new(limit: Option<u64>) -> Option<Self> {
        match limit {
            Some(limit) => Some(Self { limit, cgroup: None }),
            None => cgroup_folder().and_then(|folder| {
                let limit = read(&folder.join("memory.max"))?;
                Some(Self { limit, cgroup: Some(folder) })
            }),
        }
    }

    /// The limit.
    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    /// What is in use: of the cgroup, less file pages that the system takes back by itself; else resident memory.
    pub(super) fn used(&self) -> Option<u64> {
        let Some(folder) = &self.cgroup else {
            return memory_stats::memory_stats().map(|memory| memory.physical_mem as u64);
        };
        let current = read(&folder.join("memory.current"))?;
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let files = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse().ok()).unwrap_or(0);
        Some(current.saturating_sub(files))
    }
}

/// A number in a file; `max` and anything else is none.
fn read(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The nearest folder of this process's cgroup (version 2) that sets a limit.
fn cgroup_folder() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = Path::new("/sys/fs/cgroup");
    let folder = root.join(path.trim_start_matches('/'));
    folder
        .ancestors()
        .take_while(|at| at.starts_with(root))
        .find(|at| read(&at.join("memory.max")).is_some())
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_climbed_at_once_and_left_when_use_is_well_below() {
        let mut ladder = Ladder::default();
        let story = [
            (50, Pressure::None, "enough"),
            (85, Pressure::Shrink, "caches first"),
            (92, Pressure::Shed, "then new work"),
            (97, Pressure::Refuse, "then new connections"),
            (94, Pressure::Refuse, "not well below yet"),
            (92, Pressure::Shed, "connections again"),
            (89, Pressure::Shed, "not well below yet"),
            (87, Pressure::Shrink, "work again"),
            (82, Pressure::Shrink, "not well below yet"),
            (80, Pressure::None, "enough again"),
            (99, Pressure::Refuse, "all at once"),
        ];
        for (percent, pressure, why) in story {
            assert_eq!(ladder.look(percent, 100).pressure, pressure, "{percent}: {why}");
        }
    }

    #[test]
    fn caches_are_halved_once_and_again_only_after_a_while() {
        let mut ladder = Ladder::default();
        assert!(!ladder.look(10, 100).shrink);
        let shrinkings = (0..25).filter(|_| ladder.look(90, 100).shrink).count();
        assert_eq!(shrinkings, 3);
    }

    #[test]
    fn a_limit_of_ones_own_is_watched_by_resident_memory() {
        let gauge = Gauge::new(Some(1 << 30)).unwrap();
        assert_eq!(gauge.limit(), 1 << 30);
        assert!(gauge.used().is_some_and(|used| used > 1 << 20), "{:?}", gauge.used());
    }
}
