//! `rescored eval`: measure ranking quality and its cost on a data set with judgements.
//!
//! Owns the flags, the progress, where the report goes and the exit code: 0 when all was measured, 2 when a system lost
//! more than `--max-loss` allows. It must not know how anything is measured.

mod plan;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rescored_cli::commands::{FAILURE, USAGE, Vars, fail, stdout};
use rescored_runtime::options::Precision;
use rescored_server::config::{Config, Host};

use crate::bench::report::chart::{ChartError, svg};
use crate::eval::chart::chart;
use crate::eval::data::{Choice, DataError, Dataset};
use crate::eval::local::{Local, LocalError};
use crate::eval::report::{Machine, Report};
use crate::eval::significance::Draws;

use plan::{Axes, Narrowing, Plan, PlanError};

/// A system lost more than `--max-loss`.
const LOST: u8 = 2;

/// The flags of `eval`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// A folder in BEIR's layout: corpus.jsonl, queries.jsonl, qrels.tsv or qrels/SPLIT.tsv, and run.tsv, the first
    /// stage's candidates; without a run they are found by a BM25 over the whole corpus, in memory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The first stage's candidates, in the columns of run.tsv or of TREC [default: DIR/run.tsv].
    #[arg(long, value_name = "FILE")]
    run: Option<PathBuf>,
    /// Which of DIR/qrels/*.tsv judges, where there is no qrels.tsv.
    #[arg(long, default_value = "test")]
    split: String,
    /// Queries at most: the first ones that can be measured [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    queries: Option<u32>,
    /// Models to compare, comma-separated; the first system is what others are compared with [default: the models of
    /// `RESCORED_MODELS`].
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
    /// Precisions of each [default: `RESCORED_PRECISION`].
    #[arg(long, value_delimiter = ',', value_parser = precisions())]
    precisions: Vec<Precision>,
    /// Graphs of each: the compiled one where there is one, or the model's own [default: `RESCORED_GRAPH`].
    #[arg(long, value_delimiter = ',')]
    graphs: Vec<Graph>,
    /// How many of the best candidates are rescored; the others stay below.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "50", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    windows: Vec<u32>,
    /// What happens to documents that do not fit [default: `RESCORED_LONG_DOCUMENTS`].
    #[arg(long, value_delimiter = ',')]
    long_documents: Vec<Long>,
    /// Also narrow every window to the K best of this model before each other model sees them; may be given again.
    #[arg(long, value_name = "MODEL[@PRECISION]:K")]
    cascade: Vec<Narrowing>,
    /// Draws of the significance tests.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    draws: u32,
    /// Where the tests' random numbers start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What is printed.
    #[arg(long, default_value = "table")]
    format: Format,
    /// Also write report.md, report.json with every query's figures, and quality.svg into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Exit with 2 when a system keeps less than this share of the first one's nDCG@10, as in `0.5` for half a percent.
    #[arg(long, value_name = "PERCENT")]
    max_loss: Option<f64>,
}

/// The words of `RESCORED_PRECISION`.
fn precisions() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(Precision::ALL.map(Precision::word)).map(|given| {
        // One of these words, or the parser above would have refused it.
        Precision::ALL.into_iter().find(|one| one.word() == given).unwrap_or_default()
    })
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Graph {
    Auto,
    Source,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Long {
    Truncate,
    Maxp,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Markdown,
    Json,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
enum EvalError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(transparent)]
    Chart(#[from] ChartError),
    #[error("out: `{}` cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Evaluates.
pub(super) fn run(flags: &Flags, vars: Vars) -> ExitCode {
    let config = match Config::from_vars(vars, &Host::detect()) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    let report = match evaluate(flags, &config) {
        Ok(report) => report,
        Err(error @ EvalError::Plan(_)) => return fail(USAGE, &error),
        Err(error) => return fail(FAILURE, &error),
    };
    let page = match flags.format {
        Format::Table => report.tables(),
        Format::Markdown => report.markdown(),
        Format::Json => json(&report),
    };
    stdout::tell(&format!("{}\n", page.trim_end()));
    match flags.out.as_deref().map_or(Ok(()), |folder| write(&report, folder)) {
        Ok(()) => verdict(&report, flags.max_loss),
        Err(error) => fail(FAILURE, &error),
    }
}

fn evaluate(flags: &Flags, config: &Config) -> Result<Report, EvalError> {
    let axes = Axes::of(flags, config);
    let choice = Choice {
        dir: flags.data.clone(),
        split: flags.split.clone(),
        run: flags.run.clone(),
        queries: flags.queries.map(|queries| queries as usize),
        depth: axes.deepest(),
    };
    let data = Dataset::open(&choice)?;
    let contenders = axes.contenders();
    let mut local = Local::start(&contenders, &config.model, &config.engine)?;
    let Plan { systems } = axes.plan(local.names())?;
    let shown = Shown::new(data.queries.len());
    let outcomes = crate::eval::run(&data, &systems, &mut local, |_| shown.advance())?;
    shown.bar.finish_and_clear();
    let machine = Machine {
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        cores: Host::detect().cores,
        workers: config.engine.workers.unwrap_or(config.engine.tokenisers),
    };
    let draws = Draws { count: flags.draws, seed: flags.seed };
    Ok(Report::new(command(), machine, &data, &outcomes, draws))
}

/// The command as it was given, its program without a path.
fn command() -> String {
    let words = std::env::args().skip(1);
    std::iter::once("rescored".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

fn json(report: &Report) -> String {
    // Every number in it is finite and every key a text: it can be printed.
    serde_json::to_string_pretty(report).unwrap_or_default()
}

fn write(report: &Report, folder: &Path) -> Result<(), EvalError> {
    let drawn = svg(&chart(report))?;
    for (name, content) in [("report.md", report.markdown()), ("report.json", json(report)), ("quality.svg", drawn)] {
        let path = folder.join(name);
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, content));
        written.map_err(|source| EvalError::Write { path, source })?;
    }
    Ok(())
}

fn verdict(report: &Report, max_loss: Option<f64>) -> ExitCode {
    let Some(most) = max_loss else { return ExitCode::SUCCESS };
    let lost = report.losses_above(most / 100.0);
    for (name, share) in &lost {
        // With standard error closed nobody reads it; the exit code still says it.
        let _ = writeln!(io::stderr(), "rescored: `{name}` loses {:.2} %, --max-loss is {most} %", 100.0 * share);
    }
    if lost.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(LOST) }
}

/// Shows progress: a bar on a terminal, a line now and then elsewhere.
struct Shown {
    bar: ProgressBar,
    last: std::cell::Cell<Instant>,
}

impl Shown {
    fn new(queries: usize) -> Self {
        let bar = ProgressBar::new(queries as u64);
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} queries {eta}");
        Self {
            // A template that is not understood would show as the usual bar.
            bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
            last: std::cell::Cell::new(Instant::now()),
        }
    }

    fn advance(&self) {
        self.bar.inc(1);
        if self.bar.is_hidden() && self.last.get().elapsed() > Duration::from_secs(10) {
            self.last.set(Instant::now());
            // With standard error closed nobody reads it.
            let _ = writeln!(io::stderr(), "{} of {} queries", self.bar.position(), self.bar.length().unwrap_or(0));
        }
    }
}
