//! `rescored bench` and `rescored eval` are done by a program of their own: with it beside this one, and without.

#![expect(clippy::expect_used, reason = "helpers of tests, which clippy does not take for tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "handover/lab.rs"]
mod lab;

use lab::lab;

fn run(program: &Path, path: &Path, arguments: &[&str]) -> Output {
    Command::new(program).env_clear().env("PATH", path).args(arguments).output().expect("the program runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The program alone in a folder. Linked: a test that starts a process while a copy is being written hands the open file
/// on to it, and a file that is open for writing cannot be started.
fn alone() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let program = folder.path().join(format!("rescored{}", std::env::consts::EXE_SUFFIX));
    std::fs::hard_link(env!("CARGO_BIN_EXE_rescored"), &program).expect("a link");
    (folder, program)
}

#[test]
fn measuring_is_handed_over_word_by_word_with_its_exit_code() {
    lab();
    let program = Path::new(env!("CARGO_BIN_EXE_rescored"));
    let nowhere = Path::new("/nowhere");
    let help = run(program, nowhere, &["bench", "--help"]);
    assert!(help.status.success(), "{}", said(&help));
    assert!(said(&help).contains("Usage: rescored bench") && said(&help).contains("backends"), "{}", said(&help));
    let help = run(program, nowhere, &["eval", "--help"]);
    assert!(help.status.success() && said(&help).contains("--data <DIR>"), "{}", said(&help));
    let compared = run(program, nowhere, &["bench", "compare", "/no/such/report.json", "--alpha", "0.01", "/none"]);
    assert_eq!(compared.status.code(), Some(64), "{}", said(&compared));
    assert!(said(&compared).starts_with("rescored: "), "{}", said(&compared));
    let wrong = run(program, nowhere, &["eval", "--no-such-flag"]);
    assert_eq!(wrong.status.code(), Some(64), "{}", said(&wrong));
    assert!(said(&wrong).contains("--no-such-flag"), "{}", said(&wrong));
}

#[test]
fn the_program_that_measures_is_found_on_the_path_too() {
    let lab = lab();
    let (_folder, program) = alone();
    let help = run(&program, lab.parent().expect("a folder"), &["bench", "--help"]);
    assert!(help.status.success(), "{}", said(&help));
}

#[test]
fn without_the_program_that_measures_one_line_says_what_to_build() {
    let (folder, program) = alone();
    for verb in ["bench", "eval"] {
        let refused = run(&program, folder.path().join("empty").as_path(), &[verb, "--tune"]);
        assert_eq!(refused.status.code(), Some(64), "{}", said(&refused));
        let said = said(&refused);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("cargo build --release --bin rescored-lab") && said.contains(verb), "{said}");
    }
}

#[test]
fn both_are_listed_by_help_completions_and_the_manual() {
    let program = Path::new(env!("CARGO_BIN_EXE_rescored"));
    for arguments in [&["help"][..], &["completions", "bash"], &["man"]] {
        let listed = said(&run(program, Path::new(""), arguments));
        assert!(listed.contains("bench") && listed.contains("eval"), "{arguments:?}: {listed}");
    }
}
