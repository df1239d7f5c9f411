//! Makes changes of models, one after the other, in a thread of its own.
//!
//! Owns the models that are loaded. What may hang (opening files, loading, the first forward pass, the proof) is done by a
//! thread a change, which is left behind when it does not end in time; only this one switches, so that whatever such a
//! thread comes to later changes nothing. It must not know who asks, or what waits.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rescored_core::domain::ModelCard;
use rescored_engine::{Engine, EngineContext};
use rescored_process::metrics::Reason;
use rescored_runtime::Model;

use super::queue::{Change, Flag, Queue, Turn};
use super::{ChangeError, Changed, GivenUp, Opener, Options, error_chain, proof};
use crate::rerank::{Generation, Reranker};

/// The provider that is always there.
const CPU: &str = "cpu";

/// How often it is looked whether the last request of a former generation has been answered, and whether a change is late.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long a change that was given up may take to end: an engine leaves a worker behind that goes on loading for a second.
const PATIENCE_TO_END: Duration = Duration::from_secs(3);

/// See the module.
pub(super) struct Changer {
    shared: Arc<Shared>,
    /// The models that are loaded, by their scope in the cache.
    loaded: Vec<Option<Arc<Model>>>,
    /// Threads that wait for the last request of former generations.
    retiring: Vec<JoinHandle<()>>,
    /// Threads of changes that were given up and did not end.
    left_behind: Vec<JoinHandle<()>>,
    /// Gives memory back that a former generation held.
    give_back: fn(),
}

/// What the thread of a change needs.
struct Shared {
    reranker: Arc<Reranker>,
    opener: Arc<dyn Opener>,
    options: Options,
    context: EngineContext,
    queue: Arc<Queue>,
}

/// What is to be switched to.
enum Prepared {
    /// Nothing: all is as it would be.
    Same,
    /// Other models, or other files of them.
    Next { models: Vec<Option<Arc<Model>>>, generation: Box<Generation>, outcome: Changed },
}

/// A change as its thread sees it.
struct Attempt {
    change: Change,
    id: String,
    models: Vec<Option<Arc<Model>>>,
    flag: Arc<Flag>,
}

impl Changer {
    pub(super) fn new(
        reranker: Arc<Reranker>,
        models: Vec<Arc<Model>>,
        opener: Arc<dyn Opener>,
        options: Options,
        context: EngineContext,
        give_back: fn(),
        queue: Arc<Queue>,
    ) -> Self {
        let loaded = models.into_iter().map(Some).collect();
        let shared = Arc::new(Shared { reranker, opener, options, context, queue });
        Self { shared, loaded, retiring: Vec::new(), left_behind: Vec::new(), give_back }
    }

    /// Makes changes until the queue is closed.
    pub(super) fn run(mut self) {
        let queue = Arc::clone(&self.shared.queue);
        while let Some(Turn { change, flag, done, .. }) = queue.next() {
            let id = queue.id(change);
            let outcome = self.make(change, &id, &flag);
            let reason = match (&outcome, change) {
                (Ok(_), Change::Unload { .. }) => "unloaded".to_owned(),
                (Ok(_), Change::Load { .. } | Change::MoveToCpu) => String::new(),
                (Err(error), _) => error_chain(error),
            };
            self.account(&id, change, &outcome);
            let served: Vec<bool> = self.loaded.iter().map(Option::is_some).collect();
            queue.over(&served, reason);
            done(outcome);
        }
    }

    fn make(&mut self, change: Change, id: &str, flag: &Arc<Flag>) -> Result<Changed, ChangeError> {
        if matches!(change, Change::Unload { scope } if self.loaded.get(scope).is_none_or(Option::is_none)) {
            return Ok(Changed::Unloaded);
        }
        let attempt = Attempt { change, id: id.to_owned(), models: self.loaded.clone(), flag: Arc::clone(flag) };
        let limit = self.shared.queue.limit();
        let given_up = |why| ChangeError::GivenUp { id: id.to_owned(), why, limit };
        let prepared = self.wait_for(attempt, limit);
        if let Some(why) = flag.given_up() {
            // In its last moment, perhaps: what was prepared goes as it came.
            return Err(given_up(why));
        }
        match prepared {
            Err(error) => Err(error),
            Ok(Prepared::Same) => Ok(if change == Change::MoveToCpu { Changed::Moved(0) } else { Changed::Nothing }),
            Ok(Prepared::Next { models, generation, outcome }) => {
                self.switch(models, *generation);
                if let (Changed::Loaded, Some(card)) = (outcome, self.card(change)) {
                    tracing::info!(model.id = id, fingerprint = card.fingerprint, "model switched");
                }
                Ok(outcome)
            }
        }
    }

    /// Has a thread prepare a change, and waits for it, but not for ever.
    fn wait_for(&mut self, attempt: Attempt, limit: Duration) -> Result<Prepared, ChangeError> {
        let (sender, reported) = mpsc::channel();
        let (id, flag) = (attempt.id.clone(), Arc::clone(&attempt.flag));
        let start = |source: Box<dyn Error + Send + Sync>| ChangeError::Start { id: id.clone(), source };
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let prepared = catch_unwind(AssertUnwindSafe(|| shared.prepare(&attempt)));
            let panicked = |_| Err(ChangeError::Start { id: attempt.id.clone(), source: "loading panicked".into() });
            // Nobody waits any more for what was given up: it goes with the message.
            drop(sender.send(prepared.unwrap_or_else(panicked)));
        };
        let thread = std::thread::Builder::new().name("model-load".to_owned()).spawn(work);
        let thread = thread.map_err(|error| start(error.into()))?;
        let deadline = Instant::now() + limit;
        let mut given_up_at = None;
        loop {
            match reported.recv_timeout(LOOK_EVERY) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Disconnected) => return Err(start("its thread died".into())),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() > deadline {
                flag.give_up(GivenUp::Late);
            }
            let Some(why) = flag.given_up() else { continue };
            if given_up_at.get_or_insert_with(Instant::now).elapsed() > PATIENCE_TO_END {
                self.leave_behind(thread, &id);
                return Err(ChangeError::GivenUp { id, why, limit });
            }
        }
    }

    fn leave_behind(&mut self, thread: JoinHandle<()>, id: &str) {
        self.left_behind.retain(|thread| !thread.is_finished());
        self.left_behind.push(thread);
        let left = self.left_behind.len();
        tracing::error!(model.id = id, left, "a load that was given up does not end; its thread is left behind");
        self.shared.queue.count_left_behind(|_| left);
    }

    /// The card of the model that a change is about.
    fn card(&self, change: Change) -> Option<&ModelCard> {
        let Change::Load { scope } = change else { return None };
        self.loaded.get(scope)?.as_ref().map(|model| &model.card)
    }

    fn switch(&mut self, models: Vec<Option<Arc<Model>>>, next: Generation) {
        let before = self.shared.reranker.switch(next);
        let is_moved = |model: &&Arc<Model>| model.card.execution.moved_from.is_some();
        let moved = models.iter().flatten().filter(is_moved).count();
        self.shared.context.metrics.models_moved.set(i64::try_from(moved).unwrap_or(i64::MAX));
        self.loaded = models;
        self.retiring.retain(|thread| !thread.is_finished());
        let give_back = self.give_back;
        let retire = move || {
            retire(before);
            give_back();
        };
        match std::thread::Builder::new().name("retire".to_owned()).spawn(retire) {
            Ok(thread) => self.retiring.push(thread),
            Err(error) => tracing::error!(%error, "no thread to retire the former models; the last request does"),
        }
    }

    fn account(&mut self, id: &str, change: Change, outcome: &Result<Changed, ChangeError>) {
        self.left_behind.retain(|thread| !thread.is_finished());
        let left = self.left_behind.len();
        self.shared.queue.count_left_behind(|_| left);
        let reason = match outcome {
            Ok(Changed::Moved(0)) => return,
            Ok(Changed::Nothing) => "unchanged",
            Ok(Changed::Loaded) => "loaded",
            Ok(Changed::Unloaded) => {
                tracing::info!(model.id = id, "model unloaded");
                "unloaded"
            }
            Ok(Changed::Moved(_)) => "moved_to_cpu",
            Err(error @ ChangeError::GivenUp { why, .. }) => {
                tracing::error!(model.id = id, error = error_chain(error), "model not changed");
                if *why == GivenUp::Late { "timed_out" } else { "given_up" }
            }
            Err(error) if change == Change::MoveToCpu => {
                tracing::error!(error = error_chain(error), "models cannot move to the cpu");
                "failed"
            }
            Err(error) => {
                tracing::error!(model.id = id, error = error_chain(error), "model not changed");
                "failed"
            }
        };
        self.shared.context.metrics.model_changes.get_or_create(&Reason { reason }).inc();
    }
}

impl Drop for Changer {
    fn drop(&mut self) {
        for thread in self.retiring.drain(..) {
            // One that panicked has said so itself.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn prepare(&self, attempt: &Attempt) -> Result<Prepared, ChangeError> {
        match attempt.change {
            // One that waited, and was given up meanwhile.
            _ if attempt.flag.given_up().is_some() => Ok(Prepared::Same),
            Change::Load { scope } => self.load(attempt, scope),
            Change::Unload { scope } => {
                let mut models = attempt.models.clone();
                if let Some(place) = models.get_mut(scope) {
                    *place = None;
                }
                let generation = Box::new(self.start(&models, attempt)?);
                Ok(Prepared::Next { models, generation, outcome: Changed::Unloaded })
            }
            Change::MoveToCpu => self.move_to_cpu(attempt),
        }
    }

    fn load(&self, attempt: &Attempt, scope: usize) -> Result<Prepared, ChangeError> {
        let id = || attempt.id.clone();
        let opened = self.opener.open(&attempt.id);
        let (model, golden) = opened.map_err(|source| ChangeError::Open { id: id(), source })?;
        let before = attempt.models.get(scope).and_then(Option::as_ref);
        if before.is_some_and(|before| same(&before.card, &model.card)) {
            return Ok(Prepared::Same);
        }
        let mut models = attempt.models.clone();
        if let Some(place) = models.get_mut(scope) {
            *place = Some(Arc::new(model));
        }
        let next = self.start(&models, attempt)?;
        let proof = proof::prove(&next, &attempt.id, &golden, &attempt.wanted());
        proof.map_err(|source| ChangeError::Unproved { id: id(), source })?;
        Ok(Prepared::Next { models, generation: Box::new(next), outcome: Changed::Loaded })
    }

    fn move_to_cpu(&self, attempt: &Attempt) -> Result<Prepared, ChangeError> {
        let mut models = attempt.models.clone();
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
        let Some((first, ..)) = proofs.first() else { return Ok(Prepared::Same) };
        let attempt =
            &Attempt { id: first.id.clone(), models: Vec::new(), flag: Arc::clone(&attempt.flag), ..*attempt };
        let next = self.start(&models, attempt)?;
        for (card, golden, _) in &proofs {
            let unproved = |source| ChangeError::Unproved { id: card.id.clone(), source };
            // Golden logits are those of the files; their bounds hold whatever computes.
            proof::prove(&next, &card.id, golden, &attempt.wanted()).map_err(unproved)?;
        }
        for (card, _, precision) in &proofs {
            let (model, from) = (card.id.as_str(), card.provider.as_str());
            tracing::warn!(model.id = model, from, before = card.precision, precision, "model moved to the cpu");
        }
        Ok(Prepared::Next { models, generation: Box::new(next), outcome: Changed::Moved(proofs.len()) })
    }

    /// A warm engine over these models, beside the one that serves.
    fn start(&self, models: &[Option<Arc<Model>>], attempt: &Attempt) -> Result<Generation, ChangeError> {
        let failed = |source: Box<dyn Error + Send + Sync>| ChangeError::Start { id: attempt.id.clone(), source };
        let loaded = || models.iter().enumerate().filter_map(|(scope, model)| Some((scope, model.as_ref()?)));
        let shared: Arc<[Arc<Model>]> = loaded().map(|(_, model)| Arc::clone(model)).collect();
        let engine =
            Engine::start(&self.options.engine, &shared, &self.context).map_err(|error| failed(error.into()))?;
        let cards = loaded().map(|(scope, model)| (model.card.clone(), scope)).collect();
        let next = self.reranker.prepare(cards, engine);
        next.wait_until_warm_while(&attempt.wanted()).map_err(|error| failed(error.into()))?;
        Ok(next)
    }
}

impl Attempt {
    /// Whether the change is still wanted.
    fn wanted(&self) -> impl Fn() -> bool + '_ {
        || self.flag.given_up().is_none()
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
