//! `rescored doctor`: say whether this set-up works, and what to do where it does not.
//!
//! Owns the flags and how findings are printed. It must not know how anything is checked.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use rescored_server::config::{Config, Host};
use serde::Serialize;

use super::{FAILURE, USAGE, Vars, fail, stdout};
use crate::doctor::{self, Finding, Options, Report, State, probe};

/// The flags of `doctor`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Ask the sidecar that runs under these settings whether it takes work (or lives), and exit with 0 or 1.
    #[arg(long, value_name = "QUESTION", num_args = 0..=1, default_missing_value = "ready", require_equals = true,
          conflicts_with_all = ["json", "no_scores", "engine"])]
    probe: Option<Asked>,
    /// Print findings as JSON.
    #[arg(long)]
    json: bool,
    /// Do not load the models: files and checksums alone.
    #[arg(long)]
    no_scores: bool,
    /// Address of a search engine that should answer (OpenSearch, Elasticsearch, Vespa); may be given again.
    #[arg(long, value_name = "URL")]
    engine: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Asked {
    Ready,
    Live,
}

/// One finding as JSON.
#[derive(Serialize)]
struct Line<'f> {
    check: &'f str,
    state: &'static str,
    seen: &'f str,
    #[serde(skip_serializing_if = "str::is_empty")]
    remedy: &'f str,
}

impl<'f> From<&'f Finding> for Line<'f> {
    fn from(Finding { check, state, seen, remedy }: &'f Finding) -> Self {
        Self { check, state: state.word(), seen, remedy }
    }
}

/// A report as JSON.
#[derive(Serialize)]
struct JsonReport<'f> {
    state: &'static str,
    findings: Vec<Line<'f>>,
}

/// Examines, prints, and says by the exit code whether `serve` would work: 0, or 1 with a fault.
pub(super) fn run(flags: Flags, vars: Vars) -> ExitCode {
    if let Some(asked) = flags.probe {
        return ask(asked, vars);
    }
    let options = Options { scores: !flags.no_scores, engines: flags.engine };
    let report = doctor::examine(vars, &Host::detect(), &options);
    let printed = stdout::print(|out| if flags.json { json(&report, out) } else { text(&report, out) });
    if report.worst() == State::Fault { ExitCode::from(FAILURE) } else { printed }
}

fn ask(asked: Asked, vars: Vars) -> ExitCode {
    let config = match Config::from_vars(vars, &Host::detect()) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    let question = match asked {
        Asked::Ready => probe::Question::Ready,
        Asked::Live => probe::Question::Live,
    };
    match probe::first(&config.http, question) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILURE, &error),
    }
}

fn json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let reported =
        JsonReport { state: report.worst().word(), findings: report.findings.iter().map(Line::from).collect() };
    serde_json::to_writer_pretty(&mut *out, &reported)?;
    writeln!(out)
}

fn text(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for Finding { check, state, seen, remedy } in &report.findings {
        writeln!(out, "{:<8} {check:<13} {seen}", state.word())?;
        if !remedy.is_empty() {
            writeln!(out, "{:<8} {:<13} -> {remedy}", "", "")?;
        }
    }
    let (faults, warnings) = (report.count(State::Fault), report.count(State::Warning));
    writeln!(out, "{faults} faults, {warnings} warnings in {} checks", report.findings.len())
}
