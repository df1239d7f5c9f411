//! A memory limit around a process, and what came of it.
//!
//! The limit is a memory cgroup of either version where one can be made. Elsewhere nothing limits the process: it is told
//! the limit by its own setting, and its peak resident memory is held against it. Which of them it was is printed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// See the module. Dropping it removes the cgroup.
pub(crate) struct Cage {
    limit: u64,
    group: Option<Group>,
}

struct Group {
    folder: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    First,
    Second,
}

impl Cage {
    /// A limit of so many bytes.
    pub(crate) fn new(limit: u64) -> Self {
        let made = [(Version::Second, "/sys/fs/cgroup"), (Version::First, "/sys/fs/cgroup/memory")];
        let group = made.into_iter().find_map(|(version, root)| Group::make(version, Path::new(root), limit));
        let how = match &group {
            Some(group) => format!("memory cgroup {}", group.folder.display()),
            None => {
                "NO cgroup can be made here: RESCORED_MEMORY_LIMIT and the peak resident memory stand for it".into()
            }
        };
        println!("limit {} MiB by: {how}", limit >> 20);
        Self { limit, group }
    }

    /// The command that runs a program in here.
    pub(crate) fn command(&self, program: &str) -> Command {
        match &self.group {
            Some(group) => {
                let procs = group.folder.join("cgroup.procs");
                let mut command = Command::new("/bin/sh");
                // The shell moves itself, and then becomes the program.
                command.args(["-c", "echo $$ > \"$0\" && exec \"$1\""]).arg(procs).arg(program);
                command
            }
            None => Command::new(program),
        }
    }

    /// The settings by which the program learns the limit.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        match self.group {
            Some(_) => Vec::new(),
            None => vec![("RESCORED_MEMORY_LIMIT", format!("{}B", self.limit))],
        }
    }

    /// Processes in here that were killed for memory.
    pub(crate) fn kills(&self) -> u64 {
        self.group.as_ref().map_or(0, Group::kills)
    }

    /// Fails when the limit was met, and prints how near it came.
    pub(crate) fn judge(&self, process: u32, when: &str) {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the server is alive");
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a figure");
            line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("KiB")
        };
        let (peak, now) = (kib("VmHWM:") << 10, kib("VmRSS:") << 10);
        let kills = self.kills();
        // What the kernel holds for its sockets counts, too, and files that were read until it needs their pages.
        let group = self.group.as_ref().map_or_else(String::new, Group::figures);
        println!(
            "{when}: peak resident {} MiB, now {} MiB, limit {} MiB, {kills} kills{group}",
            peak >> 20,
            now >> 20,
            self.limit >> 20
        );
        assert_eq!(kills, 0, "{when}: killed for memory");
        assert!(peak < self.limit, "{when}: {peak} bytes resident, {} allowed", self.limit);
    }
}

impl Group {
    fn make(version: Version, root: &Path, limit: u64) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        let is_second = controllers.split_whitespace().any(|one| one == "memory");
        if is_second != (version == Version::Second) {
            return None;
        }
        let name = format!("rescored-flood-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let group = Self { folder: root.join(name), version };
        fs::create_dir(&group.folder).ok()?;
        let file = if version == Version::Second { "memory.max" } else { "memory.limit_in_bytes" };
        // Dropping removes what is of no use.
        fs::write(group.folder.join(file), limit.to_string()).ok()?;
        // Otherwise what does not fit is written to disk, and nothing is killed. Not every kernel counts swap.
        let swap = if version == Version::Second { "memory.swap.max" } else { "memory.swappiness" };
        fs::write(group.folder.join(swap), "0").unwrap_or_default();
        Some(group)
    }

    /// Peak of the whole cgroup, and how often it met its limit.
    fn figures(&self) -> String {
        let number = |file: &str| fs::read_to_string(self.folder.join(file)).ok()?.trim().parse::<u64>().ok();
        let peak = number("memory.peak").or_else(|| number("memory.max_usage_in_bytes"));
        let events = fs::read_to_string(self.folder.join("memory.events")).unwrap_or_default();
        let met = events.lines().find_map(|line| line.strip_prefix("max ")?.trim().parse().ok());
        let met = met.or_else(|| number("memory.failcnt"));
        let show = |figure: Option<u64>| figure.map_or_else(|| "unknown".to_owned(), |figure| figure.to_string());
        format!("; cgroup: peak {} MiB, limit met {} times", show(peak.map(|peak| peak >> 20)), show(met))
    }

    fn kills(&self) -> u64 {
        let file = if self.version == Version::Second { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.folder.join(file)).expect("the cgroup's file");
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It is empty once the server's process is gone for good, which takes the kernel a moment.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
