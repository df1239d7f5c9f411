//! `bench`: measures this program on this host, and other programs beside it.
//!
//! - `texts`: what is scored.
//! - `load`: who sends when, and how long answers took.
//! - `arms`: several loads in turn, round after round; `accelerator`: how busy those are.
//! - `backends`: all ways to score pairs; `candidates`, `peers`, `python`, `pipe`, `tei`: what those are.
//! - `batch`, `concurrency`, `batching`, `isolation`: what this program's settings and its callers do.
//! - `cache`: what the score cache is worth.
//! - `background`: what else ran meanwhile; `leftovers`: files that a run has added.
//! - `served`: this program, serving; `host`: what it runs on.
//! - `stats`: the arithmetic; pure.
//! - `report`: what was found, and the ways to print it; pure.
//! - `tune`: which settings score most on this host.
//! - `compare`: two reports against each other; pure.
//!
//! Owns experiments. It must not know the server's insides: this program is measured as everybody uses it, as a process
//! that gets settings and is asked over HTTP.

pub mod accelerator;
pub mod arms;
pub mod backends;
pub mod background;
pub mod batch;
pub mod batching;
pub mod cache;
pub mod candidates;
pub mod compare;
pub mod concurrency;
pub mod host;
pub mod isolation;
pub mod leftovers;
pub mod load;
pub mod peers;
pub mod pipe;
pub mod python;
pub mod report;
pub mod served;
pub mod stats;
pub mod tei;
pub mod texts;
pub mod tune;

use rescored_runtime::catalogue::installed_runtime;
use rescored_runtime::options::Provider;

/// Who watches a bench.
pub trait Watch: Sync {
    /// Something worth a line.
    fn say(&self, line: &str);
    /// The steps that follow are this part of the whole run, from and to, both between 0 and 1.
    fn part(&self, from: f64, to: f64);
    /// This many steps of so many are done; what comes next.
    fn step(&self, done: usize, all: usize, next: &str);
}

/// What every experiment starts from.
#[derive(Clone)]
pub struct Setup<'w> {
    /// This program.
    pub program: served::Program,
    /// The model.
    pub model: String,
    /// Every model that the settings name.
    pub models: Vec<String>,
    /// Where models lie.
    pub model_dir: std::path::PathBuf,
    /// The provider that the settings name.
    pub provider: Provider,
    /// What is scored.
    pub texts: texts::Texts,
    /// How much is measured.
    pub effort: arms::Effort,
    /// Who watches.
    pub watch: &'w dyn Watch,
}

impl std::fmt::Debug for Setup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("model", &self.model).field("effort", &self.effort).finish_non_exhaustive()
    }
}

impl Setup<'_> {
    /// Starts this program with the model and these settings.
    ///
    /// # Errors
    /// [`BenchError::Start`].
    pub fn serve(&self, settings: &[served::Setting]) -> Result<served::Served, BenchError> {
        let mut all = vec![("RESCORED_MODELS", self.model.clone())];
        all.extend_from_slice(settings);
        self.program.serve(&all).map_err(BenchError::Start)
    }

    /// What was sent: the model, the texts, and what an experiment adds.
    pub fn setup_facts(&self, more: &[(&str, String)]) -> Vec<report::Fact> {
        let mut facts = vec![
            report::Fact::new("model", self.model.clone()),
            report::Fact::new("texts", self.texts.name.clone()),
            report::Fact::new("sha256 of the texts", self.texts.sha256.clone()),
        ];
        facts.extend(more.iter().map(|(name, value)| report::Fact::new(*name, value.clone())));
        facts
    }

    /// What the model and the runtime are, by their checksums.
    pub fn facts(&self) -> Vec<report::Fact> {
        let mut facts = vec![report::Fact::new("model", self.model.clone())];
        let files = ["model.onnx", "tokenizer.json"].map(|file| (file, self.model_dir.join(&self.model).join(file)));
        for (file, path) in files {
            let sha256 = rescored_runtime::checksum::Sha256::of_file(&path);
            facts.extend(
                sha256.ok().map(|(sha256, _)| report::Fact::new(format!("sha256 of {file}"), sha256.to_string())),
            );
        }
        let library = self.program.var("RESCORED_RUNTIME").map(std::path::PathBuf::from);
        let library = library.or_else(|| installed_runtime(&self.model_dir, self.provider).ok());
        let name = library.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        facts.extend(name.map(|name| report::Fact::new("runtime", name)));
        facts
    }
}

/// Why an experiment came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The texts.
    #[error(transparent)]
    Texts(#[from] texts::TextsError),
    /// The Python of other programs.
    #[error(transparent)]
    Python(#[from] python::PythonError),
    /// This program did not start.
    #[error("rescored does not start: {0}")]
    Start(String),
    /// This program did not answer.
    #[error("rescored does not answer: {0}")]
    Answer(String),
}

/// A section that says whether other work disturbed its measurement.
///
/// # Errors
/// What the experiment returns.
pub fn observed<E>(experiment: impl FnOnce() -> Result<report::Section, E>) -> Result<report::Section, E> {
    let background = background::Background::now();
    let mut section = experiment()?;
    section.loaded = background.warning();
    Ok(section)
}

/// Says when the time allowed less than was asked for.
fn shortened(share: f64) -> String {
    if share < 1.0 {
        format!("; {:.0} % of that for the slowest, to keep within the time", share * 100.0)
    } else {
        String::new()
    }
}
