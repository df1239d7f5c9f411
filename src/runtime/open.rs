//! From a model's folder to a [`Model`] that is ready to run.
//!
//! Owns the order of checks at start (files there, bytes intact, tokenizer understood, graph readable) and the
//! fingerprint. It must not know the engine.

mod choice;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rescored_core::domain::accelerator::Accelerator;
use rescored_core::domain::{Execution, Graph, ModelCard, PassedOver};
use rescored_graph as graph;
use rescored_process::files;

use self::choice::{Chosen, batching, choose};
use super::catalogue::{self, RuntimeError as InstalledError};
use super::coreml::device::Cast;
use super::coreml::open::{Opened, Source};
use super::coreml::scorer::PoolFactory;
use super::fingerprint::{Facts, fingerprint};
use super::golden::GoldenError;
use super::manifest::{Manifest, ManifestError};
use super::options::{Graphs, Kind, Options, Precision, Shapes};
use super::origin::{self, Unreadable};
use super::provider::register::roster;
use super::provider::{ProviderError, Roster, Usable};
use super::session::{Place, Runtime, RuntimeError, SessionFactory};
use super::tokenizer::{PairTokenizer, TokenizerError};
use super::{BatchingPolicy, ExternalData, Model, ScorerError, coreml, prompted};

pub use self::choice::is_dynamically_quantised;

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
    #[error("model `{id}`: {reason}; run: {run}")]
    NoGraph {
        /// The model.
        id: String,
        /// What is missing.
        reason: String,
        /// What writes it.
        run: String,
    },
    /// It cannot go through CoreML.
    #[error(transparent)]
    CoreMl(#[from] coreml::open::OpenError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model's own weights.
    #[error(transparent)]
    Origin(#[from] Unreadable),
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
    #[error("RESCORED_PRECISION: `{asked}` is asked for, but model `{id}` is {found}; {run}")]
    Precision {
        /// The model.
        id: String,
        /// What was asked for.
        asked: &'static str,
        /// What the files hold.
        found: &'static str,
        /// What to do.
        run: String,
    },
    /// The tokenizer is another model's.
    #[error(
        "model `{id}`: `{}` gives token ids up to {highest}, and the graph has embeddings for {rows}: texts with others could not be scored; put the tokenizer.json there that belongs to the graph",
        path.display()
    )]
    Vocabulary {
        /// The model.
        id: String,
        /// The tokenizer's file.
        path: PathBuf,
        /// The highest id that it gives.
        highest: u32,
        /// Ids that the graph knows, from 0.
        rows: u64,
    },
    /// The model is a shape for benchmarks.
    #[error(
        "model `{id}`: keeps only some layers of its source, so its scores mean nothing; set RESCORED_GRAPH=shape to measure with it all the same"
    )]
    ShapeOnly {
        /// The model.
        id: String,
    },
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
        let (max_length, tokenizer) = prompted::bounded(manifest, options)?;
        let (usable, found, passed_over) = first(manifest, options, (runtime, roster))?;
        let graph = match found {
            Found::Graph(graph) => *graph,
            Found::CoreMl(opened) => {
                let execution = Execution { passed_over, ..Execution::default() };
                return Self::through_coreml(manifest, tokenizer, (opened, runtime), execution);
            }
        };
        fits(manifest, &tokenizer, graph.summary.vocabulary)?;
        if graph.summary.is_shape_only() && options.shapes == Shapes::Refused {
            return Err(OpenError::ShapeOnly { id: manifest.id.clone() });
        }
        let execution = Execution {
            graph: Graph {
                file: graph.path.display().to_string(),
                advice: advice(manifest, options, &graph, usable.kind),
            },
            devices: if usable.kind.has_devices() { usable.devices.clone() } else { Vec::new() },
            passed_over,
            ..Execution::default()
        };
        let place = Place::new(&usable, options.threads, &execution.nodes);
        let facts = Facts {
            graph: &graph.bytes,
            external: &graph.external,
            max_length,
            provider: usable.kind,
            precision: graph.precision.word(),
            has_own_operators: graph.summary.operators.iter().any(|operator| operator.domain == graph::own::DOMAIN),
            runtime: runtime.build(),
        };
        let card = ModelCard {
            id: manifest.id.clone(),
            source: manifest.source.clone(),
            licence: manifest.licence.clone(),
            fingerprint: identify(manifest, &facts)?,
            precision: graph.precision.word().to_owned(),
            provider: usable.kind.word().to_owned(),
            runtime: runtime.build().to_owned(),
            max_length,
            activation: manifest.activation,
            prompt: prompted::card(manifest, &tokenizer),
            execution,
        };
        let (batching_policy, batching) = batching(&graph.summary, &usable);
        tell(&card, &graph.path, batching_policy);
        let scorers =
            Box::new(SessionFactory::new(runtime.clone(), (graph.path, &graph.bytes, graph.external), place)?);
        Ok(Self { card, tokenizer, scorers, batching_policy, batching })
    }

    /// Opens a model as if this host had CoreML, with the CPU in its place: the whole way can so be tested anywhere.
    ///
    /// # Errors
    /// As [`Model::open_all`].
    pub fn rehearse_coreml(manifest: &Manifest, options: &Options, runtime: &Runtime) -> Result<Self, OpenError> {
        let (_, tokenizer) = prompted::bounded(manifest, options)?;
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
        let facts = Facts {
            graph: &files,
            external: &ExternalData::default(),
            max_length,
            provider: Kind::CoreMl,
            precision: precision.word(),
            has_own_operators: false,
            runtime: runtime.build(),
        };
        let graph = Graph { file: folder.display().to_string(), advice: String::new() };
        let card = ModelCard {
            id: manifest.id.clone(),
            source: manifest.source.clone(),
            licence: manifest.licence.clone(),
            fingerprint: identify(manifest, &facts)?,
            precision: precision.word().to_owned(),
            provider: Kind::CoreMl.word().to_owned(),
            runtime: runtime.build().to_owned(),
            max_length,
            activation: manifest.activation,
            prompt: prompted::card(manifest, &tokenizer),
            execution: Execution { graph, accelerator: Some(Arc::clone(&pool) as Arc<dyn Accelerator>), ..execution },
        };
        let batching_policy = BatchingPolicy::Packed { slots: None };
        tell(&card, &folder, batching_policy);
        Ok(Self {
            card,
            tokenizer,
            scorers: Box::new(PoolFactory(pool)),
            batching_policy,
            batching: coreml::open::BATCHING,
        })
    }
}

/// Refuses a tokenizer with ids for which the graph has no embedding: a text with one would fail when it comes.
fn fits(manifest: &Manifest, tokenizer: &PairTokenizer, rows: Option<u64>) -> Result<(), OpenError> {
    match rows {
        Some(rows) if u64::from(tokenizer.highest_id()) >= rows => Err(OpenError::Vocabulary {
            id: manifest.id.clone(),
            path: manifest.tokenizer.clone(),
            highest: tokenizer.highest_id(),
            rows,
        }),
        Some(_) | None => Ok(()),
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
        sha256: origin::identity(manifest)?,
        max_length: manifest.max_length.min(options.max_length),
    };
    Ok(coreml::open::open(&source, options, on)?)
}

/// Says in the log what runs where, and what does not.
fn tell(card: &ModelCard, graph: &Path, batching_policy: BatchingPolicy) {
    let Execution { devices, passed_over, .. } = &card.execution;
    for PassedOver { provider, reason } in passed_over {
        tracing::info!(model.id = card.id, provider, reason, "provider passed over");
    }
    let batching = match batching_policy {
        BatchingPolicy::Alone => "alone",
        BatchingPolicy::SameLength => "same length",
        BatchingPolicy::Padded { .. } => "padded",
        BatchingPolicy::Packed { .. } => "packed",
    };
    let devices = devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    tracing::info!(
        model.id = card.id,
        graph = %graph.display(),
        precision = card.precision,
        provider = card.provider,
        devices,
        batching,
        "model"
    );
    let Graph { file, advice } = &card.execution.graph;
    if !advice.is_empty() {
        tracing::warn!(model.id = card.id, graph = file, advice, "model is not compiled");
    }
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
    let run = format!("rescored compile {}", manifest.id);
    Err(OpenError::NoGraph { id: manifest.id.clone(), reason: "no provider runs it".to_owned(), run })
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

fn read(manifest: &Manifest, path: &Path) -> Result<Vec<u8>, OpenError> {
    let unreadable = |source| OpenError::Unreadable { id: manifest.id.clone(), path: path.to_owned(), source };
    files::read(path, u64::MAX).map_err(unreadable)
}

fn identify(manifest: &Manifest, facts: &Facts<'_>) -> Result<String, OpenError> {
    let unreadable = |source| OpenError::Unreadable { id: manifest.id.clone(), path: manifest.dir.clone(), source };
    fingerprint(manifest, facts).map_err(unreadable)
}

/// What to run so that a model on the CPU does without its own graph, where it runs that without having been asked to.
fn advice(manifest: &Manifest, options: &Options, graph: &Chosen, kind: Kind) -> String {
    // Only graphs that `compile` wrote take pairs without padding.
    if kind != Kind::Cpu || options.graphs == Graphs::Source || graph.summary.slots.is_some() {
        return String::new();
    }
    let precision = match options.precision {
        Precision::Auto => String::new(),
        asked @ (Precision::Fp32 | Precision::Fp16 | Precision::Int8) => format!(" --precision {}", asked.word()),
    };
    format!(
        "it runs the model's own graph, which is slower than one written for this processor; run: rescored compile {}{precision}",
        manifest.id
    )
}
