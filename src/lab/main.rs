//! The laboratory's program: hands its arguments and environment to the command line, and the exit code back.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    rescored_lab::commands::run(std::env::args_os(), std::env::vars_os().collect())
}
