//! The shapes of the model that every contender runs: same weights, each in its own format.

use std::path::{Path, PathBuf};

use rescored_lab::bench::Watch;
use rescored_lab::bench::candidates::Candidate;
use rescored_lab::bench::peers::{self, Ground};
use rescored_lab::bench::python::Python;
use rescored_lab::bench::served::{Program, Setting};

use super::program::{MODEL, models, setting};

/// Layers of the model.
const LAYERS: u16 = 12;

/// One shape of the model.
pub(crate) struct Shape<'p> {
    pub(crate) layers: u16,
    program: &'p Program,
}

impl<'p> Shape<'p> {
    /// Compiles what this program serves of it. `Err` is the last line of what failed.
    pub(crate) fn prepare(program: &'p Program, layers: u16) -> Result<Self, String> {
        let shape = Self { layers, program };
        let cut = layers.to_string();
        for precision in ["fp32", "int8"] {
            let mut arguments = vec!["compile", MODEL, "--precision", precision];
            if !shape.is_whole() {
                arguments.extend(["--layers", &cut]);
            }
            program.run(&arguments, &[])?;
        }
        Ok(shape)
    }

    /// Whether it is the whole model, with an int8 graph of its own.
    pub(crate) fn is_whole(&self) -> bool {
        self.layers == LAYERS
    }

    /// The settings with which a server serves it.
    pub(crate) fn served(&self, precision: &'static str) -> Vec<Setting> {
        let id = if self.is_whole() { MODEL.to_owned() } else { format!("{MODEL}-{}-layers-{precision}", self.layers) };
        vec![
            ("RESCORED_MODELS", id),
            ("RESCORED_PRECISION", precision.to_owned()),
            ("RESCORED_SHAPES", "served".to_owned()),
        ]
    }

    /// The other programs, over the same weights.
    pub(crate) fn peers(&self, python: &Python, watch: &dyn Watch) -> Vec<Candidate> {
        let ground = Ground {
            python,
            program: self.program,
            model: MODEL,
            model_dir: &models(),
            folder: Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/bench/{}-layers", self.layers)),
            layers: (!self.is_whole()).then_some(self.layers),
        };
        let mut all = peers::for_throughput(&ground, watch);
        // Such a server holds the whole model.
        all.extend(self.is_whole().then(|| peers::tei(setting("BENCH_TEI_URL").as_deref())));
        all
    }
}

/// Where `make bench` puts its Python.
pub(crate) fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-bench/bin/python")
}
