//! Runs `python -m pip download` for one wheel.
//!
//! Owns pip's arguments and the reading of its complaints. It must not know what is inside a wheel, nor trust it.

use std::path::Path;
use std::process::{Command, Stdio};

use rescored_runtime::catalogue::Wheel;

use super::{FetchError, Place};

/// Downloads `wheel` into `folder`.
pub(super) fn download(place: &Place<'_>, wheel: &Wheel, folder: &Path) -> Result<(), FetchError> {
    let python = &place.options.python;
    let output = Command::new(python)
        .args(arguments(wheel))
        .arg("--dest")
        .arg(folder)
        .arg(format!("{}=={}", wheel.package, wheel.version))
        .stdin(Stdio::null())
        .output()
        .map_err(|source| FetchError::NoPython { python: python.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("No module named pip") {
        return Err(FetchError::NoPip { python: python.clone() });
    }
    let reason = last_word(&complaint).unwrap_or_else(|| format!("it ended with {}", output.status));
    Err(fault(place, wheel, reason))
}

/// pip's failure, with where the wheel can be put by hand.
pub(super) fn fault(place: &Place<'_>, wheel: &Wheel, reason: String) -> FetchError {
    FetchError::Pip {
        package: format!("{} {}", wheel.package, wheel.version),
        reason,
        file: wheel.file.clone(),
        folder: place.downloads.clone(),
    }
}

fn arguments(wheel: &Wheel) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar=off",
    ]
    .map(String::from)
    .into();
    if let Some(tags) = &wheel.tags {
        // The wheel is unpacked, never installed, so it may be one for another Python than this one.
        arguments.extend([
            format!("--platform={}", tags.platform),
            format!("--python-version={}", tags.python),
            format!("--implementation={}", tags.implementation),
            format!("--abi={}", tags.abi),
        ]);
    } else {
        // The same for a pure wheel: its demands on Python's version do not concern its files.
        arguments.push("--ignore-requires-python".into());
    }
    arguments
}

/// The line that says why: network trouble first, since pip's last lines then speak of versions; else its last error.
fn last_word(complaint: &str) -> Option<String> {
    const NETWORK: [&str; 5] = [
        "Temporary failure in name resolution",
        "NewConnectionError",
        "NameResolutionError",
        "ConnectTimeout",
        "CERTIFICATE_VERIFY_FAILED",
    ];
    let lines = || complaint.lines().map(str::trim).filter(|line| !line.is_empty());
    let network = lines().find(|line| NETWORK.iter().any(|sign| line.contains(sign)));
    let error = || lines().rfind(|line| line.starts_with("ERROR:"));
    let line = network.or_else(error).or_else(|| lines().next_back())?;
    Some(line.trim_start_matches("ERROR:").trim_start_matches("WARNING:").trim().chars().take(300).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_line_that_says_why() {
        for (why, complaint, expected) in [
            ("nothing said", "", None),
            (
                "the last error",
                "ERROR: first\nERROR: No matching distribution found for x==1\nnotice",
                Some("No matching distribution found for x==1"),
            ),
            (
                "the network before the version",
                "WARNING: Retrying after NewConnectionError('refused')\nERROR: Could not find a version",
                Some("Retrying after NewConnectionError('refused')"),
            ),
            ("no error at all", "Traceback\n  KeyError: 1\n", Some("KeyError: 1")),
        ] {
            assert_eq!(last_word(complaint).as_deref(), expected, "{why}");
        }
    }
}
