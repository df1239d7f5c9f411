//! From a model's folder to a [`Model`] that is ready to run.
//!
//! Owns the order of checks at start (files there, bytes intact, tokenizer understood, graph readable) and the
//! fingerprint. It must not know the engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalogue::{self, RuntimeError as InstalledError};
use super::checksum::Sha256;
use super::compiled::{self, Storage};
use super::coreml::device::Cast;
use super::coreml::open::{Opened, Source};
use super::coreml::scorer::PoolFactory;
use super::golden::GoldenError;
use super::manifest::{Manifest, ManifestError};
use super::options::{Graphs, Kind, Options, Precision, Shapes};
use super::provider::register::roster;
use super::provider::{ProviderError, Roster, Usable};
use super::session::{Place, Runtime, RuntimeError, SessionFactory};
use super::tokenizer::{PairTokenizer, TokenizerError};
use super::{Batching, Company, Model, ScorerError, coreml};
use crate::domain::accelerator::Accelerator;
use crate::domain::{Execution, ModelCard, PassedOver};
use crate::graph::{self, Summary};

/// Operators that quantise activations with one scale a tensor: every row of a batch then depends on all others.
const DYNAMIC_QUANTISERS: [&str; 3] = ["DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"];

/// Why a model could not be opened. Each says which file and what to run.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or its description.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The pairs that it must score as noted.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// The runtime library that `fetch` should have brought.
    #[error(transparent)]
    Installed(#[from] InstalledError),
    /// The runtime library cannot be loaded.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The provider asked for does not run.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The provider asked for has no graph to run.
    #[error("model `{id}`: {reason}")]
    NoGraph {
        /// The model.
        id: String,
        /// What is missing, and what to run.
        reason: String,
    },
    /// It cannot go through CoreML.
    #[error(transparent)]
    CoreMl(#[from] coreml::open::OpenError),
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
        let roster = roster(options, &runtime)?;
        options.ids.iter().map(|id| Self::open_verified(options, id, (&runtime, &roster))).collect()
    }

    pub(super) fn open_verified(options: &Options, id: &str, place: (&Runtime, &Roster)) -> Result<Self, OpenError> {
        let manifest = Manifest::open(&options.dir, id)?;
        manifest.verify()?;
        Self::open(&manifest, options, place)
    }

    /// Opens one model: on the first provider of the roster that has a graph for it, the graph that `compile` wrote for
    /// the precision asked for, else the model's own.
    ///
    /// # Errors
    /// As [`Model::open_all`].
    pub fn open(
        manifest: &Manifest,
        options: &Options,
        (runtime, roster): (&Runtime, &Roster),
    ) -> Result<Self, OpenError> {
        let max_length = manifest.max_length.min(options.max_length);
        let tokenizer = PairTokenizer::open(&manifest.tokenizer, max_length)?;
        let (usable, found, passed_over) = first(manifest, options, (runtime, roster))?;
        let graph = match found {
            Found::Graph(graph) => *graph,
            Found::CoreMl(opened) => {
                let execution = Execution { passed_over, ..Execution::default() };
                return Self::through_coreml(manifest, tokenizer, (opened, runtime), execution);
            }
        };
        if graph.summary.is_shape_only() && options.shapes == Shapes::Refused {
            return Err(OpenError::ShapeOnly { id: manifest.id.clone() });
        }
        let execution = Execution {
            devices: if usable.kind.has_devices() { usable.devices.clone() } else { Vec::new() },
            passed_over,
            ..Execution::default()
        };
        let place = Place::new(&usable, options.threads, &execution.nodes);
        let files: [&[u8]; 2] = [&graph.bytes, &read(manifest, &manifest.tokenizer)?];
        let card = ModelCard {
            id: manifest.id.clone(),
            source: manifest.source.clone(),
            licence: manifest.licence.clone(),
            fingerprint: fingerprint(files, max_length, usable.kind),
            precision: graph.precision.word().to_owned(),
            provider: usable.kind.word().to_owned(),
            runtime: runtime.build().to_owned(),
            max_length,
            activation: manifest.activation,
            execution,
        };
        let company = match graph.summary.slots {
            Some(slots) => Company::Packed { slots: Some(slots) },
            None if graph.summary.is_ragged => Company::Packed { slots: None },
            None if quantises_dynamically(&graph.summary) => Company::Alone,
            None => Company::SameLength,
        };
        tell(&card, &graph.path, company);
        let scorers = Box::new(SessionFactory::new(runtime.clone(), (graph.path, &graph.bytes), place)?);
        let batching = match usable.kind {
            Kind::Cpu | Kind::OpenVino => Batching::CPU,
            Kind::Cuda | Kind::Tensorrt => Batching::gpus(usable.devices.len()),
            Kind::CoreMl => Batching::ACCELERATOR,
        };
        Ok(Self { card, tokenizer, scorers, company, batching })
    }

    /// Opens a model as if this host had CoreML, with the CPU in its place: the whole way can so be tested anywhere.
    ///
    /// # Errors
    /// As [`Model::open_all`].
    pub fn rehearse_coreml(manifest: &Manifest, options: &Options, runtime: &Runtime) -> Result<Self, OpenError> {
        let max_length = manifest.max_length.min(options.max_length);
        let tokenizer = PairTokenizer::open(&manifest.tokenizer, max_length)?;
        let opened = open_coreml(manifest, options, (runtime, Cast::Rehearsal))?;
        Self::through_coreml(manifest, tokenizer, (opened, runtime), Execution::default())
    }

    fn through_coreml(
        manifest: &Manifest,
        tokenizer: PairTokenizer,
        (opened, runtime): (Opened, &Runtime),
        execution: Execution,
    ) -> Result<Self, OpenError> {
        let Opened { pool, precision, files, folder, max_length } = opened;
        let files: [&[u8]; 2] = [&files, &read(manifest, &manifest.tokenizer)?];
        let card = ModelCard {
            id: manifest.id.clone(),
            source: manifest.source.clone(),
            licence: manifest.licence.clone(),
            fingerprint: fingerprint(files, max_length, Kind::CoreMl),
            precision: precision.word().to_owned(),
            provider: Kind::CoreMl.word().to_owned(),
            runtime: runtime.build().to_owned(),
            max_length,
            activation: manifest.activation,
            execution: Execution { accelerator: Some(Arc::clone(&pool) as Arc<dyn Accelerator>), ..execution },
        };
        let company = Company::Packed { slots: None };
        tell(&card, &folder, company);
        Ok(Self { card, tokenizer, scorers: Box::new(PoolFactory(pool)), company, batching: coreml::open::BATCHING })
    }
}

/// What a provider runs.
enum Found {
    /// A graph, in sessions.
    Graph(Box<Chosen>),
    /// Programs of fixed shapes.
    CoreMl(Opened),
}

fn find(manifest: &Manifest, options: &Options, (runtime, kind): (&Runtime, Kind)) -> Result<Found, OpenError> {
    match kind {
        Kind::CoreMl => Ok(Found::CoreMl(open_coreml(manifest, options, (runtime, Cast::Real))?)),
        Kind::Cpu | Kind::Cuda | Kind::Tensorrt | Kind::OpenVino => {
            Ok(Found::Graph(Box::new(choose(manifest, options, kind)?)))
        }
    }
}

fn open_coreml(manifest: &Manifest, options: &Options, on: (&Runtime, Cast)) -> Result<Opened, OpenError> {
    let source = Source {
        id: &manifest.id,
        folder: &manifest.dir,
        sha256: Sha256::of(&read(manifest, &manifest.graph)?),
        max_length: manifest.max_length.min(options.max_length),
    };
    Ok(coreml::open::open(&source, options, on)?)
}

/// Says in the log what runs where, and what does not.
fn tell(card: &ModelCard, graph: &Path, company: Company) {
    let Execution { devices, passed_over, .. } = &card.execution;
    for PassedOver { provider, reason } in passed_over {
        tracing::info!(model.id = card.id, provider, reason, "provider passed over");
    }
    tracing::info!(
        model.id = card.id,
        graph = %graph.display(),
        precision = card.precision,
        provider = card.provider,
        ?devices,
        ?company,
        "model"
    );
}

/// The first provider of the roster with a graph for this model, and those before it that have none.
fn first(
    manifest: &Manifest,
    options: &Options,
    (runtime, roster): (&Runtime, &Roster),
) -> Result<(Usable, Found, Vec<PassedOver>), OpenError> {
    let mut passed_over = roster.passed_over.clone();
    for usable in &roster.usable {
        match find(manifest, options, (runtime, usable.kind)) {
            Ok(found) => return Ok((usable.clone(), found, passed_over)),
            // The portable kernels are the last resort: what they lack is what the caller has to hear.
            Err(error) if roster.named || usable.kind == Kind::Cpu => return Err(error),
            Err(error) => {
                passed_over.push(PassedOver { provider: usable.kind.word(), reason: error.to_string() });
            }
        }
    }
    Err(OpenError::NoGraph { id: manifest.id.clone(), reason: "no provider runs it".to_owned() })
}

/// Loads the runtime library that the options name, or the one that `fetch` brought.
///
/// # Errors
/// When it is missing, damaged or of no use.
pub fn runtime(options: &Options) -> Result<Runtime, OpenError> {
    let library = match &options.runtime {
        Some(path) => path.clone(),
        None => catalogue::installed_runtime(&options.dir, options.provider)?,
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

/// The graph that a provider runs: a compiled one of the precision asked for, else the model's own if that is of this
/// precision and the provider runs such graphs well.
fn choose(manifest: &Manifest, options: &Options, kind: Kind) -> Result<Chosen, OpenError> {
    let own = look_at(manifest, manifest.graph.clone(), None)?;
    let own = Chosen { precision: manifest.precision.unwrap_or(own.precision), ..own };
    let asked = match (options.precision, kind) {
        (Precision::Auto, Kind::Cuda) if options.graphs == Graphs::Best => Precision::Fp16,
        (Precision::Auto, _) => own.precision,
        (asked, _) => asked,
    };
    let compiled = match options.graphs {
        Graphs::Best => compiled::find(&manifest.dir, Sha256::of(&own.bytes), (kind, asked), Storage::of_host()),
        Graphs::Source => None,
    };
    let fits = match own.summary.provider() {
        Some(word) => word == kind.word(),
        None => options.graphs == Graphs::Source || runs_any(kind),
    };
    match compiled {
        Some((path, _)) => look_at(manifest, path, Some(asked)),
        // Never the model's own in another precision, whichever provider would run it.
        None if asked != own.precision && (options.graphs == Graphs::Source || runs_any(kind)) => {
            Err(OpenError::Precision { id: manifest.id.clone(), asked: asked.word(), found: own.precision.word() })
        }
        None if fits => Ok(own),
        None => Err(OpenError::NoGraph {
            id: manifest.id.clone(),
            reason: format!(
                "no {} graph for `{word}` was written; run: rescored compile {} --provider {word}",
                asked.word(),
                manifest.id,
                word = kind.word(),
            ),
        }),
    }
}

/// Whether a provider runs graphs that were not written for it.
const fn runs_any(kind: Kind) -> bool {
    match kind {
        Kind::Cpu | Kind::OpenVino | Kind::Tensorrt => true,
        Kind::Cuda | Kind::CoreMl => false,
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
fn fingerprint(files: [&[u8]; 2], max_length: u32, kind: Kind) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("rescored 2026-11 model fingerprint");
    for file in files {
        hasher.update(blake3::hash(file).as_bytes());
    }
    hasher.update(&max_length.to_le_bytes());
    hasher.update(kind.word().as_bytes());
    hasher.finalize().to_hex().to_string()
}
