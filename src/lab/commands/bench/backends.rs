//! `rescored bench backends`: its flags.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Common;
use crate::bench::backends::{self, Options, Peers};
use crate::bench::python::Python;
use crate::bench::report::Section;
use crate::bench::{BenchError, Setup};

/// The flags of `bench backends`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    peers: PeerFlags,
    /// Documents of a request.
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch: u16,
    /// Clients that each send when they were answered.
    #[arg(long, value_name = "N", default_value_t = 1)]
    concurrency: u16,
    /// Requests of each backend, in all rounds together.
    #[arg(long, value_name = "N", default_value_t = 200)]
    requests: u32,
    /// Requests a second that come at random times whatever happens, instead of clients that wait for answers.
    #[arg(long, value_name = "RATE", conflicts_with = "concurrency")]
    rate: Option<f64>,
}

/// Which other programs are measured.
#[derive(Clone, Debug, Args)]
pub(super) struct PeerFlags {
    /// Measure other programs too; their packages (several GB) are installed into an environment of their own.
    #[arg(long)]
    peers: bool,
    /// A Python that has the packages; nothing is installed.
    #[arg(long, value_name = "PROGRAM", requires = "peers")]
    python: Option<PathBuf>,
    /// Where the environment is made [default: .peers in the model folder].
    #[arg(long, value_name = "DIR", requires = "peers", conflicts_with = "python")]
    python_env: Option<PathBuf>,
    /// A text-embeddings-inference server with the same weights.
    #[arg(long, value_name = "URL", requires = "peers")]
    tei: Option<String>,
}

impl Flags {
    /// The same with these other programs.
    pub(super) fn with(self, peers: PeerFlags) -> Self {
        Self { peers, ..self }
    }

    pub(super) fn run(&self, setup: &Setup<'_>) -> Result<Section, BenchError> {
        let options = Options {
            batch: usize::from(self.batch.max(1)),
            concurrency: usize::from(self.concurrency.max(1)),
            requests: usize::try_from(self.requests).unwrap_or(usize::MAX),
            rate: self.rate,
            peers: self.peers.found(setup)?,
        };
        backends::run(setup, &options)
    }
}

impl PeerFlags {
    /// The peers' Python and where their files lie; `None` when they are not asked for.
    pub(super) fn found(&self, setup: &Setup<'_>) -> Result<Option<Peers>, BenchError> {
        if !self.peers {
            return Ok(None);
        }
        let vars = setup.program.vars.clone();
        let python = match (&self.python, &self.python_env) {
            (Some(program), _) => Python::given(program.clone(), vars),
            (None, Some(folder)) => Python::made(folder, "python3", vars),
            (None, None) => Python::made(&absolute(&setup.model_dir).join(".peers"), "python3", vars),
        };
        let name = setup.model.replace(['/', '\\'], "_");
        let folder = absolute(&setup.model_dir).join(".bench").join(name);
        Ok(Some(Peers { python: python?, folder, tei: self.tei.clone() }))
    }
}

fn absolute(folder: &Path) -> PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}
