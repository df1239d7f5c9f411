//! `rescored fetch`: bring the ONNX Runtime library and models.
//!
//! Owns the flags. It must not know how anything is downloaded.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use rescored_runtime::catalogue::{Catalogue, Kind, PrecisionName};

use super::console::Console;
use super::{FAILURE, USAGE, Vars, fail};
use crate::fetch::{DEFAULT_HUB, FetchError, Item, Options, Outcome, Progress, Report, Token, Wish, fetch};

/// The flags of `fetch`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Models to bring: ids of the catalogue, or repositories of the hub as OWNER/NAME or OWNER/NAME@REVISION [default: the
    /// catalogue's default].
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
    /// Address of the model hub or of a mirror [default: `HF_ENDPOINT`, else `https://huggingface.co`].
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// Take a repository's ONNX graph even where it has safetensors.
    #[arg(long)]
    onnx: bool,
    /// The arithmetic of the ONNX graph to take, where a repository has several [default: fp32, else int8, else fp16].
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Arithmetic>,
    /// Ask nothing: download however much it is.
    #[arg(long, short)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Arithmetic {
    Fp32,
    Fp16,
    Int8,
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
    let mut console = Console::stderr().agreed(flags.yes);
    match options(flags, vars).and_then(|options| fetch(&options, &mut console)) {
        Ok(report) => {
            tell(&report, &mut console);
            ExitCode::SUCCESS
        }
        Err(
            error @ (FetchError::Catalogue(_)
            | FetchError::UnknownModel { .. }
            | FetchError::Endpoint { .. }
            | FetchError::Token),
        ) => fail(USAGE, &error),
        Err(error) => fail(FAILURE, &error),
    }
}

fn options(flags: Flags, vars: &Vars) -> Result<Options, FetchError> {
    let set =
        |wanted: &str| vars.iter().find(|(name, value)| name == wanted && !value.is_empty()).map(|(_, value)| value);
    let path = |wanted: &str| set(wanted).map(PathBuf::from);
    let dir = flags.model_dir.or_else(|| path("RESCORED_MODEL_DIR")).unwrap_or_else(|| "models".into());
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
    let hub = match (flags.hub, set("HF_ENDPOINT")) {
        (Some(hub), _) => address("--hub", hub)?,
        (None, Some(hub)) => address("HF_ENDPOINT", hub.to_string_lossy().into_owned())?,
        (None, None) => DEFAULT_HUB.to_owned(),
    };
    let token = set("HF_TOKEN").map(|token| Token::new(&token.to_string_lossy())).transpose()?;
    // As the hub's own clients look for it.
    let home = || {
        let cache = path("XDG_CACHE_HOME").or_else(|| path("HOME").map(|home| home.join(".cache")));
        path("HF_HOME").or_else(|| cache.map(|cache| cache.join("huggingface")))
    };
    let hub_cache = path("HF_HUB_CACHE").or_else(|| home().map(|home| home.join("hub")));
    let precision = flags.precision.map(|precision| match precision {
        Arithmetic::Fp32 => PrecisionName::Fp32,
        Arithmetic::Fp16 => PrecisionName::Fp16,
        Arithmetic::Int8 => PrecisionName::Int8,
    });
    let wish = Wish { onnx: flags.onnx, precision };
    Ok(Options { dir, provider, models, python: flags.python, hub, token, hub_cache, wish })
}

/// An address that can be asked.
fn address(name: &'static str, given: String) -> Result<String, FetchError> {
    let host = given.strip_prefix("https://").or_else(|| given.strip_prefix("http://"));
    let is_one = host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'));
    let plain = !given.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '\\'));
    if is_one && plain { Ok(given) } else { Err(FetchError::Endpoint { name, given }) }
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
