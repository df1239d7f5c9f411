//! `rescored bench batch`, `concurrency`, `batching` and `models`: their flags.

use std::path::PathBuf;

use clap::Args;

use super::Common;
use crate::bench::report::Section;
use crate::bench::{BenchError, Setup, batch, batching, concurrency, isolation};

/// The flags of `bench batch`.
#[derive(Debug, Args)]
pub(super) struct Batch {
    #[command(flatten)]
    pub(super) common: Common,
    /// Token budgets of a forward pass that are compared.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_values_t = [64, 128, 256, 512, 1024, 2048, 4096])]
    budgets: Vec<usize>,
    /// Documents of a request that are compared.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16, 32, 64, 128])]
    sizes: Vec<usize>,
    /// Documents of a request while budgets are compared.
    #[arg(long = "batch", value_name = "N", default_value_t = 32)]
    documents: u16,
    /// Clients that each send when they were answered.
    #[arg(long, value_name = "N", default_value_t = 1)]
    concurrency: u16,
}

/// The flags of `bench concurrency`.
#[derive(Debug, Args)]
pub(super) struct Concurrency {
    #[command(flatten)]
    pub(super) common: Common,
    /// Numbers of clients that are compared.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16, 32, 64])]
    clients: Vec<usize>,
    /// Documents of a request.
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch: u16,
}

/// The flags of `bench batching`.
#[derive(Debug, Args)]
pub(super) struct Batching {
    #[command(flatten)]
    pub(super) common: Common,
    /// How long a batch waits for more pairs, with units.
    #[arg(long, value_name = "TIME", value_delimiter = ',', default_values_t = ["1ms".to_owned(), "5ms".to_owned(), "20ms".to_owned()])]
    waits: Vec<String>,
    /// Documents of a request: small, so that there is something to gain.
    #[arg(long, value_name = "N", default_value_t = 2)]
    batch: u16,
}

/// The flags of `bench models`.
#[derive(Debug, Args)]
pub(super) struct Models {
    #[command(flatten)]
    pub(super) common: Common,
    /// The model that the burst is for [default: the second of `RESCORED_MODELS`, else the first layers of the first].
    #[arg(long, value_name = "MODEL")]
    other: Option<String>,
    /// Clients of the burst.
    #[arg(long, value_name = "N", default_value_t = 8)]
    clients: u16,
}

/// Layers of the second model where there is none.
const LAYERS: &str = "6";

impl Batch {
    pub(super) fn run(&self, setup: &Setup<'_>) -> Result<Section, BenchError> {
        let options = batch::Options {
            budgets: ascending(&self.budgets),
            sizes: ascending(&self.sizes),
            batch: usize::from(self.documents.max(1)),
            concurrency: usize::from(self.concurrency.max(1)),
        };
        batch::run(setup, &options)
    }
}

impl Concurrency {
    pub(super) fn run(&self, setup: &Setup<'_>) -> Result<Section, BenchError> {
        let options = concurrency::Options { clients: ascending(&self.clients), batch: usize::from(self.batch.max(1)) };
        concurrency::run(setup, &options)
    }
}

impl Batching {
    pub(super) fn run(&self, setup: &Setup<'_>) -> Result<Section, BenchError> {
        batching::run(setup, &batching::Options { waits: self.waits.clone(), batch: usize::from(self.batch.max(1)) })
    }
}

impl Models {
    pub(super) fn run(&self, setup: &Setup<'_>) -> Result<Section, BenchError> {
        let clients = usize::from(self.clients.max(1));
        let run = |other| isolation::run(setup, &isolation::Options { victim: setup.model.clone(), other, clients });
        if let Some(other) = self.other.clone().or_else(|| setup.models.get(1).cloned()) {
            return run(other);
        }
        let (other, _written) = shape(setup)?;
        run(other)
    }
}

/// A second model for machines that have one: its first layers, whose time is real and whose scores are not.
fn shape(setup: &Setup<'_>) -> Result<(String, Written), BenchError> {
    let other = format!("{}-{LAYERS}-layers-int8", setup.model);
    let folder = setup.model_dir.join(&other);
    let written = Written((!folder.exists()).then_some(folder));
    setup.watch.say(&format!("writing the first {LAYERS} layers of {} as a second model", setup.model));
    let arguments = ["compile", &setup.model, "--layers", LAYERS, "--precision", "int8"];
    setup.program.run(&arguments, &[]).map_err(BenchError::Start)?;
    Ok((other, written))
}

/// The folder of a model that this run has written, removed at its end: its scores mean nothing to anybody. `None` where it
/// was there before.
struct Written(Option<PathBuf>);

impl Drop for Written {
    fn drop(&mut self) {
        // What stays is named with all that the run leaves behind.
        let _ = self.0.take().map(std::fs::remove_dir_all);
    }
}

/// In order, each once, none of them nothing.
fn ascending(numbers: &[usize]) -> Vec<usize> {
    let mut numbers: Vec<usize> = numbers.iter().copied().filter(|number| *number > 0).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
