//! `rescored config`: the settings in force.
//!
//! Owns the flags and the exit code. It must not know any setting.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use rescored_server::config::{Config, Host, reference};

use super::{USAGE, Vars, fail, stdout};

/// The flags of `config`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Print those alone that the environment sets.
    #[arg(long, conflicts_with = "json")]
    changed: bool,
    /// Print an object with `settings` and `warnings`.
    #[arg(long)]
    json: bool,
}

/// Prints them; secrets are redacted, and names that were retired are said on standard error.
pub(super) fn run(flags: &Flags, vars: Vars) -> ExitCode {
    let config = match Config::from_vars(vars, &Host::detect()) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    if flags.json {
        let all = reference::in_force_as_json(&config.effective, &config.warnings);
        return stdout::print(|out| writeln!(out, "{all:#}"));
    }
    for warning in &config.warnings {
        // With standard error closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "rescored: {warning}");
    }
    stdout::print(|out| write!(out, "{}", reference::in_force(&config.effective, flags.changed)))
}
