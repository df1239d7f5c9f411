//! `rescored warm`: fill the score cache before traffic comes.
//!
//! Owns the flags, the progress and the exit code: 0 when every line was scored, 2 when some lines were at fault, 1 when
//! the job gave up. The last line of standard output is the summary, one JSON object. It must not know how lines are sent.

mod offline;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{FAILURE, USAGE, Vars, fail};
use crate::warm::first_stage::FirstStage;
use crate::warm::input::Input;
use crate::warm::{self, Observer, Options, Totals, WarmError};

use offline::OfflineError;

/// Some lines could not be scored.
const SOME_FAULTS: u8 = 2;

/// Faults that are printed; further ones are counted.
const PRINTED: u64 = 20;

/// The flags of `warm`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").required(true).args(["url", "offline"])))]
#[command(group(ArgGroup::new("first stage").args(["from_opensearch", "from_vespa"])))]
pub(super) struct Flags {
    /// Files of requests, one `{"query", "documents"}` a line, plain, gzip or zstd [default: standard input].
    #[arg(value_name = "FILE", conflicts_with = "query_log")]
    files: Vec<PathBuf>,
    /// Address of the sidecar to warm.
    #[arg(long)]
    url: Option<String>,
    /// Score here, without a sidecar, with the models that RESCORED_* variables name.
    #[arg(long, requires = "snapshot")]
    offline: bool,
    /// Where `--offline` writes the scores: a snapshot for `RESCORED_CACHE_SNAPSHOT`; one that is there is added to.
    #[arg(long, value_name = "FILE", requires = "offline")]
    snapshot: Option<PathBuf>,
    /// Chunks on their way at once, at most; a sidecar takes four streams.
    #[arg(long, value_name = "N", default_value_t = 4)]
    at_once: usize,
    /// A file that notes how far the job came; the next run goes on from there.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Take queries from a log and their documents from this OpenSearch (or Elasticsearch).
    #[arg(long, value_name = "URL", requires_all = ["query_log", "index", "fields"])]
    from_opensearch: Option<String>,
    /// Take queries from a log and their documents from this Vespa.
    #[arg(long, value_name = "URL", requires_all = ["query_log", "fields"])]
    from_vespa: Option<String>,
    /// The index that `--from-opensearch` searches.
    #[arg(long)]
    index: Option<String>,
    /// Queries, one a line: as they are, or objects with the key `query`; `-` is standard input.
    #[arg(long, value_name = "FILE", requires = "first stage")]
    query_log: Option<PathBuf>,
    /// Hits of a query.
    #[arg(long, value_name = "N", default_value_t = 100)]
    size: usize,
    /// Fields that make a passage, comma-separated; name those that rescoring will name.
    #[arg(long, value_delimiter = ',')]
    fields: Vec<String>,
}

/// Shows progress: a bar on a terminal, a line now and then elsewhere.
struct Shown {
    bar: ProgressBar,
    faults: std::sync::atomic::AtomicU64,
    last: std::sync::Mutex<Instant>,
}

/// Runs the job.
pub(super) fn run(flags: &Flags, vars: Vars) -> ExitCode {
    let input = match input(flags) {
        Ok(input) => input,
        Err(error) => return fail(USAGE, &error),
    };
    let shown = Shown::new(input.size());
    let started = Instant::now();
    let done = match (&flags.url, &flags.snapshot) {
        (Some(url), _) => warm::run(input, &options(flags, url.clone()), &shown),
        (None, Some(snapshot)) => {
            let scored = offline::run(vars, snapshot, |url| warm::run(input, &options(flags, url), &shown));
            match scored {
                Ok(done) => done,
                Err(error @ OfflineError::Config(_)) => return fail(USAGE, &error),
                Err(error) => return fail(FAILURE, &error),
            }
        }
        (None, None) => return ExitCode::from(USAGE),
    };
    shown.bar.finish_and_clear();
    match done {
        Ok(totals) => summary(&totals, started.elapsed()),
        Err(error @ WarmError::Checkpoint(_)) => fail(USAGE, &error),
        Err(error) => fail(FAILURE, &error),
    }
}

fn input(flags: &Flags) -> io::Result<Input> {
    let files: Vec<PathBuf> = flags.query_log.iter().chain(&flags.files).cloned().collect();
    let stdin = files.is_empty() || matches!(files.as_slice(), [one] if one.as_os_str() == "-");
    if stdin { Input::stream("standard input", io::stdin()) } else { Input::files(files) }
}

fn options(flags: &Flags, url: String) -> Options {
    let terms = (flags.fields.clone(), flags.size);
    let opensearch = flags
        .from_opensearch
        .as_ref()
        .map(|engine| FirstStage::opensearch(engine, flags.index.as_deref().unwrap_or_default(), terms.clone()));
    let first_stage = opensearch.or_else(|| flags.from_vespa.as_ref().map(|engine| FirstStage::vespa(engine, terms)));
    Options { url, at_once: flags.at_once, checkpoint: flags.checkpoint.clone(), first_stage }
}

fn summary(totals: &Totals, took: Duration) -> ExitCode {
    let Totals { lines, resumed, pairs, hits, failed, retries } = *totals;
    let rate = pairs as f64 / took.as_secs_f64().max(1e-9);
    let share = (pairs > 0).then(|| hits as f64 / pairs as f64);
    let summary = json!({
        "lines": lines, "resumed": resumed, "pairs": pairs, "hits": hits, "hit_share": share, "failed": failed,
        "retries": retries, "seconds": took.as_secs_f64(), "pairs_per_second": rate,
    });
    // With standard output closed nobody wants the summary; the exit code still says it.
    let _ = writeln!(io::stdout(), "{summary}");
    if failed > 0 { ExitCode::from(SOME_FAULTS) } else { ExitCode::SUCCESS }
}

impl Shown {
    fn new(size: Option<u64>) -> Self {
        let (bar, template) = match size {
            Some(size) => (ProgressBar::new(size), "{wide_bar} {percent}% {msg} {eta}"),
            None => (ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: bar.with_style(style), faults: 0.into(), last: std::sync::Mutex::new(Instant::now()) }
    }

    /// Whether a log, which gets no bar, is due for a line.
    fn is_due(&self) -> bool {
        let Ok(mut last) = self.last.lock() else { return false };
        let due = self.bar.is_hidden() && last.elapsed() > Duration::from_secs(10);
        if due {
            *last = Instant::now();
        }
        due
    }

    fn line(&self, line: &str) {
        self.bar.suspend(|| {
            // With the handle closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "{line}");
        });
    }
}

impl Observer for Shown {
    fn advance(&self, totals: &Totals, at: u64) {
        let rate = totals.pairs as f64 / self.bar.elapsed().as_secs_f64().max(1e-9);
        let share = 100.0 * totals.hits as f64 / totals.pairs.max(1) as f64;
        let told = format!(
            "{} lines, {} pairs, {rate:.0} pairs/s, {share:.0}% hits, {} at fault",
            totals.lines, totals.pairs, totals.failed
        );
        if self.is_due() {
            self.line(&told);
        }
        self.bar.set_position(at);
        self.bar.set_message(told);
    }

    fn fault(&self, line: u64, error: &str) {
        let before = self.faults.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if before < PRINTED {
            self.line(&format!("line {line}: {error}"));
        } else if before == PRINTED {
            self.line("further lines are at fault; they are counted");
        }
    }
}
