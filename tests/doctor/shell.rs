//! What packages install beside the program: completions that their shell accepts, manual pages.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::rescored;

#[test]
fn completions_name_every_sub_command_and_their_shell_accepts_them() {
    let help = String::from_utf8(rescored(&["--help"], &[]).stdout).unwrap();
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|word| !word.is_empty()))
        .collect();
    assert!(commands.len() > 5, "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = rescored(&["completions", shell], &[]);
        assert_eq!(script.status.code(), Some(0), "{shell}");
        let script = String::from_utf8(script.stdout).unwrap();
        for command in &commands {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
        // A shell that is not installed cannot be asked; bash is nearly everywhere.
        let Ok(mut child) = Command::new(shell).arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn() else {
            assert_ne!(shell, "bash", "bash is here");
            eprintln!("skipped: {shell} is not installed, its script is not checked");
            continue;
        };
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn manual_pages_are_written_for_every_sub_command() {
    let page = String::from_utf8(rescored(&["man"], &[]).stdout).unwrap();
    assert!(page.contains(".TH rescored 1") && page.contains("doctor"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let done = rescored(&["man", &folder.path().display().to_string()], &[]);
    assert_eq!(done.status.code(), Some(0));
    for name in ["rescored.1", "rescored-serve.1", "rescored-warm.1", "rescored-doctor.1"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
}
