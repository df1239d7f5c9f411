//! The planner thread: the one place where requests, tokenizer threads and workers meet.
//!
//! Owns the claims and encodings that wait. All decisions are the [`Planner`]'s; this file moves values between
//! channels. It ends when the engine's handle is gone and nothing is left to hand out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Select, Sender};

use super::PairFault;
use super::claim::{Arrival, Claim, Job, Unit};
use super::crew::Crew;
use super::planner::{Arrived, JobId, Planner};
use super::slot::Part;
use super::tokenise::{Ends, Texts, Tokenised};

/// What the engine's handle sends.
#[derive(Debug)]
pub(super) struct Callers {
    /// Requests. Gone when the engine's handle is.
    pub(super) arrivals: Receiver<Arrival>,
    /// Somebody who waited has gone: see [`Job::is_forsaken`]. Room for one, since one look serves all.
    pub(super) gone: Receiver<()>,
}

/// The workers, as this thread sees them.
#[derive(Debug)]
pub(super) struct Hands {
    /// Rendezvous: a batch is handed over when a worker is free.
    pub(super) batches: Sender<Part>,
    pub(super) crew: Arc<Crew>,
}

/// Starts the thread.
pub(super) fn spawn(
    planner: Planner,
    callers: Callers,
    tokenisers: Ends,
    hands: Hands,
) -> std::io::Result<JoinHandle<()>> {
    let notice = super::DeathNotice(Arc::clone(&hands.crew.around.health));
    let dispatcher = Dispatcher {
        planner,
        arrivals: Some(callers.arrivals),
        gone: callers.gone,
        tokenisers,
        workers: hands.batches,
        crew: hands.crew,
        waiting: HashMap::new(),
        deadlines: BTreeSet::new(),
        next_job: 0,
        texts: None,
        forward: None,
    };
    std::thread::Builder::new().name("planner".to_owned()).spawn(move || {
        let _notice = notice;
        dispatcher.run();
    })
}

/// See the module.
struct Dispatcher {
    planner: Planner,
    /// `None` once the engine's handle is gone.
    arrivals: Option<Receiver<Arrival>>,
    gone: Receiver<()>,
    tokenisers: Ends,
    workers: Sender<Part>,
    crew: Arc<Crew>,
    waiting: HashMap<JobId, Waiting>,
    deadlines: BTreeSet<(Instant, JobId)>,
    next_job: JobId,
    /// Chosen for the next tokenizer thread that is free.
    texts: Option<Texts>,
    /// Chosen for the next worker that is free.
    forward: Option<Part>,
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
    WorkersGone,
    Deadline,
}

impl Dispatcher {
    fn run(mut self) {
        loop {
            self.choose();
            if self.arrivals.is_none() && self.waiting.is_empty() && self.forward.is_none() && self.texts.is_none() {
                return;
            }
            match self.wait() {
                Event::Arrived(arrival) => self.arrive(arrival),
                Event::HandleGone => self.arrivals = None,
                Event::CallerGone => self.drop_unwanted(),
                Event::Tokenised(done) => self.tokenised(done),
                Event::Sent => {}
                Event::Deadline => self.expire(),
                // Everything that waits answers by being dropped.
                Event::TokenisersGone | Event::WorkersGone => return,
            }
        }
    }

    /// Puts forward what the next free thread gets.
    fn choose(&mut self) {
        if self.texts.is_none() {
            self.texts = self.planner.next_chunk().and_then(|chunk| {
                let waiting = self.waiting.get_mut(&chunk.job)?;
                let claims = waiting.claims.get_mut(chunk.documents)?.iter_mut().filter_map(Option::take).collect();
                Some(Texts { job: chunk.job, model: chunk.model, claims })
            });
        }
        let now = Instant::now();
        while self.forward.is_none() {
            let Some(planned) = self.planner.next_batch() else { break };
            let Some(waiting) = self.waiting.get_mut(&planned.job) else { continue };
            let units: Vec<Unit> = planned
                .units
                .iter()
                .filter_map(|&unit| waiting.units.get_mut(unit)?.take())
                .filter(|unit| unit.claim.is_live(now))
                .collect();
            self.forget_if_done(planned.job);
            if !units.is_empty() {
                self.forward = Some(Part { model: planned.model, units });
            }
        }
    }

    /// Waits for the first channel, or for a deadline.
    fn wait(&mut self) -> Event {
        let mut select = Select::new();
        let arrivals = self.arrivals.as_ref().map(|arrivals| select.recv(arrivals));
        // Its other end lives as long as that of the arrivals: without them it is always ready and tells nothing.
        let gone = self.arrivals.as_ref().map(|_| select.recv(&self.gone));
        let tokenised = select.recv(&self.tokenisers.tokenised);
        let texts = self.texts.is_some().then(|| select.send(&self.tokenisers.texts));
        let forward = self.forward.is_some().then(|| select.send(&self.workers));
        let chosen = match self.deadlines.first() {
            Some(&(deadline, _)) => select.select_deadline(deadline),
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
        if index == forward {
            return match self.forward.take() {
                Some(forward) => chosen.send(&self.workers, forward).map_or(Event::WorkersGone, |()| Event::Sent),
                None => Event::WorkersGone,
            };
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
            tokens: job.work.estimated_tokens(),
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
        if let Some(part) = &mut self.forward {
            part.units.retain(|unit| unit.claim.is_live(now));
        }
        self.forward = self.forward.take().filter(|part| !part.units.is_empty());
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
