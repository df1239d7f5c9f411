//! The catalogue: which models and runtime libraries are known, where they come from, what their bytes must be.
//!
//! Owns the format of `catalogue.toml` and the places that things take under the model folder. It reads the catalogue
//! of a model folder, and must not know how anything is downloaded.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rescored_process::files;
use serde::Deserialize;

use super::checksum::Sha256;
pub use super::options::Kind;
use super::options::Provider;

mod entry;
pub mod reranker;

pub(super) use entry::is_plain_name;
pub use entry::{
    ActivationName, Entry, Hub, Member, PrecisionName, Runtime, Source, SourceFile, Tags, Wheel, is_inner_path,
    is_weights,
};

/// Bytes of a catalogue at most.
const LARGEST: u64 = 16 << 20;

/// The catalogue that is compiled in.
const BUILT_IN: &str = include_str!("../../models/catalogue.toml");

/// Name of a model folder's own catalogue.
pub const FILE: &str = "catalogue.toml";

/// Everything that `fetch` can bring.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    default: Option<String>,
    #[serde(default, rename = "runtime")]
    runtimes: Vec<Runtime>,
    #[serde(default, rename = "model")]
    models: Vec<Entry>,
}

/// Why a catalogue is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// It cannot be read.
    #[error("catalogue `{}`: cannot be read; check its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no catalogue.
    #[error("catalogue `{}`: not understood; the fields are listed in models/README.md", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// An entry contradicts itself.
    #[error("catalogue `{}`: `{entry}`: {reason}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Why there is no runtime library to load.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The catalogue cannot be used.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// No library is known for this system.
    #[error(
        "runtime: no ONNX Runtime with `{provider}` is known for {os} {arch} (known: {known}); build or download the library and name it by RESCORED_RUNTIME"
    )]
    UnknownSystem {
        /// The provider wanted.
        provider: &'static str,
        /// This operating system.
        os: &'static str,
        /// This processor.
        arch: &'static str,
        /// The systems in the catalogue.
        known: String,
    },
    /// It was not fetched.
    #[error("runtime: `{}` is missing or cut short; run: rescored fetch --provider {provider}", path.display())]
    Missing {
        /// What it is for.
        provider: &'static str,
        /// Where it should be.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("runtime: `{}` cannot be read; check its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its bytes are not those of the catalogue.
    #[error("runtime: `{}` is damaged (sha256 {found}, expected {expected}); run: rescored fetch", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// What the catalogue says.
        expected: Sha256,
        /// What was found.
        found: Sha256,
    },
}

impl Catalogue {
    /// The compiled-in catalogue, over which the entries of `dir`'s own `catalogue.toml` win where there is one.
    ///
    /// # Errors
    /// When either cannot be read or contradicts itself.
    pub fn load(dir: &Path) -> Result<Self, CatalogueError> {
        let built_in = Self::parse(BUILT_IN, Path::new("built in"))?;
        let path = dir.join(FILE);
        match files::read_text(&path, LARGEST) {
            // The project's own `models/` holds the very file that is compiled in.
            Ok(text) if text == BUILT_IN => Ok(built_in),
            Ok(text) => Ok(Self::parse(&text, &path)?.over(built_in)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(built_in),
            Err(source) => Err(CatalogueError::Unreadable { path, source }),
        }
    }

    /// Reads a catalogue; `path` only names it in errors.
    ///
    /// # Errors
    /// When the text is no catalogue or contradicts itself.
    pub fn parse(text: &str, path: &Path) -> Result<Self, CatalogueError> {
        let catalogue: Self = toml::from_str(text)
            .map_err(|source| CatalogueError::Malformed { path: path.to_owned(), source: source.into() })?;
        let fault = |entry: &str, reason| CatalogueError::Entry { path: path.to_owned(), entry: entry.into(), reason };
        let mut ids = HashSet::new();
        for model in &catalogue.models {
            model.check().map_err(|reason| fault(&model.id, reason))?;
            if !ids.insert(&model.id) {
                return Err(fault(&model.id, "listed twice; give each model an id of its own"));
            }
        }
        for runtime in &catalogue.runtimes {
            runtime.check().map_err(|reason| fault(&runtime.member, reason))?;
        }
        Ok(catalogue)
    }

    /// The id of the model that is fetched and served when none is named.
    pub fn default_model(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// Every model, the folder's own first.
    pub fn models(&self) -> &[Entry] {
        &self.models
    }

    /// Every runtime library, the folder's own first.
    pub fn runtimes(&self) -> &[Runtime] {
        &self.runtimes
    }

    /// The model with this id, or, when no id matches, the one that comes from this hub repository.
    pub fn model(&self, name: &str) -> Option<&Entry> {
        let by_repo = |model: &&Entry| matches!(&model.source, Source::Hub(hub) if hub.repo == name);
        self.models.iter().find(|model| model.id == name).or_else(|| self.models.iter().find(by_repo))
    }

    /// Ids of all models, for messages.
    pub fn ids(&self) -> String {
        self.models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The runtime library with a provider for the system that this program runs on.
    ///
    /// # Errors
    /// [`RuntimeError::UnknownSystem`].
    pub fn runtime(&self, kind: Kind) -> Result<&Runtime, RuntimeError> {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        // The wheels are linked against glibc; a musl program cannot load them.
        let loadable = !cfg!(target_env = "musl");
        let here = |runtime: &&Runtime| loadable && runtime.is_for(kind, (os, arch));
        self.runtimes.iter().find(here).ok_or_else(|| {
            let name = |known: &Runtime| format!("{} {} {}", known.provider.word(), known.os, known.arch);
            let known: Vec<String> = self.runtimes.iter().map(name).collect();
            RuntimeError::UnknownSystem { provider: kind.word(), os, arch, known: known.join(", ") }
        })
    }

    /// This catalogue's entries first, then those of `base` that it does not replace.
    fn over(mut self, base: Self) -> Self {
        let mine: HashSet<String> = self.models.iter().map(|model| model.id.clone()).collect();
        let system = |runtime: &Runtime| (runtime.os.clone(), runtime.arch.clone(), runtime.provider);
        let systems: HashSet<_> = self.runtimes.iter().map(system).collect();
        self.models.extend(base.models.into_iter().filter(|model| !mine.contains(&model.id)));
        let other = |runtime: &Runtime| !systems.contains(&system(runtime));
        self.runtimes.extend(base.runtimes.into_iter().filter(other));
        self.default = self.default.or(base.default);
        self
    }
}

/// The runtime library that `fetch` brought into the model folder for a provider, checked against the catalogue: a library
/// that was cut short would end the process with a bus error when it is loaded. Under `auto`, the one for GPUs where it
/// lies there, since nobody fetches it by accident; else the portable one.
///
/// # Errors
/// When there is none for this system, or it is missing or damaged; the message says what to run.
pub fn installed_runtime(dir: &Path, provider: Provider) -> Result<PathBuf, RuntimeError> {
    let catalogue = Catalogue::load(dir)?;
    let kind = match provider {
        Provider::Only(kind) => kind,
        Provider::Auto if catalogue.runtime(Kind::Cuda).is_ok_and(|runtime| runtime.path(dir).is_file()) => Kind::Cuda,
        Provider::Auto => Kind::Cpu,
    };
    let runtime = catalogue.runtime(kind)?;
    let path = runtime.path(dir);
    // Hashing the providers' hundreds of megabytes would take longer than loading them.
    for (path, member) in runtime.beside(dir) {
        match path.metadata() {
            Ok(facts) if facts.len() == member.size => {}
            Ok(_) | Err(_) => return Err(RuntimeError::Missing { path, provider: kind.word() }),
        }
    }
    match Sha256::of_file(&path) {
        Ok((found, _)) if found == runtime.sha256 => Ok(path),
        Ok((found, _)) => Err(RuntimeError::Altered { path, expected: runtime.sha256, found }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(RuntimeError::Missing { path, provider: kind.word() })
        }
        Err(source) => Err(RuntimeError::Unreadable { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in() -> Catalogue {
        Catalogue::parse(BUILT_IN, Path::new("built in")).unwrap()
    }

    #[test]
    fn every_built_in_entry_is_complete() {
        let catalogue = built_in();
        let default = catalogue.model(catalogue.default_model().unwrap()).unwrap();
        assert!(matches!(default.source, Source::Wheel(_)), "the default must come from a package index");
        for model in catalogue.models() {
            assert_eq!(model.max_length, 512, "{}", model.id);
            assert_eq!(model.licence, "Apache-2.0", "{}", model.id);
            assert_eq!(model.inputs.len(), 3, "{}", model.id);
            assert!(model.origin.starts_with("cross-encoder/"), "{}", model.id);
        }
        for (system, kind) in [
            (("linux", "x86_64"), Kind::Cpu),
            (("linux", "x86_64"), Kind::Cuda),
            (("linux", "x86_64"), Kind::Tensorrt),
            (("linux", "x86_64"), Kind::OpenVino),
            (("linux", "aarch64"), Kind::Cpu),
            (("macos", "aarch64"), Kind::Cpu),
            (("macos", "aarch64"), Kind::CoreMl),
        ] {
            let found = catalogue.runtimes().iter().find(|runtime| runtime.is_for(kind, system));
            let runtime = found.unwrap_or_else(|| panic!("no runtime for {system:?} with {kind:?}"));
            let own = match kind {
                Kind::Cpu | Kind::CoreMl => None,
                Kind::Cuda => Some("libonnxruntime_providers_cuda.so"),
                Kind::Tensorrt => Some("libonnxruntime_providers_tensorrt.so"),
                Kind::OpenVino => Some("libonnxruntime_providers_openvino.so"),
            };
            let beside: Vec<_> = runtime.beside(Path::new("m")).map(|(path, _)| path).collect();
            assert!(own.is_none_or(|own| beside.iter().any(|path| path.ends_with(own))), "{kind:?}: {beside:?}");
            let tags = runtime.wheel.tags.as_ref().unwrap();
            for part in [&runtime.version, &tags.abi, &tags.platform] {
                assert!(runtime.wheel.file.contains(part.as_str()), "{} lacks {part}", runtime.wheel.file);
            }
            assert!(runtime.library().contains(&runtime.version), "{}", runtime.library());
        }
    }

    #[test]
    fn a_model_is_found_by_its_id_and_by_its_repository() {
        let catalogue = built_in();
        for (name, id) in [
            ("ms-marco-MiniLM-L-12-v2", Some("ms-marco-MiniLM-L-12-v2")),
            ("cross-encoder/ms-marco-MiniLM-L-6-v2", Some("ms-marco-MiniLM-L-6-v2")),
            ("cross-encoder/ms-marco-MiniLM-L-12-v2", Some("ms-marco-MiniLM-L-12-v2-fp32")),
            ("ms-marco-minilm-l-12-v2", None),
            ("", None),
        ] {
            assert_eq!(catalogue.model(name).map(|model| model.id.as_str()), id, "`{name}`");
        }
    }

    #[test]
    fn the_folders_own_entries_win_and_the_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let own = r#"
            [[model]]
            id = "ms-marco-MiniLM-L-6-v2"
            origin = "us"
            licence = "MIT"
            inputs = ["input_ids"]
            max_length = 256
            activation = "identity"
            precision = "fp16"
            source.hub = { repo = "us/ours", revision = "v1" }
            files = [{ from = "a/b.onnx", to = "model.onnx" }, { from = "tokenizer.json" }]
        "#;
        std::fs::write(dir.path().join(FILE), own).unwrap();
        let catalogue = Catalogue::load(dir.path()).unwrap();
        let model = catalogue.model("ms-marco-MiniLM-L-6-v2").unwrap();
        assert_eq!((model.origin.as_str(), model.files[0].name()), ("us", "model.onnx"));
        assert_eq!(catalogue.models().len(), built_in().models().len());
        assert_eq!(catalogue.default_model(), built_in().default_model());
        assert_eq!(catalogue.runtimes().len(), built_in().runtimes().len());
    }

    #[test]
    fn entries_that_would_write_elsewhere_or_lack_a_part_are_refused() {
        let entry = |id: &str, files: &str, rest: &str| {
            format!(
                "[[model]]\nid = \"{id}\"\norigin = \"o\"\nlicence = \"MIT\"\ninputs = []\nmax_length = 512\n\
                 activation = \"sigmoid\"\nprecision = \"fp32\"\nsource.hub = {{ repo = \"r\", revision = \"m\" }}\n\
                 files = [{files}]\n{rest}"
            )
        };
        let good = "{ from = \"m.onnx\" }, { from = \"tokenizer.json\" }";
        assert!(Catalogue::parse(&entry("m", good, ""), Path::new("x")).is_ok(), "the case that the others vary");
        let weights = "{ from = \"m.safetensors\" }, { from = \"config.json\" }, { from = \"tokenizer.json\" }";
        assert!(Catalogue::parse(&entry("m", weights, ""), Path::new("x")).is_ok(), "weights with their sizes");
        for (why, text) in [
            ("an id with a slash", entry("a/b", good, "")),
            ("an id that leads up", entry("..", good, "")),
            ("a hidden id", entry(".runtime", good, "")),
            ("no tokenizer", entry("m", "{ from = \"m.onnx\" }", "")),
            ("two graphs", entry("m", &format!("{good}, {{ from = \"n.onnx\" }}"), "")),
            ("weights without a file that gives their sizes", entry("m", &good.replace("m.onnx", "m.safetensors"), "")),
            (
                "a graph and weights",
                entry("m", &format!("{good}, {{ from = \"m.safetensors\" }}, {{ from = \"config.json\" }}"), ""),
            ),
            ("a target that leads up", entry("m", &format!("{good}, {{ from = \"x\", to = \"../x\" }}"), "")),
            ("an unknown field", entry("m", good, "licens = \"MIT\"\n")),
            ("the same id twice", entry("m", good, &entry("m", good, ""))),
            ("a short hash", entry("m", "{ from = \"m.onnx\", sha256 = \"00\" }, { from = \"tokenizer.json\" }", "")),
        ] {
            assert!(Catalogue::parse(&text, Path::new("x")).is_err(), "{why} must be refused");
        }
    }

    #[test]
    fn a_missing_or_damaged_runtime_says_what_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let cpu = Provider::Only(Kind::Cpu);
        let missing = installed_runtime(dir.path(), cpu).unwrap_err().to_string();
        assert!(missing.contains("is missing or cut short; run: rescored fetch --provider cpu"), "{missing}");
        let path = built_in().runtime(Kind::Cpu).unwrap().path(dir.path());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"half a library").unwrap();
        let damaged = installed_runtime(dir.path(), Provider::Auto).unwrap_err().to_string();
        assert!(damaged.contains("is damaged") && damaged.contains("run: rescored fetch"), "{damaged}");
    }
}
