//! What a figure was measured on, and what a process has used of it.
//!
//! Owns the reading of `/proc` and, where there is none, of `ps`. What the system does not report is left out, never guessed.

use std::fs::read_to_string;
use std::process::Command;

use super::report::Fact;

/// Flags of a CPU that decide which kernels run.
const FLAGS: [&str; 8] =
    ["avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"];

/// Linux counts CPU time for programs in hundredths of a second.
const TICKS: f64 = 100.0;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Seconds of CPU, in user and system mode.
    pub cpu_s: Option<f64>,
    /// Resident bytes, at most so far where the system keeps count, else now.
    pub resident: Option<u64>,
}

/// CPU, cores, memory, system and load.
pub fn facts() -> Vec<Fact> {
    let mut facts = vec![
        Fact::new("rescored", env!("CARGO_PKG_VERSION")),
        Fact::new("cpu", cpu()),
        Fact::new("cores", cores().to_string()),
    ];
    facts.extend(flags().map(|flags| Fact::new("instructions", flags)));
    facts.extend(memory().map(|bytes| Fact::new("memory", format!("{:.0} GiB", bytes / f64::from(1 << 30)))));
    facts.push(Fact::new("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)));
    facts.extend(load().map(|load| Fact::new("load at the start", load)));
    facts
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Cores of the whole machine, whatever this process may use.
pub fn machine_cores() -> usize {
    let stat = read_to_string("/proc/stat").unwrap_or_default();
    let numbered = |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| !rest.starts_with(' '));
    stat.lines().filter(numbered).count().max(cores())
}

/// Runnable tasks on average over the last minute.
pub fn load() -> Option<String> {
    match read_to_string("/proc/loadavg") {
        Ok(load) => load.split(' ').next().map(str::to_owned),
        Err(_) => said("sysctl", &["-n", "vm.loadavg"])?.split_whitespace().nth(1).map(str::to_owned),
    }
}

/// What a process has used so far; nothing where it is gone.
pub fn usage(process: u32) -> Usage {
    let Ok(stat) = read_to_string(format!("/proc/{process}/stat")) else { return usage_by_ps(process) };
    // The name, in brackets, may hold anything; the third field comes after it.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect());
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let status = read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    Usage {
        cpu_s: ticks(11).zip(ticks(12)).map(|(user, system)| (user + system) / TICKS),
        resident: most.map(|kibibytes: u64| kibibytes << 10),
    }
}

fn usage_by_ps(process: u32) -> Usage {
    let Some(line) = said("ps", &["-o", "rss=,time=", "-p", &process.to_string()]) else { return Usage::default() };
    let mut words = line.split_whitespace();
    let resident = words.next().and_then(|word| word.parse::<u64>().ok()).map(|kibibytes| kibibytes << 10);
    Usage { cpu_s: words.next().and_then(clock), resident }
}

/// Seconds of `hh:mm:ss`, `mm:ss.hh` and their like.
fn clock(text: &str) -> Option<f64> {
    text.split([':', '-']).try_fold(0.0, |all, part| Some(all * 60.0 + part.parse::<f64>().ok()?))
}

fn cpu() -> String {
    let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    match (field("model name"), field("cpu family"), field("model\t")) {
        (Some(name), Some(family), Some(model)) => format!("{name}, family {family}, model {model}"),
        (name, _, _) => {
            name.or_else(|| said("sysctl", &["-n", "machdep.cpu.brand_string"])).unwrap_or_else(|| "unknown".to_owned())
        }
    }
}

fn flags() -> Option<String> {
    let info = read_to_string("/proc/cpuinfo").ok()?;
    let has = info.lines().find(|line| line.starts_with("flags"))?.split_once(':')?.1;
    let flags: Vec<&str> = FLAGS.into_iter().filter(|flag| has.split(' ').any(|one| one == *flag)).collect();
    (!flags.is_empty()).then(|| flags.join(" "))
}

fn memory() -> Option<f64> {
    match read_to_string("/proc/meminfo") {
        Ok(info) => Some(info.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0),
        Err(_) => said("sysctl", &["-n", "hw.memsize"])?.parse().ok(),
    }
}

/// What a program prints; `None` when it fails.
pub fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let said = Command::new(program).args(arguments).output().ok().filter(|said| said.status.success())?;
    Some(String::from_utf8_lossy(&said.stdout).trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let usage = usage(std::process::id());
        assert!(usage.resident.unwrap() > 1 << 20);
        assert!(usage.cpu_s.unwrap() >= 0.0);
    }

    #[test]
    fn clocks_of_ps_are_read() {
        assert_eq!(clock("01:02:03"), Some(3723.0));
        assert_eq!(clock("1:02.50"), Some(62.5));
        assert_eq!(clock("-"), None);
    }

    #[test]
    fn facts_have_names_of_their_own() {
        let facts = facts();
        let mut names: Vec<&str> = facts.iter().map(|fact| fact.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), facts.len());
    }
}
