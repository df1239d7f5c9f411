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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rescored_core::domain::{ModelCard, Priority};
use rescored_runtime::tokenizer::{EncodeError, Fitted};
use rescored_runtime::{BatchingPolicy, CancelHandle, Encoding, ScorerError};

use super::dispatcher::Callers;
use super::mutation::{self, Mutation};
use super::pair_ticket::PairTicket;
use super::planner::{Batching, Planner, Spent};
use super::runner::{Begun, Outcome, Runner, Size};
use super::scheduler::{Action, Event, Scheduler, Threads, Waits};
use super::supervisor::WorkerSupervisor;
use super::tokenise::{Reading, Texts, Tokenised};
use super::worker_slot::{MicroBatch, Replaced};
use super::{Engine, EngineContext, INTAKE, Options, Submitter};

/// Tokens of a forward pass at most.
pub const PASS: usize = 256;

/// Bytes that a tokenizer thread is given at most, unless it is one document.
const CHUNK: usize = 16 << 10;

/// How often the watchdog looks.
const TICK: Duration = Duration::from_millis(50);

/// What reading a byte takes: a tenth of what it takes for the dearest texts.
const READ: Duration = Duration::from_nanos(300);

/// What a token of a forward pass takes.
const TOKEN: Duration = Duration::from_micros(100);

/// Numbers from a seed (`SplitMix64`), the same every time.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below the limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A short while.
    pub fn micros(&mut self, most: u64) -> Duration {
        Duration::from_micros(1 + self.below(most))
    }

    /// A place in a list.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}

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
    /// What may have cost somebody its pair: then being told so is right.
    pub losses: u64,
}

struct Reader {
    reading: Reading,
    ticket: Option<PairTicket>,
    at: Instant,
}

struct Worker {
    runner: Runner,
    state: State,
    cancel_handle: Arc<Flag>,
}

enum State {
    /// It has said that it is free.
    Free,
    /// It looks at its slot.
    Turns {
        at: Instant,
    },
    Runs {
        begun: Begun,
        at: Instant,
        fate: Fate,
    },
    Rebuilds {
        at: Instant,
        offered: bool,
    },
    /// Its thread has ended by itself.
    Dead,
    /// Its slot is another's, or its engine is gone.
    Gone,
}

/// What a forward pass will come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Scores,
    Fails,
    Panics,
    TooFew,
    NotFinite,
    /// Until it is asked to stop.
    Hangs,
    /// Whatever it is told.
    Deaf,
    /// The worker's own code panics.
    Dies,
}

#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl CancelHandle for Flag {
    fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn release(&self) {
        self.0.store(false, Ordering::Release);
    }
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
                    && !worker.cancel_handle.0.load(Ordering::Acquire)
                {
                    return Err("invariant 4: a pass that nobody waits for is not stopped".into());
                }
            }
        }
        Ok(())
    }

    /// One of the things that the planner thread might be told next.
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

    fn work(&mut self, number: usize, now: Instant, random: &mut Random, faults: &mut Faults) -> Result<(), String> {
        let worker = &mut self.workers[number];
        let mut spent = None;
        match std::mem::replace(&mut worker.state, State::Gone) {
            State::Runs { begun, fate, .. } => {
                if fate == Fate::Dies {
                    worker.state = State::Dead;
                    return Ok(());
                }
                let size = Size {
                    tokens: begun.micro_batch.sequences.iter().map(|sequence| sequence.encoding.len() as u64).sum(),
                    padding: 0,
                };
                match worker.runner.end(&begun, worker.outcome(&begun, fate), size, now) {
                    Ok(cost) => spent = cost,
                    Err(Replaced) => return Ok(()),
                }
                if worker.runner.is_broken() {
                    worker.runner.mark_down();
                    worker.state = State::Rebuilds { at: now + worker.runner.pause(), offered: false };
                    return Ok(());
                }
            }
            State::Rebuilds { offered, .. } => {
                if self.fault_profile == FaultProfile::WithFaults && random.one_in(4) {
                    *faults.entry("scorer that cannot be built").or_default() += 1;
                    self.losses += 1;
                    worker.runner.not_rebuilt(&ScorerError::Runtime { message: "told to fail".into() });
                    if worker.runner.refuses() && !offered {
                        self.free.push_back(None);
                    }
                    let offered = offered || worker.runner.refuses();
                    worker.state = State::Rebuilds { at: now + worker.runner.pause(), offered };
                    return Ok(());
                }
                worker.runner.mark_up();
                if offered {
                    worker.state = State::Free;
                    return Ok(());
                }
            }
            State::Turns { .. } => {}
            state @ (State::Free | State::Dead | State::Gone) => {
                worker.state = state;
                return Ok(());
            }
        }
        self.take_turn(number, spent, now, random, faults)
    }

    fn take_turn(
        &mut self,
        number: usize,
        spent: Option<Spent>,
        now: Instant,
        random: &mut Random,
        faults: &mut Faults,
    ) -> Result<(), String> {
        let Ok(taken) = self.workers[number].runner.take() else { return Ok(()) };
        let Some(micro_batch) = taken else {
            self.workers[number].state = State::Free;
            self.free.push_back(spent);
            return Ok(());
        };
        let Some(micro_batch) = self.workers[number].runner.drop_unwanted(micro_batch, now) else {
            self.workers[number].state = State::Turns { at: now + random.micros(5) };
            return Ok(());
        };
        self.look_at(&micro_batch, now)?;
        let fate = self.fate(&micro_batch, random, faults);
        let tokens: u32 =
            micro_batch.sequences.iter().map(|sequence| u32::try_from(sequence.encoding.len()).unwrap()).sum();
        let time = match fate {
            Fate::Hangs => Duration::from_hours(1),
            Fate::Deaf => Duration::from_secs(20),
            _ => TOKEN * tokens,
        };
        let worker = &mut self.workers[number];
        let cancel_handle = Arc::clone(&worker.cancel_handle) as Arc<dyn CancelHandle>;
        if let Ok(begun) = worker.runner.begin(micro_batch, Some(cancel_handle), now) {
            worker.state = State::Runs { begun, at: now + time, fate };
        }
        Ok(())
    }

    /// Invariants 4 and 5, when a pass begins.
    fn look_at(&self, micro_batch: &MicroBatch, now: Instant) -> Result<(), String> {
        for sequence in &micro_batch.sequences {
            if sequence.ticket.wanted_until().is_none_or(|until| until <= now) {
                return Err("invariant 4: a pair that nobody waits for is scored".into());
            }
            let text = |ticket: &PairTicket| {
                let work = &ticket.job().work;
                let (query, document) = &work.documents[ticket.slot() as usize];
                (work.model, work.refuse_cut, work.queries[*query as usize].clone(), document.clone())
            };
            let live = |ticket: &PairTicket| ticket.job().work.priority == Priority::Live;
            let running = self.workers.iter().filter_map(|worker| match &worker.state {
                State::Runs { begun, .. } => Some(&begun.micro_batch.sequences),
                _ => None,
            });
            let twin = running.flatten().find(|other| {
                live(&other.ticket)
                    && live(&sequence.ticket)
                    && other.ticket.wanted_until().is_some_and(|until| until > now)
                    && !other.ticket.is_answered()
                    && text(&other.ticket) == text(&sequence.ticket)
            });
            if twin.is_some() {
                return Err("invariant 5: a pair in flight is computed again".into());
            }
        }
        Ok(())
    }

    fn fate(&mut self, micro_batch: &MicroBatch, random: &mut Random, faults: &mut Faults) -> Fate {
        if self.fault_profile == FaultProfile::NoFaults {
            return Fate::Scores;
        }
        let poisoned = micro_batch.sequences.iter().any(|sequence| {
            sequence.ticket.job().work.documents[sequence.ticket.slot() as usize].1.ends_with("poison")
        });
        let (fate, kind) = match random.below(1000) {
            _ if poisoned => (Fate::Panics, "pass that panics on a document"),
            0..30 => (Fate::Fails, "pass that fails"),
            30..40 => (Fate::Panics, "pass that panics"),
            40..45 => (Fate::TooFew, "pass that gives too few logits"),
            45..50 => (Fate::NotFinite, "pass that gives no numbers"),
            50..56 => (Fate::Hangs, "pass that hangs until it is told to stop"),
            56..59 => (Fate::Deaf, "pass that hangs whatever it is told"),
            59..62 => (Fate::Dies, "worker that dies"),
            _ => return Fate::Scores,
        };
        *faults.entry(kind).or_default() += 1;
        fate
    }

    fn watch(&mut self, now: Instant, random: &mut Random, faults: &mut Faults) {
        self.watch_at = now + TICK;
        if mutation::is(Mutation::NobodyWatches) {
            return;
        }
        for number in 0..self.workers.len() {
            let generation = match self.supervisor.check_worker(number, now) {
                Some(generation) => {
                    *faults.entry("worker left behind").or_default() += 1;
                    Some(generation)
                }
                None if matches!(self.workers[number].state, State::Dead) => Some(self.supervisor.replace_dead(number)),
                None => None,
            };
            if let Some(generation) = generation {
                let runner = Runner::new(Arc::clone(&self.supervisor), number, generation);
                let state = State::Rebuilds { at: now + random.micros(1000), offered: false };
                let next = Worker { runner, state, cancel_handle: Arc::default() };
                let former = std::mem::replace(&mut self.workers[number], next);
                self.zombies.push(former);
            }
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

impl Worker {
    fn at(&self) -> Option<Instant> {
        match &self.state {
            // Asked to stop, it fails at once, if it hears.
            State::Runs { at, fate, begun } if *fate != Fate::Deaf && self.cancel_handle.0.load(Ordering::Acquire) => {
                Some((*at).min(begun.started()))
            }
            State::Turns { at } | State::Rebuilds { at, .. } | State::Runs { at, .. } => Some(*at),
            State::Free | State::Dead | State::Gone => None,
        }
    }

    fn outcome(&self, begun: &Begun, fate: Fate) -> Outcome {
        let logits = || begun.micro_batch.sequences.iter().map(|sequence| logit(sequence.encoding.ids()));
        let failed = || Outcome::Failed(ScorerError::Runtime { message: "told to fail".into() });
        match fate {
            _ if self.cancel_handle.0.load(Ordering::Acquire) => failed(),
            Fate::Scores | Fate::Deaf | Fate::Dies => Outcome::Logits(logits().collect()),
            Fate::Fails | Fate::Hangs => failed(),
            Fate::Panics => Outcome::Panicked,
            Fate::TooFew => Outcome::Logits(logits().skip(1).collect()),
            Fate::NotFinite => Outcome::Logits(logits().map(|_| f32::NAN).collect()),
        }
    }
}

/// Invariant 6: every request against equal sharing of what was read of its class and model, counted in tokens that were
/// handed to workers.
#[derive(Debug, Default)]
struct Sharing {
    /// By class and model.
    clocks: BTreeMap<(bool, usize), Clock>,
}

#[derive(Debug, Default)]
struct Clock {
    served: f64,
    /// By the request's address, which is its own while it lives.
    requests: BTreeMap<usize, Served>,
    /// What equal sharing has still to give to requests that are done.
    ahead: Vec<f64>,
}

#[derive(Debug)]
struct Served {
    /// Tokens that are ready and that equal sharing has not served.
    ideal: f64,
    /// On the clock: when it had served all that was ready.
    done: f64,
    /// Pairs that were not handed out yet.
    left: usize,
}

impl Sharing {
    fn arrive(&mut self, arrival: &super::pair_ticket::Arrival) {
        let Some(job) = arrival.job() else { return };
        let clock = self.clocks.entry((job.work.priority == Priority::WarmUp, job.work.model)).or_default();
        let served = Served { ideal: 0.0, done: clock.served, left: job.work.documents.len() };
        clock.requests.insert(Arc::as_ptr(job).addr(), served);
    }

    fn ready(&mut self, done: &Tokenised) {
        for sequence in &done.sequences {
            let job = Arc::as_ptr(sequence.ticket.job()).addr();
            for clock in self.clocks.values_mut() {
                if let Some(request) = clock.requests.get_mut(&job) {
                    request.ideal += sequence.encoding.len() as f64;
                }
            }
        }
    }

    fn run(&mut self, micro_batch: &MicroBatch) -> Result<(), String> {
        let Some(first) = micro_batch.sequences.first() else { return Ok(()) };
        let warm_up = first.ticket.job().work.priority == Priority::WarmUp;
        let clock = self.clocks.entry((warm_up, micro_batch.model)).or_default();
        clock.serve(micro_batch.sequences.iter().map(|sequence| sequence.encoding.len() as f64).sum());
        for sequence in &micro_batch.sequences {
            let job = Arc::as_ptr(sequence.ticket.job()).addr();
            let Some(request) = clock.requests.get_mut(&job) else { continue };
            request.left -= 1;
            if request.left > 0 {
                continue;
            }
            let late = if request.ideal > 0.0 { 0.0 } else { clock.served - request.done };
            // The rest of the pass that it ends in, and what fixed-point numbers lose.
            if late > PASS as f64 + 1.0 {
                let pairs = sequence.ticket.job().texts().len();
                return Err(format!(
                    "invariant 6: a request of {pairs} pairs is {late:.0} tokens later than under equal sharing, at most {PASS}"
                ));
            }
            let ahead = clock.requests.remove(&job).map(|request| request.ideal);
            clock.ahead.extend(ahead.filter(|ideal| *ideal > 0.0));
        }
        Ok(())
    }
}

impl Clock {
    /// All that is ready is served at once in equal shares.
    fn serve(&mut self, mut work: f64) {
        while work > 1e-9 {
            let active = self.requests.values().map(|request| request.ideal).chain(self.ahead.iter().copied());
            let active = active.filter(|ideal| *ideal > 0.0);
            let (count, least) = active.fold((0.0, f64::INFINITY), |(n, least), ideal| (n + 1.0, ideal.min(least)));
            if count == 0.0 {
                self.served += work;
                return;
            }
            let step = (least * count).min(work);
            (self.served, work) = (self.served + step, work - step);
            self.ahead.iter_mut().for_each(|ideal| *ideal -= step / count);
            self.ahead.retain(|ideal| *ideal > 1e-9);
            for request in self.requests.values_mut().filter(|request| request.ideal > 0.0) {
                request.ideal -= step / count;
                request.done = self.served;
                if request.ideal <= 1e-9 {
                    request.ideal = 0.0;
                }
            }
        }
    }
}
