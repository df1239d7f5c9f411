//! `rescored models`: commonly used rerankers, what each costs, and which suits a purpose.
//!
//! Owns the flags and the table. It must not know where models are stored.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use rescored_runtime::catalogue::reranker::{FIRST_STAGE, Purpose, Reranker};
use rescored_server::config::{Config, Host};

use super::{FAILURE, USAGE, Vars, fail, stdout};
use crate::doctor::pace::{self, PASSAGES};

/// The flags of `models`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// List the models that suit a purpose, the recommended one first.
    #[arg(long = "for", value_name = "PURPOSE")]
    purpose: Option<Wanted>,
    /// Measure the first configured model on this host, and estimate the others from their cost.
    #[arg(long)]
    measure: bool,
    /// Print the list as JSON.
    #[arg(long)]
    json: bool,
}

/// The purpose of a model.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Wanted {
    /// The best ranking
    Quality,
    /// The best ranking at no more than the cost of the default model
    Speed,
    /// More languages than English
    Multilingual,
    /// Documents of thousands of tokens
    Long,
}

impl From<Wanted> for Purpose {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Quality => Self::Quality,
            Wanted::Speed => Self::Speed,
            Wanted::Multilingual => Self::Multilingual,
            Wanted::Long => Self::Long,
        }
    }
}

/// Prints the table.
pub(super) fn run(flags: &Flags, vars: Vars) -> ExitCode {
    let known = flags.purpose.map_or_else(Reranker::all, |purpose| Reranker::for_purpose(purpose.into()));
    let (known, all) = match known.and_then(|known| Reranker::all().map(|all| (known, all))) {
        Ok(both) => both,
        Err(error) => return fail(FAILURE, &error),
    };
    let measured = if flags.measure {
        let config = match Config::from_vars(vars, &Host::detect()) {
            Ok(config) => config,
            Err(error) => return fail(USAGE, &error),
        };
        match measured(&config, &all) {
            Ok(measured) => Some(measured),
            Err(said) => {
                // If standard error is closed, the message cannot be shown.
                let _ = writeln!(std::io::stderr(), "rescored: {said}");
                return ExitCode::from(FAILURE);
            }
        }
    } else {
        None
    };
    if flags.json {
        let rows: Vec<_> = known.iter().map(|model| json(model, measured.as_ref())).collect();
        return stdout::print(|out| writeln!(out, "{:#}", serde_json::Value::from(rows)));
    }
    stdout::print(|out| write!(out, "{}", table(&known, measured.as_ref(), flags.purpose.is_some())))
}

/// A model that was measured on this host.
struct Measured {
    /// Its repository.
    name: String,
    /// Passages per second of all workers.
    rate: f64,
    /// Billions of operations per passage.
    cost: f64,
}

impl Measured {
    /// Estimated passages per second of another model, at the same number of operations per second.
    fn rate_of(&self, model: &Reranker) -> f64 {
        self.rate * self.cost / model.cost()
    }
}

fn measured(config: &Config, all: &[Reranker]) -> Result<Measured, String> {
    let id = config.model.ids.first().ok_or("no model is configured")?;
    let (source, rate) = pace::of_model(config, id)?;
    let alike = |model: &&Reranker| {
        let plain = |name: &str| name.replace("-L-", "-L").to_ascii_lowercase();
        plain(&model.repository) == plain(&source)
    };
    let model = all.iter().find(alike).ok_or_else(|| {
        format!("models: `{id}` is not in the list, so the others cannot be estimated from it; set RESCORED_MODELS to a model of the list")
    })?;
    Ok(Measured { name: model.repository.clone(), rate, cost: model.cost() })
}

fn table(models: &[Reranker], measured: Option<&Measured>, recommends: bool) -> String {
    let mut text = String::new();
    let head = ["model", "weights", "languages", "tokens", "nDCG@10", "GFLOP", "GPU", "licence"].map(str::to_owned);
    let mut rows: Vec<Vec<String>> = vec![head.into()];
    if measured.is_some() {
        rows[0].insert(6, "a second".to_owned());
    }
    for model in models {
        let quality = model.quality.map_or_else(|| "-".to_owned(), |quality| format!("{quality:.4}"));
        let gpu = if model.accelerated { "compiled" } else { "as it is" };
        let mut row = vec![
            model.repository.clone(),
            format!("{:.0} M", model.weights),
            model.languages.clone(),
            model.tokens.to_string(),
            quality,
            format!("{:.1}", model.cost()),
        ];
        row.extend(measured.map(|measured| format!("{:.1}", measured.rate_of(model))));
        row.extend([gpu.to_owned(), model.licence.clone()]);
        rows.push(row);
    }
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|at| rows.iter().map(|row| row[at].len()).max().unwrap_or(0)).collect();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    let _ = write!(
        text,
        "\nnDCG@10: mean over six first stages of MTEB(eng, v2) retrieval, top 100, as published in 2026; {FIRST_STAGE:.4} without a reranker.\n\
         GFLOP: billions of operations per pair of 85 tokens, plus a decoder's prompt. GPU: whether `compile --provider cuda` writes its graph.\n"
    );
    if let Some(Measured { name, rate, .. }) = measured {
        let _ = writeln!(
            text,
            "a second: passages of {PASSAGES} words on this host; {name} was measured ({rate:.1}), the others are estimated from their GFLOP."
        );
    }
    if let Some(first) = models.first().filter(|_| recommends) {
        let name = first.name_to_fetch();
        let id = name.rsplit('/').next().unwrap_or(name);
        let _ =
            write!(text, "\nrescored fetch {name} && rescored compile {id} && RESCORED_MODELS={id} rescored serve\n");
    }
    text
}

fn json(model: &Reranker, measured: Option<&Measured>) -> serde_json::Value {
    serde_json::json!({
        "repository": model.repository,
        "family": model.family,
        "weights_millions": model.weights,
        "languages": model.languages,
        "tokens": model.tokens,
        "ndcg_at_10": model.quality,
        "gflop_a_pair": model.cost(),
        "licence": model.licence,
        "compiled_for_cuda": model.accelerated,
        "passages_a_second": measured.map(|measured| measured.rate_of(model)),
        "fetch": model.name_to_fetch(),
    })
}
