//! What a figure was measured on.

use std::fs::read_to_string;
use std::process::Command;

use super::stage::python;

/// Flags of a CPU that decide which kernels run.
const FLAGS: [&str; 8] =
    ["avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"];

/// Linux counts CPU time for programs in hundredths of a second.
const TICKS: f64 = 100.0;

/// CPU, cores, memory and system, in a line each.
pub(crate) fn facts() -> String {
    let cpu = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let has = field("flags").unwrap_or_default();
    let flags: Vec<&str> = FLAGS.into_iter().filter(|flag| has.split(' ').any(|one| one == *flag)).collect();
    let memory = read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = memory.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok()).unwrap_or(f64::NAN);
    let unknown = || "unknown".to_owned();
    format!(
        "- CPU: {}, family {}, model {}; {} cores; flags of note: {}\n- memory: {:.0} GiB; system: {} {}\n- {}\n",
        field("model name").unwrap_or_else(unknown),
        field("cpu family").unwrap_or_else(unknown),
        field("model\t").unwrap_or_else(unknown),
        cores(),
        flags.join(" "),
        kibibytes / f64::from(1 << 20),
        std::env::consts::OS,
        std::env::consts::ARCH,
        python_version(),
    )
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runnable tasks on average over the last minute, or a dash.
pub(crate) fn load() -> String {
    let load = read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().filter(|word| !word.is_empty()).unwrap_or("-").to_owned()
}

/// Seconds of CPU that a process has used, in user and system mode.
pub(crate) fn cpu_seconds(process: u32) -> Option<f64> {
    let stat = read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, may hold anything; the third field comes after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

fn python_version() -> String {
    let said = Command::new(python()).arg("--version").output();
    said.map_or_else(
        |_| "no Python: run by `make bench` the driver has one".to_owned(),
        |said| String::from_utf8_lossy(&said.stdout).trim().to_owned(),
    )
}
