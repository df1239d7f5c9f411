//! `rescored completions` and `rescored man`: what packages install beside the program.
//!
//! Owns their printing. Everything comes from the flags themselves.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, FAILURE, fail, stdout};

/// The flags of `completions`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

/// Prints what the shell reads to complete our flags.
pub(super) fn completions(flags: &Completions) -> ExitCode {
    // Into memory first: the generator panics on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut Cli::command(), "rescored", &mut script);
    stdout::print(|out| out.write_all(&script))
}

/// The flags of `man`.
#[derive(Debug, Args)]
pub(super) struct Manual {
    /// A folder to write a page a sub-command into [default: print the program's page].
    folder: Option<PathBuf>,
}

/// Prints the program's manual page, or writes all pages into a folder.
pub(super) fn man(flags: &Manual) -> ExitCode {
    let Some(folder) = &flags.folder else {
        return stdout::print(|out| clap_mangen::Man::new(Cli::command()).render(out));
    };
    let done = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    done.map_or_else(|error| fail(FAILURE, &error), |()| ExitCode::SUCCESS)
}
