//! The duty to answer a pair, as a value.
//!
//! Owns the promise that every admitted pair is answered exactly once: a [`PairTicket`] travels with its pair from
//! thread to thread, collects what comes of it, and answers when that is known; at the latest when its last holder lets
//! go of it, be it by panicking. It must not know scheduling.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rescored_core::domain::{Logit, Scored};
use rescored_process::metrics::Reason;
use rescored_runtime::tokenizer::{EncodeError, Fitted, QueryIds};
use rescored_runtime::{Encoding, PairTokenizer};

use super::admission::{Admission, EntryId, Pending};
use super::mutation::{self, Mutation};
use super::time_span::{TimeSpan, nanos};
use super::work::Text;
use super::{PairError, Sink, Timeline, Times, Work};

/// Admitted work and what all its pairs share.
pub(super) struct Job {
    pub(super) work: Work,
    /// What was known of each pair when it was admitted.
    texts: Box<[Text]>,
    /// By how much the plain estimates of its texts were scaled.
    scale: f64,
    /// Token ids of each query, made by the first thread that needs them.
    query_ids: Box<[OnceLock<Result<QueryIds, EncodeError>>]>,
    sink: Arc<dyn Sink>,
    admission: Arc<Admission>,
    entry: EntryId,
    /// Some of those who waited for its pairs have gone.
    abandoned: AtomicBool,
    admitted: Instant,
    tokenise_nanos: AtomicU64,
    queue_nanos: AtomicU64,
    inference_nanos: AtomicU64,
    tokenised: TimeSpan,
    inferred: TimeSpan,
    forwards: AtomicU32,
}

/// What [`Job::new`] needs of the admission.
pub(super) struct Admitted {
    pub(super) at: Instant,
    pub(super) texts: Vec<Text>,
    pub(super) scale: f64,
    pub(super) admission: Arc<Admission>,
    pub(super) entry: EntryId,
}

/// A job on its way to the planner thread. Dropped before its tickets were taken, it answers all of them.
#[derive(Debug)]
pub(super) struct Arrival(Option<Arc<Job>>);

/// One pair's duty to be answered.
pub(super) struct PairTicket {
    job: Arc<Job>,
    slot: u32,
    /// Set by the first that refuses the pair.
    fault: OnceLock<PairError>,
    /// The best window's logit so far, in an unsigned order; 0 before the first.
    best: AtomicU32,
    /// Windows not yet scored; the pair has a score when none is left.
    left: AtomicU32,
    /// Of all its windows; 0 before it is read.
    tokens: AtomicU32,
    cut: AtomicBool,
    answered: AtomicBool,
}

/// One encoding of a pair: what a batch is made of.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) ticket: Arc<PairTicket>,
    pub(super) encoding: Encoding,
    /// When it could have been scored.
    pub(super) ready: Instant,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Texts stay out of every log.
        f.debug_struct("Job").field("pairs", &self.work.documents.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PairTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairTicket").field("slot", &self.slot).field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl Job {
    pub(super) fn new(work: Work, sink: Arc<dyn Sink>, admitted: Admitted) -> Self {
        let Admitted { at, texts, scale, admission, entry } = admitted;
        let query_ids = work.queries.iter().map(|_| OnceLock::new()).collect();
        Self {
            work,
            texts: texts.into(),
            scale,
            query_ids,
            sink,
            admission,
            entry,
            abandoned: AtomicBool::new(false),
            admitted: at,
            tokenise_nanos: AtomicU64::new(0),
            queue_nanos: AtomicU64::new(0),
            inference_nanos: AtomicU64::new(0),
            tokenised: TimeSpan::empty(),
            inferred: TimeSpan::empty(),
            forwards: AtomicU32::new(0),
        }
    }

    pub(super) fn times(&self) -> Times {
        let read = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        Times {
            tokenise: read(&self.tokenise_nanos),
            queue: read(&self.queue_nanos),
            inference: read(&self.inference_nanos),
            timeline: Timeline {
                admitted: Some(self.admitted),
                tokenised: self.tokenised.since(self.admitted),
                inferred: self.inferred.since(self.admitted),
                forwards: self.forwards.load(Ordering::Relaxed),
            },
        }
    }

    /// Texts of it were read from one instant to the other.
    pub(super) fn tokenised_for(&self, begun: Instant, now: Instant) {
        self.tokenise_nanos.fetch_add(nanos(now.saturating_duration_since(begun)), Ordering::Relaxed);
        self.tokenised.cover(self.admitted, begun, now);
    }

    /// A forward pass with pairs of it went on from one instant to the other.
    pub(super) fn inferred_for(&self, begun: Instant, now: Instant) {
        self.inference_nanos.fetch_add(nanos(now.saturating_duration_since(begun)), Ordering::Relaxed);
        self.inferred.cover(self.admitted, begun, now);
        self.forwards.fetch_add(1, Ordering::Relaxed);
    }

    /// Token ids of a query, tokenised once for all its documents, with the request's instruction before them.
    ///
    /// # Errors
    /// Why the tokenizer has none of it.
    pub(super) fn query(&self, position: u32, tokenizer: &PairTokenizer) -> Result<&QueryIds, EncodeError> {
        let position = position as usize;
        let ids = self.query_ids.get(position).ok_or(EncodeError::Refused)?;
        let instruction = self.work.instruction.as_deref();
        ids.get_or_init(|| tokenizer.query_with(&self.work.queries[position], instruction))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Somebody who waited has gone; whether anybody is left, the [`Sink`] says.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// What was known of each pair when it was admitted.
    pub(super) fn texts(&self) -> &[Text] {
        &self.texts
    }

    fn estimate(&self, slot: u32) -> u64 {
        self.texts.get(slot as usize).map_or(0, |text| text.tokens.into())
    }
}

impl Arrival {
    pub(super) const fn new(job: Arc<Job>) -> Self {
        Self(Some(job))
    }

    /// The job, and one ticket for each of its pairs, in order.
    pub(super) fn take(mut self) -> Option<(Arc<Job>, Vec<PairTicket>)> {
        self.0.take().map(|job| {
            let tickets = PairTicket::of(&job);
            (job, tickets)
        })
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) const fn job(&self) -> Option<&Arc<Job>> {
        self.0.as_ref()
    }

    /// Nobody will answer: the caller has been refused.
    pub(super) fn defuse(mut self) {
        self.0 = None;
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            drop(PairTicket::of(&job));
        }
    }
}

impl PairTicket {
    fn of(job: &Arc<Job>) -> Vec<Self> {
        (0..u32::try_from(job.work.documents.len()).unwrap_or(u32::MAX))
            .map(|slot| Self {
                job: Arc::clone(job),
                slot,
                fault: OnceLock::new(),
                best: AtomicU32::new(0),
                left: AtomicU32::new(1),
                tokens: AtomicU32::new(0),
                cut: AtomicBool::new(false),
                answered: AtomicBool::new(false),
            })
            .collect()
    }

    pub(super) const fn job(&self) -> &Arc<Job> {
        &self.job
    }

    pub(super) const fn slot(&self) -> u32 {
        self.slot
    }

    /// Whether the pair is still worth its inference; it is refused when it is not. Those who wait for it may be others than
    /// the one whose request it came with, and have more time: what counts is theirs.
    pub(super) fn is_live(&self, now: Instant) -> bool {
        if self.fault.get().is_some() {
            return false;
        }
        let scored = mutation::is(Mutation::UnwantedIsScored) && now < self.job.work.deadline;
        if scored || self.wanted_until().is_some_and(|until| until > now) {
            return true;
        }
        self.refuse(if now >= self.job.work.deadline { PairError::Expired } else { PairError::Abandoned });
        false
    }

    /// Until when somebody waits for the pair; `None` when nobody does any more.
    pub(super) fn wanted_until(&self) -> Option<Instant> {
        self.job.sink.wanted_until(self.slot as usize)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    /// Tokens that the pair was estimated at.
    pub(super) fn estimate(&self) -> u64 {
        self.job.estimate(self.slot)
    }

    /// The pair will have no score. The first reason stays.
    pub(super) fn refuse(&self, fault: PairError) {
        // A second refusal changes nothing: the first is what happened.
        self.fault.get_or_init(|| fault);
        self.answer();
    }

    /// Splits the pair into its windows.
    pub(super) fn into_units(self, fitted: Fitted, ready: Instant) -> Vec<Sequence> {
        let tokens: usize = fitted.windows.iter().map(Encoding::len).sum();
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX).max(1);
        self.tokens.store(tokens, Ordering::Relaxed);
        self.job.admission.read(self.job.entry, self.estimate(), self.job.scale, tokens.into());
        self.left.store(u32::try_from(fitted.windows.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.cut.store(fitted.cut, Ordering::Relaxed);
        let ticket = Arc::new(self);
        let sequence = |encoding| Sequence { ticket: Arc::clone(&ticket), encoding, ready };
        fitted.windows.into_iter().map(sequence).collect()
    }

    /// The pair's document has no text: nothing is scored.
    pub(super) fn without_text(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
        self.best.store(ordered(Logit::NO_TEXT.get()), Ordering::Release);
        self.left.store(0, Ordering::Release);
        self.answer();
    }

    /// Takes one window's output.
    pub(super) fn scored(&self, output: f32) {
        match Logit::of_output(output) {
            Some(logit) => {
                self.best.fetch_max(ordered(logit.get()), Ordering::AcqRel);
                if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.answer();
                }
            }
            None => self.refuse(PairError::NonFinite),
        }
    }

    /// The pair waited this long for a forward pass.
    pub(super) fn waited(&self, now: Instant) {
        self.job.queue_nanos.fetch_max(nanos(now.saturating_duration_since(self.job.admitted)), Ordering::Relaxed);
    }

    fn outcome(&self) -> Result<Scored, PairError> {
        if let Some(&fault) = self.fault.get() {
            return Err(fault);
        }
        let best = self.best.load(Ordering::Acquire);
        // No output is as low as what stands for no text.
        let no_text = (best == ordered(Logit::NO_TEXT.get())).then_some(Logit::NO_TEXT);
        let logit = no_text.or_else(|| Logit::new(unordered(best)));
        match (self.left.load(Ordering::Acquire), logit) {
            (0, Some(logit)) => {
                Ok(Scored { logit, tokens: self.tokens.load(Ordering::Relaxed), cut: self.cut.load(Ordering::Relaxed) })
            }
            _ => Err(PairError::Lost),
        }
    }
}

impl PairTicket {
    /// Answers, the first time; a thread that hangs may hold the ticket for ever.
    fn answer(&self) {
        if self.answered.swap(true, Ordering::AcqRel) {
            return;
        }
        let outcome = self.outcome();
        let metrics = self.job.admission.metrics();
        match outcome {
            Ok(scored) => {
                metrics.pairs_scored.inc_by(u64::from(scored.logit != Logit::NO_TEXT));
                metrics.documents_cut.inc_by(u64::from(scored.cut));
            }
            Err(fault) => {
                metrics.pair_failures.get_or_create(&Reason { reason: fault.word() }).inc();
            }
        }
        let pending = match self.tokens.load(Ordering::Relaxed) {
            0 => Pending::Unread(self.estimate()),
            tokens => Pending::Read(tokens.into()),
        };
        self.job.admission.leave(self.job.entry, pending);
        self.job.sink.settle(self.slot as usize, outcome);
    }
}

impl Drop for PairTicket {
    fn drop(&mut self) {
        self.answer();
    }
}

/// Maps finite floats to integers in the same order, all above 0.
const fn ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// Inverse of [`ordered`].
const fn unordered(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_integer_order_of_logits_is_their_order(a in -1e30f32..1e30, b in -1e30f32..1e30) {
            prop_assert_eq!(ordered(a).cmp(&ordered(b)), (a + 0.0).total_cmp(&(b + 0.0)));
            prop_assert_eq!(unordered(ordered(a)).to_bits(), a.to_bits());
            prop_assert!(ordered(a) > 0);
        }
    }
}
