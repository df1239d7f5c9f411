//! Where work comes in: estimated, admitted or refused, and put before the planner thread.
//!
//! Owns the sending end of the intake. It must not know threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError, bounded};
use rescored_core::domain::ModelCard;
use rescored_process::health::Health;

use super::admission::{Admission, AdmissionState, Asked, Pending};
use super::dispatcher::Callers;
use super::mutation::{self, Mutation};
use super::options::{Options, Quota};
use super::pair_ticket::{Admitted, Arrival, Job};
use super::work::{Order, SPECIAL_TOKENS, Work};
use super::{AdmissionError, CancelNotifier, EngineContext, INTAKE, Sink, WorkHandle};

/// Where work comes in.
#[derive(Debug)]
pub(super) struct Submitter {
    pub(super) intake: Option<Sender<Arrival>>,
    pub(super) cancel_notifier: CancelNotifier,
    pub(super) admission: Arc<Admission>,
    pub(super) quotas: Vec<Quota>,
    pub(super) health: Arc<Health>,
    /// Tokens of a pair at most, by model.
    pub(super) lengths: Vec<u32>,
    /// Tokens that stand around the texts of a pair, by model.
    pub(super) around: Vec<u64>,
}

/// Tokens that stand around the texts of a model's pairs.
fn tokens_around(card: &ModelCard) -> u64 {
    card.prompt.as_ref().map_or(SPECIAL_TOKENS, |prompt| prompt.tokens.into())
}

impl Submitter {
    /// One for so many workers, and what the planner thread receives through it.
    pub(super) fn open(
        options: &Options,
        workers: usize,
        cards: &[&ModelCard],
        context: &EngineContext,
    ) -> (Self, Callers) {
        let (intake, arrivals) = bounded(INTAKE);
        // One look serves whoever went away before it.
        let (cancel_notifier, cancelled) = bounded(1);
        context.metrics.queue_limit_tokens.set(i64::try_from(options.queue_tokens).unwrap_or(i64::MAX));
        let quotas = options.quotas(&cards.iter().map(|card| card.id.as_str()).collect::<Vec<_>>());
        let names = cards.iter().map(|card| card.id.clone());
        let submitter = Self {
            intake: Some(intake),
            cancel_notifier: CancelNotifier(cancel_notifier),
            admission: Arc::new(Admission::new(
                AdmissionState::new(&quotas, workers),
                names,
                Arc::clone(&context.metrics),
            )),
            quotas,
            health: Arc::clone(&context.health),
            lengths: cards.iter().map(|card| card.max_length).collect(),
            around: cards.iter().copied().map(tokens_around).collect(),
        };
        (submitter, Callers { arrivals, cancelled })
    }

    pub(super) fn submit(&self, work: Work, sink: Arc<dyn Sink>, now: Instant) -> Result<WorkHandle, AdmissionError> {
        let Some(intake) = &self.intake else { return Err(AdmissionError::Closed) };
        if self.health.is_short_of_memory() {
            self.admission.refused(work.model, "memory");
            return Err(AdmissionError::Memory);
        }
        let most = work.most_tokens(self.lengths.get(work.model).copied().unwrap_or(u32::MAX));
        let scale = if mutation::is(Mutation::EstimatesStand) { 1.0 } else { self.admission.scale(work.model) };
        let around = self.around.get(work.model).copied().unwrap_or(SPECIAL_TOKENS);
        let texts = work.texts(most, around, scale);
        let asked = Asked {
            model: work.model,
            tokens: texts.iter().map(|text| u64::from(text.tokens)).sum(),
            deadline: work.deadline,
            priority: work.priority,
            partial: work.order == Order::AsGiven,
        };
        let entry = self.admission.admit(&asked, now).map_err(AdmissionError::from)?;
        let admitted = Admitted { at: now, texts, scale, admission: Arc::clone(&self.admission), entry };
        let job = Arc::new(Job::new(work, sink, admitted));
        let (arrival, refusal) = match intake.try_send(Arrival::new(Arc::clone(&job))) {
            Ok(()) => return Ok(WorkHandle { job }),
            Err(TrySendError::Disconnected(arrival)) => (arrival, AdmissionError::Closed),
            Err(TrySendError::Full(arrival)) => {
                let limit = self.quotas.get(asked.model).map_or(0, |quota| quota.queue_tokens);
                (
                    arrival,
                    AdmissionError::Full {
                        queued: self.admission.queued(),
                        limit,
                        retry_after: Duration::from_secs(1),
                    },
                )
            }
        };
        self.admission.refused(asked.model, "intake");
        arrival.defuse();
        self.admission.leave(entry, Pending::Unread(asked.tokens));
        Err(refusal)
    }
}
