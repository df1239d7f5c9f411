//! `rescored cache`: look into snapshots of the score cache, and turn them into lines and back.
//!
//! Owns the flags and what is printed. It must not know the format.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use rescored_cache::exchange::{self, ExchangeError};
use rescored_cache::snapshot::Snapshot;

use super::{FAILURE, fail, stdout};

/// The flags of `cache`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say whose scores a snapshot holds, how many and how old it is.
    Stat {
        /// The snapshot.
        file: PathBuf,
    },
    /// Print a snapshot's entries, one JSON object a line, on standard output.
    Export {
        /// The snapshot.
        file: PathBuf,
    },
    /// Write a snapshot of exported lines; of entries that come more than once, the youngest.
    Import {
        /// The snapshot to write.
        file: PathBuf,
        /// Files of lines [default: standard input].
        lines: Vec<PathBuf>,
    },
}

/// Does it.
pub(super) fn run(flags: Flags) -> ExitCode {
    match flags.what {
        What::Stat { file } => stdout::print(|out| stat(&file, out)),
        What::Export { file } => stdout::print(|out| exchange::export(Snapshot::open(&file)?, out).map(drop)),
        What::Import { file, lines } => {
            import(&file, &lines).map_or_else(|error| fail(FAILURE, &error), |()| ExitCode::SUCCESS)
        }
    }
}

fn stat(file: &Path, out: &mut impl Write) -> Result<(), ExchangeError> {
    let snapshot = Snapshot::open(file)?;
    writeln!(out, "whole, {} entries, written {} s ago", snapshot.entries(), snapshot.age().as_secs())?;
    let identities = snapshot.identities().to_vec();
    let mut entries = vec![0_u64; identities.len()];
    for record in snapshot {
        if let Some(count) = entries.get_mut(record?.scope()) {
            *count += 1;
        }
    }
    for (identity, entries) in identities.iter().zip(entries) {
        writeln!(out, "{entries} {identity}")?;
    }
    Ok(())
}

fn import(file: &Path, lines: &[PathBuf]) -> Result<(), ExchangeError> {
    let entries = if lines.is_empty() {
        exchange::import(io::stdin().lock(), file)?
    } else {
        let mut all: Box<dyn io::Read> = Box::new(io::empty());
        for path in lines {
            all = Box::new(io::Read::chain(all, File::open(path)?));
        }
        exchange::import(BufReader::new(all), file)?
    };
    // With standard error closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "{entries} entries written");
    Ok(())
}
