//! The engine without threads, for the simulator: the same decisions on virtual time, with faults on demand.
//!
//! Stands where `dispatcher`, `tokenise`'s threads, `worker` and `worker_pool` stand in the program, and drives the
//! same [`Scheduler`], [`Reading`], [`Runner`], [`WorkerSupervisor`] and the admission state. A text says how many
//! tokens it is (`"17 ..."`) and what is wrong with it. Each step does what one thread would do next; everything random
//! comes from one seed.

#![expect(
    clippy::wildcard_enum_match_arm,
    missing_debug_implementations,
    reason = "the simulator looks at few of the states, and passes its clock, its numbers and its counts of faults on"
)]
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::should_implement_trait,
    reason = "code of tests, which clippy does not take for tests as another crate's tests use it"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rescored_core::domain::ModelCard;
use rescored_runtime::tokenizer::{EncodeError, Fitted};
use rescored_runtime::{BatchingPolicy, Encoding};

#[path = "simulated/random.rs"]
mod random;
#[path = "simulated/sharing.rs"]
mod sharing;
#[path = "simulated/workers.rs"]
mod workers;

pub use random::Random;

use sharing::Sharing;
use workers::{State, TICK, Worker};

use super::dispatcher::Callers;
use super::pair_ticket::PairTicket;
use super::planner::{Batching, Planner, Spent};
use super::runner::{Outcome, Runner, Size};
use super::scheduler::{Action, Event, Scheduler, Threads, Waits};
use super::supervisor::WorkerSupervisor;
use super::tokenise::{Reading, Texts, Tokenised};
use super::worker_slot::{MicroBatch, Replaced};
use super::{Engine, EngineContext, INTAKE, Options, Submitter};

/// Tokens of a forward pass at most.
pub const PASS: usize = 256;

/// Bytes that a tokenizer thread is given at most, unless it is one document.
const CHUNK: usize = 16 << 10;

/// What reading a byte takes: a tenth of what it takes for the dearest texts.
const READ: Duration = Duration::from_nanos(300);

/// Faults injected so far, by kind.
pub type Faults = BTreeMap<&'static str, u64>;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultProfile {
    /// Nothing: then sharing is held against the ideal.
    NoFaults,
    /// Passes fail, panic, hang and end in nonsense, workers die, scorers cannot be built, tokenizers choke.
    WithFaults,
}

/// See the module.
pub struct Simulated {
    fault_profile: FaultProfile,
    scheduler: Scheduler,
    callers: Option<Callers>,
    supervisor: Arc<WorkerSupervisor>,
    texts: VecDeque<Texts>,
    micro_batches: VecDeque<MicroBatch>,
    tokenised: VecDeque<Tokenised>,
    free: VecDeque<Option<Spent>>,
    planner_at: Option<Instant>,
    readers: Vec<Option<Reader>>,
    /// By place; then those that were left behind.
    workers: Vec<Worker>,
    zombies: Vec<Worker>,
    watch_at: Instant,
    sharing: Sharing,
    /// What may have cost somebody its pair: then a refusal is right.
    pub losses: u64,
}

struct Reader {
    reading: Reading,
    ticket: Option<PairTicket>,
    at: Instant,
}

/// What a text says of itself: its tokens, and whether it is bad for whoever scores it.
pub fn tokens(text: &str) -> u32 {
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// The logit of a pair by a model of this shift.
pub fn logit(ids: &[u32]) -> f32 {
    f32::from(u16::try_from(ids.iter().fold(7_u32, |hash, id| hash.wrapping_mul(31).wrapping_add(*id)) >> 16).unwrap())
}

/// Token ids of a pair: as many as its document says, all of them of the pair.
pub fn ids(query: &str, document: &str) -> Vec<u32> {
    let text = query.bytes().chain([b'|']).chain(document.bytes().take(24));
    let hash = text.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    vec![hash; tokens(document) as usize]
}

impl Engine {
    /// An engine without threads, and what does their work.
    pub fn simulated(
        options: &Options,
        cards: &[&ModelCard],
        context: &EngineContext,
        fault_profile: FaultProfile,
        now: Instant,
    ) -> (Self, Simulated) {
        let workers = options.workers.unwrap();
        let (submitter, callers) = Submitter::open(options, workers, cards, context);
        let batching = |quota: &super::Quota| Batching {
            policy: if workers.is_multiple_of(2) {
                BatchingPolicy::SameLength
            } else {
                BatchingPolicy::Packed { slots: None }
            },
            tokens: PASS,
            spread: workers,
            weight: quota.weight,
        };
        let batchings: Vec<_> = submitter.quotas.iter().map(batching).collect();
        let planner = Planner::new(&batchings).with_readers(options.tokenisers);
        let waits = Waits { longest: vec![options.batch_wait.unwrap_or_default(); cards.len()], whatever: false };
        let threads = Threads { readers: options.tokenisers, workers };
        let supervisor =
            Arc::new(WorkerSupervisor::new(workers, options.stuck_after, cards, &submitter.admission, context));
        let worker = |number| {
            supervisor.worker_up(number);
            let runner = Runner::new(Arc::clone(&supervisor), number, 0);
            Worker { runner, state: State::Turns { at: now }, cancel_handle: Arc::default() }
        };
        let simulated = Simulated {
            fault_profile,
            scheduler: Scheduler::new(planner, waits, threads),
            callers: Some(callers),
            workers: (0..workers).map(worker).collect(),
            supervisor: Arc::clone(&supervisor),
            texts: VecDeque::new(),
            micro_batches: VecDeque::new(),
            tokenised: VecDeque::new(),
            free: VecDeque::new(),
            planner_at: None,
            readers: (0..options.tokenisers).map(|_| None).collect(),
            zombies: Vec::new(),
            watch_at: now + TICK,
            sharing: Sharing::default(),
            losses: 0,
        };
        (Self { submitter, threads: None }, simulated)
    }
}

impl Simulated {
    /// When something is to be done next; `None` while it waits for others.
    pub fn next_at(&self) -> Option<Instant> {
        let readers = self.readers.iter().flatten().map(|reader| reader.at);
        let workers = self.workers.iter().chain(&self.zombies).filter_map(Worker::at);
        let busy = self.workers.iter().any(|worker| !matches!(worker.state, State::Free | State::Gone));
        let planner = self.planner_at.into_iter().chain(self.scheduler.wakes_at());
        readers.chain(workers).chain(planner).chain(busy.then_some(self.watch_at)).min()
    }

    /// Whether nothing is held, by anybody.
    pub fn is_idle(&self) -> bool {
        self.scheduler.is_empty()
            && (self.texts.is_empty() && self.micro_batches.is_empty() && self.tokenised.is_empty())
            && self.callers.as_ref().is_none_or(|callers| callers.arrivals.is_empty())
            && self.readers.iter().all(Option::is_none)
            && self.workers.iter().all(|worker| matches!(worker.state, State::Free | State::Gone))
    }

    /// Does what is due first.
    pub fn step(&mut self, now: Instant, random: &mut Random, faults: &mut Faults) -> Result<(), String> {
        if let Some(reader) = (0..self.readers.len()).find(|&n| self.readers[n].as_ref().is_some_and(|r| r.at <= now)) {
            self.read(reader, now, random, faults);
        } else if let Some(worker) = (0..self.workers.len()).find(|&n| self.workers[n].at().is_some_and(|at| at <= now))
        {
            self.work(worker, now, random, faults)?;
        } else if let Some(zombie) = (0..self.zombies.len()).find(|&n| self.zombies[n].at().is_some_and(|at| at <= now))
        {
            let mut zombie = self.zombies.swap_remove(zombie);
            if let State::Runs { begun, .. } = &zombie.state {
                let size = Size { tokens: 1, padding: 0 };
                let came_back = zombie.runner.end(begun, Outcome::Panicked, size, now);
                if came_back != Err(Replaced) {
                    return Err("a worker that was left behind touched its former slot".into());
                }
            }
        } else if self.planner_at.into_iter().chain(self.scheduler.wakes_at()).any(|at| at <= now) {
            self.plan(now, random)?;
        } else {
            self.watch(now, random, faults);
        }
        self.hand_out(now, random);
        self.check(now)
    }

    /// Gives what lies in the queues to who is free, and lets the planner know of what is there for it.
    pub fn hand_out(&mut self, now: Instant, random: &mut Random) {
        while let Some(reader) = self.readers.iter().position(Option::is_none).filter(|_| !self.texts.is_empty()) {
            let reading = self.texts.pop_front().map(|texts| Reading::new(texts, now)).unwrap();
            self.readers[reader] = Some(Reader { reading, ticket: None, at: now + random.micros(20) });
        }
        let free = |worker: &Worker| matches!(worker.state, State::Free | State::Rebuilds { offered: true, .. });
        while !self.micro_batches.is_empty() && self.workers.iter().any(free) {
            let places: Vec<usize> = (0..self.workers.len()).filter(|&n| free(&self.workers[n])).collect();
            let worker = &mut self.workers[places[random.index(places.len())]];
            let micro_batch = self.micro_batches.pop_front().unwrap();
            match &mut worker.state {
                State::Rebuilds { offered, .. } => {
                    *offered = false;
                    micro_batch.sequences.iter().for_each(|sequence| sequence.ticket.refuse(super::PairError::Failed));
                }
                _ => {
                    worker.state = match worker.runner.put(micro_batch) {
                        Ok(()) => State::Turns { at: now + random.micros(20) },
                        Err(Replaced) => State::Gone,
                    }
                }
            }
        }
        let reported =
            self.callers.as_ref().is_some_and(|callers| !callers.arrivals.is_empty() || !callers.cancelled.is_empty());
        if self.planner_at.is_none() && (reported || !self.tokenised.is_empty() || !self.free.is_empty()) {
            self.planner_at = Some(now + random.micros(50));
        }
    }

    /// What the planner thread does between two waits.
    fn plan(&mut self, now: Instant, random: &mut Random) -> Result<(), String> {
        self.planner_at = None;
        let event = self.event(random);
        match &event {
            Event::Tokenised(done) => self.sharing.ready(done),
            Event::Arrived(arrival) if self.fault_profile == FaultProfile::NoFaults => self.sharing.arrive(arrival),
            _ => {}
        }
        let stops = matches!(event, Event::CallerGone);
        self.scheduler.handle(event, now);
        while let Some(action) = self.scheduler.next(now) {
            match action {
                Action::Read(texts) => {
                    let document = |ticket: &PairTicket| ticket.job().work.documents[ticket.slot() as usize].1.len();
                    let bytes: usize = texts.tickets.iter().map(document).sum();
                    if texts.tickets.len() > 1 && bytes > CHUNK {
                        return Err(format!("invariant 8: a chunk of {bytes} bytes"));
                    }
                    self.texts.push_back(texts);
                }
                Action::Run(micro_batch) => {
                    if self.fault_profile == FaultProfile::NoFaults {
                        self.sharing.run(&micro_batch)?;
                    }
                    self.micro_batches.push_back(micro_batch);
                }
                Action::StopUnwanted => self.supervisor.stop_unwanted(now),
            }
        }
        if stops {
            for worker in &self.workers {
                if let State::Runs { begun, .. } = &worker.state
                    && !begun.micro_batch.sequences.iter().any(|sequence| sequence.ticket.is_live(now))
                    && !worker.is_stopped()
                {
                    return Err("invariant 4: a pass that nobody waits for is not stopped".into());
                }
            }
        }
        Ok(())
    }

    /// One of the things that might happen to the planner thread next.
    fn event(&mut self, random: &mut Random) -> Event {
        let callers = self.callers.as_ref();
        let mut there = Vec::with_capacity(4);
        if !self.tokenised.is_empty() {
            there.push(0);
        }
        if !self.free.is_empty() {
            there.push(1);
        }
        if callers.is_some_and(|callers| !callers.arrivals.is_empty()) {
            there.push(2);
        }
        if callers.is_some_and(|callers| !callers.cancelled.is_empty()) {
            there.push(3);
        }
        if there.is_empty() {
            return Event::TimePassed;
        }
        match there[random.index(there.len())] {
            0 => Event::Tokenised(self.tokenised.pop_front().unwrap()),
            1 => Event::WorkerIdle(self.free.pop_front().unwrap()),
            2 => Event::Arrived(self.callers.as_ref().unwrap().arrivals.recv().unwrap()),
            _ => {
                self.callers.as_ref().unwrap().cancelled.recv().unwrap();
                Event::CallerGone
            }
        }
    }

    fn read(&mut self, number: usize, now: Instant, random: &mut Random, faults: &mut Faults) {
        let Some(mut reader) = self.readers[number].take() else { return };
        if let Some(ticket) = reader.ticket.take() {
            let job = Arc::clone(ticket.job());
            let (query, document) = &job.work.documents[ticket.slot() as usize];
            let fitted = if self.fault_profile == FaultProfile::WithFaults && random.one_in(200) {
                *faults.entry("tokenizer refuses or panics").or_default() += 1;
                Err(EncodeError::Refused)
            } else {
                let ids = ids(&job.work.queries[*query as usize], document);
                Ok(Fitted { windows: vec![Encoding::new(ids, 0, 0)], cut: false })
            };
            reader.reading.take(ticket, fitted, now);
        }
        match reader.reading.next(now) {
            Some(ticket) => {
                let bytes = ticket.job().work.documents[ticket.slot() as usize].1.len();
                let mut time = READ * u32::try_from(bytes).unwrap() + random.micros(10);
                if self.fault_profile == FaultProfile::WithFaults && random.one_in(300) {
                    *faults.entry("text that is read slowly").or_default() += 1;
                    time += Duration::from_millis(random.below(400));
                }
                self.readers[number] = Some(Reader { ticket: Some(ticket), at: now + time, ..reader });
            }
            None => self.tokenised.push_back(reader.reading.finish(now)),
        }
    }

    /// Invariant 8, and that the admission state is right.
    fn check(&self, _now: Instant) -> Result<(), String> {
        let sizes = [
            ("texts", self.texts.len(), self.readers.len()),
            ("read texts", self.tokenised.len(), self.readers.len()),
            ("passes", self.micro_batches.len(), self.workers.len()),
            ("free workers", self.free.len(), self.workers.len()),
            ("requests", self.callers.as_ref().map_or(0, |callers| callers.arrivals.len()), INTAKE),
        ];
        match sizes.iter().find(|(_, size, limit)| size > limit) {
            Some((what, size, limit)) => Err(format!("invariant 8: {size} {what} are queued, at most {limit}")),
            None => Ok(()),
        }
    }

    /// Estimated tokens that wait.
    pub fn queued(&self) -> u64 {
        self.supervisor.admission.queued()
    }

    /// The engine's handle is gone: what is held is finished.
    pub fn close(&mut self) {
        if self.callers.as_ref().is_some_and(|callers| callers.arrivals.is_empty()) {
            self.callers = None;
            self.supervisor.close();
        }
    }
}
