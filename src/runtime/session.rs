//! ONNX Runtime: the library, and one session a worker, which belongs to one thread for life.
//!
//! Owns loading the shared library, session options, feeding tensors. It must not know texts or tokens beyond their ids.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ort::environment::Environment;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session};
use rescored_core::domain::Nodes;
use rescored_graph::beginnings::Arranged;
use rescored_process::sync::lock;

use super::device::{self, DeviceScorer};
use super::external::ExternalData;
use super::feed::{self, Fed};
use super::operators;
use super::options::{Kind, ProviderOptions};
use super::outputs::Output;
use super::provider::{Usable, placement, register};
use super::shared::SharedWeights;
use super::{Batch, CancelHandle, Scorer, ScorerError, ScorerFactory};

/// The loaded ONNX Runtime library. Cheap to clone; the library stays loaded until the process ends.
#[derive(Clone, Debug)]
pub struct Runtime {
    environment: Arc<Environment>,
    build: Arc<str>,
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
        let library = &in_full(library);
        let mut loaded = lock(&LOADED);
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
        let build = Arc::from(build(ort::info()));
        Ok(loaded.insert(Self { environment: Arc::new(environment), build }).clone())
    }
}

/// The library that a path names, in full: ort takes a relative path for one beside the executable, which need not be the
/// one that was checked. A bare name that is no file here is left to the system's search.
fn in_full(library: &Path) -> PathBuf {
    let is_bare = library.components().nth(1).is_none() && !library.exists();
    if is_bare { library.to_owned() } else { std::path::absolute(library).unwrap_or_else(|_| library.to_owned()) }
}

impl Runtime {
    /// The release of the library, as its file's name and its own account have it.
    pub fn version(&self) -> String {
        ort::info().to_owned()
    }

    /// What sessions are built in.
    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Names the build of the library: two libraries of the same name compute alike on the same processor.
    pub fn build(&self) -> &str {
        &self.build
    }
}

/// A name from the library's build information: its commit, and a hash of all of it, the compiler's flags included.
fn build(build_info: &str) -> String {
    let commit = build_info.split("git-commit-id=").nth(1).and_then(|rest| rest.split([',', ' ']).next());
    let commit: String = commit.unwrap_or("unknown").chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    let hash = blake3::hash(build_info.as_bytes()).to_hex();
    format!("onnxruntime-{commit}-{}", hash.get(..8).unwrap_or_default())
}

/// Builds sessions of one graph, one thread each, on the devices of one provider.
#[derive(Debug)]
pub struct SessionFactory {
    runtime: Runtime,
    graph: PathBuf,
    /// What the file held when it was opened.
    hash: blake3::Hash,
    /// Weights beside it, as they were then.
    external: ExternalData,
    weights: SharedWeights,
    place: Place,
    /// One value a device, held once more by each scorer on it.
    seats: Vec<Arc<u32>>,
}

/// Where sessions run, and where it is written down which nodes run where.
#[derive(Clone, Debug)]
pub struct Place {
    /// The provider and its devices.
    pub usable: Usable,
    /// What providers are given.
    pub options: ProviderOptions,
    /// Threads of one forward pass on the CPU.
    pub threads: usize,
    /// Filled by the first session's first run.
    pub nodes: Nodes,
}

impl Place {
    /// Sessions of a provider without options of its own; so many threads on the CPU, or one.
    pub fn new(usable: &Usable, threads: Option<usize>, nodes: &Nodes) -> Self {
        let (usable, options, nodes) = (usable.clone(), ProviderOptions::default(), Arc::clone(nodes));
        Self { usable, options, threads: threads.unwrap_or(1), nodes }
    }
}

impl SessionFactory {
    /// Sessions of the ONNX file `graph`, which holds `onnx` and reads `external` besides. On CPUs the weights
    /// are kept once for all of them, wherever they lie.
    ///
    /// # Errors
    /// [`ScorerError`] when the weights cannot be read.
    pub fn new(
        runtime: Runtime,
        (graph, onnx, external): (PathBuf, &[u8], ExternalData),
        place: Place,
    ) -> Result<Self, ScorerError> {
        let weights = match place.usable.kind {
            Kind::Cpu => SharedWeights::of(onnx, &external)?,
            // Each device has its own copy, which the provider makes.
            Kind::Cuda | Kind::Tensorrt | Kind::OpenVino | Kind::CoreMl => SharedWeights::new(Vec::new())?,
        };
        let seats = place.usable.devices.iter().map(|&device| Arc::new(device)).collect();
        let hash = blake3::hash(onnx);
        Ok(Self { runtime, graph, hash, external, weights, place, seats })
    }

    /// A seat on the device with the fewest scorers; it is free again when the scorer is dropped.
    fn seat(&self) -> Arc<u32> {
        self.seats.iter().min_by_key(|seat| Arc::strong_count(seat)).map_or_else(Arc::default, Arc::clone)
    }

    fn session(&self, device: u32, unplaced: Option<&Nodes>) -> ort::Result<Session> {
        let builder = Session::builder(&self.runtime.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(self.place.threads)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            // Lengths change with every batch: a plan made for one shape is no use for the next.
            .with_memory_pattern(false)?;
        let builder = match self.place.usable.kind {
            Kind::Cpu => self.weights.lend(builder)?.with_operators(operators::domain()?)?,
            kind @ (Kind::Cuda | Kind::Tensorrt | Kind::OpenVino | Kind::CoreMl) => {
                register::register(builder, (kind, device), &self.place.options)?
            }
        };
        let mut builder = if unplaced.is_some() { profiled(builder)? } else { builder };
        let session = builder.commit_from_file(&self.graph)?;
        // Asked after the library has read it: a file that was put in its place meanwhile is another model's.
        let bytes = std::fs::read(&self.graph).map_err(|error| ort::Error::new(error.to_string()))?;
        if blake3::hash(&bytes) != self.hash || !self.external.is_unchanged() {
            return Err(ort::Error::new(
                "the graph's file, or one with its weights, has changed since the model was opened; load the model anew",
            ));
        }
        Ok(session)
    }
}

/// A session whose first run notes what runs where; [`Placed::note`] ends it.
fn profiled(builder: SessionBuilder) -> ort::Result<SessionBuilder> {
    let file = std::env::temp_dir().join(format!("rescored-placement-{}", std::process::id()));
    Ok(builder.with_profiling(file)?)
}

impl ScorerFactory for SessionFactory {
    fn build(&self) -> Result<Box<dyn Scorer>, ScorerError> {
        // What loading needs for a moment is needed once, too, and not once a worker.
        let _alone = operators::building();
        let seat = self.seat();
        // Asked once: another worker may note it while this session is built, and a profile that was begun must be ended.
        // One that goes on keeps an event an operator, two gigabytes of them, and halves the worker's pace.
        let unplaced = self.place.nodes.get().is_none().then(|| Arc::clone(&self.place.nodes));
        let session = self.session(*seat, unplaced.as_ref()).map_err(|error| runtime(&error))?;
        let output = Output::of(&session)?;
        let is_ragged = device::is_for_devices(&session);
        let terms = Arc::new(RunOptions::new().map_err(|error| runtime(&error))?);
        let placed = Placed { session, unplaced, terms, _seat: seat };
        if is_ragged {
            return Ok(Box::new(DeviceScorer::new(placed, output)?));
        }
        let feeds = feed::feeds(&placed.session)?;
        Ok(Box::new(SessionScorer { placed, feeds, output }))
    }
}

/// A session at its place.
pub(super) struct Placed {
    /// The session.
    pub(super) session: Session,
    /// Where the nodes of the first run are to be written down, if that was not done.
    unplaced: Option<Nodes>,
    /// Of every run; others may set its flag that ends a run.
    pub(super) terms: Arc<RunOptions>,
    /// Its device, taken for as long as the session lives.
    _seat: Arc<u32>,
}

impl Placed {
    /// Ends the profile that the first run wrote, and keeps what it says of providers. Best effort: without a place for
    /// temporary files nothing is known.
    pub(super) fn note(&mut self) {
        let Some(nodes) = self.unplaced.take() else { return };
        let profile = self.session.end_profiling().unwrap_or_default();
        let found = placement::nodes(&std::fs::read_to_string(&profile).unwrap_or_default());
        // It may lie elsewhere or not at all; then there is nothing to remove.
        let _ = std::fs::remove_file(&profile);
        if !found.is_empty() {
            let counts: Vec<String> = found.iter().map(|(provider, count)| format!("{provider}={count}")).collect();
            tracing::info!(nodes = counts.join(","), "what runs the graph");
            // Another session may have been first.
            let _ = nodes.set(found);
        }
    }
}

/// ONNX Runtime looks at the flag before every operator.
impl CancelHandle for RunOptions {
    fn stop(&self) {
        if let Err(error) = self.terminate() {
            tracing::warn!(%error, "a forward pass cannot be asked to stop");
        }
    }

    fn release(&self) {
        if let Err(error) = self.unterminate() {
            tracing::warn!(%error, "the stop request of a forward pass cannot be withdrawn");
        }
    }
}

/// A session and what it is fed.
struct SessionScorer {
    placed: Placed,
    feeds: Vec<Fed>,
    output: Output,
}

impl Scorer for SessionScorer {
    fn score(&mut self, batch: &Batch) -> Result<Vec<f32>, ScorerError> {
        let logits = self.run(batch);
        self.placed.note();
        logits
    }

    fn cancel_handle(&self) -> Option<Arc<dyn CancelHandle>> {
        Some(Arc::clone(&self.placed.terms) as Arc<dyn CancelHandle>)
    }
}

impl SessionScorer {
    fn run(&mut self, batch: &Batch) -> Result<Vec<f32>, ScorerError> {
        let arranged = feed::share_beginnings(&self.feeds).then(|| Arranged::new(&batch.sequences()));
        let inputs = self
            .feeds
            .iter()
            .map(|fed| Ok((fed.name(), fed.value(batch, arranged.as_ref())?)))
            .collect::<ort::Result<Vec<_>>>()
            .map_err(|error| runtime(&error))?;
        let outputs =
            self.placed.session.run_with_options(inputs, &self.placed.terms).map_err(|error| runtime(&error))?;
        if let Some(arranged) = &arranged {
            let logits = self.output.read(&outputs, arranged.lengths.len())?;
            return Ok(arranged.slots.iter().filter_map(|&slot| logits.get(slot).copied()).collect());
        }
        // A packed graph answers for its free slots too; they come last.
        let mut logits = self.output.read(&outputs, batch.lengths().len())?;
        logits.truncate(batch.pairs());
        Ok(logits)
    }
}

/// What ONNX Runtime said.
pub(super) fn runtime(error: &ort::Error) -> ScorerError {
    ScorerError::Runtime { message: error.to_string() }
}
