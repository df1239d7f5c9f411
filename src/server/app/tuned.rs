//! What was left to us, as `bench --tune` measured it on this host.
//!
//! Owns which settings a measurement may decide: those that the operator left at `auto`, for models on the CPU. What the
//! operator set is never changed. It must not know how anything is measured.

use rescored_core::domain::Sizing;
use rescored_engine as engine;
use rescored_runtime::manifest::Manifest;
use rescored_runtime::options::{Kind, Precision};
use rescored_runtime::origin;
use rescored_runtime::tuned::{self, Tuned};
use rescored_runtime::{self as model, Model};

use crate::config::Config;

/// Settings of models and engine, and where they come from in words.
pub(super) struct Decided {
    pub(super) model: model::Options,
    pub(super) engine: engine::Options,
    origin: String,
}

/// Decides what `auto` is, by the file beside the default model if there is one that holds here. `models` are those that
/// were opened without it.
pub(super) fn decide(config: &Config, models: &[Model]) -> Decided {
    let (mut model, mut engine) = (config.model.clone(), config.engine.clone());
    let on_cpu = models.iter().all(|model| model.card.provider == Kind::Cpu.word());
    let found = if on_cpu { read(config) } else { Err("measured on the CPU only".to_owned()) };
    let origin = match found {
        Ok(Some(Tuned { best, .. })) => {
            engine.workers = Some(engine.workers.unwrap_or(best.workers));
            if model.precision == Precision::Auto {
                model.precision = best.precision.into();
            }
            model.threads = Some(model.threads.unwrap_or(best.threads));
            engine.batch_tokens = Some(engine.batch_tokens.unwrap_or(best.batch_tokens));
            format!("measured by bench --tune, {:.1} pairs/s then", best.pairs_per_second)
        }
        Ok(None) => "not measured; run: rescored bench --tune".to_owned(),
        Err(why) => why,
    };
    Decided { model, engine, origin }
}

/// The file beside the default model; what keeps it from being used, in words.
fn read(config: &Config) -> Result<Option<Tuned>, String> {
    // A model that cannot be opened is reported where it is opened.
    let Some(manifest) = config.model.ids.first().and_then(|id| Manifest::open(&config.model.dir, id).ok()) else {
        return Ok(None);
    };
    let Ok(source) = origin::identity(&manifest) else { return Ok(None) };
    tuned::find(&manifest.dir, source).map_err(|error| {
        tracing::warn!(%error, "tuning passed over");
        error.to_string()
    })
}

impl Decided {
    /// Writes into each model's card how it runs.
    pub(super) fn note(&self, models: &mut [Model]) {
        let workers = self.engine.count(models.iter().map(|model| model.batching));
        for model in models {
            model.card.execution.sizing = Sizing {
                workers,
                threads: self.model.threads.unwrap_or(1),
                batch_tokens: self.engine.batch_tokens.unwrap_or(model.batching.tokens),
                batch_wait: self.engine.batch_wait.unwrap_or(model.batching.wait),
                tuning: self.origin.clone(),
            };
        }
    }
}
