//! The program under some settings, and folders to break.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub(crate) const MODEL: &str = "ms-marco-MiniLM-L-12-v2";

/// The model folder of the repository, as `make fetch` filled it.
pub(crate) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// Runs the program with these arguments, and these variables alone.
pub(crate) fn rescored(arguments: &[&str], vars: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rescored"))
        .args(arguments)
        .env_clear()
        .envs(vars.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

/// What `doctor --json` found.
pub(crate) struct Examined {
    pub(crate) code: Option<i32>,
    pub(crate) findings: Vec<Value>,
}

impl Examined {
    /// Runs `doctor --json` with these further arguments, over the repository's models unless the variables say otherwise.
    pub(crate) fn of(arguments: &[&str], vars: &[(&str, &str)]) -> Self {
        let models = models().display().to_string();
        let fixed = [("RESCORED_MODEL_DIR", models.as_str()), ("RESCORED_LISTEN", "127.0.0.1:0")];
        // Whether somebody compiled the repository's model is not what is tested.
        let own = ("RESCORED_GRAPH", "source");
        let mut all: Vec<_> = fixed.into_iter().chain([own]).collect();
        all.extend(vars);
        let arguments: Vec<&str> = ["doctor", "--json"].iter().chain(arguments).copied().collect();
        let Output { status, stdout, stderr } = rescored(&arguments, &all);
        let said = String::from_utf8_lossy(&stderr);
        let reported: Value = serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        Self { code: status.code(), findings: reported["findings"].as_array().expect("findings").clone() }
    }

    /// Findings that are neither fine nor skipped: check, state, what was seen, remedy.
    pub(crate) fn troubles(&self) -> Vec<[&str; 4]> {
        let text = |finding: &'_ Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        self.findings
            .iter()
            .filter(|finding| matches!(text(finding, "state").as_str(), "fault" | "warning"))
            .map(|finding| ["check", "state", "seen", "remedy"].map(|key| finding[key].as_str().unwrap_or_default()))
            .collect()
    }
}

/// A folder that holds a copy of the runtime (by link) and of the default model (as files, to be damaged).
pub(crate) fn copied_models() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (models(), folder.path());
    std::os::unix::fs::symlink(from.join(".runtime"), to.join(".runtime")).expect("a link");
    std::fs::create_dir(to.join(MODEL)).expect("a folder");
    for name in ["manifest.json", "model.onnx", "tokenizer.json"] {
        std::fs::copy(from.join(MODEL).join(name), to.join(MODEL).join(name)).expect("a copy");
    }
    folder
}
