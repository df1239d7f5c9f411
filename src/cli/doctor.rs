//! `doctor`: looks at everything that `serve` needs, names what is wrong, and says what to do about it.
//!
//! - `settings`: the variables, and what they point at: addresses, keys, the snapshot.
//! - `models`: the runtime library, files and checksums, and scores of known pairs through the whole engine.
//! - `host`: memory, open files, the clock.
//! - `reach`: the shared cache tier, the search engine.
//! - `probe`: one request to a sidecar that runs, for health checks.
//!
//! Owns the findings and their order. Each check reports one thing, and the others still run: a report names every fault at once. It
//! must not know how it is printed, and changes nothing on the host.

mod host;
mod models;
pub mod pace;
pub mod probe;
mod reach;
mod settings;

use std::ffi::OsString;

use rescored_server::config::{Config, Host};

/// What to look at beside the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Load the models and score known pairs; else files and checksums alone.
    pub scores: bool,
    /// Addresses of search engines that should answer.
    pub engines: Vec<String>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Fine,
    /// Not looked at.
    Skipped,
    /// It works, and will hurt.
    Warning,
    /// `serve` does not start, or answers wrongly.
    Fault,
}

impl State {
    /// One word for tables and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word.
    pub check: &'static str,
    /// How it ended.
    pub state: State,
    /// What was seen.
    pub seen: String,
    /// What to do about it; empty when there is nothing to do.
    pub remedy: String,
}

impl Finding {
    fn fine(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, state: State::Fine, seen: seen.into(), remedy: String::new() }
    }

    fn skipped(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, state: State::Skipped, seen: seen.into(), remedy: String::new() }
    }

    fn warning(check: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Warning, seen: seen.into(), remedy: remedy.into() }
    }

    fn fault(check: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Fault, seen: seen.into(), remedy: remedy.into() }
    }
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the checks.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst of all states; what was skipped is no worse than fine.
    pub fn worst(&self) -> State {
        let has = |state| self.count(state) > 0;
        [State::Fault, State::Warning].into_iter().find(|&state| has(state)).unwrap_or(State::Fine)
    }

    /// How many checks ended so.
    pub fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|finding| finding.state == state).count()
    }
}

/// Looks at everything. Takes a second or two a model when scores are asked for.
pub fn examine(vars: Vec<(OsString, OsString)>, machine: &Host, options: &Options) -> Report {
    let mut report = Report::default();
    let config = match Config::from_vars(vars, machine) {
        Ok(config) => config,
        Err(error) => {
            report.findings.extend(settings::faults(&error));
            return report;
        }
    };
    let findings = &mut report.findings;
    findings.push(settings::fine(&config));
    findings.extend(settings::retired(&config));
    findings.extend(settings::addresses(&config.http));
    findings.push(settings::certificate(&config.http));
    findings.push(settings::keys(&config.http));
    findings.push(settings::snapshot(&config.snapshot));
    findings.extend(models::check(&config, options.scores));
    findings.extend(host::check(&config));
    findings.push(reach::shared_tier(&config.shared));
    findings.extend(options.engines.iter().map(|url| reach::engine(url)));
    report
}

/// An error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_line = inner.to_string();
        // Transparent errors say the same twice.
        if !line.ends_with(&inner_line) {
            line = format!("{line}: {inner_line}");
        }
        cause = inner.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
