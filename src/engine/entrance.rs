//! Where work comes in: estimated, admitted or refused, and put before the planner thread.
//!
//! Owns the sending end of the intake. It must not know threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError, bounded};
use rescored_core::domain::ModelCard;
use rescored_process::health::Health;

use super::claim::{Admission, Arrival, Job};
use super::dispatcher::Callers;
use super::ledger::{Asked, Books, Ledger, Pending};
use super::mutation::{self, Mutation};
use super::options::{Options, Quota};
use super::work::{Order, Work};
use super::{Gone, INTAKE, Refusal, Sink, Surroundings, Ticket};

/// Where work comes in.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) intake: Option<Sender<Arrival>>,
    pub(super) gone: Gone,
    pub(super) ledger: Arc<Ledger>,
    pub(super) quotas: Vec<Quota>,
    pub(super) health: Arc<Health>,
    /// Tokens of a pair at most, by model.
    pub(super) lengths: Vec<u32>,
}

impl Entrance {
    /// One for so many workers, and what the planner thread is told through it.
    pub(super) fn open(
        (options, workers): (&Options, usize),
        cards: &[&ModelCard],
        around: &Surroundings,
    ) -> (Self, Callers) {
        let (intake, arrivals) = bounded(INTAKE);
        // One look serves whoever went away before it.
        let (gone, told) = bounded(1);
        around.metrics.queue_limit_tokens.set(i64::try_from(options.queue_tokens).unwrap_or(i64::MAX));
        let quotas = options.quotas(&cards.iter().map(|card| card.id.as_str()).collect::<Vec<_>>());
        let names = cards.iter().map(|card| card.id.clone());
        let entrance = Self {
            intake: Some(intake),
            gone: Gone(gone),
            ledger: Arc::new(Ledger::new(Books::new(&quotas, workers), names, Arc::clone(&around.metrics))),
            quotas,
            health: Arc::clone(&around.health),
            lengths: cards.iter().map(|card| card.max_length).collect(),
        };
        (entrance, Callers { arrivals, gone: told })
    }

    pub(super) fn submit(&self, work: Work, sink: Arc<dyn Sink>, now: Instant) -> Result<Ticket, Refusal> {
        let Some(intake) = &self.intake else { return Err(Refusal::Closed) };
        if self.health.is_short_of_memory() {
            self.ledger.refused(work.model, "memory");
            return Err(Refusal::Memory);
        }
        let most = work.most_tokens(self.lengths.get(work.model).copied().unwrap_or(u32::MAX));
        let scale = if mutation::is(Mutation::EstimatesStand) { 1.0 } else { self.ledger.scale(work.model) };
        let texts = work.texts(most, scale);
        let asked = Asked {
            model: work.model,
            tokens: texts.iter().map(|text| u64::from(text.tokens)).sum(),
            deadline: work.deadline,
            priority: work.priority,
            partial: work.order == Order::AsGiven,
        };
        let entry = self.ledger.admit(&asked, now).map_err(Refusal::from)?;
        let admission = Admission { at: now, texts, scale, ledger: Arc::clone(&self.ledger), entry };
        let job = Arc::new(Job::new(work, sink, admission));
        let (arrival, refusal) = match intake.try_send(Arrival::new(Arc::clone(&job))) {
            Ok(()) => return Ok(Ticket { job }),
            Err(TrySendError::Disconnected(arrival)) => (arrival, Refusal::Closed),
            Err(TrySendError::Full(arrival)) => {
                let limit = self.quotas.get(asked.model).map_or(0, |quota| quota.queue_tokens);
                (arrival, Refusal::Full { queued: self.ledger.queued(), limit, retry_after: Duration::from_secs(1) })
            }
        };
        self.ledger.refused(asked.model, "intake");
        arrival.defuse();
        self.ledger.leave(entry, Pending::Unread(asked.tokens));
        Err(refusal)
    }
}
