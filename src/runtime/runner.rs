//! Runs graphs that are not served yet, for the proofs of `compile`.
//!
//! The second use of `ort` beside `session`: a graph from memory, a session a core, any of its outputs. Weights beyond what one file
//! holds lie in a file that lives as long as a session of theirs.

use std::borrow::Cow;
use std::fs::File;
use std::io::BufWriter;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{Tensor, TensorElementType, TensorRef};
use rescored_graph::compile::{Feed, Runner};
use rescored_graph::{self as graph, Beside, Runnable, Written};

use super::options::{Kind, ProviderOptions};
use super::outputs;
use super::provider::register;
use super::session::Runtime;
use super::shared::SharedWeights;
use super::{ScorerError, mapped, operators};

/// Runs graphs: those that name a provider on the device of that provider, all others on the CPU.
#[derive(Debug)]
pub struct SessionRunner {
    /// The library.
    pub runtime: Runtime,
    /// The provider of graphs that name one, and its device.
    pub device: (Kind, u32),
    /// The folder of the source's own graph: files that it names lie there.
    pub source: PathBuf,
    /// Where the weights of large graphs are kept while they run.
    pub scratch: PathBuf,
}

/// The option that says in which folder the files lie that a graph from memory names
/// (`kOrtSessionOptionsModelExternalInitializersFileFolderPath` of ONNX Runtime).
const FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// The option against laying weights out anew (`kOrtSessionOptionsConfigDisablePrepacking`).
const NO_COPIES: &str = "session.disable_prepacking";

/// Files of weights that this process has written.
static FILES: AtomicUsize = AtomicUsize::new(0);

/// A file of weights, gone with the session that reads it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: what is left over has a name that says so.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Runner for SessionRunner {
    type Error = ScorerError;

    fn run(&mut self, graph: &Runnable<'_>, runs: &[Vec<Feed>], output: &str) -> Result<Vec<Vec<f32>>, ScorerError> {
        let loaded = self.load(graph)?;
        let weights = loaded.weights()?;
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        // A device has one session; cores have one each, as when they serve: passes on several threads round otherwise.
        let sessions = if loaded.device.0 == Kind::Cpu { cores.min(runs.len().div_ceil(LEAST_RUNS)).max(1) } else { 1 };
        let share = runs.len().div_ceil(sessions).max(1);
        let run = |runs: &[Vec<Feed>]| {
            self.session(&loaded, &weights).and_then(|mut session| answers(&mut session, runs, output))
        };
        let answered: Vec<Result<Vec<Vec<f32>>, ScorerError>> = thread::scope(|scope| {
            let threads: Vec<_> = runs.chunks(share).map(|runs| scope.spawn(move || run(runs))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(panicked()))).collect()
        });
        answered.into_iter().try_fold(Vec::with_capacity(runs.len()), |mut all, answers| {
            all.extend(answers?);
            Ok(all)
        })
    }
}

/// Runs for which a session of their own is worth its making.
const LEAST_RUNS: usize = 6;

/// A graph's bytes, where the files lie that it names, and what runs it.
struct Loaded<'g> {
    onnx: Cow<'g, [u8]>,
    folder: Option<&'g Path>,
    device: (Kind, u32),
    /// Files beside a source.
    beside: Beside,
    /// Held for as long as sessions read it.
    scratch: Option<Scratch>,
}

impl Loaded<'_> {
    /// What sessions on cores share; a device has a copy of its own.
    fn weights(&self) -> Result<SharedWeights, ScorerError> {
        if self.device.0 != Kind::Cpu {
            return SharedWeights::new(Vec::new());
        }
        let mut beside = self.beside.clone();
        if let Some(Scratch(path)) = &self.scratch {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let unread = |error: std::io::Error| ScorerError::Graph { message: error.to_string() };
            beside.insert(name, mapped::bytes(path).map_err(unread)?);
        }
        SharedWeights::of_graph(&self.onnx, &beside)
    }
}

impl SessionRunner {
    fn load<'g>(&'g self, graph: &'g Runnable<'_>) -> Result<Loaded<'g>, ScorerError> {
        let (onnx, folder, scratch) = match graph {
            Runnable::Source(exported) => {
                let folder = (!exported.beside.is_empty()).then_some(self.source.as_path());
                (Cow::Borrowed(exported.onnx.as_slice()), folder, None)
            }
            Runnable::Written(written) if written.is_large() => {
                let (onnx, scratch) = self.beside(written)?;
                (Cow::Owned(onnx), Some(self.scratch.as_path()), Some(scratch))
            }
            Runnable::Written(written) => (Cow::Owned(written.to_bytes()), None, None),
        };
        let named = graph::summary(&onnx).is_ok_and(|summary| summary.provider().is_some());
        let device = if named { self.device } else { (Kind::Cpu, 0) };
        let beside = if let Runnable::Source(exported) = graph { exported.beside.clone() } else { Beside::new() };
        Ok(Loaded { onnx, folder, device, beside, scratch })
    }

    fn session(&self, loaded: &Loaded<'_>, weights: &SharedWeights) -> Result<Session, ScorerError> {
        self.built(loaded, weights).map_err(|error| refused(&error))
    }

    fn built(&self, loaded: &Loaded<'_>, weights: &SharedWeights) -> ort::Result<Session> {
        let _alone = operators::building();
        let mut builder = Session::builder(self.runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .with_intra_op_spinning(false)?;
        if let Some(folder) = loaded.folder {
            // A second copy of large weights, laid out for the kernels, is worth nothing for a few passes.
            builder = builder.with_config_entry(FOLDER, folder.to_string_lossy())?.with_config_entry(NO_COPIES, "1")?;
        }
        let builder = if loaded.device.0 == Kind::Cpu { weights.lend(builder)? } else { builder };
        register::register(builder, loaded.device, &ProviderOptions::default())?.commit_from_memory(&loaded.onnx)
    }

    /// Puts the weights of a graph into a file; answers with the graph that reads it.
    fn beside(&self, written: &Written<'_>) -> Result<(Vec<u8>, Scratch), ScorerError> {
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("unfinished-{}-{number}.weights", std::process::id());
        let path = self.scratch.join(&name);
        let unwritten = |error: std::io::Error| ScorerError::Runtime {
            message: format!("weights cannot be written to `{}`: {error}; make room", path.display()),
        };
        std::fs::create_dir_all(&self.scratch).map_err(unwritten)?;
        let mut out = BufWriter::new(File::create(&path).map_err(unwritten)?);
        let scratch = Scratch(path.clone());
        written.write_weights(&mut out).map_err(unwritten)?;
        out.into_inner().map_err(|error| unwritten(error.into_error()))?;
        Ok((written.to_bytes_beside(&name), scratch))
    }
}

/// The named output of each run.
fn answers(session: &mut Session, runs: &[Vec<Feed>], output: &str) -> Result<Vec<Vec<f32>>, ScorerError> {
    let kinds = session.inputs().iter();
    let known: Vec<(String, Option<TensorElementType>)> =
        kinds.map(|input| (input.name().to_owned(), input.dtype().tensor_type())).collect();
    let mut answers = Vec::with_capacity(runs.len());
    for feeds in runs {
        let wanted = feeds.iter().filter_map(|feed| Some((feed, known.iter().find(|known| known.0 == feed.name)?.1)));
        let inputs = wanted.map(|(feed, kind)| Ok((feed.name, input(feed, kind)?))).collect::<ort::Result<Vec<_>>>();
        let outputs = session.run(inputs.map_err(|error| refused(&error))?).map_err(|error| refused(&error))?;
        let missing = || ScorerError::Graph { message: format!("no output is called `{output}`") };
        let (_, values) = outputs::floats(outputs.get(output).ok_or_else(missing)?).map_err(|error| refused(&error))?;
        answers.push(values);
    }
    Ok(answers)
}

fn refused(error: &ort::Error) -> ScorerError {
    ScorerError::Runtime { message: error.to_string() }
}

fn panicked() -> ScorerError {
    ScorerError::Runtime { message: "a session's thread panicked".into() }
}

/// A feed in the width of integers that the graph declares.
fn input(feed: &Feed, kind: Option<TensorElementType>) -> ort::Result<SessionInputValue<'_>> {
    if kind != Some(TensorElementType::Int32) {
        return Ok(TensorRef::from_array_view((feed.dims.clone(), feed.values.as_slice()))?.into());
    }
    // Ids, lengths and offsets of samples are far below the limit.
    let values: Vec<i32> = feed.values.iter().map(|&value| i32::try_from(value).unwrap_or(i32::MAX)).collect();
    Ok(Tensor::from_array((feed.dims.clone(), values))?.into())
}
