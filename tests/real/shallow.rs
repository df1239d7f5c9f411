//! The real model's first two layers as a model of its own, for tests that compile or serve a real model and say nothing of
//! its scores: real tokenizer and embeddings, the size in memory that comes with them, and a sixth of the arithmetic.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rescored_cli::compile::{Options, export};

use crate::support::config;

/// Its files, written once in a run. Not in a temporary folder: what a static holds is never dropped.
static EXPORTED: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shallow");
    // Of the last run; the first has none.
    drop(std::fs::remove_dir_all(&folder));
    let options = Options { layers: Some(2), ..Options::of_host(&config(&[]).model, "ms-marco-MiniLM-L-12-v2") };
    export(&options, &folder).expect("the model is here; run `make fetch` first");
    folder
});

/// Puts it into a folder of models under this name, as the hub keeps models: weights without a graph.
pub(crate) fn put(models: &Path, id: &str) {
    let folder = models.join(id);
    std::fs::create_dir(&folder).expect("a folder");
    for file in ["model.safetensors", "config.json", "tokenizer.json"] {
        std::fs::copy(EXPORTED.join(file), folder.join(file)).expect("the export holds it");
    }
}

/// A folder of models with the real runtime and this one, under this name.
pub(crate) fn folder(id: &str) -> tempfile::TempDir {
    let folder = crate::tiny::folder();
    put(folder.path(), id);
    folder
}
