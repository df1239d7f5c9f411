//! From a model's folder to a [`Model`] that is ready to run.
//!
//! Owns the order of checks at start (files there, bytes intact, tokenizer understood, graph readable) and the
//! fingerprint. It must not know the engine.

use std::path::PathBuf;

use super::catalogue::{self, RuntimeError as InstalledError};
use super::checksum::Sha256;
use super::manifest::{Manifest, ManifestError};
use super::options::{Graphs, Options, Precision, Shapes};
use super::session::{Runtime, RuntimeError, SessionFactory};
use super::tokenizer::{PairTokenizer, TokenizerError};
use super::{Company, Model, ScorerError, compiled};
use crate::domain::ModelCard;
use crate::graph::{self, Summary};

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
    /// The graph's weights cannot be shared among sessions.
    #[error(transparent)]
    Weights(#[from] ScorerError),
    /// The model has another precision than the one asked for.
    #[error(
        "RESCORED_PRECISION: `{asked}` is asked for, but model `{id}` is {found}; run: rescored compile {id} --precision {asked}"
    )]
    Precision {
        /// The model.
        id: String,
        /// What was asked for.
        asked: &'static str,
        /// What the files hold.
        found: &'static str,
    },
    /// The model is a shape for benchmarks.
    #[error(
        "model `{id}`: keeps only some layers of its source, so its scores mean nothing; set RESCORED_SHAPES=served to measure with it all the same"
    )]
    ShapeOnly {
        /// The model.
        id: String,
    },
}

/// What a graph's bytes say, and where they lie.
struct Chosen {
    path: PathBuf,
    bytes: Vec<u8>,
    summary: Summary,
    precision: Precision,
}

impl Model {
    /// Opens every model that the options name, the default first, over one runtime library.
    ///
    /// # Errors
    /// The first thing that is missing or not understood.
    pub fn open_all(options: &Options) -> Result<Vec<Self>, OpenError> {
        let runtime = runtime(options)?;
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

    /// Opens one model: the graph that `compile` wrote for the precision asked for, else its own.
    ///
    /// # Errors
    /// As [`Model::open_all`].
    pub fn open(manifest: &Manifest, options: &Options, runtime: &Runtime) -> Result<Self, OpenError> {
        let max_length = manifest.max_length.min(options.max_length);
        let tokenizer = PairTokenizer::open(&manifest.tokenizer, max_length)?;
        let graph = choose(manifest, options)?;
        if graph.summary.is_shape_only() && options.shapes == Shapes::Refused {
            return Err(OpenError::ShapeOnly { id: manifest.id.clone() });
        }
        let card = ModelCard {
            id: manifest.id.clone(),
            source: manifest.source.clone(),
            licence: manifest.licence.clone(),
            fingerprint: fingerprint(&[&graph.bytes, &read(manifest, &manifest.tokenizer)?], max_length),
            precision: graph.precision.word().to_owned(),
            provider: "cpu".to_owned(),
            max_length,
            activation: manifest.activation,
        };
        let company = match graph.summary.slots {
            Some(slots) => Company::Packed { slots },
            None if quantises_dynamically(&graph.summary) => Company::Alone,
            None => Company::SameLength,
        };
        tracing::info!(model.id = card.id, graph = %graph.path.display(), precision = card.precision, ?company, "model");
        let scorers = Box::new(SessionFactory::new(runtime.clone(), graph.path, &graph.bytes)?);
        Ok(Self { card, tokenizer, scorers, company })
    }
}

/// Loads the runtime library that the options name, or the one that `fetch` brought.
///
/// # Errors
/// When it is missing, damaged or of no use.
pub fn runtime(options: &Options) -> Result<Runtime, OpenError> {
    let library = match &options.runtime {
        Some(path) => path.clone(),
        None => catalogue::installed_runtime(&options.dir)?,
    };
    Ok(Runtime::load(&library)?)
}

/// Whether a graph finds the ranges of its activations in each forward pass. Bytes that are no graph do not.
pub fn is_dynamically_quantised(onnx: &[u8]) -> bool {
    graph::summary(onnx).is_ok_and(|summary| quantises_dynamically(&summary))
}

fn quantises_dynamically(summary: &Summary) -> bool {
    summary.operators.iter().any(|operator| DYNAMIC_QUANTISERS.contains(&operator.name.as_str()))
}

/// The graph that runs: a compiled one of the precision asked for, else the model's own if that is of this precision.
fn choose(manifest: &Manifest, options: &Options) -> Result<Chosen, OpenError> {
    let own = look_at(manifest, manifest.graph.clone(), None)?;
    let own = Chosen { precision: manifest.precision.unwrap_or(own.precision), ..own };
    let asked = if options.precision == Precision::Auto { own.precision } else { options.precision };
    let compiled = match options.graphs {
        Graphs::Best => compiled::find(&manifest.dir, Sha256::of(&own.bytes), asked),
        Graphs::Source => None,
    };
    match compiled {
        Some((path, _)) => look_at(manifest, path, Some(asked)),
        None if asked == own.precision => Ok(own),
        None => Err(OpenError::Precision { id: manifest.id.clone(), asked: asked.word(), found: own.precision.word() }),
    }
}

fn look_at(manifest: &Manifest, path: PathBuf, precision: Option<Precision>) -> Result<Chosen, OpenError> {
    let bytes = read(manifest, &path)?;
    let unreadable = |source| OpenError::Graph { id: manifest.id.clone(), path: path.clone(), source };
    let summary = graph::summary(&bytes).map_err(unreadable)?;
    let guess = if quantises_dynamically(&summary) { Precision::Int8 } else { Precision::Fp32 };
    Ok(Chosen { path, bytes, precision: precision.unwrap_or(guess), summary })
}

fn read(manifest: &Manifest, path: &PathBuf) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|source| OpenError::Unreadable { id: manifest.id.clone(), path: path.clone(), source })
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
