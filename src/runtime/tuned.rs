//! What `bench --tune` found best for a model on a host, as a file beside the model.
//!
//! Owns the file, and whether it speaks of this host and of these weights. It must not know how anything is measured.

use std::path::{Path, PathBuf};

use rescored_graph::Origin;
use rescored_process::files;
use serde::{Deserialize, Serialize};

use super::catalogue::PrecisionName;
use super::checksum::Sha256;
use super::compiled;
use super::manifest::{DESCRIPTION_BYTES, Manifest};
use super::open::is_dynamically_quantised;
use super::options::{Kind, Precision};
use super::origin::{self, Unreadable};

/// Name of the file, in the model's folder.
pub const FILE: &str = "tuned.json";

/// Features of processors that decide which kernels run, and so what is best.
#[cfg(target_arch = "x86_64")]
const FEATURES: [&str; 5] = ["avx2", "avx512f", "avx512vnni", "avxvnni", "avx512fp16"];

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuned {
    /// Where it was measured: [`host`].
    pub host: String,
    /// Checksum of the model's own graph.
    pub source_sha256: Sha256,
    /// Version of this program.
    pub version: String,
    /// What scored most pairs a second.
    pub best: Measured,
    /// Everything that was measured, in that order.
    pub measured: Vec<Measured>,
}

/// One way to run, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Arithmetic.
    pub precision: PrecisionName,
    /// Workers.
    pub workers: usize,
    /// Threads of one worker's forward pass.
    pub threads: usize,
    /// Tokens of one forward pass at most.
    pub batch_tokens: usize,
    /// What it scored.
    pub pairs_per_second: f64,
}

/// Why a file is passed over, or could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum TunedError {
    /// The model's own weights.
    #[error(transparent)]
    Origin(#[from] Unreadable),
    /// It cannot be read or written.
    #[error("tuned: `{}` cannot be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not one.
    #[error("tuned: `{}` is not understood; run: rescored bench --tune", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It speaks of something else.
    #[error("tuned: measured with another {what}; run: rescored bench --tune")]
    Other {
        /// `host` or `model`.
        what: &'static str,
    },
}

/// What is best on this host for these weights; `None` where nobody measured.
///
/// # Errors
/// [`TunedError`], when there is a file that does not hold here.
pub fn find(model: &Path, source: Sha256) -> Result<Option<Tuned>, TunedError> {
    let path = model.join(FILE);
    let text = match files::read(&path, DESCRIPTION_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TunedError::File { path, source }),
    };
    let tuned: Tuned = serde_json::from_slice(&text).map_err(|source| TunedError::Malformed { path, source })?;
    if tuned.host != host() {
        return Err(TunedError::Other { what: "host" });
    }
    if tuned.source_sha256 != source {
        return Err(TunedError::Other { what: "model" });
    }
    Ok(Some(tuned))
}

/// Keeps what was found.
///
/// # Errors
/// [`TunedError`].
pub fn keep(model: &Path, tuned: &Tuned) -> Result<PathBuf, TunedError> {
    let path = model.join(FILE);
    let unfinished = path.with_extension("unfinished");
    let text =
        serde_json::to_vec_pretty(tuned).map_err(|source| TunedError::Malformed { path: path.clone(), source })?;
    std::fs::write(&unfinished, text)
        .and_then(|()| std::fs::rename(&unfinished, &path))
        .map_err(|source| TunedError::File { path: path.clone(), source })?;
    Ok(path)
}

/// The arithmetic of a model's own graph, and the others that there are compiled graphs of for the CPU.
///
/// # Errors
/// [`TunedError::Origin`], when the graph cannot be read.
pub fn arithmetics(manifest: &Manifest) -> Result<(PrecisionName, Vec<PrecisionName>), TunedError> {
    let (graph, source) = origin::read(manifest)?;
    let is_quantised = matches!(&graph, Origin::Onnx(exported) if is_dynamically_quantised(&exported.onnx));
    let guessed = if is_quantised { Precision::Int8 } else { Precision::Fp32 };
    let own = manifest.precision.unwrap_or(guessed);
    let all = [PrecisionName::Fp32, PrecisionName::Fp16, PrecisionName::Int8];
    let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|&name| Precision::from(name) == own);
    let compiled = |name: &PrecisionName| {
        compiled::find(&manifest.dir, source, (Kind::Cpu, Precision::from(*name)), compiled::Storage::of_host())
            .is_some()
    };
    Ok((own.first().copied().unwrap_or(PrecisionName::Fp32), others.into_iter().filter(compiled).collect()))
}

/// This host in a line: what must be alike for a measurement to hold. Cores are those that affinity and the cgroup's
/// quota leave.
pub fn host() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let features: Vec<&str> = features().collect();
    format!("{} {}, {cores} cores, {}", std::env::consts::OS, std::env::consts::ARCH, features.join(" "))
}

#[cfg(target_arch = "x86_64")]
fn features() -> impl Iterator<Item = &'static str> {
    let found = [
        is_x86_feature_detected!("avx2"),
        is_x86_feature_detected!("avx512f"),
        is_x86_feature_detected!("avx512vnni"),
        is_x86_feature_detected!("avxvnni"),
        // AMX, which stable Rust does not detect, comes with this one.
        is_x86_feature_detected!("avx512fp16"),
    ];
    FEATURES.into_iter().zip(found).filter(|(_, found)| *found).map(|(name, _)| name)
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> impl Iterator<Item = &'static str> {
    std::iter::empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuned() -> Tuned {
        let best = Measured {
            precision: PrecisionName::Int8,
            workers: 2,
            threads: 1,
            batch_tokens: 512,
            pairs_per_second: 120.5,
        };
        let source_sha256 = Sha256::of(b"weights");
        Tuned { host: host(), source_sha256, version: "1".into(), measured: vec![best.clone()], best }
    }

    #[test]
    fn what_was_kept_is_found_again_on_this_host_for_these_weights_only() {
        let folder = tempfile::tempdir().unwrap();
        let source = Sha256::of(b"weights");
        assert_eq!(find(folder.path(), source).unwrap(), None);
        keep(folder.path(), &tuned()).unwrap();
        assert_eq!(find(folder.path(), source).unwrap(), Some(tuned()));
        let other = find(folder.path(), Sha256::of(b"other weights")).unwrap_err().to_string();
        assert!(other.contains("another model"), "{other}");
        keep(folder.path(), &Tuned { host: "elsewhere".into(), ..tuned() }).unwrap();
        assert!(find(folder.path(), source).unwrap_err().to_string().contains("another host"));
    }

    #[test]
    fn a_broken_file_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{}").unwrap();
        let said = find(folder.path(), Sha256::of(b"weights")).unwrap_err().to_string();
        assert!(said.contains(FILE) && said.contains("rescored bench --tune"), "{said}");
    }
}
