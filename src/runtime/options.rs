//! Options of the models.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

pub use super::coreml::options::{ComputeUnits, Options as CoreMl};
pub use super::provider::options::{OpenVino, Options as ProviderOptions};

/// Settings of the models and of the runtime that executes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Ids of the models served, the default first; each names a folder under [`Options::dir`], or is a path of its own.
    pub ids: Vec<String>,
    /// The folder in which models lie.
    pub dir: PathBuf,
    /// Path of the ONNX Runtime shared library; `None` means the one that `fetch` brought.
    pub runtime: Option<PathBuf>,
    /// The execution provider asked for.
    pub provider: Provider,
    /// The devices that an accelerator may use, by number; `None` means every one that runs.
    pub devices: Option<Vec<u32>>,
    /// The precision asked for.
    pub precision: Precision,
    /// Whether compiled graphs are looked for.
    pub graphs: Graphs,
    /// Tokens of a pair at most, specials included; a model's own limit lowers it.
    pub max_length: u32,
    /// What becomes of models that are shapes for benchmarks.
    pub shapes: Shapes,
    /// Settings of CoreML.
    pub coreml: CoreMl,
    /// Threads of one session's forward pass on the CPU; `None` leaves it to us: one, or what was measured best.
    pub threads: Option<usize>,
}

/// Which graph of a model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Graphs {
    /// The one that `compile` wrote for the precision, else the model's own.
    #[default]
    Best,
    /// The model's own.
    Source,
}

/// What becomes of models whose scores mean nothing: shapes for benchmarks, which `compile --layers` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Shapes {
    /// They stop the start.
    #[default]
    Refused,
    /// They are served, to be measured.
    Served,
}

/// What becomes of a model whose accelerator gives no scores any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceLoss {
    /// Its requests fail while it is tried again.
    #[default]
    Fail,
    /// It is loaded on the CPU, as another generation.
    Cpu,
}

/// The execution provider asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Provider {
    /// The best one of this host that runs the model.
    #[default]
    Auto,
    /// This one; the start fails where it does not run.
    Only(Kind),
}

/// An execution provider of ONNX Runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The portable kernels.
    #[default]
    Cpu,
    /// NVIDIA GPUs.
    Cuda,
    /// NVIDIA GPUs through TensorRT.
    Tensorrt,
    /// Intel's CPUs, GPUs and NPUs.
    OpenVino,
    /// Apple's GPUs and Neural Engines.
    CoreMl,
}

impl Kind {
    /// The one of this word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Cpu, Self::Cuda, Self::Tensorrt, Self::OpenVino, Self::CoreMl]
            .into_iter()
            .find(|kind| kind.word() == word)
    }

    /// The word that settings, records and `/info` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Tensorrt => "tensorrt",
            Self::OpenVino => "openvino",
            Self::CoreMl => "coreml",
        }
    }

    /// Whether it runs on devices that are distinguished by number.
    pub const fn has_devices(self) -> bool {
        matches!(self, Self::Cuda | Self::Tensorrt)
    }
}

/// The arithmetic of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// What suits the provider and the files at hand.
    #[default]
    Auto,
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats.
    Fp16,
    /// 8-bit integers in the matrix products.
    Int8,
}

impl Precision {
    /// Every one, in the order of the settings' words.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Fp32, Self::Fp16, Self::Int8];

    /// The word that settings and manifests use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        }
    }
}

/// What requests call a model that is configured by this text: the last part of a path, and of a path into the model hub's
/// cache the repository's name, since a snapshot's folder is called after its commit.
pub fn model_id(text: &str) -> &str {
    let path = Path::new(text);
    let name = hub_repository(path).map(|(_, name)| name).or_else(|| path.file_name()?.to_str());
    name.unwrap_or(text)
}

/// Owner and name of the repository that a path into the model hub's cache is of: `…/models--OWNER--NAME`, or
/// `…/models--OWNER--NAME/snapshots/COMMIT`. The owner is empty where a repository has none.
pub fn hub_repository(path: &Path) -> Option<(&str, &str)> {
    let is_snapshot = path.parent().and_then(Path::file_name) == Some(OsStr::new("snapshots"));
    let folder = path.ancestors().nth(if is_snapshot { 2 } else { 0 })?.file_name()?.to_str()?;
    let repository = folder.strip_prefix("models--")?;
    let (owner, name) = repository.split_once("--").unwrap_or(("", repository));
    (!name.is_empty()).then_some((owner, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Case D7.
    #[test]
    fn a_model_of_the_hubs_cache_is_called_after_its_repository() {
        for (text, id, repository) in [
            ("mine", "mine", None),
            ("/opt/models/mine/", "mine", None),
            ("/hub/models--us--ours/snapshots/0123abc", "ours", Some(("us", "ours"))),
            ("/hub/models--us--ours/snapshots/0123abc/", "ours", Some(("us", "ours"))),
            ("/hub/models--us--ours", "ours", Some(("us", "ours"))),
            ("/hub/models--ours", "ours", Some(("", "ours"))),
            ("/snapshots/0123abc", "0123abc", None),
            ("/hub/models--/snapshots/0123abc", "0123abc", None),
            ("..", "..", None),
            ("", "", None),
        ] {
            assert_eq!((model_id(text), hub_repository(Path::new(text))), (id, repository), "{text}");
        }
    }
}
