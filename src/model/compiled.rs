//! Graphs that `compile` wrote beside a model: which there are, and which of them runs.
//!
//! Owns the folder `compiled` of a model and the record of each graph in it. It must not know how a graph is written.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::catalogue::PrecisionName;
use super::checksum::Sha256;
use super::options::{Kind, Precision};

/// Name of the folder, below the model's own.
const FOLDER: &str = "compiled";

/// What is known of a written graph; it lies beside it as `<graph>.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Name of the graph's file.
    pub graph: String,
    /// Its checksum.
    pub sha256: Sha256,
    /// Checksum of the graph that it was written from.
    pub source_sha256: Sha256,
    /// The provider that it was written for.
    #[serde(default)]
    pub provider: Kind,
    /// Its arithmetic.
    pub precision: PrecisionName,
    /// Largest difference, in logits, between its fp32 arrangement and its source's float arithmetic.
    pub proof_max: f32,
    /// Mean difference, in logits, between it and fp32.
    pub loss_mean: f32,
    /// Largest difference, in logits, between it and fp32.
    pub loss_max: f32,
}

/// Why a written graph could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("compiled: `{}` cannot be written; check the folder's permissions", path.display())]
pub struct WriteError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// The folder of a model's written graphs.
pub fn folder(model: &Path) -> PathBuf {
    model.join(FOLDER)
}

/// The newest graph for this provider and of this precision that was written from this source, with its record. Graphs of other sources, and
/// files that do not fit their record, are passed over: they can be written again.
pub fn find(model: &Path, source: Sha256, (kind, precision): (Kind, Precision)) -> Option<(PathBuf, Record)> {
    let entries = std::fs::read_dir(folder(model)).ok()?;
    let mut found: Vec<_> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .filter_map(|path| {
            let record: Record = serde_json::from_str(&std::fs::read_to_string(&path).ok()?).ok()?;
            let graph = path.with_file_name(&record.graph);
            let written = graph.metadata().and_then(|facts| facts.modified()).ok()?;
            Some((written, graph, record))
        })
        .filter(|(_, _, record)| {
            record.source_sha256 == source && record.provider == kind && Precision::from(record.precision) == precision
        })
        .collect();
    found.sort_by_key(|(written, _, _)| *written);
    let (_, graph, record) = found.pop()?;
    match Sha256::of_file(&graph) {
        Ok((sha256, _)) if sha256 == record.sha256 => Some((graph, record)),
        Ok(_) | Err(_) => {
            tracing::warn!(graph = %graph.display(), "a compiled graph does not fit its record and is passed over; run: rescored compile");
            None
        }
    }
}

/// Keeps a graph and its record; the record last, so that it never speaks of half a file.
///
/// # Errors
/// [`WriteError`].
pub fn keep(model: &Path, record: &Record, onnx: &[u8]) -> Result<PathBuf, WriteError> {
    let folder = folder(model);
    let graph = folder.join(&record.graph);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError { path, source }
    };
    std::fs::create_dir_all(&folder).map_err(at(&folder))?;
    let notes = folder.join(format!("{}.json", record.graph));
    let text = serde_json::to_vec_pretty(record).map_err(|error| at(&notes)(error.into()))?;
    for (path, bytes) in [(&graph, onnx), (&notes, text.as_slice())] {
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, bytes).map_err(at(&unfinished))?;
        std::fs::rename(&unfinished, path).map_err(at(path))?;
    }
    Ok(graph)
}
