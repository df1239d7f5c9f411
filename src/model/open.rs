//! From a model's folder to a [`Model`] that is ready to run.
//!
//! Owns the order of checks at start (files there, bytes intact, tokenizer understood, graph readable) and the
//! fingerprint. It must not know the engine.

use std::path::PathBuf;

use super::catalogue::{self, RuntimeError as InstalledError};
use super::manifest::{Manifest, ManifestError};
use super::options::{Options, Precision};
use super::session::{Runtime, RuntimeError, SessionFactory};
use super::tokenizer::{PairTokenizer, TokenizerError};
use super::{Company, Model};
use crate::domain::ModelCard;
use crate::graph;

/// Operators that quantise activations with one scale a tensor: every row of a batch then depends on all others.
const DYNAMIC_QUANTISERS: [&str; 3] = ["DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"];

/// Why a model could not be opened. Each says which file and what to run.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or its description.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The runtime library that `fetch` should have brought.
    #[error(transparent)]
    Installed(#[from] InstalledError),
    /// The runtime library cannot be loaded.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The graph's file cannot be read.
    #[error("model `{id}`: `{}` cannot be read", path.display())]
    Unreadable {
        /// The model.
        id: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The graph's file is no ONNX model.
    #[error("model `{id}`: `{}` is no ONNX model; run: rescored fetch {id}", path.display())]
    Graph {
        /// The model.
        id: String,
        /// The file.
        path: PathBuf,
        /// Where decoding failed.
        #[source]
        source: graph::NotOnnx,
    },
    /// The model has another precision than the one asked for.
    #[error("RESCORED_PRECISION: `{asked}` is asked for, but model `{id}` is {found}; set it to auto")]
    Precision {
        /// The model.
        id: String,
        /// What was asked for.
        asked: &'static str,
        /// What the files hold.
        found: &'static str,
    },
}

impl Model {
    /// Opens every model that the options name, the default first, over one runtime library.
    ///
    /// # Errors
    /// The first thing that is missing or not understood.
    pub fn open_all(options: &Options) -> Result<Vec<Self>, OpenError> {
        let library = match &options.runtime {
            Some(path) => path.clone(),
            None => catalogue::installed_runtime(&options.dir)?,
        };
        let runtime = Runtime::load(&library)?;
        options
            .ids
            .iter()
            .map(|id| {
                let manifest = Manifest::open(&options.dir, id)?;
                manifest.verify()?;
                Self::open(&manifest, options, &runtime)
            })
            .collect()
    }

    /// Opens one model.
    ///
    /// # Errors
    /// As [`Model::open_all`].
    pub fn open(manifest: &Manifest, options: &Options, runtime: &Runtime) -> Result<Self, OpenError> {
        let max_length = manifest.max_length.min(options.max_length);
        let tokenizer = PairTokenizer::open(&manifest.tokenizer, max_length)?;
        let read = |path: &PathBuf| {
            let unreadable = |source| OpenError::Unreadable { id: manifest.id.clone(), path: path.clone(), source };
            std::fs::read(path).map_err(unreadable)
        };
        let onnx = read(&manifest.graph)?;
        let operators = graph::operators(&onnx).map_err(|source| OpenError::Graph {
            id: manifest.id.clone(),
            path: manifest.graph.clone(),
            source,
        })?;
        let dynamic = operators.iter().any(|operator| DYNAMIC_QUANTISERS.contains(&operator.name.as_str()));
        let precision = manifest.precision.unwrap_or(if dynamic { Precision::Int8 } else { Precision::Fp32 });
        if options.precision != Precision::Auto && options.precision != precision {
            return Err(OpenError::Precision {
                id: manifest.id.clone(),
                asked: options.precision.word(),
                found: precision.word(),
            });
        }
        let card = ModelCard {
            id: manifest.id.clone(),
            source: manifest.source.clone(),
            licence: manifest.licence.clone(),
            fingerprint: fingerprint(&[&onnx, &read(&manifest.tokenizer)?], max_length),
            precision: precision.word().to_owned(),
            provider: "cpu".to_owned(),
            max_length,
            activation: manifest.activation,
        };
        let company = if dynamic { Company::Alone } else { Company::SameLength };
        let scorers = Box::new(SessionFactory::new(runtime.clone(), manifest.graph.clone()));
        Ok(Self { card, tokenizer, scorers, company })
    }
}

/// A hash over everything that decides a score on this host: graph, tokenizer, the length that pairs are cut to.
fn fingerprint(files: &[&[u8]], max_length: u32) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("rescored 2026-11 model fingerprint");
    for file in files {
        hasher.update(blake3::hash(file).as_bytes());
    }
    hasher.update(&max_length.to_le_bytes());
    hasher.update(b"cpu");
    hasher.finalize().to_hex().to_string()
}
