//! What `compile --provider coreml` wrote beside a model: graphs, the table of embeddings, and the record of them.
//!
//! Owns the folder `compiled/coreml`. It must not know how graphs are written or run.

use std::path::{Path, PathBuf};

use rescored_graph::coreml::Arithmetic;
use rescored_process::files;
use serde::{Deserialize, Serialize};

use super::check::Sample;
use crate::checksum::Sha256;
use crate::compiled;
use crate::manifest::DESCRIPTION_BYTES;

/// Name of the record.
const RECORD: &str = "record.json";
/// Name of the table.
const TABLE: &str = "embeddings.table";
/// Name of the calibration.
const CALIBRATION: &str = "calibration.json";
/// Name of the folder of compiled programs.
const CACHE: &str = "cache";

/// What is known of the written files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Checksum of the graph that they were written from.
    pub source_sha256: Sha256,
    /// By arithmetic: `fp32`, `fp16`.
    pub graphs: Vec<Written>,
    /// Checksum of the table.
    pub table_sha256: Sha256,
    /// Largest difference, in logits, between the 32-bit graph and its source's float arithmetic, over all samples and
    /// shapes that were proved.
    pub proof_max: f32,
    /// Mean difference, in logits, between the 16-bit graph and the 32-bit one.
    pub half_mean: f32,
    /// Largest difference.
    pub half_max: f32,
    /// Pairs whose logits are known, for the check of every program before it serves.
    pub samples: Vec<Sample>,
}

/// A written graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// Its arithmetic's word, which is its file's name too.
    pub arithmetic: String,
    /// Its checksum.
    pub sha256: Sha256,
}

/// The files as they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    folder: PathBuf,
    /// What is known of them.
    pub record: Record,
}

/// Why there are no files to run.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// There are none of this source.
    #[error("model `{id}`: no graphs for coreml are written; run: rescored compile {id} --provider coreml")]
    Missing {
        /// The model.
        id: String,
    },
    /// One does not fit its record.
    #[error("model `{id}`: `{}` does not fit its record; run: rescored compile {id} --provider coreml", path.display())]
    Damaged {
        /// The model.
        id: String,
        /// The file.
        path: PathBuf,
    },
}

/// The folder of a model's files.
pub fn folder(model: &Path) -> PathBuf {
    compiled::folder(model).join("coreml")
}

impl Record {
    /// The record of these files, if there is one.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&files::read(&folder.join(RECORD), DESCRIPTION_BYTES).ok()?).ok()
    }

    /// The checksum of a graph.
    pub fn graph(&self, arithmetic: Arithmetic) -> Option<Sha256> {
        self.graphs.iter().find(|graph| graph.arithmetic == arithmetic.word()).map(|graph| graph.sha256)
    }
}

impl Files {
    /// Finds what was written of this source and holds every file against its checksum.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn find(id: &str, model: &Path, source: Sha256) -> Result<Self, FilesError> {
        let folder = folder(model);
        let record = Record::read(&folder).filter(|record| record.source_sha256 == source);
        let record = record.ok_or_else(|| FilesError::Missing { id: id.to_owned() })?;
        let files = Self { folder, record };
        let graphs = files.record.graphs.iter().map(|graph| (files.graph_path(&graph.arithmetic), graph.sha256));
        for (path, expected) in graphs.chain([(files.table(), files.record.table_sha256)]) {
            if !Sha256::of_file(&path).is_ok_and(|(found, _)| found == expected) {
                return Err(FilesError::Damaged { id: id.to_owned(), path });
            }
        }
        Ok(files)
    }

    /// Writes everything; the record last, so that it never speaks of half a file, and the old calibration goes.
    ///
    /// # Errors
    /// When the folder cannot be written: the file and why.
    pub fn keep(
        model: &Path,
        record: Record,
        graphs: &[(Arithmetic, Vec<u8>)],
        table: &[u8],
    ) -> Result<Self, (PathBuf, std::io::Error)> {
        let files = Self { folder: folder(model), record };
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| (path, error)
        };
        std::fs::create_dir_all(&files.folder).map_err(at(&files.folder))?;
        let text = serde_json::to_vec_pretty(&files.record).map_err(|error| at(&files.folder)(error.into()))?;
        let written = graphs.iter().map(|(arithmetic, onnx)| (files.graph_path(arithmetic.word()), onnx.as_slice()));
        let rest = [(files.table(), table), (files.folder.join(RECORD), text.as_slice())];
        for (path, bytes) in written.chain(rest) {
            let unfinished = path.with_extension("unfinished");
            std::fs::write(&unfinished, bytes).map_err(at(&unfinished))?;
            std::fs::rename(&unfinished, &path).map_err(at(&path))?;
        }
        Ok(files)
    }

    /// A graph's file.
    pub fn graph(&self, arithmetic: Arithmetic) -> PathBuf {
        self.graph_path(arithmetic.word())
    }

    fn graph_path(&self, arithmetic: &str) -> PathBuf {
        self.folder.join(format!("{arithmetic}.onnx"))
    }

    /// The table's file.
    pub fn table(&self) -> PathBuf {
        self.folder.join(TABLE)
    }

    /// The calibration's file.
    pub fn calibration(&self) -> PathBuf {
        self.folder.join(CALIBRATION)
    }

    /// The folder of compiled programs, where the operator names none.
    pub fn cache(&self) -> PathBuf {
        self.folder.join(CACHE)
    }
}
