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

// Case E5.
#[test]
fn every_setting_is_in_the_help_and_the_manual_and_config_prints_those_in_force() {
    let print = |arguments: &[&str], settings: &[(&str, &str)]| {
        let output = rescored(arguments, settings);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (help, config) = (print(&["serve", "--help"], &[]), print(&["config"], &[]));
    let folder = tempfile::tempdir().unwrap();
    print(&["man", &folder.path().display().to_string()], &[]);
    let manual = std::fs::read_to_string(folder.path().join("rescored-serve.1")).unwrap().replace('\\', "");
    let page = include_str!("../../CONFIG.md");
    let names = page.lines().filter_map(|line| line.strip_prefix("| `RESCORED_")?.split('`').next());
    let names: Vec<String> = names.map(|name| format!("RESCORED_{name}")).collect();
    assert!(names.len() > 40, "{names:?}");
    for name in &names {
        assert!(help.contains(name) && manual.contains(name), "{name} is in neither help nor manual");
        assert!(config.contains(&format!("{name}=")), "{name} is not printed");
    }
    let changed =
        print(&["config", "--changed"], &[("RESCORED_DEADLINE", "2s"), ("RESCORED_CACHE_REDIS", "redis://u:secret@h")]);
    assert!(changed.contains("RESCORED_DEADLINE=2s (set) (default: 30s)") && !changed.contains("secret"), "{changed}");
    assert!(!changed.contains("RESCORED_LISTEN"), "{changed}");
    let json = print(&["config", "--json"], &[("RESCORED_SHAPES", "served")]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["settings"].as_array().map(Vec::len), Some(names.len()));
    assert!(json["warnings"][0].as_str().is_some_and(|warning| warning.contains("RESCORED_SHAPES")), "{json}");
    assert_eq!(rescored(&["config"], &[("RESCORED_DEADLINE", "soon")]).status.code(), Some(64));
}

// Case E5.
#[test]
fn the_help_of_every_sub_command_that_people_type_has_an_example() {
    for command in ["serve", "config", "models", "fetch", "warm", "cache", "compile", "doctor"] {
        let help = String::from_utf8(rescored(&[command, "-h"], &[]).stdout).unwrap();
        assert!(help.contains("Example") && help.contains(&format!("rescored {command}")), "{command}: {help}");
    }
}

#[test]
fn models_are_listed_and_recommended() {
    let print = |arguments: &[&str]| {
        let output = rescored(arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let all = print(&["models"]);
    for name in
        ["BAAI/bge-reranker-v2-m3", "Qwen/Qwen3-Reranker-0.6B", "cross-encoder/ettin-reranker-17m-v1", "CC-BY-NC-4.0"]
    {
        assert!(all.contains(name), "{name}: {all}");
    }
    assert!(!all.contains("rescored fetch"), "nothing was asked for: {all}");
    let multilingual = print(&["models", "--for", "multilingual"]);
    assert!(
        !multilingual.contains("ettin") && multilingual.contains("rescored fetch Qwen/Qwen3-Reranker-4B"),
        "{multilingual}"
    );
    let json: serde_json::Value = serde_json::from_str(&print(&["models", "--for", "speed", "--json"])).unwrap();
    assert!(json[0]["ndcg_at_10"].as_f64().is_some_and(|quality| quality > 0.55), "{json}");
    assert_eq!(rescored(&["models", "--for", "fun"], &[]).status.code(), Some(64));
}
