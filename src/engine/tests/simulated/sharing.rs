//! Invariant 6, looked at after every step of a simulation.

use std::collections::BTreeMap;
use std::sync::Arc;

use rescored_core::domain::Priority;

use super::PASS;
use crate::pair_ticket::Arrival;
use crate::tokenise::Tokenised;
use crate::worker_slot::MicroBatch;

/// Invariant 6: every request against equal sharing of what was read of its class and model, counted in tokens that were
/// handed to workers.
#[derive(Debug, Default)]
pub(super) struct Sharing {
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
    pub(super) fn arrive(&mut self, arrival: &Arrival) {
        let Some(job) = arrival.job() else { return };
        let clock = self.clocks.entry((job.work.priority == Priority::WarmUp, job.work.model)).or_default();
        let served = Served { ideal: 0.0, done: clock.served, left: job.work.documents.len() };
        clock.requests.insert(Arc::as_ptr(job).addr(), served);
    }

    pub(super) fn ready(&mut self, done: &Tokenised) {
        for sequence in &done.sequences {
            let job = Arc::as_ptr(sequence.ticket.job()).addr();
            for clock in self.clocks.values_mut() {
                if let Some(request) = clock.requests.get_mut(&job) {
                    request.ideal += sequence.encoding.len() as f64;
                }
            }
        }
    }

    pub(super) fn run(&mut self, micro_batch: &MicroBatch) -> Result<(), String> {
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
