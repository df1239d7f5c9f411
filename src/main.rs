//! The program: hands its arguments and environment to the command line, and the exit code back.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A variable that is no Unicode is not ours, or is refused by its name or value like any other wrong one.
    let vars = std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()));
    rescored::cli::run(std::env::args_os(), &vars.collect())
}
