//! The planner thread: the one place where requests, tokenizer threads and workers meet.
//!
//! Owns the claims and encodings that wait, and how long a pass waits for company. What runs is the [`Planner`]'s
//! decision, made when a worker is free and not before; this file moves values between channels. It ends when the
//! engine's handle is gone and nothing is left to hand out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, SendError};

use super::PairFault;
use super::claim::{Arrival, Claim, Job, Unit};
use super::crew::{self, Crew, Free};
use super::planner::{Arrived, JobId, Outlook, Planned, Planner};
use super::slot::Part;
use super::tokenise::{Ends, Texts, Tokenised};
use super::underway::Underway;

/// What the engine's handle sends.
#[derive(Debug)]
pub(super) struct Callers {
    /// Requests. Gone when the engine's handle is.
    pub(super) arrivals: Receiver<Arrival>,
    /// Somebody who waited has gone: see [`Job::is_forsaken`]. Room for one, since one look serves all.
    pub(super) gone: Receiver<()>,
}

/// How long a pass that is not full waits for company.
#[derive(Debug)]
pub(super) struct Waits {
    /// By model.
    pub(super) longest: Vec<Duration>,
    /// Whether a pass waits though every worker is idle and nothing more is being read.
    pub(super) whatever: bool,
}

/// The workers, as this thread sees them.
#[derive(Debug)]
pub(super) struct Hands {
    pub(super) ends: crew::Ends,
    pub(super) crew: Arc<Crew>,
}

/// Starts the thread.
pub(super) fn spawn(
    (planner, waits): (Planner, Waits),
    callers: Callers,
    tokenisers: Ends,
    hands: Hands,
) -> std::io::Result<JoinHandle<()>> {
    let notice = super::DeathNotice(Arc::clone(&hands.crew.around.health));
    let dispatcher = Dispatcher {
        planner,
        waits,
        arrivals: Some(callers.arrivals),
        gone: callers.gone,
        tokenisers,
        workers: hands.ends,
        crew: hands.crew,
        waiting: HashMap::new(),
        deadlines: BTreeSet::new(),
        next_job: 0,
        texts: None,
        parked: None,
        free: 0,
        underway: Underway::default(),
        ripens: None,
    };
    std::thread::Builder::new().name("planner".to_owned()).spawn(move || {
        let _notice = notice;
        dispatcher.run();
    })
}

/// See the module.
struct Dispatcher {
    planner: Planner,
    waits: Waits,
    /// `None` once the engine's handle is gone.
    arrivals: Option<Receiver<Arrival>>,
    gone: Receiver<()>,
    tokenisers: Ends,
    workers: crew::Ends,
    crew: Arc<Crew>,
    waiting: HashMap<JobId, Waiting>,
    deadlines: BTreeSet<(Instant, JobId)>,
    next_job: JobId,
    /// Chosen for the next tokenizer thread that is free.
    texts: Option<Texts>,
    /// Texts of a warm-up request that were chosen and then had to make way for a live one's.
    parked: Option<Texts>,
    /// Workers that wait for a pass.
    free: usize,
    underway: Underway,
    /// While a worker is free and a pass waits for company: when it goes all the same.
    ripens: Option<Instant>,
}

/// What of a request waits here.
struct Waiting {
    job: Arc<Job>,
    /// By document; `None` once handed to a tokenizer thread.
    claims: Vec<Option<Claim>>,
    /// By the planner's number; `None` once handed to a worker.
    units: Vec<Option<Unit>>,
}

/// What happened in a channel.
enum Event {
    Arrived(Arrival),
    HandleGone,
    CallerGone,
    Tokenised(Tokenised),
    TokenisersGone,
    Sent,
    Free(Free),
    WorkersGone,
    Deadline,
}

impl Dispatcher {
    fn run(mut self) {
        loop {
            if self.choose().is_err() {
                return;
            }
            if self.arrivals.is_none() && self.waiting.is_empty() && self.texts.is_none() {
                return;
            }
            match self.wait() {
                Event::Arrived(arrival) => self.arrive(arrival),
                Event::HandleGone => self.arrivals = None,
                Event::CallerGone => self.drop_unwanted(),
                Event::Tokenised(done) => self.tokenised(done),
                Event::Sent => {}
                Event::Free(free) => {
                    self.free += 1;
                    self.underway.end();
                    free.spent.iter().for_each(|spent| self.planner.observe(spent));
                }
                Event::Deadline => self.expire(),
                // Everything that waits answers by being dropped.
                Event::TokenisersGone | Event::WorkersGone => return,
            }
        }
    }

    /// Puts forward what the next tokenizer thread gets, and hands every free worker its pass.
    fn choose(&mut self) -> Result<(), SendError<Part>> {
        let live = self.planner.has_live_texts();
        if live && self.texts.as_ref().is_some_and(Texts::is_warm_up) {
            self.parked = self.texts.take();
        }
        if self.texts.is_none() {
            let parked = if live { None } else { self.parked.take() };
            self.texts = parked.or_else(|| self.next_texts()).or_else(|| self.parked.take());
        }
        while self.free > 0 && self.is_ripe() {
            let now = Instant::now();
            let Some(planned) = self.planner.next_batch(self.underway.left(now)) else { break };
            let size = (planned.tokens, planned.expected);
            let part = self.forward(planned, now);
            if !part.units.is_empty() {
                // There is room: a worker says that it is free before it gets its next pass.
                self.workers.batches.send(part)?;
                self.free -= 1;
                self.underway.begin(now, size);
            }
        }
        Ok(())
    }

    fn next_texts(&mut self) -> Option<Texts> {
        let chunk = self.planner.next_chunk()?;
        let waiting = self.waiting.get_mut(&chunk.job)?;
        let claims = waiting.claims.get_mut(chunk.documents)?.iter_mut().filter_map(Option::take).collect();
        Some(Texts { job: chunk.job, model: chunk.model, claims })
    }

    /// Whether the next pass goes now: it is full, or has waited for company as long as its model lets it.
    fn is_ripe(&mut self) -> bool {
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
        let now = Instant::now();
        let ripens = *self.ripens.get_or_insert(now + wait);
        if ripens <= now {
            self.ripens = None;
        }
        ripens <= now
    }

    /// Whether every worker waits, and all that was asked has been read.
    fn is_idle(&self) -> bool {
        self.free == self.crew.size() && !self.planner.expects_more()
    }

    /// Takes what was planned out of what waits, and leaves out what nobody wants any more.
    fn forward(&mut self, planned: Planned, now: Instant) -> Part {
        let mut units = Vec::with_capacity(planned.units.len());
        let mut last = None;
        for (job, unit) in planned.units {
            let unit = self.waiting.get_mut(&job).and_then(|waiting| waiting.units.get_mut(unit)?.take());
            units.extend(unit.filter(|unit| unit.claim.is_live(now)));
            if let Some(left) = last.replace(job).filter(|&last| last != job) {
                self.forget_if_done(left);
            }
        }
        if let Some(job) = last {
            self.forget_if_done(job);
        }
        Part { model: planned.model, units }
    }

    /// Waits for the first channel, or for a deadline.
    fn wait(&mut self) -> Event {
        let mut select = Select::new();
        let arrivals = self.arrivals.as_ref().map(|arrivals| select.recv(arrivals));
        // Its other end lives as long as that of the arrivals: without them it is always ready and tells nothing.
        let gone = self.arrivals.as_ref().map(|_| select.recv(&self.gone));
        let tokenised = select.recv(&self.tokenisers.tokenised);
        let texts = self.texts.is_some().then(|| select.send(&self.tokenisers.texts));
        let free = select.recv(&self.workers.free);
        let deadline = self.deadlines.first().map(|&(deadline, _)| deadline);
        let chosen = match deadline.into_iter().chain(self.ripens).min() {
            Some(soonest) => select.select_deadline(soonest),
            None => Ok(select.select()),
        };
        let Ok(chosen) = chosen else { return Event::Deadline };
        let index = Some(chosen.index());
        if index == Some(tokenised) {
            return chosen.recv(&self.tokenisers.tokenised).map_or(Event::TokenisersGone, Event::Tokenised);
        }
        if index == gone {
            return chosen.recv(&self.gone).map_or(Event::HandleGone, |()| Event::CallerGone);
        }
        if index == texts {
            return match self.texts.take() {
                Some(texts) => {
                    chosen.send(&self.tokenisers.texts, texts).map_or(Event::TokenisersGone, |()| Event::Sent)
                }
                None => Event::TokenisersGone,
            };
        }
        if index == Some(free) {
            return chosen.recv(&self.workers.free).map_or(Event::WorkersGone, Event::Free);
        }
        match (&self.arrivals, index == arrivals) {
            (Some(arrivals), true) => chosen.recv(arrivals).map_or(Event::HandleGone, Event::Arrived),
            _ => Event::HandleGone,
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        let Some((job, claims)) = arrival.take() else { return };
        let id = self.next_job;
        self.next_job += 1;
        self.planner.arrive(Arrived {
            job: id,
            model: job.work.model,
            priority: job.work.priority,
            tokens: job.estimated_tokens(),
            documents: claims.len(),
            order: job.work.order,
        });
        self.deadlines.insert((job.work.deadline, id));
        let claims = claims.into_iter().map(Some).collect();
        self.waiting.insert(id, Waiting { job, claims, units: Vec::new() });
        self.forget_if_done(id);
    }

    fn tokenised(&mut self, done: Tokenised) {
        // A request that expired meanwhile: its units answer by being dropped.
        let Some(waiting) = self.waiting.get_mut(&done.job) else { return };
        let lengths: Vec<u32> =
            done.units.iter().map(|unit| u32::try_from(unit.encoding.len()).unwrap_or(u32::MAX)).collect();
        waiting.units.extend(done.units.into_iter().map(Some));
        self.planner.tokenised(done.job, &lengths);
        self.forget_if_done(done.job);
    }

    /// Gives up every request whose deadline has passed.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(&(deadline, job)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            self.deadlines.pop_first();
            self.planner.forget(job);
            if let Some(waiting) = self.waiting.remove(&job) {
                let unread = waiting.claims.iter().flatten();
                let ready = waiting.units.iter().flatten().map(|unit| &*unit.claim);
                unread.chain(ready).for_each(|claim| claim.refuse(PairFault::Expired));
            }
        }
    }

    /// Drops what nobody waits for any more: here, and in forward passes that are going on.
    fn drop_unwanted(&mut self) {
        let now = Instant::now();
        self.crew.stop_unwanted();
        let forsaken: Vec<JobId> =
            self.waiting.iter().filter(|(_, waiting)| waiting.job.is_forsaken()).map(|(id, _)| *id).collect();
        for id in forsaken {
            let Some(waiting) = self.waiting.get_mut(&id) else { continue };
            for claim in &mut waiting.claims {
                claim.take_if(|claim| !claim.is_live(now));
            }
            for unit in &mut waiting.units {
                unit.take_if(|unit| !unit.claim.is_live(now));
            }
            if waiting.claims.iter().all(Option::is_none) && waiting.units.iter().all(Option::is_none) {
                // What is with a tokenizer thread comes back to nobody, and answers by being dropped.
                self.deadlines.remove(&(waiting.job.work.deadline, id));
                self.waiting.remove(&id);
                self.planner.forget(id);
            }
        }
    }

    fn forget_if_done(&mut self, id: JobId) {
        if self.planner.is_done(id)
            && let Some(waiting) = self.waiting.remove(&id)
        {
            self.planner.forget(id);
            self.deadlines.remove(&(waiting.job.work.deadline, id));
        }
    }
}
