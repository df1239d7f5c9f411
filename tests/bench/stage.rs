//! Where things lie, and the models that every contender runs: same weights, each in its own format.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The model.
const MODEL: &str = "ms-marco-MiniLM-L-12-v2";
/// Its layers.
const LAYERS: u16 = 12;

/// One shape of the model, ready for every contender.
pub(crate) struct Shape {
    pub(crate) layers: u16,
    /// What other programs read.
    pub(crate) folder: PathBuf,
}

impl Shape {
    /// Writes what its contenders need. `Err` names the step that failed, and what it said.
    pub(crate) fn prepare(layers: u16) -> Result<Self, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/bench/{layers}-layers"));
        let shape = Self { layers, folder };
        let cut = layers.to_string();
        let cut: &[&str] = if shape.is_whole() { &[] } else { &["--layers", &cut] };
        let folder = shape.folder.to_str().ok_or("a folder whose name is not UTF-8")?;
        for flags in [["--precision", "fp32"], ["--precision", "int8"], ["--export", folder]] {
            let mut compile = Command::new(binary());
            done(compile.env("RESCORED_MODEL_DIR", models()).args(["compile", MODEL]).args(flags).args(cut))?;
        }
        let mut prepare = Command::new(python());
        prepare.arg(sources().join("peers/prepare.py")).arg(&shape.folder);
        if shape.is_whole() {
            prepare.arg(models().join(MODEL).join("model.onnx"));
        }
        // Without it peers say by themselves what they miss.
        if let Err(error) = done(&mut prepare) {
            eprintln!("{error}");
        }
        Ok(shape)
    }

    /// Whether it is the whole model, with an int8 graph of its own.
    pub(crate) fn is_whole(&self) -> bool {
        self.layers == LAYERS
    }

    /// The settings with which a server serves it.
    pub(crate) fn served(&self, precision: &'static str) -> [(&'static str, String); 4] {
        let id = if self.is_whole() { MODEL.to_owned() } else { format!("{MODEL}-{}-layers-{precision}", self.layers) };
        let [cache, shapes] = ["0", "served"].map(str::to_owned);
        [
            ("RESCORED_MODELS", id),
            ("RESCORED_PRECISION", precision.to_owned()),
            ("RESCORED_CACHE_BYTES", cache),
            ("RESCORED_SHAPES", shapes),
        ]
    }
}

fn done(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    let said = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if said.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said.stderr);
    Err(format!("{name}: {}", said.lines().last().unwrap_or("failed without a word")))
}

/// The program: the one built with this driver unless `RESCORED_BIN` names another.
pub(crate) fn binary() -> PathBuf {
    setting("RESCORED_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_rescored")), PathBuf::from)
}

/// Where models lie.
pub(crate) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// Where `make bench` puts its Python.
pub(crate) fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-bench/bin/python")
}

/// Where the peers' scripts lie.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench")
}

/// A setting of the driver.
#[expect(clippy::disallowed_methods, reason = "the driver's own settings, no part of the program's configuration")]
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
