//! The Python that peers run in: an environment made on demand, or one that is there.
//!
//! Owns the peers' scripts, which are part of this program, so that an installed binary has them too, and pip. It must
//! not know what a script does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::pipe::Pipe;

/// Every script, by its name.
const SCRIPTS: [(&str, &str); 13] = [
    ("protocol.py", include_str!("../../../tests/bench/peers/protocol.py")),
    ("mkl.py", include_str!("../../../tests/bench/peers/mkl.py")),
    ("prepare.py", include_str!("../../../tests/bench/peers/prepare.py")),
    ("pytorch.py", include_str!("../../../tests/bench/peers/pytorch.py")),
    ("mlx_.py", include_str!("../../../tests/bench/peers/mlx_.py")),
    ("sentence_transformers_.py", include_str!("../../../tests/bench/peers/sentence_transformers_.py")),
    ("flashrank_.py", include_str!("../../../tests/bench/peers/flashrank_.py")),
    ("fastembed_.py", include_str!("../../../tests/bench/peers/fastembed_.py")),
    ("fastembed_rs_.py", include_str!("../../../tests/bench/peers/fastembed_rs_.py")),
    ("sgemm.py", include_str!("../../../tests/bench/peers/sgemm.py")),
    ("plain_onnxruntime.py", include_str!("../../../tests/bench/peers/plain_onnxruntime.py")),
    ("onnxruntime_padded.py", include_str!("../../../tests/bench/peers/onnxruntime_padded.py")),
    ("onnxruntime_sorted.py", include_str!("../../../tests/bench/peers/onnxruntime_sorted.py")),
];

/// Versions that were resolved together.
const CONSTRAINTS: &str = include_str!("../../../tests/bench/requirements.txt");

/// Where the constraints lie among the scripts.
const CONSTRAINTS_FILE: &str = "constraints.txt";

/// A Python with the peers' scripts.
#[derive(Debug)]
pub struct Python {
    program: PathBuf,
    /// Whether packages may be installed.
    ours: bool,
    vars: Vec<(OsString, OsString)>,
    scripts: tempfile::TempDir,
    started: AtomicUsize,
}

/// Why there is no Python.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// The scripts could not be written.
    #[error("peers: their scripts cannot be written into the folder for temporary files")]
    Scripts(#[from] std::io::Error),
    /// No environment.
    #[error("peers: `{program}` makes no environment in `{}`: {said}; name a Python with venv by --python", folder.display())]
    Environment {
        /// The Python that was asked.
        program: String,
        /// Where.
        folder: PathBuf,
        /// What it said.
        said: String,
    },
}

impl Python {
    /// A Python that is taken as it is.
    ///
    /// # Errors
    /// [`PythonError::Scripts`].
    pub fn given(program: PathBuf, vars: Vec<(OsString, OsString)>) -> Result<Self, PythonError> {
        let scripts = tempfile::Builder::new().prefix("rescored-bench-").tempdir()?;
        for (name, text) in SCRIPTS.into_iter().chain([(CONSTRAINTS_FILE, CONSTRAINTS)]) {
            std::fs::write(scripts.path().join(name), text)?;
        }
        Ok(Self { program, ours: false, vars, scripts, started: AtomicUsize::new(0) })
    }

    /// The environment in `folder`, made by `base` if it is not there.
    ///
    /// # Errors
    /// [`PythonError`].
    pub fn made(folder: &Path, base: &str, vars: Vec<(OsString, OsString)>) -> Result<Self, PythonError> {
        let program = folder.join("bin/python");
        let mut python = Self::given(program, vars)?;
        python.ours = true;
        if !python.program.exists() {
            let mut venv = python.command(Path::new(base));
            let made = done(venv.args(["-m", "venv"]).arg(folder));
            let (program, folder) = (base.to_owned(), folder.to_owned());
            made.map_err(|said| PythonError::Environment { program, folder, said })?;
        }
        Ok(python)
    }

    /// Brings packages, in the versions that were resolved together, unless the environment is another's.
    ///
    /// # Errors
    /// What pip said.
    pub fn require(&self, packages: &[&str]) -> Result<(), String> {
        if !self.ours || packages.is_empty() {
            return Ok(());
        }
        let mut pip = self.command(&self.program);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint"]);
        done(pip.arg(self.scripts.path().join(CONSTRAINTS_FILE)).args(packages))
            .map_err(|said| format!("pip install {}: {said}", packages.join(" ")))
    }

    /// Starts a script.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, script: &str, arguments: &[&str]) -> Result<Pipe, String> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let mut command = self.command(&self.program);
        command.arg(self.scripts.path().join(script)).args(arguments);
        Pipe::start(&mut command, self.scripts.path().join(format!("{number}.log")))
    }

    /// Runs a script to its end.
    ///
    /// # Errors
    /// Its last line on standard error.
    pub fn run(&self, script: &str, arguments: &[&str]) -> Result<(), String> {
        done(self.command(&self.program).arg(self.scripts.path().join(script)).args(arguments))
    }

    /// Its own version.
    pub fn version(&self) -> Option<String> {
        super::host::said(&self.program.display().to_string(), &["--version"])
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // Python writes no caches beside its scripts: the folder is to vanish.
        command
            .env_clear()
            .envs(self.vars.iter().map(|(name, value)| (name, value)))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

fn done(command: &mut Command) -> Result<(), String> {
    let said = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if said.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said.stderr);
    let errors = said.lines().rev().find(|line| !line.trim().is_empty() && !line.contains("[notice]"));
    Err(errors.unwrap_or("it failed without a word").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_written_and_named_once() {
        let python = Python::given("python3".into(), Vec::new()).unwrap();
        for (name, text) in SCRIPTS {
            assert_eq!(std::fs::read_to_string(python.scripts.path().join(name)).unwrap(), text);
        }
        let folder = python.scripts.path().to_owned();
        drop(python);
        assert!(!folder.exists(), "nothing stays behind");
    }

    #[test]
    fn a_python_that_is_not_there_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Python::made(&folder.path().join("env"), "/no/such/python", Vec::new());
        assert!(matches!(missing, Err(PythonError::Environment { .. })));
        let python = Python::given("/no/such/python".into(), Vec::new()).unwrap();
        assert!(python.start("pytorch.py", &[]).is_err());
        assert_eq!(python.require(&["x"]), Ok(()), "an environment that is not ours is left alone");
    }
}
