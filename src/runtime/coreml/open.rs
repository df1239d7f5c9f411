//! From the files beside a model to a pool that is ready to be asked.
//!
//! Owns the fingerprint, and what the calibration depends on. It must not know the engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rescored_graph::coreml::Arithmetic;

use super::compute_units::tiers;
use super::device::{Cast, Device, Graph, Onnx, OrtDevice};
use super::files::{Files, FilesError, folder};
use super::grid;
use super::pool::{Parts, ProgramPool};
use super::store::Store;
use super::table::{Table, TableError};
use super::trial::Patience;
use crate::Batching;
use crate::checksum::Sha256;
use crate::options::{Options, Precision};
use crate::session::Runtime;

/// Two of the largest runs' worth, so that there is something to choose from when rows are filled.
pub const BATCHING: Batching = Batching { tokens: 2 * grid::PLACES, ..Batching::ACCELERATOR };

/// Where macOS says which release it is.
const SYSTEM: &str = "/System/Library/CoreServices/SystemVersion.plist";

/// Why a model does not run through CoreML.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What `compile` should have written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The table of embeddings.
    #[error(transparent)]
    Table(#[from] TableError),
    /// An arithmetic that CoreML has not.
    #[error("RESCORED_PRECISION: `int8` does not run through coreml; valid: `auto`, `fp32`, `fp16`")]
    Int8,
}

/// A model's own facts.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its folder.
    pub folder: &'a Path,
    /// Checksum of its own graph.
    pub sha256: Sha256,
    /// Tokens of a pair at most.
    pub max_length: u32,
}

/// A model that is ready to run.
#[derive(Debug)]
pub struct Opened {
    /// Runs it.
    pub pool: Arc<ProgramPool>,
    /// The arithmetic of its first choice.
    pub precision: Precision,
    /// Checksums of everything that decides a score.
    pub files: Vec<u8>,
    /// Where they lie.
    pub folder: PathBuf,
    /// Tokens of a pair at most.
    pub max_length: u32,
}

/// Opens what `compile --provider coreml` wrote of a model.
///
/// # Errors
/// [`OpenError`].
pub fn open(source: &Source<'_>, options: &Options, (runtime, cast): (&Runtime, Cast)) -> Result<Opened, OpenError> {
    if options.precision == Precision::Int8 {
        return Err(OpenError::Int8);
    }
    let files = Files::find(source.id, source.folder, source.sha256)?;
    let table = Table::open(&files.table())?;
    let graph = |arithmetic| {
        let sha256 = files.record.graph(arithmetic)?.to_string();
        Some(Graph { onnx: Onnx::File(files.graph(arithmetic)), arithmetic, sha256 })
    };
    let graphs: Vec<Graph> = [Arithmetic::Fp32, Arithmetic::Fp16].into_iter().filter_map(graph).collect();
    let system = system(runtime);
    let cache = files.cache();
    let tiers = tiers(options.coreml.units, options.precision);
    let max_length = usize::try_from(source.max_length).unwrap_or(usize::MAX);
    let key = key(&[
        &format!("{graphs:?}"),
        &system,
        &format!("{tiers:?}"),
        &std::thread::available_parallelism().map_or(1, std::num::NonZero::get).to_string(),
        &format!("{cast:?}"),
    ]);
    let device: Arc<dyn Device> = Arc::new(OrtDevice::new(runtime.clone(), graphs, Store::new(cache, &system), cast));
    let sums = files.record.graphs.iter().map(|graph| graph.sha256).chain([files.record.table_sha256]);
    let sums = sums.flat_map(|sum| sum.to_string().into_bytes()).collect();
    let pool = ProgramPool::new(Parts {
        device,
        embed: Arc::new(table),
        samples: files.record.samples.clone(),
        shapes: grid::shapes(max_length),
        tiers,
        record: files.calibration(),
        key,
        patience: Patience::USUAL,
    });
    let precision = if options.precision == Precision::Fp32 { Precision::Fp32 } else { Precision::Fp16 };
    Ok(Opened {
        pool: Arc::new(pool),
        precision,
        files: sums,
        folder: folder(source.folder),
        max_length: source.max_length,
    })
}

/// What compiled programs and measured times depend on beside the graph: the runtime library and the system's release.
fn system(runtime: &Runtime) -> String {
    let release = std::fs::read_to_string(SYSTEM).unwrap_or_default();
    format!("{} {} {}", runtime.version(), std::env::consts::OS, blake3::hash(release.as_bytes()).to_hex())
}

fn key(facts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("rescored 2026-11 coreml calibration");
    for fact in facts {
        hasher.update(&(fact.len() as u64).to_le_bytes()).update(fact.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
