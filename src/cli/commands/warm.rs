//! `rescored warm`: fill the score cache before traffic comes.
//!
//! Owns the flags and the exit code: 0 when every line was scored, 2 when some lines were at fault, 1 when the job gave up,
//! 64 for wrong arguments. The last line of standard output is the summary, one JSON object, unless nothing was begun.
//! It must not know how lines are sent.

mod offline;
mod shown;

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::{FAILURE, USAGE, Vars, fail};
use crate::warm::first_stage::{self, FirstStage, Terms};
use crate::warm::input::Input;
use crate::warm::{self, Options, Secret, WarmError};

use offline::OfflineError;
use shown::Shown;

/// Some lines could not be scored.
const SOME_FAULTS: u8 = 2;

/// The flags of `warm`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").required(true).args(["url", "offline"])))]
#[command(group(ArgGroup::new("first stage").args(["from_opensearch", "from_vespa"])))]
pub(super) struct Flags {
    /// Files of requests, one `{"query", "documents"}` a line, plain, gzip or zstd [default: standard input].
    #[arg(value_name = "FILE", conflicts_with = "query_log")]
    files: Vec<PathBuf>,
    /// Address of the sidecar to warm.
    #[arg(long, value_parser = address)]
    url: Option<String>,
    /// Score here, without a sidecar, with the models that RESCORED_* variables name.
    #[arg(long, requires = "snapshot")]
    offline: bool,
    /// Where `--offline` writes the scores: a snapshot for `RESCORED_CACHE_SNAPSHOT`; one that is there is added to.
    #[arg(long, value_name = "FILE", requires = "offline")]
    snapshot: Option<PathBuf>,
    /// A file whose first line is the sidecar's API key.
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    key_file: Option<PathBuf>,
    /// Chunks on their way at once, at most; a sidecar takes four streams.
    #[arg(long, value_name = "N", default_value_t = 4)]
    at_once: usize,
    /// Seconds for which the sidecar may take nothing before the job gives up.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    patience: u64,
    /// A file that notes how far the job came; the next run of the same input goes on from there, one of another input
    /// begins anew.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Take queries from a log and their documents from this OpenSearch (or Elasticsearch).
    #[arg(long, value_name = "URL", value_parser = address, requires_all = ["query_log", "index", "fields"])]
    from_opensearch: Option<String>,
    /// Take queries from a log and their documents from this Vespa.
    #[arg(long, value_name = "URL", value_parser = address, requires_all = ["query_log", "fields"])]
    from_vespa: Option<String>,
    /// The index that `--from-opensearch` searches.
    #[arg(long)]
    index: Option<String>,
    /// Queries, one a line: as they are, or objects with the key `query`; `-` is standard input.
    #[arg(long, value_name = "FILE", requires = "first stage")]
    query_log: Option<PathBuf>,
    /// Hits of a query.
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "search_body")]
    size: usize,
    /// A file with the search's own JSON body, in which `{{query}}` stands for the query [default: a plain search].
    #[arg(long, value_name = "FILE", requires = "first stage")]
    search_body: Option<PathBuf>,
    /// A file whose first line is the search engine's `Authorization` header, such as `Basic ...` or `ApiKey ...`.
    #[arg(long, value_name = "FILE", requires = "first stage")]
    search_auth_file: Option<PathBuf>,
    /// The model that scores what was found [default: the sidecar's first].
    #[arg(long, value_name = "ID", requires = "first stage")]
    model: Option<String>,
    /// Fields that make a passage, comma-separated; name those that rescoring will name.
    #[arg(long, value_delimiter = ',')]
    fields: Vec<String>,
}

/// A flag that names a file of no use.
#[derive(Debug, thiserror::Error)]
#[error("{flag}: `{}`: {problem}", path.display())]
struct FlagError {
    flag: &'static str,
    path: PathBuf,
    problem: String,
}

impl FlagError {
    fn of<'f>(flag: &'static str, path: &'f Path) -> impl Fn(&dyn Display) -> Self + 'f {
        move |problem| Self { flag, path: path.to_owned(), problem: problem.to_string() }
    }
}

/// The address of a server: said to be none before anything is read or sent.
fn address(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.trim_matches('/').is_empty() => Ok(text.to_owned()),
        Some(_) => Err("names no host; write `http://host:port`".to_owned()),
        None => Err("begins with neither `http://` nor `https://`; write `http://host:port`".to_owned()),
    }
}

/// Runs the job.
pub(super) fn run(flags: &Flags, vars: Vars) -> ExitCode {
    let input = match input(flags) {
        Ok(input) => input,
        Err(error) => return fail(USAGE, &error),
    };
    let options = match options(flags) {
        Ok(options) => options,
        Err(error) => return fail(USAGE, &error),
    };
    let shown = Shown::new(input.size());
    let done = match &flags.snapshot {
        None => warm::run(input, &options, &shown),
        Some(snapshot) => {
            let job = |url| warm::run(input, &Options { url, ..options }, &shown);
            match offline::run(vars, snapshot, job) {
                Ok(done) => done,
                Err(error @ (OfflineError::Config(_) | OfflineError::Target { .. })) => return fail(USAGE, &error),
                Err(error) => return fail(FAILURE, &error),
            }
        }
    };
    let faults = shown.summary(done.is_ok());
    match done {
        Ok(_) if faults > 0 => ExitCode::from(SOME_FAULTS),
        Ok(_) => ExitCode::SUCCESS,
        Err(error @ WarmError::Checkpoint(_)) => fail(USAGE, &error),
        Err(error) => fail(FAILURE, &error),
    }
}

fn input(flags: &Flags) -> io::Result<Input> {
    let files: Vec<PathBuf> = flags.query_log.iter().chain(&flags.files).cloned().collect();
    let stdin = files.is_empty() || matches!(files.as_slice(), [one] if one.as_os_str() == "-");
    if stdin { Input::stream("standard input", io::stdin()) } else { Input::files(files) }
}

fn options(flags: &Flags) -> Result<Options, FlagError> {
    let key = flags.key_file.as_deref().map(|path| first_line("--key-file", path)).transpose()?;
    Ok(Options {
        url: flags.url.clone().unwrap_or_default(),
        key: key.map(|key| Secret::bearer(&key)),
        at_once: flags.at_once,
        patience: Duration::from_secs(flags.patience),
        checkpoint: flags.checkpoint.clone(),
        first_stage: first_stage(flags)?,
    })
}

fn first_stage(flags: &Flags) -> Result<Option<FirstStage>, FlagError> {
    let authorization = flags.search_auth_file.as_deref().map(|path| first_line("--search-auth-file", path));
    let terms = Terms {
        fields: flags.fields.clone(),
        size: flags.size,
        body: flags.search_body.as_deref().map(search_body).transpose()?,
        authorization: authorization.transpose()?.map(|value| Secret::authorization(&value)),
        model: flags.model.clone(),
    };
    Ok(match (&flags.from_opensearch, &flags.from_vespa) {
        (Some(engine), _) => Some(FirstStage::opensearch(engine, flags.index.as_deref().unwrap_or_default(), terms)),
        (None, Some(engine)) => Some(FirstStage::vespa(engine, terms)),
        (None, None) => None,
    })
}

/// The first line of a file that holds a secret.
fn first_line(flag: &'static str, path: &Path) -> Result<String, FlagError> {
    let wrong = FlagError::of(flag, path);
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() { Err(wrong(&"its first line is empty")) } else { Ok(line.to_owned()) }
}

fn search_body(path: &Path) -> Result<serde_json::Value, FlagError> {
    let wrong = FlagError::of("--search-body", path);
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let body = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    if first_stage::has_place(&body) { Ok(body) } else { Err(wrong(&"no string in it says {{query}}")) }
}
