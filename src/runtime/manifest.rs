//! A model's folder: which files it holds and what is known of them.
//!
//! Owns `manifest.json`, and the guesses that stand in for it in a folder that `fetch` did not fill. It must not know
//! what stands inside a graph or a tokenizer, or how files come here.

use std::path::{Path, PathBuf};

use rescored_core::domain::Activation;
use rescored_process::files;
use serde::{Deserialize, Serialize};

use super::catalogue::{ActivationName, Catalogue, PrecisionName, is_plain_name};
use super::checksum::Sha256;
use super::options::{Precision, hub_repository};
use super::prompt::Prompt;

mod error;
pub mod graphs;
mod lacking;
mod library;
mod local;
mod prompting;

pub use super::catalogue::is_inner_path;
pub use error::ManifestError;

/// Name of the file that `fetch` leaves in a model's folder.
pub const FILE: &str = "manifest.json";

/// Bytes of a description beside a model at most: the largest, of vocabularies with tens of thousands of added tokens,
/// have a tenth of it.
pub(super) const DESCRIPTION_BYTES: u64 = 64 << 20;

/// Tokens of a pair at least: special tokens and some of both texts. `RESCORED_MAX_LENGTH` has the same bound.
const LEAST_LENGTH: u32 = 8;

/// What is known of a model on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The id that requests name.
    pub id: String,
    /// The model's folder.
    pub dir: PathBuf,
    /// The ONNX graph, or the weights that `compile` makes one of, with `config.json` beside them: `*.safetensors`, or the
    /// index of several such files (`*.safetensors.index.json`).
    pub graph: PathBuf,
    /// The `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// Where the weights come from, in words; empty when unknown.
    pub source: String,
    /// SPDX licence of the weights; empty when unknown.
    pub licence: String,
    /// Names of the graph's inputs; empty when unknown.
    pub inputs: Vec<String>,
    /// Tokens of a pair at most, specials included.
    pub max_length: u32,
    /// What turns logits into scores.
    pub activation: Activation,
    /// The arithmetic of the graph when it is known; never `Auto`.
    pub precision: Option<Precision>,
    /// A decoder's prompt; `None` of models that take pairs.
    pub prompt: Option<Prompt>,
    /// Recorded checksums, by name in the folder; empty for a folder that `fetch` did not fill.
    pub files: Vec<Recorded>,
}

/// One file as it was when it was put here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its path in the model's folder.
    pub name: String,
    /// Its checksum.
    pub sha256: Sha256,
    /// Its bytes.
    pub size: u64,
}

/// `manifest.json` as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// The model's id.
    pub id: String,
    /// Where the weights come from.
    pub source: String,
    /// SPDX licence of the weights.
    pub licence: String,
    /// Names of the graph's inputs.
    #[serde(default)]
    pub inputs: Vec<String>,
    /// Tokens of a pair at most.
    pub max_length: u32,
    /// What turns logits into scores.
    pub activation: ActivationName,
    /// The arithmetic of the graph.
    pub precision: PrecisionName,
    /// Path of the graph's file in the folder.
    pub graph: String,
    /// Path of the tokenizer's file in the folder.
    pub tokenizer: String,
    /// Every file.
    pub files: Vec<Recorded>,
}

/// `manifest.json` as it is read, and as `fetch` writes it of a repository: [`Written`], with what a catalogue does not tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    /// The model's id.
    pub id: String,
    /// Where the weights come from.
    pub source: String,
    /// The commit of the repository that they are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// SPDX licence of the weights.
    pub licence: String,
    /// Names of the graph's inputs; empty when unknown.
    #[serde(default)]
    pub inputs: Vec<String>,
    /// Tokens of a pair at most.
    pub max_length: u32,
    /// What turns logits into scores.
    pub activation: ActivationName,
    /// The arithmetic of the graph; `None` leaves it to the graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<PrecisionName>,
    /// Path of the graph's file in the folder.
    pub graph: String,
    /// Path of the tokenizer's file in the folder.
    pub tokenizer: String,
    /// Every file.
    pub files: Vec<Recorded>,
}

impl Manifest {
    /// Reads what is known of the model `id`, which names a folder under `dir` or is itself the path of one.
    ///
    /// `manifest.json` decides where it exists. Elsewhere the graph is [`graphs::best`] of the folder, without any
    /// `model.safetensors`; and `config.json` and `tokenizer_config.json` are asked. A path into the model hub's cache is
    /// that of a snapshot or of its repository, whose name is the model's id then.
    ///
    /// # Errors
    /// When the folder, a file or a description is missing or not understood; the message says what to run.
    pub fn open(dir: &Path, id: &str) -> Result<Self, ManifestError> {
        let catalogue = Catalogue::load(dir)?;
        let folder = locate(dir, id, &catalogue)?;
        let name = (is_plain_name(id) && hub_repository(&folder).is_none()).then(|| id.to_owned());
        let fetched = |id: &str| catalogue.model(id).is_some();
        let path = folder.join(FILE);
        match files::read_text(&path, DESCRIPTION_BYTES) {
            Ok(text) => {
                let id = name.unwrap_or_else(|| folder_name(&folder));
                let fetched = fetched(&id);
                let written: Pinned = serde_json::from_str(&text).map_err(|source| ManifestError::Malformed {
                    id: id.clone(),
                    path: path.clone(),
                    fetched,
                    source,
                })?;
                // A repository is brought again by the folder's name too.
                let fetched = fetched || written.revision.is_some();
                Self::from_written(written, folder, id)?
                    .with_room_for_pairs(FILE)?
                    .with_files_present(fetched)?
                    .with_prompt()
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let id = name.unwrap_or_else(|| folder_name(&folder));
                let known = catalogue.model(&id).filter(|model| model.id == id);
                local::describe((folder, id), known, None)?.with_room_for_pairs(local::LENGTHS)?.with_prompt()
            }
            Err(source) => Err(ManifestError::Unreadable { id: id.into(), path, source }),
        }
    }

    /// Hashes every recorded file and compares; says how many were checked, 0 when nothing was recorded.
    ///
    /// # Errors
    /// [`ManifestError::Altered`] for a file that is not what was put here.
    pub fn verify(&self) -> Result<usize, ManifestError> {
        for file in &self.files {
            let path = self.dir.join(&file.name);
            let (found, _) = Sha256::of_file(&path).map_err(|source| {
                let (id, path) = (self.id.clone(), path.clone());
                if source.kind() == std::io::ErrorKind::NotFound {
                    return ManifestError::Missing { id, path, fetched: true };
                }
                ManifestError::Unreadable { id, path, source }
            })?;
            if found != file.sha256 {
                return Err(ManifestError::Altered { id: self.id.clone(), path, expected: file.sha256, found });
            }
        }
        Ok(self.files.len())
    }

    /// Describes what was put into a folder, whose graph is `graph`, by its files alone; a manifest is not looked at, nor is
    /// a prompt, which may be written later.
    ///
    /// # Errors
    /// As [`Manifest::open`].
    pub fn describe(dir: &Path, id: &str, graph: &str) -> Result<Self, ManifestError> {
        local::describe((dir.to_owned(), id.to_owned()), None, Some(graph))?.with_room_for_pairs(local::LENGTHS)
    }

    /// The same model by another of its graphs, that of this precision; `None` where it has none.
    pub(super) fn of_precision(&self, precision: Precision) -> Option<Self> {
        let asked = PrecisionName::of(precision)?;
        let here: Vec<String> = match self.files.as_slice() {
            [] => local::graphs(&self.dir),
            recorded => recorded.iter().map(|file| file.name.clone()).collect(),
        };
        let graph = self.dir.join(graphs::best(&here, Some(asked)).ok()??);
        (graph != self.graph).then(|| Self { graph, precision: Some(precision), ..self.clone() })
    }

    fn from_written(written: Pinned, dir: PathBuf, id: String) -> Result<Self, ManifestError> {
        let names = written.files.iter().map(|file| &file.name).chain([&written.graph, &written.tokenizer]);
        for name in names {
            if !is_inner_path(name) {
                let (path, value) = (dir.join(FILE), name.clone());
                let expected = "files are named by their paths inside the model's folder, without `..` or hidden parts";
                return Err(ManifestError::Unsupported { id, path, field: "files", value, expected });
            }
        }
        Ok(Self {
            id,
            graph: dir.join(&written.graph),
            tokenizer: dir.join(&written.tokenizer),
            dir,
            source: written.source,
            licence: written.licence,
            inputs: written.inputs,
            max_length: written.max_length,
            activation: written.activation.into(),
            precision: written.precision.map(Into::into),
            prompt: None,
            files: written.files,
        })
    }

    /// Refuses a length that leaves no room for two texts; `source_file` names the file that says it.
    fn with_room_for_pairs(self, source_file: &str) -> Result<Self, ManifestError> {
        if self.max_length >= LEAST_LENGTH {
            return Ok(self);
        }
        Err(ManifestError::Unsupported {
            path: self.dir.join(source_file),
            id: self.id,
            field: "max_length",
            value: self.max_length.to_string(),
            expected: "a pair has room for 8 tokens at least",
        })
    }

    fn with_files_present(self, fetched: bool) -> Result<Self, ManifestError> {
        for path in [&self.graph, &self.tokenizer] {
            if !path.is_file() {
                return Err(if path == &self.tokenizer {
                    lacking::no_tokenizer(&self.dir, &self.id, fetched)
                } else {
                    ManifestError::Missing { id: self.id.clone(), path: path.clone(), fetched }
                });
            }
            lacking::refuse_pointer(path, &self.id)?;
        }
        Ok(self)
    }
}

/// The folder that `id` means.
fn locate(dir: &Path, id: &str, catalogue: &Catalogue) -> Result<PathBuf, ManifestError> {
    let under = dir.join(id);
    if under.is_dir() && !id.is_empty() {
        return Ok(lacking::snapshot(&under).filter(|_| hub_repository(&under).is_some()).unwrap_or(under));
    }
    if !is_plain_name(id) && !id.is_empty() && Path::new(id).is_dir() {
        let path = PathBuf::from(id);
        return Ok(lacking::snapshot(&path).filter(|_| hub_repository(&path).is_some()).unwrap_or(path));
    }
    Err(match catalogue.model(id) {
        Some(model) => ManifestError::NotFetched { id: id.into(), path: under, known: model.id.clone() },
        None => ManifestError::Unknown { id: id.into(), path: under, known: catalogue.ids() },
    })
}

/// The last part of a folder's path, also for `.` and `..`; of a snapshot in the hub's cache, the repository's name.
fn folder_name(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    if let Some((_, name)) = hub_repository(&whole) {
        return name.to_owned();
    }
    whole.file_name().map_or_else(|| whole.to_string_lossy().into_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        dir
    }

    fn written(graph: &str) -> String {
        let files = [("model.onnx", "graph"), ("tokenizer.json", "{}")].map(|(name, text)| Recorded {
            name: name.into(),
            sha256: Sha256::of(text.as_bytes()),
            size: text.len() as u64,
        });
        let written = Written {
            id: "m".into(),
            source: "us/m".into(),
            licence: "MIT".into(),
            inputs: vec!["input_ids".into()],
            max_length: 256,
            activation: ActivationName::Identity,
            precision: PrecisionName::Int8,
            graph: graph.into(),
            tokenizer: "tokenizer.json".into(),
            files: files.into(),
        };
        serde_json::to_string(&written).unwrap()
    }

    #[test]
    fn a_fetched_folder_is_what_its_manifest_says() {
        let dir = folder(&[
            ("m/model.onnx", "graph"),
            ("m/tokenizer.json", "{}"),
            ("m/manifest.json", &written("model.onnx")),
        ]);
        let manifest = Manifest::open(dir.path(), "m").unwrap();
        assert_eq!((manifest.id.as_str(), manifest.source.as_str(), manifest.max_length), ("m", "us/m", 256));
        assert_eq!((manifest.activation, manifest.precision), (Activation::Identity, Some(Precision::Int8)));
        assert_eq!(manifest.graph, dir.path().join("m/model.onnx"));
        assert_eq!(manifest.verify().unwrap(), 2);
        let by_path = Manifest::open(Path::new("elsewhere"), dir.path().join("m").to_str().unwrap()).unwrap();
        assert_eq!((by_path.id.as_str(), by_path.verify().unwrap()), ("m", 2));
    }

    #[test]
    fn a_changed_byte_and_a_cut_file_are_found() {
        for content in ["grapg", "grap", ""] {
            let dir = folder(&[
                ("m/model.onnx", content),
                ("m/tokenizer.json", "{}"),
                ("m/manifest.json", &written("model.onnx")),
            ]);
            let fault = Manifest::open(dir.path(), "m").unwrap().verify().unwrap_err().to_string();
            assert!(fault.contains("model.onnx` is damaged") && fault.contains("run: rescored fetch m"), "{fault}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let good = written("model.onnx");
        let default = "ms-marco-MiniLM-L-12-v2";
        let outside = written("../model.onnx");
        for (why, id, files, expected) in [
            ("no folder of a known model", default, vec![], "run: rescored fetch ms-marco-MiniLM-L-12-v2"),
            (
                "a repository's name",
                "cross-encoder/ms-marco-MiniLM-L-6-v2",
                vec![],
                "run: rescored fetch ms-marco-MiniLM-L-6-v2",
            ),
            ("no folder of an unknown model", "m", vec![], "ms-marco-TinyBERT-L-2-v2"),
            ("an empty id", "", vec![], "no model of this id"),
            (
                "no graph",
                "m",
                vec![("m/manifest.json", good.as_str()), ("m/tokenizer.json", "{}")],
                "model.onnx` is missing",
            ),
            (
                "no tokenizer",
                "m",
                vec![("m/manifest.json", &good), ("m/model.onnx", "x")],
                "tokenizer.json` is missing",
            ),
            (
                "half a manifest",
                "m",
                vec![("m/manifest.json", good.split_at(40).0)],
                "manifest.json` is not understood",
            ),
            ("a path that leads out", "m", vec![("m/manifest.json", &outside)], "`../model.onnx` is not supported"),
        ] {
            let dir = folder(&files);
            let fault = Manifest::open(dir.path(), id).unwrap_err().to_string();
            assert!(fault.contains(expected), "{why}: {fault}");
        }
    }
}
