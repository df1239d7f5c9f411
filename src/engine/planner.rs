//! What runs next: whose texts are tokenised, and which encodings share the next forward pass.
//!
//! Pure: no threads, no clocks, no texts. Owns fairness and batching:
//!
//! **Fairness.** Each request is a flow of fair queueing (Parekh and Gallager 1993): it has the virtual time at which all
//! that is ready of it would be finished if all requests that have something ready were served at once in equal shares,
//! and the earliest such finish goes first, decided anew for every pass. So a small request overtakes a large one, equal
//! ones go in the order they came, and none finishes later than under equal sharing of what has been read plus two passes
//! a worker: the one that runs when it is read, and what fills up the one that it ends in. `fluid` proves it. Warm-up
//! requests are served only while no live one has anything ready, and never share its pass.
//!
//! **Estimates** have no part in that: a request's size is not known before its texts are read, so its virtual finish
//! counts what was read and nothing else. One that was thought to be small or large, or whose texts take long to read,
//! makes nobody late but itself; pairs that vanish count no more. How the last passes are spread over workers, and how far
//! texts are read ahead, goes by estimates, scaled by what the texts read so far turned out to be.
//!
//! **Reading.** What reads texts is shared equally too, in bytes, which are known beforehand, and chunks are bounded in
//! bytes, so nobody waits longer for a tokenizer thread than one chunk takes. A request is read ahead of the workers by
//! so many tokens of its own, whatever others have ready: one that is smaller than estimated is found out soon.
//!
//! **Models** share passes by weight (`sharing`), whatever the number of their requests; what is said above holds among
//! the requests of one model, in the passes that its model is given.
//!
//! **Batching.** A pass takes from the request whose turn it is, then from the next in turn. Within a request the longest
//! encodings go first, so that workers finish together, unless its caller takes a part of the answer: then they go as
//! given. [`BatchingPolicy`] says which encodings may share a pass. Where some of a request wait that do not fit, later
//! requests may fill the pass only out of what equal sharing owes them already, and only as far as those that they
//! overtake can spare it: what equal sharing serves until their finish, less what they still need.
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
use std::time::Duration;

use rescored_core::domain::Priority;
use rescored_runtime::BatchingPolicy;

use super::Order;
use super::mutation::{self, Mutation};
use super::work::Text;

use class::{Class, Queue, Standing};
use cost::Cost;
pub(super) use cost::{Spent, work};
use flow::{Beginning, ChunkSize, Flow, Turn};
use fluid::Change;
use pass::Pass;

/// Names a request inside the planner.
pub(super) type JobId = usize;

/// Names an encoding of a request, counted in the order they became ready.
pub(super) type SequenceId = usize;

/// Documents tokenised in one go, at most: long enough to be worth a hand-over, short enough that the first forward pass of
/// a small request starts after a millisecond. Where there are threads enough, the documents of one request are spread over
/// them, but no chunk is smaller than the least: the hand-over would take as long.
const CHUNK: usize = 16;
const LEAST_CHUNK: usize = 2;

/// Bytes of a chunk at most, unless one document alone has more: as much as 16 passages of English, and of the dearest
/// texts (no white space, no Latin letters) some 20 ms.
const CHUNK_BYTES: u64 = 16 << 10;

/// The same of a warm-up request: a live one that arrives waits for the chunks that tokenizer threads are at.
const WARM_UP_CHUNK: usize = 4;
const WARM_UP_CHUNK_BYTES: u64 = CHUNK_BYTES / 4;

/// Batches' worth of encodings that a request has ready ahead of the workers. More would sort lengths no better and
/// would tokenise at the cost of forward passes.
const BATCHES_AHEAD: u64 = 64;

/// Requests that are looked at for one pass: what it costs to plan one stays the same however many wait.
const REACH: usize = 64;

/// What the planner is given of an admitted request.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) job: JobId,
    pub(super) model: usize,
    pub(super) priority: Priority,
    /// What is known of each document before it is read.
    pub(super) texts: Vec<Text>,
    /// Which of its encodings go first.
    pub(super) order: Order,
}

/// Texts to tokenise next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) job: JobId,
    pub(super) model: usize,
    pub(super) documents: Vec<usize>,
    /// Tokens that they are expected to be.
    pub(super) tokens: u64,
}

/// A chunk that came back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Returned<'a> {
    /// The chunk's [`Chunk::tokens`].
    pub(super) expected: u64,
    /// What those of its texts that were read were expected to be; the others were not wanted any more.
    pub(super) read: u64,
    /// Encodings, numbered on from the ones before, by their lengths.
    pub(super) lengths: &'a [u32],
}

/// Encodings that share the next forward pass; those of one request stand together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) model: usize,
    pub(super) sequences: Vec<(JobId, SequenceId)>,
    /// Real tokens in it.
    pub(super) tokens: u64,
    /// How long it will take, once passes of the model have been measured.
    pub(super) expected: Option<Duration>,
    /// Requests that gave something to it, or lost something that is not wanted any more.
    pub(super) touched: Vec<JobId>,
}

/// How a model's passes are made up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batching {
    pub(super) policy: BatchingPolicy,
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
    /// A pass of this model that more pairs would make larger.
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
    policy: BatchingPolicy,
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
            Served { policy: batching.policy, limit, spread, cost: Cost::new(limit) }
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
        let Arrived { job, model, priority, texts, order } = arrived;
        let chunk = match priority {
            Priority::Live => ChunkSize { documents: CHUNK, bytes: CHUNK_BYTES },
            Priority::WarmUp => ChunkSize { documents: WARM_UP_CHUNK, bytes: WARM_UP_CHUNK_BYTES },
        };
        let documents = texts.len().div_ceil(self.readers).clamp(LEAST_CHUNK, chunk.documents);
        let chunk = if mutation::is(Mutation::WholeRequestsAreRead) {
            ChunkSize { documents: usize::MAX, bytes: u64::MAX }
        } else {
            ChunkSize { documents, ..chunk }
        };
        let Some(enough) = self.models.get(model).map(Served::enough) else { return };
        let class = self.class(priority);
        let Some(queue) = class.queues.get_mut(model) else { return };
        let mut flow = Flow::new(Beginning { job, model, priority, order, texts, chunk });
        (flow.turn.0, flow.reading_start) = (queue.passes.now(), queue.reads.now());
        if mutation::is(Mutation::EstimatesStand) {
            flow.turn.0 = queue.passes.expect(job, flow.turn.0, flow.estimated(), None);
        }
        flow.reading.0 = queue.reads.expect(job, flow.reading_start, flow.bytes(), None);
        class.account(model, &Standing::default(), &Standing::of(&flow, enough));
        self.jobs.insert(job, flow);
    }

    /// The next texts to tokenise: of the model whose ready encodings are used up first, of its request that is next in
    /// turn to be read. `None` when there are none or enough encodings are ready. What one has ready is not enough for
    /// another. Warm-up requests are read while no live one has texts.
    pub(super) fn next_chunk(&mut self) -> Option<Chunk> {
        let class = if self.live.has_texts() { &mut self.live } else { &mut self.warm_up };
        let queues = class.queues.iter().enumerate();
        let readable = queues.filter(|(_, queue): &(usize, &Queue)| !queue.readable.is_empty());
        let (model, _) = readable.min_by_key(|(model, queue)| class.sharing.turn(*model, queue.amount.1))?;
        let queue = class.queues.get_mut(model)?;
        let job = queue.readable.first()?.1;
        let (documents, bytes, tokens) = self.change(job, Flow::read)?;
        let priority = self.jobs.get(&job)?.priority;
        if let Some(queue) = self.class(priority).queues.get_mut(model) {
            queue.reads.serve(bytes);
        }
        Some(Chunk { job, model, documents, tokens })
    }

    /// A chunk came back: encodings are ready.
    pub(super) fn tokenised(&mut self, job: JobId, back: &Returned<'_>) {
        self.change(job, |flow| flow.tokenised(back.expected, back.read, back.lengths));
    }

    /// Of a request, only these unread documents and these encodings are wanted any more.
    pub(super) fn retain(
        &mut self,
        job: JobId,
        document: impl Fn(usize) -> bool,
        sequence: impl Fn(SequenceId) -> bool,
    ) {
        self.change(job, |flow| flow.retain(document, sequence));
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
        let (sequences, tokens) = queue.amount;
        if pass::fills(served.policy, served.cost.budget(), sequences, tokens) {
            Outlook::Full
        } else {
            Outlook::Room { model }
        }
    }

    /// The encodings of the next forward pass, while so many tokens are left of those that are going on. They are out of
    /// the planner then, and so are those that turned out not to be `wanted` any more, which cost nobody anything.
    pub(super) fn next_batch(
        &mut self,
        running: u64,
        wanted: &mut dyn FnMut(JobId, SequenceId) -> bool,
    ) -> Option<Planned> {
        let (priority, model) = self.next_model()?;
        let class = if priority == Priority::WarmUp { &self.warm_up } else { &self.live };
        let (served, queue) = self.models.get(model).zip(class.queues.get(model))?;
        let share = (class.waiting + running).div_ceil(served.spread);
        let mut pass = Pass::new(served.policy, served.cost.budget(), share);
        let now = queue.passes.now();
        let turns: Vec<Turn> = queue.ready.iter().take(REACH).copied().collect();
        let mut touched = Vec::new();
        // What those that went before still need, and what may be given to later ones ahead of them.
        let (mut ahead, mut slack) = (0, u64::MAX);
        for (_, job) in turns {
            if pass.fitting().is_none() || slack == 0 {
                break;
            }
            let before = pass.tokens();
            ahead += self.jobs.get(&job).map_or(0, |flow| flow.ready_tokens);
            let limit = (slack < u64::MAX).then_some((now, slack));
            let emptied = self.change(job, |flow| {
                flow.give(&mut pass, limit, &mut |sequence| wanted(job, sequence));
                flow.ready.is_empty()
            });
            slack = slack.saturating_sub(if limit.is_some() { pass.tokens() - before } else { 0 });
            if emptied == Some(false) {
                let finish = self.jobs.get(&job)?.turn.0;
                let queue = self.class(priority).queues.get(model)?;
                slack = slack.min(queue.passes.until(finish, REACH).saturating_sub(ahead));
            }
            touched.push(job);
        }
        let tokens = pass.tokens();
        let expected = self.models.get(model)?.cost.expected(pass.work());
        let class = self.class(priority);
        if tokens > 0 {
            class.sharing.serve(model, tokens);
        }
        if let Some(queue) = class.queues.get_mut(model) {
            queue.passes.serve(tokens);
        }
        Some(Planned { model, sequences: pass.into_units(), tokens, expected, touched })
    }

    /// Whether nothing of the request is left here: no text, no chunk on its way, no encoding.
    pub(super) fn is_done(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_none_or(Flow::is_done)
    }

    /// Forgets a request, done or not.
    pub(super) fn forget(&mut self, job: JobId) {
        let Some(flow) = self.jobs.remove(&job) else { return };
        let enough = self.models.get(flow.model).map_or(1, Served::enough);
        let class = self.class(flow.priority);
        class.account(flow.model, &Standing::of(&flow, enough), &Standing::default());
        if let Some(queue) = class.queues.get_mut(flow.model) {
            // Who was served ahead of equal sharing goes on counting there until it has had so much.
            let change = Change { given_up: flow.ready_tokens, ..Change::default() };
            queue.passes.follow(job, flow.turn.0, change);
            queue.reads.expect(job, flow.reading_start, flow.read_bytes(), Some(flow.reading.0));
        }
    }

    /// Changes a request, and whatever is kept of it elsewhere: its places in the order follow what is known of it.
    fn change<T>(&mut self, job: JobId, change: impl FnOnce(&mut Flow) -> T) -> Option<T> {
        let flow = self.jobs.get_mut(&job)?;
        let enough = self.models.get(flow.model).map_or(1, Served::enough);
        let class = if flow.priority == Priority::WarmUp { &mut self.warm_up } else { &mut self.live };
        let (before, made, given_up) = (Standing::of(flow, enough), flow.made, flow.given_up());
        let changed = change(flow);
        let change = Change { added: flow.made - made, given_up: flow.given_up() - given_up, ready: flow.ready_tokens };
        if let Some(queue) = class.queues.get_mut(flow.model) {
            if !mutation::is(Mutation::EstimatesStand) {
                flow.turn.0 = queue.passes.follow(job, flow.turn.0, change);
            }
            flow.reading.0 = queue.reads.expect(job, flow.reading_start, flow.bytes(), Some(flow.reading.0));
        }
        class.account(flow.model, &before, &Standing::of(flow, enough));
        Some(changed)
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

impl Served {
    /// Tokens that a request has ready at most before more of it is read.
    const fn enough(&self) -> u64 {
        BATCHES_AHEAD * self.limit
    }
}

#[cfg(test)]
mod tests;
