//! `rescored bench` and `rescored eval`: handed over to `rescored-lab`, as git and cargo hand over theirs.
//!
//! Owns the hand-over: every word after the sub-command goes as it stands, `--help` included, and the environment too.
//! It must not know what those words mean.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use clap::Args;

use super::{FAILURE, USAGE, Vars, fail};
use crate::companion;

/// The program's name.
const LAB: &str = "rescored-lab";

/// Words for the other program.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct Words {
    /// Flags and words for `rescored-lab`, as they stand; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
    words: Vec<OsString>,
}

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
enum NoLab {
    #[error(
        "`{0}` is done by `{LAB}`, which lies neither beside this program nor on PATH; build it: cargo build --release --bin {LAB}"
    )]
    Missing(&'static str),
    #[error("`{LAB}` cannot be run")]
    Unwilling(#[source] std::io::Error),
}

/// Becomes the other program, or says what is missing.
pub(super) fn run(verb: &'static str, words: Words, vars: Vars) -> ExitCode {
    let Some(program) = companion::find(LAB, &vars) else { return fail(USAGE, &NoLab::Missing(verb)) };
    let mut command = Command::new(program);
    command.arg(verb).args(words.words).env_clear().envs(vars);
    become_it(command).unwrap_or_else(|error| fail(FAILURE, &NoLab::Unwilling(error)))
}

/// It goes on in this process, under this process's name; comes back only when it cannot.
#[cfg(unix)]
fn become_it(mut command: Command) -> std::io::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.arg0(rescored_core::NAME).exec())
}

/// Its end is ours.
#[cfg(not(unix))]
fn become_it(mut command: Command) -> std::io::Result<ExitCode> {
    let code = command.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(FAILURE)))
}
