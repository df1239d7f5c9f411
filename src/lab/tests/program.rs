//! `rescored-lab` by itself takes the words that `rescored` hands over.
//!
//! That this crate has a test of its program also has `cargo test` build the program, which tests of `rescored bench` and
//! `rescored eval` need beside the other one.

#![expect(clippy::expect_used, reason = "helpers of tests, which clippy does not take for tests")]

use std::process::{Command, Output};

fn lab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rescored-lab")).env_clear().args(arguments).output().expect("the program runs")
}

#[test]
fn it_lists_its_two_sub_commands_and_their_flags() {
    let text = |arguments: &[&str]| String::from_utf8(lab(arguments).stdout).expect("UTF-8");
    assert!(text(&["--help"]).contains("bench") && text(&["--help"]).contains("eval"));
    assert!(text(&["bench", "--help"]).contains("Usage: rescored-lab bench"));
    assert!(text(&["eval", "--help"]).contains("--max-loss"));
    assert!(text(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_words_are_a_usage_error() {
    for arguments in [&[][..], &["serve"], &["bench"], &["eval"], &["bench", "compare", "/none", "/none"]] {
        assert_eq!(lab(arguments).status.code(), Some(64), "{arguments:?}");
    }
}
