//! What a figure was measured on, in the words of `rescored bench`.

use std::process::Command;

use rescored_lab::bench::host;

use super::stage::python;

pub(crate) use host::cores;

/// CPU, cores, memory and system, in a line each.
pub(crate) fn facts() -> String {
    let facts = host::facts().into_iter().filter(|fact| fact.name != "load at the start");
    let lines: Vec<String> = facts.map(|fact| format!("- {}: {}\n", fact.name, fact.value)).collect();
    format!("{}- {}\n", lines.concat(), python_version())
}

/// Runnable tasks on average over the last minute, or a dash.
pub(crate) fn load() -> String {
    host::load().unwrap_or_else(|| "-".to_owned())
}

/// Seconds of CPU that a process has used, in user and system mode.
pub(crate) fn cpu_seconds(process: u32) -> Option<f64> {
    host::usage(process).cpu_s
}

fn python_version() -> String {
    let said = Command::new(python()).arg("--version").output();
    said.map_or_else(
        |_| "no Python: run by `make bench` the driver has one".to_owned(),
        |said| String::from_utf8_lossy(&said.stdout).trim().to_owned(),
    )
}
