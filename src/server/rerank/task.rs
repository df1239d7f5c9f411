//! One request's task: past the cache, past pairs in flight, and the rest through the engine.
//!
//! Owns the keys of a request and who answers which of its pairs. It must not know deadlines beyond handing them on.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use rescored_cache::{Key, QueryKey};
use rescored_core::domain::{EmptyDocuments, Logit, Scored};
use rescored_engine::{CancelNotifier, Order, PairError, Sink, Work, WorkHandle};
use rescored_process::budget::Reservation;

use super::collector::ResultCollector;
use super::generation::Generation;
use super::in_flight::{Joined, LeaderId, Waiter};
use super::{Late, Request, RerankError, SharedStores};

/// A request and the keys of its pairs.
pub(super) struct RerankTask<'r> {
    generation: &'r Generation,
    model: usize,
    /// The model's place in the cache.
    scope: usize,
    request: &'r Request<'r>,
    keys: Vec<Key>,
    /// What the cache's tiers held, by the caller's index.
    found: Vec<Option<Scored>>,
    late: Late,
}

/// One attempt at the pairs that have no score yet. Dropping it, however the request ended, reports to the collector that
/// nobody waits there any more.
pub(super) struct Attempt {
    waiting: Waiting,
    /// The work this request leads through the engine; `None` when others or the cache answer everything.
    pub(super) handle: Option<WorkHandle>,
    /// Pairs that the cache answered.
    pub(super) cached: usize,
    cancel_notifier: CancelNotifier,
}

struct Waiting(Arc<ResultCollector>);

/// The pairs that one request leads through the engine, and where their outcomes go.
struct LeaderSink {
    stores: Arc<SharedStores>,
    scope: usize,
    leader: LeaderId,
    /// Cache keys by the engine's slot.
    keys: Vec<Key>,
    variant: KeyVariant,
    /// The engine holds the work's texts as long as it holds this.
    _memory: Option<Arc<Reservation>>,
}

/// Requests that forbid cutting get other outcomes than those that allow it: they do not share entries of the in-flight
/// table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyVariant {
    Cutting,
    Whole,
}

impl KeyVariant {
    const fn of(self, key: Key) -> Key {
        match self {
            Self::Cutting => key,
            Self::Whole => key.variant(),
        }
    }
}

/// What a model's scores are kept under. A document without a token has a score of the model in one setting of
/// `RESCORED_EMPTY_DOCUMENTS` and a fixed one in the other: a snapshot of one must not answer for the other.
fn scored_as(identity: &str, empty: EmptyDocuments) -> Cow<'_, str> {
    match empty {
        EmptyDocuments::Last => Cow::Borrowed(identity),
        EmptyDocuments::Score => Cow::Owned(format!("{identity}, documents without a token scored")),
    }
}

impl<'r> RerankTask<'r> {
    /// Hashes every pair of the request.
    pub(super) fn new(generation: &'r Generation, model: usize, request: &'r Request<'r>, late: Late) -> Self {
        let (identity, scope) = (scored_as(&generation.identities[model], request.empty), generation.scopes[model]);
        let texts = request.texts;
        let key = |query: &Cow<'_, str>| match &texts.instruction {
            None => QueryKey::new(&identity, &request.cut, query),
            Some(instruction) => QueryKey::instructed(&identity, &request.cut, query, instruction),
        };
        let queries: Vec<QueryKey> = texts.queries.iter().map(key).collect();
        let keys: Vec<Key> = texts.pairs.iter().map(|pair| queries[pair.query].document(&pair.document)).collect();
        let found = vec![None; keys.len()];
        Self { generation, model, scope, request, keys, found, late }
    }

    /// Looks every pair up: in the first tier, and what is not there in the second, all at once.
    pub(super) async fn look_up(&mut self) {
        for index in 0..self.keys.len() {
            self.found[index] = self.held(self.keys[index]);
        }
        let cache = &self.generation.stores.cache;
        if cache.is_shared() {
            let missing: Vec<usize> = (0..self.keys.len()).filter(|&index| self.found[index].is_none()).collect();
            let keys: Vec<Key> = missing.iter().map(|&index| self.keys[index]).collect();
            if !keys.is_empty() {
                let brought = cache.fetch(self.scope, &keys).await;
                for (&index, scored) in missing.iter().zip(brought) {
                    self.found[index] = scored.filter(|scored| self.serves(*scored));
                }
            }
        }
        let hits = self.found.iter().flatten().count();
        cache.count(self.scope, hits, self.found.len() - hits);
    }

    /// What was found by an earlier look-up of the same request.
    #[cfg(test)]
    pub(super) fn remember(&mut self, found: Vec<Option<Scored>>) {
        self.found = found;
    }

    /// What the cache's tiers held, by the caller's index.
    pub(super) fn found(&self) -> &[Option<Scored>] {
        &self.found
    }

    /// Looks the missing pairs up, joins those in flight, and leads the rest.
    pub(super) fn begin(&self, missing: &[usize], now: Instant) -> Result<Attempt, RerankError> {
        let (in_flight, variant, priority) = (&self.generation.stores.in_flight, self.variant(), self.request.priority);
        let name = in_flight.lead(priority);
        let waiting = Waiting(Arc::new(ResultCollector::new(missing.len(), self.request.deadline)));
        let collector = &waiting.0;
        let (mut mine, mut cached) = (Vec::new(), 0);
        for (slot, &index) in missing.iter().enumerate() {
            let key = self.keys[index];
            if let Some(hit) = self.found[index] {
                collector.put(slot, Ok(hit));
                cached += 1;
            } else if in_flight.join(variant.of(key), Waiter { collector: Arc::clone(collector), slot, name })
                == Joined::Leads
            {
                // Between the look-up and the joining it may have landed.
                match self.held(key) {
                    Some(hit) => {
                        in_flight.land(variant.of(key), name, Ok(hit));
                        cached += 1;
                    }
                    None => mine.push(index),
                }
            }
        }
        let handle = if mine.is_empty() { None } else { Some(self.lead(&mine, name, now)?) };
        Ok(Attempt { waiting, handle, cached, cancel_notifier: self.generation.engine.cancel_notifier() })
    }

    const fn variant(&self) -> KeyVariant {
        if self.request.refuse_cut { KeyVariant::Whole } else { KeyVariant::Cutting }
    }

    fn held(&self, key: Key) -> Option<Scored> {
        self.generation.stores.cache.get(self.scope, key).filter(|scored| self.serves(*scored))
    }

    /// Whether a score answers this request: one of a document that was cut does not when that is refused.
    const fn serves(&self, scored: Scored) -> bool {
        !(self.request.refuse_cut && scored.cut)
    }

    /// Brings pairs through the engine; when it refuses, everybody who followed tries for themselves.
    fn lead(&self, mine: &[usize], name: LeaderId, now: Instant) -> Result<WorkHandle, RerankError> {
        let Request { texts, cut, refuse_cut, deadline, priority, empty, .. } = *self.request;
        let document = |&index: &usize| {
            let pair = &texts.pairs[index];
            (u32::try_from(pair.query).unwrap_or(u32::MAX), Box::from(&*pair.document))
        };
        let work = Work {
            model: self.model,
            queries: texts.queries.iter().map(|query| Box::from(&**query)).collect(),
            documents: mine.iter().map(document).collect(),
            instruction: texts.instruction.as_deref().map(Box::from),
            cut,
            refuse_cut,
            deadline,
            priority,
            empty,
            order: match self.late {
                Late::IsAFault => Order::LongestFirst,
                Late::IsLeftOut => Order::AsGiven,
            },
        };
        let keys: Vec<Key> = mine.iter().map(|&index| self.keys[index]).collect();
        let sink = LeaderSink {
            stores: Arc::clone(&self.generation.stores),
            scope: self.scope,
            leader: name,
            keys,
            variant: self.variant(),
            _memory: self.request.memory.clone(),
        };
        let sink = Arc::new(sink);
        self.generation.engine.submit(work, Arc::clone(&sink) as Arc<dyn Sink>, now).map_err(|refusal| {
            for slot in 0..sink.keys.len() {
                sink.settle(slot, Err(PairError::Abandoned));
            }
            RerankError::from(refusal)
        })
    }
}

impl Attempt {
    /// Where the outcomes come together.
    pub(super) fn collector(&self) -> &ResultCollector {
        &self.waiting.0
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.collector().is_full() {
            return;
        }
        self.waiting.0.abandon();
        if let Some(handle) = &self.handle {
            handle.abandon();
        }
        // Others' work, too, may have been waited for by this one alone.
        self.cancel_notifier.notify();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Sink for LeaderSink {
    fn settle(&self, slot: usize, outcome: Result<Scored, PairError>) {
        let Some(&key) = self.keys.get(slot) else { return };
        // That a document has no text follows from nothing but the text and a setting: it is not kept.
        if let Ok(scored) = outcome
            && scored.logit != Logit::NO_TEXT
        {
            // Before landing: whoever asks after the landing finds it here.
            self.stores.cache.insert(self.scope, key, scored);
        }
        self.stores.in_flight.land(self.variant.of(key), self.leader, outcome);
    }

    fn wanted_until(&self, slot: usize) -> Option<Instant> {
        self.keys.get(slot).and_then(|&key| self.stores.in_flight.awaited_until(self.variant.of(key), self.leader))
    }
}
