//! Which model a worker loads or runs for the first time, and what ends that.
//!
//! Owns the first passes, and one worker's word on them, where others can see it: a session that is being built cannot be ended, a first forward
//! pass that goes on for ever can, mostly. It must not know scheduling, or who gives up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rescored_process::sync::lock;
use rescored_runtime::{Batch, BatchingPolicy, CancelHandle, Encoding, Model, Scorer, ScorerError};

use super::StartError;

/// Tokens of the pair that warms a worker up: long enough that memory arenas get their usual size.
const WARM_UP_TOKENS: u32 = 128;

/// Tokens of a pair that shows whether a model runs at all where [`WARM_UP_TOKENS`] fail, and of two in one pass.
const SHORT_TOKENS: u32 = 8;

/// How often whoever waits for workers to load their models looks whether it is still to wait.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a worker that loads a model, or runs it for the first time, may go on once its engine is given up. Past it its
/// thread is left behind.
pub(super) const PATIENCE_TO_END: Duration = Duration::from_secs(1);

/// See the module. Empty while its worker loads nothing.
#[derive(Default)]
pub(super) struct Loading(Mutex<Option<CurrentLoad>>);

struct CurrentLoad {
    /// The model, by its place among the engine's.
    model: usize,
    /// What ends its first forward pass, once there is one.
    cancel_handle: Option<Arc<dyn CancelHandle>>,
}

impl Loading {
    /// A model begins to be loaded.
    pub(super) fn begin(&self, model: usize) {
        *self.current() = Some(CurrentLoad { model, cancel_handle: None });
    }

    /// It is about to run for the first time; where nobody wants that any more, it is asked to stop before it begins.
    pub(super) fn warm(&self, cancel_handle: Option<Arc<dyn CancelHandle>>, is_unwanted: impl Fn() -> bool) {
        let mut current = self.current();
        if let Some(cancel_handle) = cancel_handle.as_ref().filter(|_| is_unwanted()) {
            cancel_handle.stop();
        }
        if let Some(current) = current.as_mut() {
            current.cancel_handle = cancel_handle;
        }
    }

    /// It runs, or cannot.
    pub(super) fn end(&self) {
        *self.current() = None;
    }

    /// Ends the first forward pass that is going on, if one is.
    pub(super) fn stop(&self) {
        if let Some(cancel_handle) = self.current().as_ref().and_then(|current| current.cancel_handle.as_ref()) {
            cancel_handle.stop();
        }
    }

    /// The model that is being loaded.
    pub(super) fn model(&self) -> Option<usize> {
        self.current().as_ref().map(|current| current.model)
    }

    fn current(&self) -> MutexGuard<'_, Option<CurrentLoad>> {
        // No code that can panic runs under this lock.
        lock(&self.0)
    }
}

/// Ids of the models that are being loaded, each once, in their order.
pub(super) fn ids(loading: impl Iterator<Item = usize>, models: &[Arc<Model>]) -> Vec<String> {
    let mut places: Vec<usize> = loading.collect();
    places.sort_unstable();
    places.dedup();
    places.into_iter().filter_map(|place| Some(models.get(place)?.card.id.clone())).collect()
}

/// Builds one scorer a model for a worker, and runs each; `is_unwanted` says that nobody waits for them any more.
pub(super) fn build(
    models: &[Arc<Model>],
    loading: &Loading,
    is_unwanted: impl Fn() -> bool,
    batch: &mut Batch,
) -> Result<Vec<Box<dyn Scorer>>, StartError> {
    let mut scorers = Vec::with_capacity(models.len());
    for (place, model) in models.iter().enumerate() {
        loading.begin(place);
        let built = catch_unwind(AssertUnwindSafe(|| {
            let mut scorer = model.scorers.build()?;
            loading.warm(scorer.cancel_handle(), &is_unwanted);
            first_passes(model, &mut scorer, batch)?;
            Ok(scorer)
        }));
        loading.end();
        let panicked = |_| Err(ScorerError::Runtime { message: "loading the model panicked".to_owned() });
        let card = &model.card;
        let (id, file) = (card.id.clone(), card.execution.graph.file.clone());
        let failed = |source| StartError::Model { model: id, file, source };
        scorers.push(built.unwrap_or_else(panicked).map_err(failed)?);
    }
    Ok(scorers)
}

fn first_passes(model: &Model, scorer: &mut Box<dyn Scorer>, batch: &mut Batch) -> Result<(), ScorerError> {
    let mut run = |tokens: u32, pairs: usize| {
        let length = tokens.min(model.card.max_length);
        let pair = Encoding::new(vec![1; length as usize], length / 2, 0);
        model.batching_policy.arrange(&vec![&pair; pairs], batch);
        scorer.score(batch).map(drop)
    };
    // A model that takes shorter pairs only than it says runs, and fails when it proves itself.
    run(WARM_UP_TOKENS, 1).or_else(|error| run(SHORT_TOKENS, 1).map_err(|_| error))?;
    if model.batching_policy != BatchingPolicy::Alone {
        // Passes that fail because they hold several pairs would be halved later, and only be slow.
        run(SHORT_TOKENS, 2)?;
    }
    Ok(())
}
