//! `rescored bench`: measure this program, and others beside it, on this host.
//!
//! Owns the flags that all experiments share, the progress, and where reports go; one file a verb with flags of its own.
//! It must not know how anything is measured.

mod all;
mod backends;
mod cache;
mod compare;
mod output;
mod shown;
mod sweeps;
mod tune;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use rescored_cli::commands::{FAILURE, USAGE, Vars, fail};
use rescored_server::config::{Config, ConfigError, Host};

use crate::bench::arms::Effort;
use crate::bench::report::Section;
use crate::bench::served::{NoProgram, Program};
use crate::bench::texts::Texts;
use crate::bench::{BenchError, Setup, Watch as _, observed};

use output::{Format, OutputError, RunReport};
use shown::Shown;

/// The flags of `bench`.
#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub(super) struct Flags {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Find the arithmetic, workers, threads and size of a pass that score most here within a minute, and keep them in
    /// tuned.json beside the model, where serve looks for whatever is left at `auto`.
    #[arg(long, required = true)]
    tune: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Compare every way to score pairs that this host has: ours and, with --peers, other programs.
    Backends(Box<backends::Flags>),
    /// Compare token budgets of a forward pass, and sizes of requests.
    Batch(Box<sweeps::Batch>),
    /// Find how many clients keep this machine busy, and what more of them cost.
    Concurrency(Box<sweeps::Concurrency>),
    /// See what a burst on one model does to the callers of another one in the same process.
    Models(Box<sweeps::Models>),
    /// Compare dynamic batching, its waits and none, over arrival rates.
    Batching(Box<sweeps::Batching>),
    /// Measure the score cache: hits, searches through its tiers, searches beside a warm-up job.
    Cache(Box<cache::Flags>),
    /// Every other experiment, in one report; its rounds take 12 minutes unless --minutes says otherwise.
    All(Box<all::Flags>),
    /// Compare two reports; says what has changed by more than noise, and exits with 2 when something is worse.
    Compare(compare::Flags),
}

/// What all experiments are given.
#[derive(Clone, Debug, Args)]
struct Common {
    /// The model [default: the first of `RESCORED_MODELS`].
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// A folder of texts in BEIR's layout: corpus.jsonl, queries.jsonl, perhaps run.tsv [default: built-in passages].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Rounds that are measured, after one that warms up.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Send fewer requests, so that all rounds take this long at most; starting and warming up come on top.
    #[arg(long, value_name = "MINUTES", value_parser = minutes)]
    minutes: Option<f64>,
    /// Write report.md, report.json, report.html and the charts into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Add the report as Markdown, with this command, to the end of this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// What goes to standard output.
    #[arg(long, default_value = "text")]
    format: Format,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum RunError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The experiment.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// The report's files.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The program.
    #[error(transparent)]
    Program(#[from] NoProgram),
}

/// Measures, or compares.
pub(super) fn run(flags: &Flags, vars: Vars) -> ExitCode {
    let Some(verb) = &flags.verb else { return tune::run(vars) };
    let done = match verb {
        Verb::Backends(flags) => measure("backends", &flags.common, vars, &one(|setup| flags.run(setup))),
        Verb::Batch(flags) => measure("batch", &flags.common, vars, &one(|setup| flags.run(setup))),
        Verb::Concurrency(flags) => measure("concurrency", &flags.common, vars, &one(|setup| flags.run(setup))),
        Verb::Models(flags) => measure("models", &flags.common, vars, &one(|setup| flags.run(setup))),
        Verb::Batching(flags) => measure("batching", &flags.common, vars, &one(|setup| flags.run(setup))),
        Verb::Cache(flags) => measure("cache", &flags.common, vars, &|setup, found| flags.run(setup, found)),
        Verb::All(flags) => measure("all", &flags.common, vars, &|setup, found| flags.run(setup, found)),
        Verb::Compare(flags) => return compare::run(flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ RunError::Config(_)) => fail(USAGE, &error),
        Err(error) => fail(FAILURE, &error),
    }
}

/// Takes each section as soon as it is measured.
type Found<'f> = &'f mut dyn FnMut(Section);

/// One or several experiments.
type Experiments<'e> = &'e dyn Fn(&Setup<'_>, Found<'_>) -> Result<(), BenchError>;

/// One experiment, watched for what else runs meanwhile.
fn one(
    experiment: impl Fn(&Setup<'_>) -> Result<Section, BenchError>,
) -> impl Fn(&Setup<'_>, Found<'_>) -> Result<(), BenchError> {
    move |setup, found| {
        found(observed(|| experiment(setup))?);
        Ok(())
    }
}

/// Prepares what all experiments start from, runs them, and reports what each has found as soon as it is done.
fn measure(verb: &str, common: &Common, vars: Vars, experiments: Experiments<'_>) -> Result<(), RunError> {
    let config = Config::from_vars(vars.clone(), &Host::detect())?;
    let texts = match &common.data {
        Some(folder) => Texts::open(folder),
        None => Texts::built_in(),
    };
    let shown = Shown::new();
    let setup = Setup {
        program: Program::beside(vars)?,
        model: common.model.clone().or_else(|| config.model.ids.first().cloned()).unwrap_or_default(),
        models: config.model.ids.clone(),
        model_dir: config.model.dir.clone(),
        provider: config.model.provider,
        texts: texts.map_err(BenchError::from)?,
        effort: Effort {
            rounds: common.rounds.into(),
            within: common.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
        },
        watch: &shown,
    };
    let mut report = RunReport::begin(verb, &setup, common)?;
    experiments(&setup, &mut |section| {
        if let Err(error) = report.add(section) {
            // The measurement goes on, and is printed at its end; the last write fails in the same way.
            shown.say(&format!("{error}"));
        }
    })?;
    shown.finish();
    Ok(report.end()?)
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "a number of minutes is wanted, such as 2 or 0.5".to_owned())?;
    if (0.01..=1440.0).contains(&minutes) { Ok(minutes) } else { Err("0.01 to 1440 minutes".to_owned()) }
}
