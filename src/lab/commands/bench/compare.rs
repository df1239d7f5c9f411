//! `rescored bench compare`: two reports against each other.
//!
//! Owns the flags and the exit code: 0 when nothing is worse, 2 when something is, 1 when nothing follows. It must not
//! know how a verdict is found.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use rescored_cli::commands::{FAILURE, USAGE, fail, stdout};

use crate::bench::compare::{Comparison, Terms};
use crate::bench::report::{Report, SCHEMA, terminal};

/// Something got worse.
const WORSE: u8 = 2;

/// The flags of `bench compare`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The report to compare with.
    old: PathBuf,
    /// The report to judge.
    new: PathBuf,
    /// Chance of calling noise a change, over all figures together.
    #[arg(long, default_value_t = Terms::default().alpha)]
    alpha: f64,
    /// Least change, in percent, that counts.
    #[arg(long, value_name = "PERCENT", default_value_t = Terms::default().least * 100.0)]
    least: f64,
    /// Compare although the machines differ.
    #[arg(long)]
    any_machine: bool,
}

/// Why reports were not compared.
#[derive(Debug, thiserror::Error)]
enum CompareError {
    #[error("report: `{}` cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("report: `{}` is none; `rescored bench` writes them with --out", path.display())]
    NoReport {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("report: `{}` has schema {found}, this program reads {SCHEMA}; measure again", path.display())]
    Schema { path: PathBuf, found: u32 },
    #[error("the machines or models differ, so nothing follows: {0}; --any-machine compares all the same")]
    Unfair(String),
    #[error("the reports have no figure in common")]
    Nothing,
}

/// Compares.
pub(super) fn run(flags: &Flags) -> ExitCode {
    let terms = Terms { alpha: flags.alpha, least: flags.least / 100.0 };
    let compared = read(&flags.old)
        .and_then(|old| Ok((old, read(&flags.new)?)))
        .and_then(|(old, new)| fair(Comparison::of(&old, &new, &terms), flags.any_machine));
    let comparison = match compared {
        Ok(comparison) => comparison,
        Err(error @ (CompareError::Unfair(_) | CompareError::Nothing)) => return fail(FAILURE, &error),
        Err(error) => return fail(USAGE, &error),
    };
    stdout::tell(&terminal::section(&comparison.section(&terms)));
    if comparison.is_worse() { ExitCode::from(WORSE) } else { ExitCode::SUCCESS }
}

fn fair(comparison: Comparison, any_machine: bool) -> Result<Comparison, CompareError> {
    if !comparison.is_fair() && !any_machine {
        let differs = comparison.differs.iter().map(|(name, old, new)| format!("{name} ({old} | {new})"));
        return Err(CompareError::Unfair(differs.collect::<Vec<_>>().join(", ")));
    }
    if comparison.changes.is_empty() { Err(CompareError::Nothing) } else { Ok(comparison) }
}

fn read(path: &Path) -> Result<Report, CompareError> {
    let text = std::fs::read(path).map_err(|source| CompareError::Unreadable { path: path.to_owned(), source })?;
    let report: Report =
        serde_json::from_slice(&text).map_err(|source| CompareError::NoReport { path: path.to_owned(), source })?;
    match report.schema {
        SCHEMA => Ok(report),
        found => Err(CompareError::Schema { path: path.to_owned(), found }),
    }
}
