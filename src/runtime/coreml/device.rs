//! What loads and runs programs: ONNX Runtime with CoreML's execution provider, or with its own CPU kernels.
//!
//! Owns the seam that tests plug fakes into, and the sessions behind it. A program lives and dies in the thread that loaded
//! it. It must not know which way is best.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use ort::ep::{
    ArbitrarilyConfigurableExecutionProvider as _, CoreML, ExecutionProvider as _, ExecutionProviderDispatch,
};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;
use rescored_graph::coreml::{Arithmetic, Shape, fixed, names};
use rescored_graph::{self as graph, Beside};
use rescored_process::sync::lock;

use super::compute_units::{ExecutionTarget, Place, options};
use super::feed::Feed;
use super::store::Store;
use crate::ScorerError;
use crate::session::Runtime;
use crate::shared::SharedWeights;

/// Constants of fewer values than this stay the sessions' own.
const SHARED_VALUES: usize = 16_384;

/// Loads programs.
pub trait Device: Send + Sync + std::fmt::Debug {
    /// Loads the program of a shape for a way. Called in the thread that will run it; may take seconds.
    ///
    /// # Errors
    /// [`ScorerError`] when the way does not take the program.
    fn load(&self, shape: Shape, way: ExecutionTarget) -> Result<Box<dyn Program>, ScorerError>;

    /// Whether loading it takes a moment only.
    fn is_compiled(&self, _: Shape, _: ExecutionTarget) -> bool {
        true
    }
}

/// A loaded program.
pub trait Program {
    /// One logit a slot, rows one after the other.
    ///
    /// # Errors
    /// [`ScorerError`] when the run failed.
    fn run(&mut self, feed: &Feed) -> Result<Vec<f32>, ScorerError>;
}

/// Where a written graph lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Onnx {
    /// In a file that is read whenever a program is loaded of it.
    File(PathBuf),
    /// In memory, before it is kept.
    Bytes(Arc<[u8]>),
}

/// A written graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Its bytes.
    pub onnx: Onnx,
    /// Its arithmetic.
    pub arithmetic: Arithmetic,
    /// Its checksum, which names what is compiled of it.
    pub sha256: String,
}

/// Who runs what is meant for CoreML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// CoreML.
    Real,
    /// ONNX Runtime's CPU kernels play every part, each in its own arithmetic: for tests of the whole way on other systems.
    Rehearsal,
}

/// Sessions of ONNX Runtime.
#[derive(Debug)]
pub struct OrtDevice {
    runtime: Runtime,
    graphs: Vec<Graph>,
    store: Store,
    cast: Cast,
    /// Threads of a session on the CPU.
    threads: usize,
    /// The weights of the 32-bit graph, once for all of its CPU sessions.
    weights: OnceLock<SharedWeights>,
    /// Held while a session on the CPU is built: what loading needs for a moment is needed once. Not for CoreML's: one that
    /// hangs would hold it for ever.
    building: Mutex<()>,
}

impl Onnx {
    fn read(&self) -> Result<Cow<'_, [u8]>, ScorerError> {
        match self {
            Self::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Self::File(path) => {
                let unreadable = |error| ScorerError::Graph { message: format!("{}: {error}", path.display()) };
                std::fs::read(path).map(Cow::Owned).map_err(unreadable)
            }
        }
    }
}

impl OrtDevice {
    /// Sessions of these graphs, one for each arithmetic; what CoreML compiles is kept in the store.
    pub fn new(runtime: Runtime, graphs: Vec<Graph>, store: Store, cast: Cast) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { runtime, graphs, store, cast, threads, weights: OnceLock::new(), building: Mutex::new(()) }
    }

    /// Whether the loaded library has CoreML's provider.
    pub fn is_available() -> bool {
        CoreML::is_available().unwrap_or(false)
    }

    fn graph(&self, arithmetic: Arithmetic) -> Result<&Graph, ScorerError> {
        let missing = || ScorerError::Graph { message: format!("there is no {} graph for coreml", arithmetic.word()) };
        self.graphs.iter().find(|graph| graph.arithmetic == arithmetic).ok_or_else(missing)
    }

    fn host(&self, graph: &Graph, builder: SessionBuilder, onnx: &[u8]) -> Result<Session, ScorerError> {
        let builder = builder.with_intra_threads(self.threads).map_err(|error| refused(&error.into()))?;
        let mut builder = match graph.arithmetic {
            Arithmetic::Fp32 => self.weights(onnx)?.lend(builder).map_err(|error| refused(&error))?,
            Arithmetic::Fp16 => builder,
        };
        builder.commit_from_memory(onnx).map_err(|error| refused(&error))
    }

    fn weights(&self, onnx: &[u8]) -> Result<&SharedWeights, ScorerError> {
        if let Some(weights) = self.weights.get() {
            return Ok(weights);
        }
        let weights = graph::weights(onnx, &Beside::new(), SHARED_VALUES)
            .map_err(|error| ScorerError::Graph { message: error.to_string() })?;
        let weights = SharedWeights::new(weights)?;
        Ok(self.weights.get_or_init(|| weights))
    }
}

impl Device for OrtDevice {
    fn is_compiled(&self, shape: Shape, way: ExecutionTarget) -> bool {
        match (way.place, self.cast) {
            (Place::CoreMl(_), Cast::Real) => self
                .graph(way.arithmetic)
                .is_ok_and(|graph| self.store.holds(&self.store.entry(&graph.sha256, shape, way))),
            // Nothing is kept of a rehearsal: its programs are made anew, which takes longer than a batch should wait.
            (Place::CoreMl(_), Cast::Rehearsal) => false,
            (Place::Host, _) => true,
        }
    }

    fn load(&self, shape: Shape, way: ExecutionTarget) -> Result<Box<dyn Program>, ScorerError> {
        let graph = self.graph(way.arithmetic)?;
        let onnx = graph.onnx.read()?;
        let entry = self.store.entry(&graph.sha256, shape, way);
        let onnx =
            fixed(&onnx, shape, &entry.key).map_err(|error| ScorerError::Graph { message: error.to_string() })?;
        let builder = builder(&self.runtime).map_err(|error| refused(&error))?;
        let session = match (way.place, self.cast) {
            (Place::CoreMl(units), Cast::Real) => {
                let folder =
                    self.store.make(&entry).map_err(|error| ScorerError::Runtime { message: error.to_string() })?;
                let provider = options(units, &folder)
                    .into_iter()
                    .fold(CoreML::default(), |provider, (key, value)| provider.with_arbitrary_config(key, value));
                let providers = [provider.build().error_on_failure()];
                // A node that CoreML does not take is an error here: an island on the CPU costs two copies a run, unseen.
                let mut builder = strict(builder, &providers).map_err(|error| refused(&error))?;
                builder.commit_from_memory(&onnx).map_err(|error| refused(&error))?
            }
            (Place::Host, _) | (_, Cast::Rehearsal) => {
                let _alone = lock(&self.building);
                self.host(graph, builder, &onnx)?
            }
        };
        Ok(Box::new(OrtProgram { session }))
    }
}

fn strict(builder: SessionBuilder, providers: &[ExecutionProviderDispatch]) -> ort::Result<SessionBuilder> {
    Ok(builder.with_execution_providers(providers)?.with_disable_cpu_fallback()?)
}

fn builder(runtime: &Runtime) -> ort::Result<SessionBuilder> {
    Ok(Session::builder(runtime.environment())?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?)
}

/// One session.
struct OrtProgram {
    session: Session,
}

impl Program for OrtProgram {
    fn run(&mut self, feed: &Feed) -> Result<Vec<f32>, ScorerError> {
        let inputs = [
            (names::ROWS, &feed.rows),
            (names::MASK, &feed.mask),
            (names::FIRST, &feed.first),
            (names::FIRST_MASK, &feed.first_mask),
        ];
        let inputs = inputs
            .into_iter()
            .map(|(name, values)| {
                let tensor = TensorRef::from_array_view((feed.shape.dims(name, feed.width), values.as_slice()))?;
                Ok((name, SessionInputValue::from(tensor)))
            })
            .collect::<ort::Result<Vec<_>>>()
            .map_err(|error| refused(&error))?;
        let outputs = self.session.run(inputs).map_err(|error| refused(&error))?;
        let missing = || ScorerError::Graph { message: format!("no output is called `{}`", names::LOGITS) };
        let logits = outputs.get(names::LOGITS).ok_or_else(missing)?;
        let (_, logits) = logits.try_extract_tensor::<f32>().map_err(|error| refused(&error))?;
        Ok(logits.to_vec())
    }
}

fn refused(error: &ort::Error) -> ScorerError {
    ScorerError::Runtime { message: error.to_string() }
}
