//! A model's own weights on disk: the ONNX graph, or the safetensors file with its `config.json`.
//!
//! Owns which files are read and the checksum that stands for them: compiled graphs and measurements speak of weights by
//! it. It must not know what stands inside.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rescored_graph::{self as graph, Origin};
use rescored_process::files;

use super::checksum::Sha256;
use super::manifest::DESCRIPTION_BYTES;
use super::{ExternalData, ExternalError, Manifest};

/// A file of the weights cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The graph, the weights or their description.
    #[error("model: `{}` cannot be read; check that it is there and its permissions", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file beside the graph.
    #[error(transparent)]
    External(#[from] ExternalError),
}

/// A model's own weights.
#[derive(Debug)]
pub struct Own {
    /// The graph, or the weights without one.
    pub origin: Origin,
    /// The checksum that stands for all of their files.
    pub sha256: Sha256,
    /// Files beside the graph that hold its weights.
    pub external: ExternalData,
}

/// Whether weights of this name need `compile` before they run: they are no graph.
pub fn is_safetensors(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("safetensors"))
}

/// Reads the weights, and their checksum.
///
/// # Errors
/// [`Unreadable`].
pub fn read(manifest: &Manifest) -> Result<(Origin, Sha256), Unreadable> {
    let Own { origin, sha256, .. } = open(manifest)?;
    Ok((origin, sha256))
}

/// As [`read`], with the files beside a graph that hold its weights.
///
/// # Errors
/// [`Unreadable`].
pub fn open(manifest: &Manifest) -> Result<Own, Unreadable> {
    let weights = bytes(&manifest.graph)?;
    let sum = Sha256::of(&weights);
    if !is_safetensors(&manifest.graph) {
        let external = external(manifest, &weights)?;
        return Ok(Own { origin: Origin::Onnx(weights), sha256: with(sum, &external), external });
    }
    let path = config(&manifest.graph);
    let text = files::read_text(&path, DESCRIPTION_BYTES).map_err(|source| Unreadable::File { path, source })?;
    let sha256 = both(sum, Sha256::of(text.as_bytes()));
    Ok(Own { origin: Origin::Safetensors { weights, config: text }, sha256, external: ExternalData::default() })
}

fn external(manifest: &Manifest, onnx: &[u8]) -> Result<ExternalData, ExternalError> {
    // What is no graph names no files; it is reported where a graph is needed.
    let named = graph::summary(onnx).map(|summary| summary.externals).unwrap_or_default();
    ExternalData::open(manifest, &manifest.graph, &named)
}

/// Weights beside the graph change scores as those inside do.
fn with(graph: Sha256, external: &ExternalData) -> Sha256 {
    if external.is_empty() {
        return graph;
    }
    let files = external.hashes().map(|(location, hash)| format!(" {hash} {location}"));
    Sha256::of(format!("{graph}{}", files.collect::<String>()).as_bytes())
}

/// The checksum alone.
///
/// # Errors
/// [`Unreadable`].
pub fn identity(manifest: &Manifest) -> Result<Sha256, Unreadable> {
    let sum = |path: PathBuf| match Sha256::of_file(&path) {
        Ok((sum, _)) => Ok(sum),
        Err(source) => Err(Unreadable::File { path, source }),
    };
    if is_safetensors(&manifest.graph) {
        return Ok(both(sum(manifest.graph.clone())?, sum(config(&manifest.graph))?));
    }
    // Which files hold its weights stands in the graph.
    let onnx = bytes(&manifest.graph)?;
    Ok(with(Sha256::of(&onnx), &external(manifest, &onnx)?))
}

/// The sizes stand in another file, and change scores as weights do.
fn both(weights: Sha256, config: Sha256) -> Sha256 {
    Sha256::of(format!("{weights} {config}").as_bytes())
}

fn config(weights: &Path) -> PathBuf {
    weights.with_file_name("config.json")
}

fn bytes(path: &Path) -> Result<Vec<u8>, Unreadable> {
    files::read(path, u64::MAX).map_err(|source| Unreadable::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(dir: &Path, files: &[(&str, &str)]) -> Manifest {
        for (name, content) in files.iter().chain(&[("tokenizer.json", "{}")]) {
            std::fs::create_dir_all(dir.join("m")).unwrap();
            std::fs::write(dir.join("m").join(name), content).unwrap();
        }
        Manifest::open(dir, "m").unwrap()
    }

    #[test]
    fn a_graph_is_known_by_its_own_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest(dir.path(), &[("model.onnx", "graph"), ("config.json", "{}")]);
        let (origin, sum) = read(&manifest).unwrap();
        assert!(matches!(origin, Origin::Onnx(bytes) if bytes == b"graph"));
        assert_eq!((sum, identity(&manifest).unwrap()), (Sha256::of(b"graph"), Sha256::of(b"graph")));
    }

    #[test]
    fn weights_are_known_by_their_checksum_and_that_of_their_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let mut sums = Vec::new();
        for (weights, config) in [("w", "{}"), ("w", "{ }"), ("v", "{}")] {
            let manifest = manifest(dir.path(), &[("model.safetensors", weights), ("config.json", config)]);
            let (origin, sum) = read(&manifest).unwrap();
            assert!(matches!(origin, Origin::Safetensors { config: text, .. } if text == config));
            assert_eq!(identity(&manifest).unwrap(), sum, "with and without holding them");
            sums.push(sum);
        }
        assert!(sums[0] != sums[1] && sums[0] != sums[2] && sums[1] != sums[2]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest(dir.path(), &[("model.safetensors", "w"), ("config.json", "{}")]);
        std::fs::remove_file(dir.path().join("m/config.json")).unwrap();
        for fault in [read(&manifest).map(|_| ()).unwrap_err(), identity(&manifest).map(|_| ()).unwrap_err()] {
            assert!(fault.to_string().contains("config.json` cannot be read"), "{fault}");
        }
    }
}
