//! The use case: a query and documents in, one score a document out.
//!
//! Owns the way of a request past the cache, past whoever is scoring the same pair already, and through the engine. It
//! must not know HTTP or ONNX Runtime.

mod blank;
mod collector;
mod error;
pub mod generation;
mod in_flight;
mod names;
mod progress;
mod scoring;
#[cfg(test)]
mod simulation;
mod stats;
mod task;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use rescored_cache::{Scope, ScoreCache, SnapshotReport};
use rescored_core::domain::{EmptyDocuments, ModelCard, Priority, Scored, Texts, Truncation};
use rescored_engine::{Engine, StartError};
use rescored_process::budget::Reservation;
use rescored_process::metrics::Metrics;

pub use error::RerankError;
pub use rescored_cache::{Forgotten, Report as CacheReport};
pub use rescored_engine::{Quota, Timeline};

pub use generation::Generation;
pub use names::Names;
pub use stats::Stats;

use in_flight::InFlightTable;

/// What a caller wants scored, and on which terms.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// A name of the model as the caller wrote it; `None`, an empty name or `default` mean the first configured one.
    pub model: Option<&'a str>,
    /// Queries and documents.
    pub texts: &'a Texts<'a>,
    /// How over-long documents are fitted.
    pub cut: Truncation,
    /// Fail with [`RerankError::TooLong`] instead of cutting.
    pub refuse_cut: bool,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// Who waits.
    pub priority: Priority,
    /// Memory taken for its texts; held until the engine has let go of them, also when the caller has gone.
    pub memory: Option<Arc<Reservation>>,
    /// What becomes of documents without text.
    pub empty: EmptyDocuments,
}

/// Scores of every pair, in the caller's order.
#[derive(Clone, Debug)]
pub struct Answer {
    /// One a pair.
    pub scored: Vec<Scored>,
    /// How many of them were not scored in time, by a caller's leave: their logit is one just below the worst that was
    /// found, so that they stand below it, in the caller's order.
    pub unscored: usize,
    /// Where the time and the work went.
    pub stats: Stats,
}

/// Scores of the pairs that were scored, in the caller's order.
#[derive(Clone, Debug)]
pub struct PartialAnswer {
    /// One a pair; `None` for those that were not scored in time, or whose text is at fault.
    pub scored: Vec<Option<Scored>>,
    /// Where the time and the work went.
    pub stats: Stats,
}

/// What a pair that is not scored in time means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    /// The request has no answer.
    IsAFault,
    /// The answer lacks that pair; so the first ones, in the caller's order, are scored first.
    IsLeftOut,
}

/// Scores pairs with the models of now: first the cache, then whoever is scoring the pair already, then the engine.
///
/// The models of now are one [`Generation`]; another one takes its place at once for all requests that begin later, and
/// those that have begun end with the one they began with.
#[derive(Debug)]
pub struct Reranker {
    now: ArcSwap<Generation>,
    stores: Arc<SharedStores>,
    metrics: Arc<Metrics>,
}

/// What outlives a generation: where finished scores go, and what models are called.
#[derive(Debug)]
struct SharedStores {
    cache: ScoreCache,
    in_flight: InFlightTable,
    names: Names,
}

/// Whose scores these models' are, in their order: what a score cache is made for.
///
/// A score is bit-equal only to what the same graph, precision, provider and build of the runtime give on the same kind of
/// processor, whose vector instructions decide the order of sums; so all of that is part of the identity. A score from
/// elsewhere is a miss.
pub fn scopes(models: &[ModelCard]) -> Vec<Scope> {
    let host = host();
    let scope = |model: &ModelCard| {
        let ModelCard { id, fingerprint, precision, provider, runtime, .. } = model;
        Scope { model: id.clone(), identity: format!("{fingerprint} {precision} {provider} {runtime} {host}") }
    };
    models.iter().map(scope).collect()
}

/// The kind of processor, by the instructions that kernels are chosen by.
fn host() -> String {
    let mut host = std::env::consts::ARCH.to_owned();
    #[cfg(target_arch = "x86_64")]
    for (name, here) in [
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("avxvnni", std::is_x86_feature_detected!("avxvnni")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::is_x86_feature_detected!("avx512vnni")),
        // Processors with this one have AMX, whose own flag has no stable name yet.
        ("avx512fp16", std::is_x86_feature_detected!("avx512fp16")),
    ] {
        if here {
            host.push('+');
            host.push_str(name);
        }
    }
    #[cfg(target_arch = "aarch64")]
    for (name, here) in [
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
    ] {
        if here {
            host.push('+');
            host.push_str(name);
        }
    }
    host
}

impl Reranker {
    /// Puts the parts together. `models` are the engine's, in its order, and the cache's scopes.
    pub fn new(models: Vec<ModelCard>, engine: Engine, cache: ScoreCache, metrics: Arc<Metrics>) -> Self {
        Self::named(models, engine, cache, Names::default(), metrics)
    }

    /// As [`Reranker::new`], of models that have further names, whatever generation answers.
    pub fn named(
        models: Vec<ModelCard>,
        engine: Engine,
        cache: ScoreCache,
        names: Names,
        metrics: Arc<Metrics>,
    ) -> Self {
        let stores = Arc::new(SharedStores { cache, in_flight: InFlightTable::default(), names });
        let scopes = (0..models.len()).collect();
        let first = Generation::new(models, scopes, engine, Arc::clone(&stores), Arc::clone(&metrics));
        first.show();
        Self { now: ArcSwap::from_pointee(first), stores, metrics }
    }

    /// The models of now. Whoever asks several things for one request asks one generation.
    pub fn now(&self) -> Arc<Generation> {
        self.now.load_full()
    }

    /// A generation that nobody is answered by yet. `models` are the engine's, in its order, each with its scope in the
    /// cache.
    pub fn prepare(&self, models: Vec<(ModelCard, usize)>, engine: Engine) -> Generation {
        let (models, scopes) = models.into_iter().unzip();
        Generation::new(models, scopes, engine, Arc::clone(&self.stores), Arc::clone(&self.metrics))
    }

    /// Answers by this generation from now on, and gives back the one before, which others may still hold. The cache
    /// gives up the scores of models that are not the same any more.
    pub fn switch(&self, next: Generation) -> Arc<Generation> {
        for (scope, identity) in next.identities() {
            self.stores.cache.assign(scope, identity);
        }
        next.show();
        self.now.swap(Arc::new(next))
    }

    /// What there is to report about the cache.
    pub fn cache(&self) -> CacheReport {
        self.stores.cache.report()
    }

    /// The state of the cache's snapshot, when one is kept. Costs nothing.
    pub fn snapshot(&self) -> Option<SnapshotReport> {
        self.stores.cache.snapshot()
    }

    /// Has the cache forget every score, or those of one model, wherever they are kept.
    ///
    /// # Errors
    /// [`RerankError::UnknownModel`].
    pub fn forget(&self, model: Option<&str>) -> Result<Forgotten, RerankError> {
        let now = self.now();
        let scope = model.map(|name| now.scope(name)).transpose()?;
        let forgotten = self.stores.cache.forget(scope);
        self.stores.cache.show();
        Ok(forgotten)
    }

    /// Blocks until every worker is warm.
    ///
    /// # Errors
    /// The first worker's failure to load or to run its model.
    pub fn wait_until_warm(&self) -> Result<(), StartError> {
        self.now().wait_until_warm()
    }

    /// Scores every pair of a request with the models of now.
    ///
    /// # Errors
    /// The [`RerankError`] that kept the request from a whole answer.
    pub async fn score(&self, request: Request<'_>) -> Result<Answer, RerankError> {
        self.now().score(request).await
    }
}
