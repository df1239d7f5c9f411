//! The composition root: puts the parts together, runs them, and takes them apart in order.
//!
//! The only module below the command line that knows all others. Shutdown, in this order:
//! 1. not ready, so that balancers look elsewhere;
//! 2. stop accepting connections;
//! 3. finish what was accepted, within the grace period;
//! 4. let go of the engine: its threads end after the work they hold;
//! 5. say what was cut, if anything was.

use std::sync::Arc;

use crate::cache::{self, ScoreCache};
use crate::engine::{self, Engine, Surroundings};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::rerank::Reranker;

/// The parts that answer requests, without the server in front of them.
#[derive(Clone, Debug)]
pub struct Core {
    /// The use case.
    pub reranker: Arc<Reranker>,
    /// Alive, ready, draining.
    pub health: Arc<Health>,
    /// Figures.
    pub metrics: Arc<Metrics>,
}

impl Core {
    /// Starts the engine over these models. Workers load them in the background.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(models: Vec<Model>, engine: &engine::Options, cache: &cache::Options) -> std::io::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let health = Arc::new(Health::default());
        let cards = models.iter().map(|model| model.card.clone()).collect();
        let around = Surroundings { metrics: Arc::clone(&metrics), health: Arc::clone(&health) };
        let engine = Engine::start(engine, &models.into(), &around)?;
        let cache = ScoreCache::new(cache, Arc::clone(&metrics));
        let reranker = Arc::new(Reranker::new(cards, engine, cache, Arc::clone(&metrics)));
        Ok(Self { reranker, health, metrics })
    }
}
