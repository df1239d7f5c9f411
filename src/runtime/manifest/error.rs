//! Why a model's folder cannot be used, and what to do about it.
//!
//! Owns the sentences. It must not know how a folder is read.

use std::path::PathBuf;

use crate::catalogue::CatalogueError;
use crate::checksum::Sha256;
use crate::prompt::PromptError;

/// Why a model's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// There is no such folder, and `fetch` can bring the model.
    #[error("model `{id}`: `{}` does not exist; run: rescored fetch {known}", path.display())]
    NotFetched {
        /// The id as configured.
        id: String,
        /// The folder.
        path: PathBuf,
        /// The id in the catalogue.
        known: String,
    },
    /// There is no such folder, and `fetch` does not know the model.
    #[error(
        "model `{id}`: `{}` does not exist and no model of this id is in the catalogue; put an ONNX file and tokenizer.json there, or name one that `rescored fetch` knows: {known}",
        path.display()
    )]
    Unknown {
        /// The id as configured.
        id: String,
        /// The folder.
        path: PathBuf,
        /// Ids in the catalogue.
        known: String,
    },
    /// A file of the model is not there.
    #[error("model `{id}`: `{}` is missing; {}", path.display(), hint(id, *.fetched))]
    Missing {
        /// The model.
        id: String,
        /// The file.
        path: PathBuf,
        /// Whether `fetch` can bring it.
        fetched: bool,
    },
    /// A file is a pointer of Git LFS, and not the file.
    #[error("model `{id}`: `{}` is a pointer of Git LFS, not the file itself; run in the model's folder: git lfs pull", path.display())]
    Pointer {
        /// The model.
        id: String,
        /// The file.
        path: PathBuf,
    },
    /// The weights are in a format that is not read.
    #[error("model `{id}`: `{}` holds {found}, which is not read, and neither model.onnx nor model.safetensors; run: {run}", dir.display())]
    OtherWeights {
        /// The model.
        id: String,
        /// The folder.
        dir: PathBuf,
        /// The files found.
        found: String,
        /// What writes one that is.
        run: String,
    },
    /// There is a vocabulary, and no description of the tokenizer.
    #[error("model `{id}`: `{}` holds {found} and no tokenizer.json, which is made of it; run: {run}", dir.display())]
    NoTokenizer {
        /// The model.
        id: String,
        /// The folder.
        dir: PathBuf,
        /// The files found.
        found: String,
        /// What writes it.
        run: String,
    },
    /// The folder holds several graphs and none has a usual name.
    #[error("model `{id}`: `{}` holds several ONNX files ({names}); name one of them model.onnx", path.display())]
    Ambiguous {
        /// The model.
        id: String,
        /// The folder.
        path: PathBuf,
        /// The graphs found.
        names: String,
    },
    /// A file cannot be read.
    #[error("model `{id}`: `{}` cannot be read; check its permissions", path.display())]
    Unreadable {
        /// The model.
        id: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A decoder has no prompt, without which it scores nonsense.
    #[error(
        "model `{id}`: config.json names {architecture}, a decoder, which scores a prompt and not a pair, and none is known of it; write it into `{}`: {{\"body\": \"… {{query}} … {{document}} …\", \"yes\": \"yes\", \"no\": \"no\"}}, as its model card says",
        path.display()
    )]
    NoPrompt {
        /// The model.
        id: String,
        /// The file to write.
        path: PathBuf,
        /// What config.json names.
        architecture: String,
    },
    /// A prompt is not usable.
    #[error("model `{id}`: {source}")]
    Prompt {
        /// The model.
        id: String,
        /// Why.
        source: PromptError,
    },
    /// A description is no JSON, or lacks something.
    #[error("model `{id}`: `{}` is not understood; {}", path.display(), hint(id, *.fetched))]
    Malformed {
        /// The model.
        id: String,
        /// The file.
        path: PathBuf,
        /// Whether `fetch` can bring it.
        fetched: bool,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A value in a description cannot be served.
    #[error("model `{id}`: `{}`: {field}: `{value}` is not supported; {expected}", path.display())]
    Unsupported {
        /// The model.
        id: String,
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A file's bytes are not those that were put here.
    #[error("model `{id}`: `{}` is damaged (sha256 {found}, expected {expected}); run: rescored fetch {id}", path.display())]
    Altered {
        /// The model.
        id: String,
        /// The file.
        path: PathBuf,
        /// What was recorded.
        expected: Sha256,
        /// What was found.
        found: Sha256,
    },
    /// The model folder's own catalogue cannot be used.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

fn hint(id: &str, fetched: bool) -> String {
    if fetched {
        format!("run: rescored fetch {id}")
    } else {
        "put it there, or take it from the model's source".into()
    }
}
