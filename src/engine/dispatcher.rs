//! The planner thread: the one place where requests, tokenizer threads and workers meet.
//!
//! Owns nothing but the channels' ends: it reports to the [`Scheduler`] what happened and when, and does what that decides. It
//! ends when the engine's handle is gone and nothing is left to hand out.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Select};

use super::pair_ticket::Arrival;
use super::planner::Planner;
use super::scheduler::{Action, Event, Scheduler, Threads, Waits};
use super::tokenise;
use super::watchdog;
use super::worker_pool::WorkerPool;

/// What the engine's handle sends.
#[derive(Debug)]
pub(super) struct Callers {
    /// Requests. Gone when the engine's handle is.
    pub(super) arrivals: Receiver<Arrival>,
    /// Somebody who waited has gone. Room for one, since one look serves all.
    pub(super) cancelled: Receiver<()>,
}

/// Those who are given something to do, as this thread sees them.
#[derive(Debug)]
pub(super) struct WorkerHandles {
    pub(super) tokenisers: tokenise::Ends,
    pub(super) workers: watchdog::Ends,
    pub(super) pool: Arc<WorkerPool>,
}

/// Starts the thread.
pub(super) fn spawn(
    planner: Planner,
    waits: Waits,
    callers: Callers,
    handles: WorkerHandles,
) -> std::io::Result<JoinHandle<()>> {
    let notice = super::DeathNotice(Arc::clone(&handles.pool.supervisor.context.health));
    let threads = Threads { readers: handles.tokenisers.threads, workers: handles.pool.supervisor.size() };
    let dispatcher = Dispatcher {
        scheduler: Scheduler::new(planner, waits, threads),
        arrivals: Some(callers.arrivals),
        cancelled: callers.cancelled,
        handles,
    };
    std::thread::Builder::new().name("planner".to_owned()).spawn(move || {
        let _notice = notice;
        dispatcher.run();
    })
}

/// See the module.
struct Dispatcher {
    scheduler: Scheduler,
    /// `None` once the engine's handle is gone.
    arrivals: Option<Receiver<Arrival>>,
    cancelled: Receiver<()>,
    handles: WorkerHandles,
}

/// What a wait came to.
enum Woken {
    By(Event),
    HandleGone,
    /// Tokenizer threads or workers are gone: everything that waits answers by being dropped.
    Alone,
}

impl Dispatcher {
    fn run(mut self) {
        loop {
            while let Some(action) = self.scheduler.next(Instant::now()) {
                if !self.act(action) {
                    return;
                }
            }
            if self.arrivals.is_none() && self.scheduler.is_empty() {
                return;
            }
            match self.wait() {
                Woken::By(event) => self.scheduler.handle(event, Instant::now()),
                Woken::HandleGone => self.arrivals = None,
                Woken::Alone => return,
            }
        }
    }

    /// Whether there is still somebody to do it. Never waits: whoever is given something has said that it is free.
    fn act(&self, action: Action) -> bool {
        match action {
            Action::Read(texts) => self.handles.tokenisers.texts.send(texts).is_ok(),
            Action::Run(micro_batch) => self.handles.workers.batches.send(micro_batch).is_ok(),
            Action::StopUnwanted => {
                self.handles.pool.supervisor.stop_unwanted(Instant::now());
                true
            }
        }
    }

    /// Waits for the first channel, or for the time.
    fn wait(&self) -> Woken {
        let mut select = Select::new();
        let arrivals = self.arrivals.as_ref().map(|arrivals| select.recv(arrivals));
        // Its other end lives as long as that of the arrivals: without them it is always ready and says nothing.
        let cancelled = self.arrivals.as_ref().map(|_| select.recv(&self.cancelled));
        let tokenised = select.recv(&self.handles.tokenisers.tokenised);
        let free = select.recv(&self.handles.workers.free);
        let chosen = match self.scheduler.wakes_at() {
            Some(soonest) => select.select_deadline(soonest),
            None => Ok(select.select()),
        };
        let Ok(chosen) = chosen else { return Woken::By(Event::TimePassed) };
        let index = Some(chosen.index());
        if index == Some(tokenised) {
            let done = chosen.recv(&self.handles.tokenisers.tokenised);
            return done.map_or(Woken::Alone, |done| Woken::By(Event::Tokenised(done)));
        }
        if index == Some(free) {
            let free = chosen.recv(&self.handles.workers.free);
            return free.map_or(Woken::Alone, |free| Woken::By(Event::WorkerIdle(free.spent)));
        }
        if index == cancelled {
            return chosen.recv(&self.cancelled).map_or(Woken::HandleGone, |()| Woken::By(Event::CallerGone));
        }
        match (&self.arrivals, index == arrivals) {
            (Some(arrivals), true) => {
                chosen.recv(arrivals).map_or(Woken::HandleGone, |arrival| Woken::By(Event::Arrived(arrival)))
            }
            _ => Woken::HandleGone,
        }
    }
}
