//! The models' files while the process serves: load, unload, swap.
//!
//! Owns the order of a change: open the new files, start an engine over them beside the one that serves, have it prove
//! itself, switch, and let the old one go when its last request is answered. A move to the CPU, when an accelerator was
//! lost, is such a change too: other arithmetic is another generation, whose scores have keys of their own. Whatever fails before the switch leaves the
//! old one serving, untouched. One change is made at a time. Only models that the process was configured with can be
//! loaded, so budgets, weights and metrics stay bounded. It must not know HTTP, or how a model is opened.

mod proof;

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::domain::ModelCard;
use crate::engine::{self, Engine, Surroundings};
use crate::metrics::Reason;
use crate::model::Model;
use crate::model::golden::Golden;
use crate::rerank::{Generation, Reranker};

pub use proof::Unproved;

/// The provider that is always there.
const CPU: &str = "cpu";

/// How often it is looked whether the last request of a former generation has been answered.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Opens models from wherever they are kept.
pub trait Opener: Send + Sync {
    /// Opens a model anew, as its files are now, and says what it must score.
    ///
    /// # Errors
    /// What is missing or not understood.
    fn open(&self, id: &str) -> Result<(Model, Vec<Golden>), Box<dyn Error + Send + Sync>>;

    /// The same on the CPU, after the devices of the provider that ran it were lost.
    ///
    /// # Errors
    /// As [`Opener::open`]; where there is no way to the CPU, always.
    fn open_on_cpu(&self, id: &str, lost: &str) -> Result<(Model, Vec<Golden>), Box<dyn Error + Send + Sync>> {
        Err(format!("model `{id}`: there is no way from {lost} to the cpu here").into())
    }
}

/// See the module.
pub struct Repository {
    reranker: Arc<Reranker>,
    opener: Box<dyn Opener>,
    engine: engine::Options,
    around: Surroundings,
    /// Gives memory back that a former generation held.
    give_back: fn(),
    /// Held for as long as a change takes.
    turn: Mutex<Turn>,
    listed: Mutex<Vec<Listed>>,
}

/// What only one change at a time may touch.
struct Turn {
    /// The models that are loaded, by their scope in the cache.
    loaded: Vec<Option<Arc<Model>>>,
    /// Threads that wait for the last request of former generations.
    retiring: Vec<JoinHandle<()>>,
}

/// A model and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Whether it answers.
    pub state: State,
    /// Why the last change failed; empty when it did not.
    pub reason: String,
}

/// Whether a model answers. The words are Triton's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Ready,
    /// It does not answer yet.
    Loading,
    /// It does not answer.
    Unavailable,
}

/// What a load came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Its files give the same scores as before: nothing was done.
    Unchanged,
    /// It answers, by its files as they are now.
    Switched,
}

/// Why a change was not made. What served before serves on.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The process was not configured with such a model.
    #[error("model: `{name}` is none of RESCORED_MODELS; configured: {known}")]
    Unknown {
        /// The name, shortened to what may be printed.
        name: String,
        /// Configured ids.
        known: String,
    },
    /// It is what requests without a model's name are answered by.
    #[error("model: `{0}` is the default, which requests without a model's name need; swap it by loading new files")]
    Default(String),
    /// It cannot be opened.
    #[error("model `{id}`: the new files cannot be opened; what served before serves on")]
    Open {
        /// The model.
        id: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// It cannot run.
    #[error("model `{id}`: the new files cannot be run; what served before serves on")]
    Start {
        /// The model.
        id: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// It runs, and does not score as it must.
    #[error("model `{id}`: the new files did not prove themselves; what served before serves on")]
    Unproved {
        /// The model.
        id: String,
        /// Why.
        #[source]
        source: Unproved,
    },
}

impl State {
    /// The word that Triton's clients know.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Loading => "LOADING",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("listed", &self.list()).finish_non_exhaustive()
    }
}

impl Repository {
    /// Over what serves now: `models` are the reranker's, in its order.
    pub fn new(
        (reranker, models): (Arc<Reranker>, Vec<Arc<Model>>),
        opener: Box<dyn Opener>,
        (engine, around): (engine::Options, Surroundings),
        give_back: fn(),
    ) -> Self {
        let listed =
            |model: &Arc<Model>| Listed { id: model.card.id.clone(), state: State::Ready, reason: String::new() };
        let listed = models.iter().map(listed).collect();
        let turn = Turn { loaded: models.into_iter().map(Some).collect(), retiring: Vec::new() };
        Self { reranker, opener, engine, around, give_back, turn: Mutex::new(turn), listed: Mutex::new(listed) }
    }

    /// Every configured model, the default first.
    pub fn list(&self) -> Vec<Listed> {
        lock(&self.listed).clone()
    }

    /// Has a model answer by its files as they are now. Blocks until it does; others are answered meanwhile.
    ///
    /// # Errors
    /// [`ChangeError`]; what served before serves on.
    pub fn load(&self, name: &str) -> Result<Loaded, ChangeError> {
        let mut turn = lock(&self.turn);
        let scope = self.scope(name)?;
        self.note(scope, |listed| {
            listed.state = if listed.state == State::Ready { State::Ready } else { State::Loading };
        });
        let outcome = self.replace(&mut turn, (scope, name));
        let served = turn.loaded.get(scope).is_some_and(Option::is_some);
        self.note(scope, |listed| {
            listed.state = if served { State::Ready } else { State::Unavailable };
            listed.reason = outcome.as_ref().err().map(told).unwrap_or_default();
        });
        match &outcome {
            Ok(Loaded::Switched) => self.count("loaded"),
            Ok(Loaded::Unchanged) => self.count("unchanged"),
            Err(error) => {
                self.count("failed");
                tracing::error!(model.id = name, error = told(error), "model not changed");
            }
        }
        outcome
    }

    /// Has a model answer no more; its memory is given back when its last request has been answered.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn unload(&self, name: &str) -> Result<(), ChangeError> {
        let mut turn = lock(&self.turn);
        let scope = self.scope(name)?;
        if scope == 0 {
            return Err(ChangeError::Default(name.to_owned()));
        }
        if turn.loaded.get(scope).is_none_or(Option::is_none) {
            return Ok(());
        }
        let mut models = turn.loaded.clone();
        if let Some(place) = models.get_mut(scope) {
            *place = None;
        }
        let next = self.start(&models, name)?;
        self.switch(&mut turn, models, next);
        self.note(scope, |listed| {
            listed.state = State::Unavailable;
            "unloaded".clone_into(&mut listed.reason);
        });
        self.count("unloaded");
        tracing::info!(model.id = name, "model unloaded");
        Ok(())
    }

    /// Loads every model that answers anew, as its files are now. Failures are told in the log and in the list.
    pub fn reload(&self) {
        for listed in self.list() {
            if listed.state == State::Ready {
                // Told by `load` itself.
                let _ = self.load(&listed.id);
            }
        }
    }

    /// Has every model whose accelerator was lost answer from the CPU. Blocks until it does; a later [`Repository::load`]
    /// goes back to the accelerator if it runs again. Answers with how many were moved.
    ///
    /// # Errors
    /// [`ChangeError`]; what served before serves on, as far as it does.
    pub fn move_to_cpu(&self) -> Result<usize, ChangeError> {
        let mut turn = lock(&self.turn);
        let outcome = self.moved(&mut turn);
        match &outcome {
            Ok(0) => {}
            Ok(_) => self.count("moved_to_cpu"),
            Err(error) => {
                self.count("failed");
                tracing::error!(error = told(error), "models cannot move to the cpu");
            }
        }
        outcome
    }

    fn moved(&self, turn: &mut Turn) -> Result<usize, ChangeError> {
        let mut models = turn.loaded.clone();
        let mut proofs = Vec::new();
        for place in &mut models {
            let Some(card) = place.as_ref().map(|model| model.card.clone()).filter(|card| card.provider != CPU) else {
                continue;
            };
            let failed = |source| ChangeError::Open { id: card.id.clone(), source };
            let (model, golden) = self.opener.open_on_cpu(&card.id, &card.provider).map_err(failed)?;
            proofs.push((card, golden, model.card.precision.clone()));
            *place = Some(Arc::new(model));
        }
        let Some((first, ..)) = proofs.first() else { return Ok(0) };
        let next = self.start(&models, &first.id)?;
        for (card, golden, _) in &proofs {
            let unproved = |source| ChangeError::Unproved { id: card.id.clone(), source };
            // Golden logits are those of the files; their bounds hold whatever computes.
            proof::prove(&next, &card.id, golden).map_err(unproved)?;
        }
        self.switch(turn, models, next);
        for (card, _, precision) in &proofs {
            let (model, from) = (card.id.as_str(), card.provider.as_str());
            tracing::warn!(model.id = model, from, before = card.precision, precision, "model moved to the cpu");
        }
        Ok(proofs.len())
    }

    fn replace(&self, turn: &mut Turn, (scope, name): (usize, &str)) -> Result<Loaded, ChangeError> {
        let id = || name.to_owned();
        let (model, golden) = self.opener.open(name).map_err(|source| ChangeError::Open { id: id(), source })?;
        let before = turn.loaded.get(scope).and_then(Option::as_ref);
        if before.is_some_and(|before| same(&before.card, &model.card)) {
            return Ok(Loaded::Unchanged);
        }
        let fingerprint = model.card.fingerprint.clone();
        let mut models = turn.loaded.clone();
        if let Some(place) = models.get_mut(scope) {
            *place = Some(Arc::new(model));
        }
        let next = self.start(&models, name)?;
        proof::prove(&next, name, &golden).map_err(|source| ChangeError::Unproved { id: id(), source })?;
        self.switch(turn, models, next);
        tracing::info!(model.id = name, fingerprint, golden.pairs = golden.len(), "model switched");
        Ok(Loaded::Switched)
    }

    /// A warm engine over these models, beside the one that serves.
    fn start(&self, models: &[Option<Arc<Model>>], name: &str) -> Result<Generation, ChangeError> {
        let failed = |source: Box<dyn Error + Send + Sync>| ChangeError::Start { id: name.to_owned(), source };
        let loaded = || models.iter().enumerate().filter_map(|(scope, model)| Some((scope, model.as_ref()?)));
        let shared: Arc<[Arc<Model>]> = loaded().map(|(_, model)| Arc::clone(model)).collect();
        let engine = Engine::start(&self.engine, &shared, &self.around).map_err(|error| failed(error.into()))?;
        let cards = loaded().map(|(scope, model)| (model.card.clone(), scope)).collect();
        let next = self.reranker.prepare(cards, engine);
        next.wait_until_warm().map_err(|error| failed(error.into()))?;
        Ok(next)
    }

    fn switch(&self, turn: &mut Turn, models: Vec<Option<Arc<Model>>>, next: Generation) {
        let before = self.reranker.switch(next);
        let is_moved = |model: &&Arc<Model>| model.card.execution.moved_from.is_some();
        let moved = models.iter().flatten().filter(is_moved).count();
        self.around.metrics.models_moved.set(i64::try_from(moved).unwrap_or(i64::MAX));
        turn.loaded = models;
        turn.retiring.retain(|thread| !thread.is_finished());
        let give_back = self.give_back;
        let retire = move || {
            retire(before);
            give_back();
        };
        match std::thread::Builder::new().name("retire".to_owned()).spawn(retire) {
            Ok(thread) => turn.retiring.push(thread),
            Err(error) => tracing::error!(%error, "no thread to retire the former models; the last request does"),
        }
    }

    fn scope(&self, name: &str) -> Result<usize, ChangeError> {
        let listed = lock(&self.listed);
        listed.iter().position(|listed| listed.id == name).ok_or_else(|| ChangeError::Unknown {
            name: name.chars().filter(char::is_ascii_graphic).take(64).collect(),
            known: listed.iter().map(|listed| listed.id.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    fn note(&self, scope: usize, change: impl FnOnce(&mut Listed)) {
        lock(&self.listed).get_mut(scope).map(change);
    }

    fn count(&self, reason: &'static str) {
        self.around.metrics.model_changes.get_or_create(&Reason { reason }).inc();
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let mut turn = lock(&self.turn);
        for thread in turn.retiring.drain(..) {
            // One that panicked has said so itself.
            drop(thread.join());
        }
    }
}

/// Ends a generation's threads once nobody holds it, in this thread and not in a request's.
fn retire(mut generation: Arc<Generation>) {
    loop {
        match Arc::try_unwrap(generation) {
            Ok(last) => return drop(last),
            Err(held) => generation = held,
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whether two models give bit-equal scores and describe themselves alike.
fn same(one: &ModelCard, other: &ModelCard) -> bool {
    let facts = |card: &ModelCard| (card.fingerprint.clone(), card.precision.clone(), card.provider.clone());
    facts(one) == facts(other) && one.activation == other.activation && one.max_length == other.max_length
}

/// An error and its causes, in one line.
pub fn told(error: &ChangeError) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        line = format!("{line}: {inner}");
        cause = inner.source();
    }
    line
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panicking holder left is whole: every change is made by one assignment.
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
