//! What runs next: whose texts are tokenised, and which encodings share the next forward pass.
//!
//! Pure: no threads, no clocks, no texts. Owns fairness and batching:
//!
//! **Fairness.** Each request is a flow of weighted fair queueing (Parekh and Gallager 1993): on arrival it gets the
//! virtual time at which it would finish if all waiting requests were served at once in equal shares, and the earliest
//! such finish goes first, decided anew for every micro-batch. So a small request overtakes a large one, equal ones go in
//! the order they came, and none finishes later than under equal sharing plus one micro-batch a worker. Warm-up requests
//! are served only while no live one has anything ready.
//!
//! **Batching.** Within a request the longest encodings go first, so that workers finish together, unless its caller
//! takes a part of the answer: then they go as given. [`Company`] says which encodings may share a forward pass.
//!
//! It must not know what an encoding holds beyond its length.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::{Range, RangeInclusive};

use super::Order;
use crate::domain::Priority;
use crate::model::Company;

/// Names a request inside the planner.
pub(super) type JobId = usize;

/// Names an encoding of a request, counted in the order they became ready.
pub(super) type UnitId = usize;

/// Documents tokenised in one go: long enough to be worth a hand-over, short enough that the first forward pass of a
/// small request starts after a millisecond.
const CHUNK: usize = 16;

/// Batches' worth of encodings kept ready ahead of the workers. More would sort lengths no better and would tokenise at
/// the cost of forward passes.
const BATCHES_AHEAD: u64 = 64;

/// Virtual time counts tokens in this fixed point, so that equal shares of few tokens do not vanish in rounding.
const VIRTUAL_SHIFT: u32 = 16;

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

/// Encodings that share the next forward pass; all of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) job: JobId,
    pub(super) model: usize,
    pub(super) units: Vec<UnitId>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Planner {
    companies: Vec<Company>,
    batch_tokens: usize,
    jobs: HashMap<JobId, Flow>,
    /// Requests with texts not yet handed out, in serving order.
    textual: BTreeSet<Turn>,
    /// Requests with encodings ready, in serving order.
    ready: BTreeSet<Turn>,
    ready_tokens: u64,
    live: Fluid,
    warm_up: Fluid,
}

/// Serving order: live before warm-up, then virtual finish, then arrival.
type Turn = (bool, u128, JobId);

#[derive(Debug)]
struct Flow {
    turn: Turn,
    model: usize,
    unread: Range<usize>,
    chunks_out: usize,
    units: usize,
    ready: Ready,
}

/// Encodings that wait, with their lengths.
#[derive(Debug)]
enum Ready {
    LongestFirst(BTreeMap<u32, Vec<UnitId>>),
    AsGiven(VecDeque<(UnitId, u32)>),
}

impl Planner {
    /// A planner for models with these companies; a batch holds at most `batch_tokens`, padding included, or one
    /// encoding.
    pub(super) fn new(companies: Vec<Company>, batch_tokens: usize) -> Self {
        Self {
            companies,
            batch_tokens,
            jobs: HashMap::new(),
            textual: BTreeSet::new(),
            ready: BTreeSet::new(),
            ready_tokens: 0,
            live: Fluid::default(),
            warm_up: Fluid::default(),
        }
    }

    /// A request was admitted.
    pub(super) fn arrive(&mut self, arrived: Arrived) {
        let fluid = match arrived.priority {
            Priority::Live => &mut self.live,
            Priority::WarmUp => &mut self.warm_up,
        };
        let finish = fluid.join(arrived.job, arrived.tokens);
        let turn = (arrived.priority == Priority::WarmUp, finish, arrived.job);
        if arrived.documents > 0 {
            self.textual.insert(turn);
        }
        let flow = Flow {
            turn,
            model: arrived.model,
            unread: 0..arrived.documents,
            chunks_out: 0,
            units: 0,
            ready: Ready::new(arrived.order),
        };
        self.jobs.insert(arrived.job, flow);
    }

    /// The next texts to tokenise; `None` when there are none or enough encodings are ready.
    pub(super) fn next_chunk(&mut self) -> Option<Chunk> {
        if self.ready_tokens >= BATCHES_AHEAD * self.batch_tokens as u64 {
            return None;
        }
        let turn = *self.textual.first()?;
        let flow = self.jobs.get_mut(&turn.2)?;
        let start = flow.unread.start;
        let end = (start + CHUNK).min(flow.unread.end);
        flow.unread.start = end;
        flow.chunks_out += 1;
        if flow.unread.is_empty() {
            self.textual.remove(&turn);
        }
        Some(Chunk { job: turn.2, model: flow.model, documents: start..end })
    }

    /// A chunk came back: encodings of these lengths are ready, numbered on from the ones before.
    pub(super) fn tokenised(&mut self, job: JobId, lengths: &[u32]) {
        let Some(flow) = self.jobs.get_mut(&job) else { return };
        flow.chunks_out -= 1;
        for &length in lengths {
            flow.ready.push(flow.units, length);
            flow.units += 1;
            self.ready_tokens += u64::from(length);
        }
        if !flow.ready.is_empty() {
            self.ready.insert(flow.turn);
        }
    }

    /// The encodings of the next forward pass. They are out of the planner then.
    pub(super) fn next_batch(&mut self) -> Option<Planned> {
        let turn = *self.ready.first()?;
        let flow = self.jobs.get_mut(&turn.2)?;
        let company = self.companies.get(flow.model).copied().unwrap_or(Company::Alone);
        let (units, tokens) = flow.take(company, self.batch_tokens);
        if flow.ready.is_empty() {
            self.ready.remove(&turn);
        }
        self.ready_tokens -= tokens;
        let fluid = if turn.0 { &mut self.warm_up } else { &mut self.live };
        fluid.serve(tokens);
        Some(Planned { job: turn.2, model: flow.model, units })
    }

    /// Whether nothing of the request is left here: no text, no chunk on its way, no encoding.
    pub(super) fn is_done(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_none_or(|flow| flow.unread.is_empty() && flow.chunks_out == 0 && flow.ready.is_empty())
    }

    /// Forgets a request, done or not.
    pub(super) fn forget(&mut self, job: JobId) {
        let Some(flow) = self.jobs.remove(&job) else { return };
        self.textual.remove(&flow.turn);
        self.ready.remove(&flow.turn);
        self.ready_tokens -= flow.ready.tokens();
        let fluid = if flow.turn.0 { &mut self.warm_up } else { &mut self.live };
        fluid.leave(flow.turn.1, job);
    }
}

impl Flow {
    /// Takes the next batch out and says how many real tokens it holds.
    fn take(&mut self, company: Company, budget: usize) -> (Vec<UnitId>, u64) {
        let budget = u32::try_from(budget).unwrap_or(u32::MAX);
        let Some((first, longest)) = self.ready.pop(0..=u32::MAX) else { return (Vec::new(), 0) };
        let (mut units, mut tokens) = (vec![first], longest);
        loop {
            let pairs = u32::try_from(units.len()).unwrap_or(u32::MAX);
            let padded_fits = longest.saturating_mul(pairs + 1) <= budget;
            let fitting = match company {
                Company::SameLength if padded_fits => longest..=longest,
                Company::Padded { least_percent } if padded_fits => longest * u32::from(least_percent) / 100..=longest,
                Company::Packed { slots } if pairs < slots && tokens < budget => 0..=budget - tokens,
                Company::Alone | Company::SameLength | Company::Padded { .. } | Company::Packed { .. } => break,
            };
            let Some((unit, length)) = self.ready.pop(fitting) else { break };
            units.push(unit);
            tokens += length;
        }
        (units, u64::from(tokens))
    }
}

impl Ready {
    fn new(order: Order) -> Self {
        match order {
            Order::LongestFirst => Self::LongestFirst(BTreeMap::new()),
            Order::AsGiven => Self::AsGiven(VecDeque::new()),
        }
    }

    fn push(&mut self, unit: UnitId, length: u32) {
        match self {
            Self::LongestFirst(lengths) => lengths.entry(length).or_default().push(unit),
            Self::AsGiven(units) => units.push_back((unit, length)),
        }
    }

    /// The next encoding, if its length is one of these.
    fn pop(&mut self, fitting: RangeInclusive<u32>) -> Option<(UnitId, u32)> {
        match self {
            Self::LongestFirst(lengths) => {
                let (&length, units) = lengths.range_mut(fitting).next_back()?;
                let unit = units.pop()?;
                if units.is_empty() {
                    lengths.remove(&length);
                }
                Some((unit, length))
            }
            Self::AsGiven(units) => units.pop_front_if(|(_, length)| fitting.contains(length)),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::LongestFirst(lengths) => lengths.is_empty(),
            Self::AsGiven(units) => units.is_empty(),
        }
    }

    fn tokens(&self) -> u64 {
        match self {
            Self::LongestFirst(lengths) => {
                lengths.iter().map(|(&length, units)| u64::from(length) * units.len() as u64).sum()
            }
            Self::AsGiven(units) => units.iter().map(|&(_, length)| u64::from(length)).sum(),
        }
    }
}

/// The ideal that fairness is measured by: all waiting requests served at once in equal shares.
#[derive(Debug, Default)]
struct Fluid {
    now: u128,
    active: BTreeSet<(u128, JobId)>,
}

impl Fluid {
    /// A request of `tokens` arrives; the virtual time at which the ideal finishes it.
    fn join(&mut self, job: JobId, tokens: u64) -> u128 {
        let finish = self.now + (u128::from(tokens.max(1)) << VIRTUAL_SHIFT);
        self.active.insert((finish, job));
        finish
    }

    /// `tokens` were served: virtual time goes on by each active request's share.
    fn serve(&mut self, tokens: u64) {
        let mut work = u128::from(tokens) << VIRTUAL_SHIFT;
        while let Some(&(finish, _)) = self.active.first() {
            let sharing = self.active.len() as u128;
            let needed = (finish - self.now) * sharing;
            if needed > work {
                self.now += work / sharing;
                return;
            }
            work -= needed;
            self.now = finish;
            self.active.pop_first();
        }
    }

    /// A request goes away unfinished.
    fn leave(&mut self, finish: u128, job: JobId) {
        self.active.remove(&(finish, job));
    }
}

#[cfg(test)]
mod tests;
