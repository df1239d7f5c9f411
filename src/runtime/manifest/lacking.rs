//! Folders that lack a file, or hold something else under its name: what is there, and what to run.
//!
//! Owns the signs by which pointers of Git LFS, weights of other formats and vocabularies without a `tokenizer.json` are
//! told. It must not know how a folder came to be.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::ManifestError;

/// The beginning of the small file that a repository keeps in the place of a large one.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Weights in formats that are not read.
const OTHER_WEIGHTS: [&str; 9] = [
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "adapter_model.safetensors",
    "tf_model.h5",
    "flax_model.msgpack",
    "model.gguf",
    "rust_model.ot",
    "openvino/openvino_model.xml",
    "openvino_model.xml",
];

/// Vocabularies of which the library writes a `tokenizer.json`.
const VOCABULARIES: [&str; 7] = [
    "vocab.txt",
    "sentencepiece.bpe.model",
    "spm.model",
    "spiece.model",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
];

/// Refuses a file that only says where the file is that belongs there.
///
/// # Errors
/// [`ManifestError::Pointer`]. What cannot be read is told where it is read.
pub(super) fn refuse_pointer(path: &Path, id: &str) -> Result<(), ManifestError> {
    let mut begin = Vec::new();
    let read = File::open(path).and_then(|file| file.take(POINTER.len() as u64).read_to_end(&mut begin));
    if read.is_ok() && begin == POINTER {
        return Err(ManifestError::Pointer { id: id.into(), path: path.to_owned() });
    }
    Ok(())
}

/// What a folder without a graph and without weights that are read has instead.
pub(super) fn no_weights(dir: &Path, id: &str, fetched: bool) -> ManifestError {
    let there = |names: &[&str]| {
        let there = names.iter().filter(|name| dir.join(name).is_file());
        there.map(|name| (*name).to_owned()).collect::<Vec<_>>()
    };
    let (id, dir) = (id.to_owned(), dir.to_owned());
    let found = there(&OTHER_WEIGHTS);
    if !found.is_empty() && !fetched {
        let run = if found.iter().any(|name| name.starts_with("pytorch_model.bin")) {
            rewrite("AutoModelForSequenceClassification", &dir)
        } else {
            "have its makers' tools write model.safetensors or model.onnx".into()
        };
        return ManifestError::OtherWeights { id, dir, found: found.join(", "), run };
    }
    if dir.join("model.safetensors").is_file() || dir.join("model.safetensors.index.json").is_file() {
        return ManifestError::Missing { id, path: dir.join("config.json"), fetched };
    }
    ManifestError::Missing { id, path: dir.join("model.onnx"), fetched }
}

/// What a folder without a `tokenizer.json` has instead.
pub(super) fn no_tokenizer(dir: &Path, id: &str, fetched: bool) -> ManifestError {
    let found: Vec<&str> = VOCABULARIES.into_iter().filter(|name| dir.join(name).is_file()).collect();
    let id = id.to_owned();
    // What `fetch` brings without one, it brings without one again.
    if found.is_empty() {
        return ManifestError::Missing { id, path: dir.join("tokenizer.json"), fetched };
    }
    let run = rewrite("AutoTokenizer", dir);
    ManifestError::NoTokenizer { id, dir: dir.to_owned(), found: found.join(", "), run }
}

/// Has the library read a folder and write it in the form of today.
fn rewrite(class: &str, dir: &Path) -> String {
    let dir = dir.display();
    format!("python3 -c \"from transformers import {class} as C; C.from_pretrained('{dir}').save_pretrained('{dir}')\"")
}

/// The snapshot that a repository's folder in the model hub's cache means: that of `main`, else the only one.
pub(super) fn snapshot(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.join("snapshots");
    let commit = std::fs::read_to_string(folder.join("refs/main")).unwrap_or_default();
    let main = snapshots.join(commit.trim());
    if !commit.trim().is_empty() && main.is_dir() {
        return Some(main);
    }
    let mut all = std::fs::read_dir(snapshots).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let only = all.next()?;
    (all.next().is_none() && only.is_dir()).then_some(only)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Manifest;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join("m").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        dir
    }

    // Case D7.
    #[test]
    fn what_a_folder_has_instead_of_a_file_is_reported_with_what_to_run() {
        const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
        let (config, tokenizer) = (("config.json", "{}"), ("tokenizer.json", "{}"));
        let whole = ("model.safetensors", "w");
        for (why, files, expected) in [
            (
                "a pointer for weights",
                vec![config, tokenizer, ("model.safetensors", POINTER)],
                "model.safetensors` is a pointer of Git LFS, not the file itself; run in the model's folder: git lfs pull",
            ),
            ("a pointer for a graph", vec![tokenizer, ("onnx/model.onnx", POINTER)], "onnx/model.onnx` is a pointer"),
            (
                "a pointer for a tokenizer",
                vec![config, whole, ("tokenizer.json", POINTER)],
                "tokenizer.json` is a pointer",
            ),
            (
                "weights of another format",
                vec![config, tokenizer, ("pytorch_model.bin", "w")],
                "holds pytorch_model.bin, which is not read, and neither model.onnx nor model.safetensors; run: python3 -c \
                 \"from transformers import AutoModelForSequenceClassification as C;",
            ),
            ("a vocabulary", vec![config, whole, ("vocab.txt", "[PAD]")], "holds vocab.txt and no tokenizer.json"),
            (
                "a vocabulary of another kind",
                vec![config, whole, ("sentencepiece.bpe.model", "x")],
                "run: python3 -c \"from transformers import AutoTokenizer as C; C.from_pretrained('",
            ),
            ("weights without sizes", vec![tokenizer, whole], "config.json` is missing"),
            ("nothing", vec![tokenizer], "model.onnx` is missing"),
        ] {
            let dir = folder(&files);
            let fault = Manifest::open(dir.path(), "m").unwrap_err().to_string();
            assert!(fault.contains("model `m`") && fault.contains(expected), "{why}: {fault}");
        }
    }

    // Case D7.
    #[test]
    fn weights_in_several_files_are_a_model_by_their_index() {
        let index = "model.safetensors.index.json";
        let dir = folder(&[("config.json", "{}"), ("tokenizer.json", "{}"), (index, "{\"weight_map\":{}}")]);
        assert_eq!(Manifest::open(dir.path(), "m").unwrap().graph, dir.path().join("m").join(index));
    }

    // Case D7.
    #[test]
    fn a_snapshot_of_the_hubs_cache_is_a_model_by_the_name_of_its_repository() {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("models--us--ours");
        let (blobs, snapshot) = (repository.join("blobs"), repository.join("snapshots/0123abc"));
        for folder in [&blobs, &snapshot, &repository.join("refs")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(repository.join("refs/main"), "0123abc\n").unwrap();
        for (number, (name, content)) in
            [("model.onnx", "x"), ("tokenizer.json", "{}"), ("config.json", r#"{"max_position_embeddings":256}"#)]
                .into_iter()
                .enumerate()
        {
            let blob = blobs.join(number.to_string());
            std::fs::write(&blob, content).unwrap();
            symlink(blob, snapshot.join(name)).unwrap();
        }
        let slash = format!("{}/", snapshot.display());
        for path in [snapshot.to_str().unwrap(), &slash, repository.to_str().unwrap()] {
            let manifest = Manifest::open(Path::new("models"), path).unwrap();
            let known = (manifest.id.as_str(), manifest.source.as_str(), manifest.max_length);
            assert_eq!(known, ("ours", "us/ours", 256), "{path}");
            assert_eq!(manifest.id, crate::options::model_id(path), "the settings know it by the same name");
        }
        let within = Manifest::open(dir.path(), "models--us--ours").unwrap();
        assert_eq!((within.id.as_str(), within.graph), ("ours", snapshot.join("model.onnx")));
    }
}
