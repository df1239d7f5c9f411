//! What runs next: whose texts are tokenised, and which encodings share the next forward pass.
//!
//! Pure: no threads, no clocks, no texts. Owns fairness and batching:
//!
//! **Fairness.** Each request is a flow of weighted fair queueing (Parekh and Gallager 1993): on arrival it gets the
//! virtual time at which it would finish if all waiting requests were served at once in equal shares, and the earliest
//! such finish goes first, decided anew for every pass. So a small request overtakes a large one, equal ones go in the
//! order they came, and none finishes later than under equal sharing plus two passes a worker: the one that runs when it
//! comes, and what fills up the one that it ends in. Warm-up requests are served only while no live one has anything
//! ready, and never share its pass.
//!
//! **Models** share passes by weight (`sharing`), whatever the number of their requests; what is said above holds among
//! the requests of one model, in the passes that its model is given.
//!
//! **Batching.** A pass takes from the request whose turn it is, then from the next in turn. Within a request the longest
//! encodings go first, so that workers finish together, unless its caller takes a part of the answer: then they go as
//! given. [`Company`] says which encodings may share a pass. Where some of a request wait that do not fit, later
//! requests may fill the pass only out of what equal sharing owes them already, and only while nobody is late.
//!
//! **Size.** A pass holds as many tokens as were scored quickest so far (`cost`), and no more than a worker's share of
//! all that waits and of what is left of the passes that others are at, so that few pairs are spread over the workers
//! that would be idle, and the last ones of a request are not cut smaller than it takes to finish together; not so on
//! accelerators, whose passes are better large.
//!
//! It must not know what an encoding holds beyond its length.

mod class;
mod cost;
mod flow;
mod fluid;
mod pass;
mod sharing;

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use super::Order;
use crate::domain::Priority;
use crate::model::Company;

use class::{Class, Queue};
use cost::Cost;
pub(super) use cost::{Spent, work};
use flow::{Flow, Ready};
use fluid::VIRTUAL_SHIFT;
use pass::Pass;

/// Names a request inside the planner.
pub(super) type JobId = usize;

/// Names an encoding of a request, counted in the order they became ready.
pub(super) type UnitId = usize;

/// Documents tokenised in one go, at most: long enough to be worth a hand-over, short enough that the first forward pass of
/// a small request starts after a millisecond. Where there are threads enough, the documents of one request are spread over
/// them, but no chunk is smaller than the least: the hand-over would take as long.
const CHUNK: usize = 16;
const LEAST_CHUNK: usize = 2;

/// The same of a warm-up request: a live one that arrives waits for the chunks that tokenizer threads are at.
const WARM_UP_CHUNK: usize = 4;

/// Batches' worth of encodings kept ready ahead of the workers. More would sort lengths no better and would tokenise at
/// the cost of forward passes.
const BATCHES_AHEAD: u64 = 64;

/// Requests that are looked at for one pass: what it costs to plan one stays the same however many wait.
const REACH: usize = 64;

/// What the planner is told of an admitted request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    pub(super) job: JobId,
    pub(super) model: usize,
    pub(super) priority: Priority,
    /// Its size in estimated tokens.
    pub(super) tokens: u64,
    pub(super) documents: usize,
    /// Which of its encodings go first.
    pub(super) order: Order,
}

/// Texts to tokenise next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) job: JobId,
    pub(super) model: usize,
    pub(super) documents: Range<usize>,
}

/// Encodings that share the next forward pass; those of one request stand together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) model: usize,
    pub(super) units: Vec<(JobId, UnitId)>,
    /// Real tokens in it.
    pub(super) tokens: u64,
    /// How long it will take, once passes of the model have been measured.
    pub(super) expected: Option<Duration>,
}

/// How a model's passes are made up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batching {
    pub(super) company: Company,
    /// Tokens, padding included, of one pass at most, or one encoding.
    pub(super) tokens: usize,
    /// Workers that few pairs are spread over; 1 where a pass is better large.
    pub(super) spread: usize,
    /// Its share of passes while others have work too.
    pub(super) weight: u32,
}

/// What would come of planning now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// Nothing is ready.
    Nothing,
    /// A pass of this model that company would make larger.
    Room {
        /// The model.
        model: usize,
    },
    /// A pass that is as large as it gets.
    Full,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Planner {
    models: Vec<Served>,
    jobs: HashMap<JobId, Flow>,
    live: Class,
    warm_up: Class,
    /// Threads that read texts.
    readers: usize,
}

/// A model as the planner sees it.
#[derive(Debug)]
struct Served {
    company: Company,
    limit: u64,
    spread: u64,
    cost: Cost,
}

impl Planner {
    /// A planner for these models.
    pub(super) fn new(models: &[Batching]) -> Self {
        let served = |batching: &Batching| {
            let limit = batching.tokens.max(1) as u64;
            let spread = batching.spread.max(1) as u64;
            Served { company: batching.company, limit, spread, cost: Cost::new(limit) }
        };
        Self {
            models: models.iter().map(served).collect(),
            jobs: HashMap::new(),
            live: Class::new(models),
            warm_up: Class::new(models),
            readers: 1,
        }
    }

    /// The planner with so many threads that read texts.
    pub(super) fn with_readers(self, readers: usize) -> Self {
        Self { readers: readers.max(1), ..self }
    }

    /// Whether texts of admitted requests are still to become encodings.
    pub(super) fn expects_more(&self) -> bool {
        self.live.has_texts() || self.warm_up.has_texts() || self.jobs.values().any(|flow| flow.chunks_out > 0)
    }

    /// A request was admitted. One for a model that there is not is done at once.
    pub(super) fn arrive(&mut self, arrived: Arrived) {
        let class = self.class(arrived.priority);
        let Some(queue) = class.queues.get_mut(arrived.model) else { return };
        let start = queue.fluid.now();
        let turn = (queue.fluid.join(arrived.job, arrived.tokens), arrived.job);
        if arrived.documents > 0 {
            queue.textual.insert(turn);
        }
        class.waiting += arrived.tokens;
        let most = if arrived.priority == Priority::WarmUp { WARM_UP_CHUNK } else { CHUNK };
        let flow = Flow {
            turn,
            priority: arrived.priority,
            start,
            model: arrived.model,
            unread: 0..arrived.documents,
            unread_tokens: arrived.tokens,
            chunk: arrived.documents.div_ceil(self.readers).clamp(LEAST_CHUNK, most),
            chunks_out: 0,
            units: 0,
            served: 0,
            ready: Ready::new(arrived.order),
        };
        self.jobs.insert(arrived.job, flow);
    }

    /// Whether a live request has texts not yet handed out.
    pub(super) fn has_live_texts(&self) -> bool {
        self.live.has_texts()
    }

    /// The next texts to tokenise: of the model whose ready encodings are used up first, of its request that is next in
    /// turn. `None` when there are none or enough encodings are ready. What warm-up requests have ready is not enough for
    /// a live one, nor is what one model has enough for another.
    pub(super) fn next_chunk(&mut self) -> Option<Chunk> {
        let class = if self.live.has_texts() { &mut self.live } else { &mut self.warm_up };
        let hungry = |(model, queue): &(usize, &Queue)| {
            let limit = self.models.get(*model).map_or(1, |served| served.limit);
            !queue.textual.is_empty() && queue.amount.1 < BATCHES_AHEAD * limit
        };
        let hungry = class.queues.iter().enumerate().filter(hungry);
        let (model, _) = hungry.min_by_key(|(model, queue)| class.sharing.turn(*model, queue.amount.1))?;
        let queue = class.queues.get_mut(model)?;
        let turn = *queue.textual.first()?;
        let flow = self.jobs.get_mut(&turn.1)?;
        let (documents, tokens) = flow.read();
        if flow.unread.is_empty() {
            queue.textual.remove(&turn);
        }
        class.waiting -= tokens;
        Some(Chunk { job: turn.1, model, documents })
    }

    /// A chunk came back: encodings of these lengths are ready, numbered on from the ones before.
    pub(super) fn tokenised(&mut self, job: JobId, lengths: &[u32]) {
        let Some(flow) = self.jobs.get_mut(&job) else { return };
        flow.chunks_out -= 1;
        let mut tokens = 0;
        for &length in lengths {
            flow.ready.push(flow.units, length);
            flow.units += 1;
            tokens += u64::from(length);
        }
        let (turn, model, is_ready) = (flow.turn, flow.model, !flow.ready.is_empty());
        let priority = flow.priority;
        let class = self.class(priority);
        class.waiting += tokens;
        if let Some(queue) = class.queues.get_mut(model) {
            queue.amount.0 += lengths.len() as u64;
            queue.amount.1 += tokens;
            if is_ready {
                queue.ready.insert(turn);
            }
        }
    }

    /// A forward pass is over.
    pub(super) fn observe(&mut self, spent: &Spent) {
        if let Some(served) = self.models.get_mut(spent.model) {
            served.cost.observe(spent);
        }
    }

    /// What [`Planner::next_batch`] would give.
    pub(super) fn outlook(&self) -> Outlook {
        let Some((priority, model)) = self.next_model() else { return Outlook::Nothing };
        let class = if priority == Priority::WarmUp { &self.warm_up } else { &self.live };
        let Some((served, queue)) = self.models.get(model).zip(class.queues.get(model)) else {
            return Outlook::Nothing;
        };
        if pass::fills(served.company, served.cost.budget(), queue.amount) {
            Outlook::Full
        } else {
            Outlook::Room { model }
        }
    }

    /// The encodings of the next forward pass, while so many tokens are left of those that are going on. They are out of
    /// the planner then.
    pub(super) fn next_batch(&mut self, underway: u64) -> Option<Planned> {
        let (priority, model) = self.next_model()?;
        let class = if priority == Priority::WarmUp { &self.warm_up } else { &self.live };
        let (served, queue) = self.models.get(model).zip(class.queues.get(model))?;
        let lead = *queue.ready.first()?;
        let share = (class.waiting + underway).div_ceil(served.spread);
        let mut pass = Pass::new(served.company, served.cost.budget(), share);
        let now = queue.fluid.now();
        let mut overtakes = false;
        let mut emptied = Vec::new();
        for &turn in queue.ready.iter().take(REACH) {
            if pass.fitting().is_none() || (overtakes && lead.0 <= now) {
                break;
            }
            let Some(flow) = self.jobs.get_mut(&turn.1) else { continue };
            flow.give(&mut pass, overtakes.then_some(now));
            if flow.ready.is_empty() {
                emptied.push(turn);
            } else {
                overtakes = true;
            }
        }
        let tokens = pass.tokens();
        let expected = served.cost.expected(pass.work());
        let units = pass.into_units();
        let class = self.class(priority);
        class.take(model, (units.len() as u64, tokens));
        class.sharing.serve(model, tokens);
        if let Some(queue) = class.queues.get_mut(model) {
            for turn in emptied {
                queue.ready.remove(&turn);
            }
            queue.fluid.serve(tokens);
        }
        Some(Planned { model, units, tokens, expected })
    }

    /// Whether nothing of the request is left here: no text, no chunk on its way, no encoding.
    pub(super) fn is_done(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_none_or(Flow::is_done)
    }

    /// Forgets a request, done or not.
    pub(super) fn forget(&mut self, job: JobId) {
        let Some(flow) = self.jobs.remove(&job) else { return };
        let class = self.class(flow.priority);
        class.take(flow.model, flow.ready.amount());
        class.waiting -= flow.unread_tokens;
        if let Some(queue) = class.queues.get_mut(flow.model) {
            queue.textual.remove(&flow.turn);
            queue.ready.remove(&flow.turn);
            queue.fluid.leave(flow.turn.0, job);
        }
    }

    /// Whose pass is next: live requests' before warm-up ones', then the model's whose turn it is.
    fn next_model(&self) -> Option<(Priority, usize)> {
        let of = |priority, class: &Class| Some((priority, class.next_model()?));
        of(Priority::Live, &self.live).or_else(|| of(Priority::WarmUp, &self.warm_up))
    }

    const fn class(&mut self, priority: Priority) -> &mut Class {
        match priority {
            Priority::Live => &mut self.live,
            Priority::WarmUp => &mut self.warm_up,
        }
    }
}

impl Flow {
    /// Puts encodings into a pass while they fit; where that overtakes others, only what equal sharing owes by `now`.
    fn give(&mut self, pass: &mut Pass, overtaking_at: Option<u128>) {
        while let Some(fitting) = pass.fitting() {
            let owed = overtaking_at.map_or(u32::MAX, |now| {
                let ideal = u64::try_from(now.saturating_sub(self.start) >> VIRTUAL_SHIFT).unwrap_or(u64::MAX);
                u32::try_from(ideal.saturating_sub(self.served)).unwrap_or(u32::MAX)
            });
            let (least, most) = (*fitting.start(), (*fitting.end()).min(owed));
            if least > most {
                return;
            }
            let Some((unit, length)) = self.ready.pop(least..=most) else { return };
            self.served += u64::from(length);
            pass.join(self.turn.1, unit, length);
        }
    }
}

#[cfg(test)]
mod tests;
