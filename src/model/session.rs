//! ONNX Runtime: the library, and one session a worker.
//!
//! Owns every use of `ort`: loading the shared library, session options, feeding tensors, picking the output. One
//! session belongs to one thread for life. It must not know texts or tokens beyond their ids.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{TensorRef, ValueType};

use super::shared::SharedWeights;
use super::{Batch, Scorer, ScorerError, ScorerFactory};
use crate::graph;

/// Constants of fewer values than this stay the sessions' own: biases and shapes, which optimisers fold.
const SHARED_VALUES: usize = 16_384;

/// The loaded ONNX Runtime library. Cheap to clone; the library stays loaded until the process ends.
#[derive(Clone, Debug)]
pub struct Runtime {
    environment: Arc<Environment>,
}

/// ONNX Runtime allows one environment a process.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

/// Why the library could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The file is missing or is no library of a fitting version.
    #[error(
        "onnx runtime: `{path}` cannot be loaded ({message}); run `rescored fetch`, or set RESCORED_RUNTIME to a libonnxruntime of version 1.24 or later"
    )]
    Library {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        message: String,
    },
}

impl Runtime {
    /// Loads the library. The first call of a process decides which one; later calls get the same.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub fn load(library: &Path) -> Result<Self, RuntimeError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*loaded {
            return Ok(runtime.clone());
        }
        let refused = |message: String| RuntimeError::Library { path: library.to_owned(), message };
        let environment = ort::init_from(library)
            .map_err(|error| refused(error.to_string()))?
            .with_name("rescored")
            .with_telemetry(false)
            .build()
            .map_err(|error| refused(error.to_string()))?;
        Ok(loaded.insert(Self { environment: Arc::new(environment) }).clone())
    }
}

impl Runtime {
    /// What sessions are built in.
    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// Which tensor of the graph is fed with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feed {
    Ids,
    Mask,
    Types,
    Positions,
    Lengths,
}

impl Feed {
    /// Names that exporters give to the three inputs of a BERT-family encoder, and the two more of a packed graph.
    fn of(name: &str) -> Option<Self> {
        match name {
            "input_ids" | "input" => Some(Self::Ids),
            "attention_mask" | "input_mask" => Some(Self::Mask),
            "token_type_ids" | "segment_ids" => Some(Self::Types),
            "position_ids" => Some(Self::Positions),
            "lengths" => Some(Self::Lengths),
            _ => None,
        }
    }

    /// Dimensions and values of this tensor.
    fn of_batch(self, batch: &Batch) -> (Vec<usize>, &[i64]) {
        let values = match self {
            Self::Ids => batch.ids(),
            Self::Mask => batch.mask(),
            Self::Types => batch.types(),
            Self::Positions => batch.positions(),
            Self::Lengths => return (vec![batch.lengths().len()], batch.lengths()),
        };
        (batch.shape().to_vec(), values)
    }
}

/// Builds CPU sessions of one graph, one thread each.
#[derive(Debug)]
pub struct SessionFactory {
    runtime: Runtime,
    graph: PathBuf,
    weights: SharedWeights,
    /// Held while a session is built: what loading needs for a moment is needed once, not once a worker.
    building: Mutex<()>,
}

impl SessionFactory {
    /// Sessions of the ONNX file `graph`, which holds `onnx`. Its weights are kept once for all of them.
    ///
    /// # Errors
    /// [`ScorerError`] when the weights cannot be read.
    pub fn new(runtime: Runtime, graph: PathBuf, onnx: &[u8]) -> Result<Self, ScorerError> {
        let weights =
            graph::weights(onnx, SHARED_VALUES).map_err(|error| ScorerError::Graph { message: error.to_string() })?;
        Ok(Self { runtime, graph, weights: SharedWeights::new(weights)?, building: Mutex::new(()) })
    }

    fn session(&self) -> ort::Result<Session> {
        let builder = Session::builder(&self.runtime.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            // Lengths change with every batch: a plan made for one shape is no use for the next.
            .with_memory_pattern(false)?;
        self.weights.lend(builder)?.commit_from_file(&self.graph)
    }
}

impl ScorerFactory for SessionFactory {
    fn build(&self) -> Result<Box<dyn Scorer>, ScorerError> {
        let _alone = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        let session = self.session().map_err(|error| runtime(&error))?;
        let feeds = session
            .inputs()
            .iter()
            .map(|input| {
                let feed = Feed::of(input.name()).ok_or_else(|| ScorerError::Graph {
                    message: format!(
                        "input `{}` is not one of input_ids, attention_mask, token_type_ids, position_ids, lengths",
                        input.name()
                    ),
                })?;
                Ok((input.name().to_owned(), feed))
            })
            .collect::<Result<Vec<_>, ScorerError>>()?;
        let output = session
            .outputs()
            .iter()
            .position(|output| output.name() == "logits")
            .or_else(|| (session.outputs().len() == 1).then_some(0))
            .ok_or_else(|| ScorerError::Graph { message: "no output is called `logits`".to_owned() })?;
        one_label(session.outputs()[output].dtype())?;
        let output = session.outputs()[output].name().to_owned();
        Ok(Box::new(SessionScorer { session, feeds, output }))
    }
}

/// A cross-encoder has one label; a graph that says otherwise is refused before it answers nonsense.
fn one_label(kind: &ValueType) -> Result<(), ScorerError> {
    let labels = kind.tensor_shape().filter(|shape| shape.len() > 1).and_then(|shape| shape.last().copied());
    match labels {
        Some(labels) if labels > 1 => Err(ScorerError::Graph {
            message: format!("the output has {labels} labels a pair, a cross-encoder for ranking has 1"),
        }),
        _ => Ok(()),
    }
}

/// A session and what it is fed.
struct SessionScorer {
    session: Session,
    feeds: Vec<(String, Feed)>,
    output: String,
}

impl Scorer for SessionScorer {
    fn score(&mut self, batch: &Batch) -> Result<Vec<f32>, ScorerError> {
        let inputs = self
            .feeds
            .iter()
            .map(|(name, feed)| {
                let (shape, tensor) = feed.of_batch(batch);
                Ok((name.as_str(), SessionInputValue::from(TensorRef::from_array_view((shape, tensor))?)))
            })
            .collect::<ort::Result<Vec<_>>>()
            .map_err(|error| runtime(&error))?;
        let outputs = self.session.run(inputs).map_err(|error| runtime(&error))?;
        let (_, logits) = outputs
            .get(&self.output)
            .ok_or_else(|| ScorerError::Graph { message: format!("no output `{}`", self.output) })?
            .try_extract_tensor::<f32>()
            .map_err(|error| runtime(&error))?;
        // A packed graph answers for its free slots too; they come last.
        logits
            .get(..batch.pairs())
            .map(<[f32]>::to_vec)
            .ok_or(ScorerError::Shape { pairs: batch.pairs(), got: logits.len() })
    }
}

fn runtime(error: &ort::Error) -> ScorerError {
    ScorerError::Runtime { message: error.to_string() }
}
