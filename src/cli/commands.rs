//! The command line: sub-commands, their flags, exit codes.
//!
//! Owns clap and what is printed for people. One file a sub-command, each with its flags and `run`. It must not know
//! how a sub-command's work is done.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rescored_server::config::reference;

mod cache;
mod compile;
mod config;
mod console;
mod doctor;
mod fetch;
mod lab;
mod models;
mod serve;
mod shell;
pub mod stdout;
mod warm;

/// Wrong flags, wrong configuration (`EX_USAGE` of sysexits).
pub const USAGE: u8 = 64;

/// The work could not be done.
pub const FAILURE: u8 = 1;

/// What the short help of `serve` ends with.
const SERVE_EXAMPLE: &str = "\
Example:
  RESCORED_LISTEN=0.0.0.0:8787 RESCORED_MODELS=ms-marco-MiniLM-L-12-v2 rescored serve

`rescored serve --help` lists every setting; `rescored config` prints those in force.";

/// What the help of `config` ends with.
const CONFIG_EXAMPLE: &str = "\
Examples:
  rescored config --changed
  RESCORED_DEADLINE=2s rescored config --json";

/// What the help of `models` ends with.
const MODELS_EXAMPLES: &str = "\
Examples:
  rescored models --for multilingual
  rescored models --for speed --measure";

/// What the help of `fetch` ends with.
const FETCH_EXAMPLES: &str = "\
Examples:
  rescored fetch
  rescored fetch BAAI/bge-reranker-v2-m3
  rescored fetch --runtime-only --provider cuda";

/// What the help of `warm` ends with.
const WARM_EXAMPLES: &str = "\
Examples:
  rescored warm --url http://127.0.0.1:8787 requests.jsonl.gz
  rescored warm --offline --snapshot scores.snapshot requests.jsonl";

/// What the help of `cache` ends with.
const CACHE_EXAMPLES: &str = "\
Examples:
  rescored cache stat scores.snapshot
  rescored cache export scores.snapshot > scores.jsonl";

/// What the help of `compile` ends with.
const COMPILE_EXAMPLES: &str = "\
Examples:
  rescored compile
  rescored compile bge-reranker-v2-m3 --precision int8
  rescored compile bge-reranker-v2-m3 --provider cuda";

/// What the help of `doctor` ends with.
const DOCTOR_EXAMPLES: &str = "\
Examples:
  rescored doctor
  rescored doctor --probe=ready
  rescored doctor --engine http://127.0.0.1:9200";

/// Name and value of every environment variable.
pub type Vars = Vec<(OsString, OsString)>;

/// Scores (query, document) pairs with a cross-encoder beside a search engine.
///
/// Configured by RESCORED_* environment variables. Without a sub-command it serves.
#[derive(Debug, Parser)]
#[command(name = "rescored", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer rerank requests over HTTP (the default).
    #[command(after_help = SERVE_EXAMPLE, after_long_help = reference::help())]
    Serve,
    /// Print the settings in force, and where each comes from.
    #[command(after_help = CONFIG_EXAMPLE)]
    Config(config::Flags),
    /// List rerankers that people choose, what each costs, and which suits a purpose.
    #[command(after_help = MODELS_EXAMPLES)]
    Models(models::Flags),
    /// Bring the ONNX Runtime library and models into the model folder.
    #[command(after_help = FETCH_EXAMPLES)]
    Fetch(fetch::Flags),
    /// Fill the score cache of a sidecar, or a snapshot, before traffic comes.
    #[command(after_help = WARM_EXAMPLES)]
    Warm(Box<warm::Flags>),
    /// Look into snapshots of the score cache.
    #[command(after_help = CACHE_EXAMPLES)]
    Cache(cache::Flags),
    /// Write a graph of a model that runs faster on this host, once it has proved itself against its source.
    #[command(after_help = COMPILE_EXAMPLES)]
    Compile(compile::Flags),
    /// Measure on this host, and compare what was measured.
    Bench(lab::Words),
    /// Measure on a data set with judgements whether reranking helps, and what each model, precision and window costs.
    Eval(lab::Words),
    /// Say whether this set-up works, and what to do where it does not; or probe a sidecar that runs.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(doctor::Flags),
    /// Print what a shell reads to complete the flags.
    Completions(shell::Completions),
    /// Print the manual page (roff), or write a page a sub-command into a folder.
    Man(shell::Manual),
}

/// Runs the sub-command that `arguments`, the program's name first, ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>, vars: Vars) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(said) => {
            // Help and versions come this way too. A closed pipe is no reason for another code.
            let _ = said.print();
            return if said.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(vars),
        Command::Config(flags) => config::run(&flags, vars),
        Command::Models(flags) => models::run(&flags, vars),
        Command::Fetch(flags) => fetch::run(flags, &vars),
        Command::Warm(flags) => warm::run(&flags, vars),
        Command::Cache(flags) => cache::run(flags),
        Command::Compile(flags) => compile::run(&flags, vars),
        Command::Bench(flags) => lab::run("bench", flags, vars),
        Command::Eval(flags) => lab::run("eval", flags, vars),
        Command::Doctor(flags) => doctor::run(flags, vars),
        Command::Completions(flags) => shell::completions(&flags),
        Command::Man(flags) => shell::man(&flags),
    }
}

/// Prints an error and what caused it on one line, and turns it into the exit code.
pub fn fail(code: u8, error: &dyn std::error::Error) -> ExitCode {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        line = format!("{line}: {inner}");
        cause = inner.source();
    }
    // With standard error closed there is nobody to tell; the exit code still says it.
    let _ = writeln!(std::io::stderr(), "rescored: {}", line.split_whitespace().collect::<Vec<_>>().join(" "));
    ExitCode::from(code)
}
