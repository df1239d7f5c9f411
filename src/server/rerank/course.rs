//! One request's course: past the cache, past pairs in flight, and the rest through the engine.
//!
//! Owns the keys of a request and who answers which of its pairs. It must not know deadlines beyond handing them on.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use rescored_cache::{Key, QueryKey};
use rescored_core::domain::{EmptyDocuments, Logit, Scored};
use rescored_engine::{Gone, Order, PairFault, Sink, Ticket, Work};
use rescored_process::budget::Reservation;

use super::board::Board;
use super::flights::{Joined, Lead, Waiter};
use super::generation::Generation;
use super::{Fault, Late, Request, Shelf};

/// A request and the keys of its pairs.
pub(super) struct Course<'r> {
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

/// One attempt at the pairs that have no score yet. Dropping it, however the request ended, tells the board that nobody
/// waits there any more.
pub(super) struct Attempt {
    waiting: Waiting,
    /// The work this request leads through the engine; `None` when others or the cache answer everything.
    pub(super) ticket: Option<Ticket>,
    /// Pairs that the cache answered.
    pub(super) cached: usize,
    gone: Gone,
}

struct Waiting(Arc<Board>);

/// The pairs that one request leads through the engine, and where their outcomes go.
struct Crew {
    shelf: Arc<Shelf>,
    scope: usize,
    lead: Lead,
    /// Cache keys by the engine's slot.
    keys: Vec<Key>,
    lane: Lane,
    /// The engine holds the work's texts as long as it holds this.
    _memory: Option<Arc<Reservation>>,
}

/// Requests that forbid cutting get other outcomes than those that allow it: they do not share flights.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Cutting,
    Whole,
}

impl Lane {
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

impl<'r> Course<'r> {
    /// Hashes every pair of the request.
    pub(super) fn new(generation: &'r Generation, model: usize, (request, late): (&'r Request<'r>, Late)) -> Self {
        let (identity, scope) = (scored_as(&generation.identities[model], request.empty), generation.scopes[model]);
        let texts = request.texts;
        let queries: Vec<QueryKey> =
            texts.queries.iter().map(|query| QueryKey::new(&identity, &request.cut, query)).collect();
        let keys: Vec<Key> = texts.pairs.iter().map(|pair| queries[pair.query].document(&pair.document)).collect();
        let found = vec![None; keys.len()];
        Self { generation, model, scope, request, keys, found, late }
    }

    /// Looks every pair up: in the first tier, and what is not there in the second, all at once.
    pub(super) async fn look_up(&mut self) {
        for index in 0..self.keys.len() {
            self.found[index] = self.held(self.keys[index]);
        }
        let cache = &self.generation.shelf.cache;
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
    pub(super) fn begin(&self, missing: &[usize], now: Instant) -> Result<Attempt, Fault> {
        let (flights, lane, priority) = (&self.generation.shelf.flights, self.lane(), self.request.priority);
        let name = flights.lead(priority);
        let desk = Waiting(Arc::new(Board::new(missing.len(), self.request.deadline)));
        let board = &desk.0;
        let (mut mine, mut cached) = (Vec::new(), 0);
        for (slot, &index) in missing.iter().enumerate() {
            let key = self.keys[index];
            if let Some(hit) = self.found[index] {
                board.put(slot, Ok(hit));
                cached += 1;
            } else if flights.join(lane.of(key), Waiter { board: Arc::clone(board), slot, name }) == Joined::Leads {
                // Between the look-up and the joining it may have landed.
                match self.held(key) {
                    Some(hit) => {
                        flights.land(lane.of(key), name, Ok(hit));
                        cached += 1;
                    }
                    None => mine.push(index),
                }
            }
        }
        let ticket = if mine.is_empty() { None } else { Some(self.lead(&mine, name, now)?) };
        Ok(Attempt { waiting: desk, ticket, cached, gone: self.generation.engine.gone() })
    }

    const fn lane(&self) -> Lane {
        if self.request.refuse_cut { Lane::Whole } else { Lane::Cutting }
    }

    fn held(&self, key: Key) -> Option<Scored> {
        self.generation.shelf.cache.get(self.scope, key).filter(|scored| self.serves(*scored))
    }

    /// Whether a score answers this request: one of a document that was cut does not when that is refused.
    const fn serves(&self, scored: Scored) -> bool {
        !(self.request.refuse_cut && scored.cut)
    }

    /// Brings pairs through the engine; when it refuses, everybody who followed is told to try for themselves.
    fn lead(&self, mine: &[usize], name: Lead, now: Instant) -> Result<Ticket, Fault> {
        let Request { texts, cut, refuse_cut, deadline, priority, empty, .. } = *self.request;
        let document = |&index: &usize| {
            let pair = &texts.pairs[index];
            (u32::try_from(pair.query).unwrap_or(u32::MAX), Box::from(&*pair.document))
        };
        let work = Work {
            model: self.model,
            queries: texts.queries.iter().map(|query| Box::from(&**query)).collect(),
            documents: mine.iter().map(document).collect(),
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
        let crew = Crew {
            shelf: Arc::clone(&self.generation.shelf),
            scope: self.scope,
            lead: name,
            keys,
            lane: self.lane(),
            _memory: self.request.memory.clone(),
        };
        let crew = Arc::new(crew);
        self.generation.engine.submit(work, Arc::clone(&crew) as Arc<dyn Sink>, now).map_err(|refusal| {
            for slot in 0..crew.keys.len() {
                crew.settle(slot, Err(PairFault::Abandoned));
            }
            Fault::from(refusal)
        })
    }
}

impl Attempt {
    /// Where the outcomes come together.
    pub(super) fn board(&self) -> &Board {
        &self.waiting.0
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.board().is_full() {
            return;
        }
        self.waiting.0.abandon();
        if let Some(ticket) = &self.ticket {
            ticket.forsake();
        }
        // Others' work, too, may have been waited for by this one alone.
        self.gone.tell();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Sink for Crew {
    fn settle(&self, slot: usize, outcome: Result<Scored, PairFault>) {
        let Some(&key) = self.keys.get(slot) else { return };
        // That a document has no text follows from nothing but the text and a setting: it is not kept.
        if let Ok(scored) = outcome
            && scored.logit != Logit::NO_TEXT
        {
            // Before landing: whoever asks after the landing finds it here.
            self.shelf.cache.insert(self.scope, key, scored);
        }
        self.shelf.flights.land(self.lane.of(key), self.lead, outcome);
    }

    fn wanted_until(&self, slot: usize) -> Option<Instant> {
        self.keys.get(slot).and_then(|&key| self.shelf.flights.awaited_until(self.lane.of(key), self.lead))
    }
}
