//! The decisions of the planner thread, without the thread: events in, actions out, the time is an argument.
//!
//! Owns the tickets and encodings that wait, and how long a pass waits for more pairs. What is read and what runs is
//! the [`Planner`]'s decision, made when a tokenizer thread or a worker is free and not before. It must not know
//! channels or clocks: the thread in `dispatcher` moves values between channels, and the simulator between queues of
//! its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::PairError;
use super::mutation::{self, Mutation};
use super::pair_ticket::{Arrival, Job, PairTicket, Sequence};
use super::planner::{Arrived, JobId, Outlook, Planner, Returned, Spent};
use super::running_passes::RunningPasses;
use super::tokenise::{Texts, Tokenised};
use super::worker_slot::MicroBatch;

/// How long a pass that is not full waits for more pairs.
#[derive(Debug)]
pub(super) struct Waits {
    /// By model.
    pub(super) longest: Vec<Duration>,
    /// Whether a pass waits though every worker is idle and nothing more is being read.
    pub(super) whatever: bool,
}

/// Threads that are given something to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Threads {
    pub(super) readers: usize,
    pub(super) workers: usize,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// A request was admitted.
    Arrived(Arrival),
    /// Somebody who waited has gone: see [`Job::is_abandoned`].
    CallerGone,
    /// A tokenizer thread is done with its chunk and free for the next.
    Tokenised(Tokenised),
    /// A worker waits for a pass; what its last one cost.
    WorkerIdle(Option<Spent>),
    /// Nothing but time going by.
    TimePassed,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Action {
    /// A tokenizer thread is free: it reads these.
    Read(Texts),
    /// A worker is free: it runs this.
    Run(MicroBatch),
    /// Forward passes that nobody waits for are to be stopped.
    StopUnwanted,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Scheduler {
    planner: Planner,
    waits: Waits,
    /// In order, so that the same events always have the same outcome.
    waiting: BTreeMap<JobId, Waiting>,
    /// When requests are to be looked at again, since somebody's deadline has passed.
    deadlines: BTreeSet<(Instant, JobId)>,
    next_job: JobId,
    workers: usize,
    free_readers: usize,
    /// Workers that wait for a pass.
    free: usize,
    running: RunningPasses,
    /// While a worker is free and a pass waits for more pairs: when it goes all the same.
    ripens: Option<Instant>,
    stop_unwanted: bool,
}

/// What of a request waits here.
#[derive(Debug)]
struct Waiting {
    job: Arc<Job>,
    /// By document; `None` once handed to a tokenizer thread or not wanted.
    tickets: Vec<Option<PairTicket>>,
    /// By the planner's number; `None` once handed to a worker or not wanted.
    sequences: Vec<Option<Sequence>>,
    /// Where it stands among the deadlines.
    deadline: Option<Instant>,
}

impl Waiting {
    /// Gives up what nobody waits for any more.
    fn sweep(&mut self, now: Instant) {
        for ticket in &mut self.tickets {
            drop(ticket.take_if(|ticket| !ticket.is_live(now)));
        }
        for sequence in &mut self.sequences {
            drop(sequence.take_if(|sequence| !sequence.ticket.is_live(now)));
        }
    }

    fn is_empty(&self) -> bool {
        self.tickets.iter().all(Option::is_none) && self.sequences.iter().all(Option::is_none)
    }

    /// Until when somebody waits for any of it.
    fn wanted_until(&self) -> Option<Instant> {
        let tickets = self.tickets.iter().flatten();
        tickets
            .chain(self.sequences.iter().flatten().map(|sequence| &*sequence.ticket))
            .filter_map(PairTicket::wanted_until)
            .max()
    }
}

impl Scheduler {
    /// One with nothing to do. Tokenizer threads are free from the beginning; workers say when they are.
    pub(super) fn new(planner: Planner, waits: Waits, threads: Threads) -> Self {
        Self {
            planner,
            waits,
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next_job: 0,
            workers: threads.workers,
            free_readers: threads.readers,
            free: 0,
            running: RunningPasses::default(),
            ripens: None,
            stop_unwanted: false,
        }
    }

    /// Takes in what happened by `now`.
    pub(super) fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::Arrived(arrival) => self.arrive(arrival),
            Event::CallerGone => self.drop_unwanted(now),
            Event::Tokenised(done) => self.tokenised(done, now),
            Event::WorkerIdle(spent) => {
                self.free += 1;
                self.running.end();
                if let Some(spent) = spent {
                    self.planner.observe(&spent);
                }
            }
            Event::TimePassed => {}
        }
        self.expire(now);
    }

    /// What is to be done now; asked until there is nothing.
    pub(super) fn next(&mut self, now: Instant) -> Option<Action> {
        if std::mem::take(&mut self.stop_unwanted) {
            return Some(Action::StopUnwanted);
        }
        if let Some(texts) = self.next_texts(now) {
            return Some(Action::Read(texts));
        }
        self.next_micro_batch(now).map(Action::Run)
    }

    /// When to handle [`Event::TimePassed`], at the latest.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline).into_iter().chain(self.ripens).min()
    }

    /// Whether nothing waits here, and nothing that tokenizer threads hold is to come back.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn next_texts(&mut self, now: Instant) -> Option<Texts> {
        while self.free_readers > 0 {
            let chunk = self.planner.next_chunk()?;
            let waiting = self.waiting.get_mut(&chunk.job);
            let tickets = waiting.map_or_else(Vec::new, |waiting| {
                let taken = chunk.documents.iter().filter_map(|&document| waiting.tickets.get_mut(document)?.take());
                taken.filter(|ticket| ticket.is_live(now)).collect()
            });
            if !tickets.is_empty() {
                self.free_readers -= 1;
                return Some(Texts { job: chunk.job, model: chunk.model, expected: chunk.tokens, tickets });
            }
            self.planner.tokenised(chunk.job, &Returned { expected: chunk.tokens, read: 0, lengths: &[] });
            self.forget_if_done(chunk.job);
        }
        None
    }

    fn next_micro_batch(&mut self, now: Instant) -> Option<MicroBatch> {
        while self.free > 0 && self.is_ripe(now) {
            let mut sequences = Vec::new();
            let waiting = &mut self.waiting;
            let planned = self.planner.next_batch(self.running.left(now), &mut |job, sequence| {
                let sequence = waiting.get_mut(&job).and_then(|waiting| waiting.sequences.get_mut(sequence)?.take());
                let sequence = sequence.filter(|sequence| sequence.ticket.is_live(now));
                let wanted = sequence.is_some();
                sequences.extend(sequence);
                wanted
            })?;
            for job in planned.touched {
                self.forget_if_done(job);
            }
            if !sequences.is_empty() {
                self.free -= 1;
                self.running.begin(now, planned.tokens, planned.expected);
                return Some(MicroBatch { model: planned.model, sequences });
            }
        }
        None
    }

    /// Whether the next pass goes now: it is full, or has waited for more pairs as long as its model lets it.
    fn is_ripe(&mut self, now: Instant) -> bool {
        let wait = match self.planner.outlook() {
            Outlook::Nothing => {
                self.ripens = None;
                return false;
            }
            Outlook::Full => Duration::ZERO,
            Outlook::Room { .. } if self.is_idle() && !self.waits.whatever => Duration::ZERO,
            Outlook::Room { model } => self.waits.longest.get(model).copied().unwrap_or_default(),
        };
        if wait.is_zero() {
            self.ripens = None;
            return true;
        }
        let ripens = *self.ripens.get_or_insert(now + wait);
        if ripens <= now {
            self.ripens = None;
        }
        ripens <= now
    }

    /// Whether every worker waits, and all that was asked has been read.
    fn is_idle(&self) -> bool {
        self.free == self.workers && !self.planner.expects_more()
    }

    fn arrive(&mut self, arrival: Arrival) {
        let Some((job, tickets)) = arrival.take() else { return };
        let id = self.next_job;
        self.next_job += 1;
        self.planner.arrive(Arrived {
            job: id,
            model: job.work.model,
            priority: job.work.priority,
            texts: job.texts().to_vec(),
            order: job.work.order,
        });
        let deadline = Some(job.work.deadline);
        self.deadlines.insert((job.work.deadline, id));
        let tickets = tickets.into_iter().map(Some).collect();
        self.waiting.insert(id, Waiting { job, tickets, sequences: Vec::new(), deadline });
        self.forget_if_done(id);
    }

    fn tokenised(&mut self, done: Tokenised, now: Instant) {
        self.free_readers += 1;
        let Tokenised { job, expected, read, sequences } = done;
        let Some(waiting) = self.waiting.get_mut(&job) else {
            // A request stays here while texts of it are read; whatever happened, nobody is left without an answer that
            // lets others try for themselves.
            for sequence in sequences.iter().filter(|_| !mutation::is(Mutation::ForgottenWhileRead)) {
                sequence.ticket.refuse(PairError::Abandoned);
            }
            return;
        };
        let lengths: Vec<u32> =
            sequences.iter().map(|sequence| u32::try_from(sequence.encoding.len()).unwrap_or(u32::MAX)).collect();
        waiting.sequences.extend(sequences.into_iter().map(Some));
        let is_late = waiting.deadline.is_none() || waiting.job.is_abandoned();
        self.planner.tokenised(job, &Returned { expected, read, lengths: &lengths });
        if is_late {
            self.sweep(job, now);
        }
        self.forget_if_done(job);
    }

    /// Looks at every request whose deadline has passed: what somebody with more time waits for, too, goes on.
    fn expire(&mut self, now: Instant) {
        while let Some(&(deadline, job)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            self.deadlines.pop_first();
            if let Some(waiting) = self.waiting.get_mut(&job) {
                waiting.deadline = None;
            }
            self.sweep(job, now);
        }
    }

    /// Drops what nobody waits for any more: here, and in forward passes that are going on.
    fn drop_unwanted(&mut self, now: Instant) {
        self.stop_unwanted = true;
        let abandoned = self.waiting.iter().filter(|(_, waiting)| waiting.job.is_abandoned());
        for id in abandoned.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.sweep(id, now);
        }
    }

    /// Drops what nobody waits for of a request. While texts of it are being read it stays: somebody who asks for the same
    /// pair meanwhile waits for what comes back.
    fn sweep(&mut self, id: JobId, now: Instant) {
        let Some(waiting) = self.waiting.get_mut(&id) else { return };
        waiting.sweep(now);
        let (tickets, sequences) = (&waiting.tickets, &waiting.sequences);
        self.planner.retain(
            id,
            |document| tickets.get(document).is_some_and(Option::is_some),
            |sequence| sequences.get(sequence).is_some_and(Option::is_some),
        );
        if waiting.deadline.is_none() {
            waiting.deadline = waiting.wanted_until();
            self.deadlines.extend(waiting.deadline.map(|deadline| (deadline, id)));
        }
        if mutation::is(Mutation::ForgottenWhileRead) && waiting.is_empty()
            || mutation::is(Mutation::FirstDeadlineCounts) && now >= waiting.job.work.deadline
        {
            self.planner.forget(id);
        }
        self.forget_if_done(id);
    }

    fn forget_if_done(&mut self, id: JobId) {
        if self.planner.is_done(id)
            && let Some(waiting) = self.waiting.remove(&id)
        {
            self.planner.forget(id);
            if let Some(deadline) = waiting.deadline {
                self.deadlines.remove(&(deadline, id));
            }
        }
    }
}
