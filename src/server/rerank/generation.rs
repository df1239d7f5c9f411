//! The models of a time: what answers a request from its beginning to its end.
//!
//! Owns the engine over these models, their cards, and the identities of their scores. It never changes: other models,
//! or other files of the same, are another generation. It must not know how one takes the place of another.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::Instant;

use rescored_core::domain::{EmptyDocuments, ModelCard, Priority, Scored, Truncation};
use rescored_engine::{Engine, Order, PairError, Quota, Sink, StartError, Work};
use rescored_process::metrics::{Metrics, Served};

use super::{RerankError, SharedStores, scopes};

/// Characters of an unknown model's name that an error repeats.
const SHOWN_NAME: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Generation {
    pub(super) models: Vec<ModelCard>,
    /// Identities of the models' scores, in their order.
    pub(super) identities: Vec<String>,
    /// Their places in the cache, in their order.
    pub(super) scopes: Vec<usize>,
    pub(super) engine: Engine,
    pub(super) stores: Arc<SharedStores>,
    pub(super) metrics: Arc<Metrics>,
}

/// Where the outcomes of a trial go.
struct Tried {
    reported: Sender<(usize, Result<Scored, PairError>)>,
    deadline: Instant,
}

impl Generation {
    pub(super) fn new(
        models: Vec<ModelCard>,
        places: Vec<usize>,
        engine: Engine,
        stores: Arc<SharedStores>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let identities = scopes(&models).into_iter().map(|scope| scope.identity).collect();
        Self { models, identities, scopes: places, engine, stores, metrics }
    }

    /// The models served, the default first.
    pub fn models(&self) -> &[ModelCard] {
        &self.models
    }

    /// Further names by which requests may call a model, besides that of its repository.
    pub fn aliases(&self, id: &str) -> Vec<&str> {
        self.stores.names.aliases_of(id).collect()
    }

    /// What each of them has of workers and queue, in their order.
    pub fn quotas(&self) -> &[Quota] {
        self.engine.quotas()
    }

    /// Shows what each model has, once these are the ones that answer.
    pub(super) fn show(&self) {
        let (weights, limits) = (&self.metrics.model_weight, &self.metrics.model_queue_limit_tokens);
        // One that is loaded no more has nothing.
        weights.clear();
        limits.clear();
        for (card, quota) in self.models.iter().zip(self.quotas()) {
            let label = Served { model: card.id.clone() };
            weights.get_or_create(&label).set(quota.weight.into());
            limits.get_or_create(&label).set(i64::try_from(quota.queue_tokens).unwrap_or(i64::MAX));
        }
    }

    /// The model that a request's `model` names.
    ///
    /// # Errors
    /// [`RerankError::UnknownModel`] when it is not served here.
    pub fn model(&self, name: Option<&str>) -> Result<&ModelCard, RerankError> {
        self.position(name).map(|position| &self.models[position])
    }

    /// A model's place in the cache.
    pub(super) fn scope(&self, name: &str) -> Result<usize, RerankError> {
        self.position(Some(name)).map(|position| self.scopes[position])
    }

    /// Every model's place in the cache, with the identity of its scores.
    pub(super) fn identities(&self) -> impl Iterator<Item = (usize, &str)> {
        self.scopes.iter().copied().zip(self.identities.iter().map(String::as_str))
    }

    pub(super) fn position(&self, name: Option<&str>) -> Result<usize, RerankError> {
        self.stores.names.position(name, &self.models).ok_or_else(|| RerankError::UnknownModel {
            name: name.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(SHOWN_NAME).collect(),
            served: self.models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Blocks until every worker is warm.
    ///
    /// # Errors
    /// The first worker's failure to load or to run its model.
    pub fn wait_until_warm(&self) -> Result<(), StartError> {
        self.engine.wait_until_warm()
    }

    /// As [`Generation::wait_until_warm`], for as long as `wanted` says so.
    ///
    /// # Errors
    /// The first worker's failure, or [`StartError::Unfinished`].
    pub fn wait_until_warm_while(&self, wanted: &dyn Fn() -> bool) -> Result<(), StartError> {
        self.engine.wait_until_warm_while(wanted)
    }

    /// Ids of the models that workers are loading, or running for the first time.
    pub fn loading(&self) -> Vec<String> {
        self.engine.loading()
    }

    /// Scores pairs straight through the engine, past the cache. Blocks until all are scored or the deadline has passed.
    ///
    /// # Errors
    /// [`RerankError::UnknownModel`], the engine's refusal, or the first pair's fault.
    pub fn trial(&self, model: &str, pairs: &[(&str, &str)], deadline: Instant) -> Result<Vec<Scored>, RerankError> {
        let (reported, outcomes) = mpsc::channel();
        let document = |(query, (_, document)): (usize, &(&str, &str))| {
            (u32::try_from(query).unwrap_or(u32::MAX), Box::from(*document))
        };
        let work = Work {
            model: self.position(Some(model))?,
            queries: pairs.iter().map(|(query, _)| Box::from(*query)).collect(),
            documents: pairs.iter().enumerate().map(document).collect(),
            instruction: None,
            cut: Truncation::MODEL,
            refuse_cut: false,
            deadline,
            priority: Priority::Live,
            order: Order::LongestFirst,
            empty: EmptyDocuments::Score,
        };
        self.engine.submit(work, Arc::new(Tried { reported, deadline }), Instant::now())?;
        let mut scored = vec![None; pairs.len()];
        // The engine answers every pair, late ones too, and lets go of the sender then.
        for (slot, outcome) in outcomes {
            scored[slot] = Some(outcome.map_err(|fault| RerankError::of(fault, slot))?);
        }
        let all: Option<Vec<Scored>> = scored.into_iter().collect();
        all.ok_or(RerankError::Unavailable { reason: "a worker went away during a trial" })
    }
}

impl Sink for Tried {
    fn settle(&self, slot: usize, outcome: Result<Scored, PairError>) {
        // Whoever tries has given up at the first fault; nobody else waits.
        let _ = self.reported.send((slot, outcome));
    }

    fn wanted_until(&self, _: usize) -> Option<Instant> {
        Some(self.deadline)
    }
}
