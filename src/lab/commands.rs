//! The command line of `rescored-lab`: the two sub-commands that `rescored` hands over.
//!
//! Owns clap here. One file a sub-command, each with its flags and `run`; exit codes and printing are those of
//! [`rescored_cli`]. It must not know how anything is measured.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rescored_cli::commands::{USAGE, Vars};

mod bench;
mod eval;

/// Measures rescored: its speed, beside other programs, and its ranking quality.
///
/// `rescored bench` and `rescored eval` are this program's. Configured by RESCORED_* environment variables.
#[derive(Debug, Parser)]
#[command(name = "rescored-lab", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure on this host, and compare what was measured.
    Bench(bench::Flags),
    /// Measure on a data set with judgements whether reranking helps, and what each model, precision and window costs.
    Eval(Box<eval::Flags>),
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
    match cli.command {
        Command::Bench(flags) => bench::run(&flags, vars),
        Command::Eval(flags) => eval::run(&flags, vars),
    }
}
