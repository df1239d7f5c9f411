//! The duty to answer a pair, as a value.
//!
//! Owns the promise that every admitted pair is answered exactly once: a [`Claim`] travels with its pair from thread to
//! thread, collects what comes of it, and answers when that is known; at the latest when its last holder lets go of it, be
//! it by panicking. It must not know scheduling.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::ledger::{EntryId, Ledger};
use super::{PairFault, Sink, Timeline, Times, Work};
use crate::domain::{Logit, Scored};
use crate::metrics::Reason;
use crate::model::tokenizer::{Fitted, QueryIds};
use crate::model::{Encoding, PairTokenizer};

/// Admitted work and what all its pairs share.
pub(super) struct Job {
    pub(super) work: Work,
    /// Tokens of one pair at most, for estimates.
    most: u64,
    /// Token ids of each query, made by the first thread that needs them.
    query_ids: Box<[OnceLock<Option<QueryIds>>]>,
    sink: Arc<dyn Sink>,
    ledger: Arc<Ledger>,
    entry: EntryId,
    /// Some of those who waited for its pairs have gone.
    forsaken: AtomicBool,
    admitted: Instant,
    tokenise_nanos: AtomicU64,
    queue_nanos: AtomicU64,
    inference_nanos: AtomicU64,
    tokenised: Stretch,
    inferred: Stretch,
    forwards: AtomicU32,
}

/// From the first beginning to the last end of something, in nanoseconds after the admission. Empty while the beginning
/// is not below the end.
#[derive(Debug)]
struct Stretch {
    begin: AtomicU64,
    end: AtomicU64,
}

/// A job on its way to the planner thread. Dropped before its claims were taken, it answers all of them.
#[derive(Debug)]
pub(super) struct Arrival(Option<Arc<Job>>);

/// One pair's duty to be answered.
pub(super) struct Claim {
    job: Arc<Job>,
    slot: u32,
    /// Set by the first that refuses the pair.
    fault: OnceLock<PairFault>,
    /// The best window's logit so far, in an unsigned order; 0 before the first.
    best: AtomicU32,
    /// Windows not yet scored; the pair has a score when none is left.
    left: AtomicU32,
    tokens: AtomicU32,
    cut: AtomicBool,
    answered: AtomicBool,
}

/// One encoding of a pair: what a batch is made of.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) claim: Arc<Claim>,
    pub(super) encoding: Encoding,
    /// Its part of the pair's estimated tokens.
    pub(super) estimate: u64,
    /// When it could have been scored.
    pub(super) ready: Instant,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Texts stay out of every log.
        f.debug_struct("Job").field("pairs", &self.work.documents.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("slot", &self.slot).field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl Job {
    pub(super) fn new((work, most): (Work, u64), sink: Arc<dyn Sink>, (ledger, entry): (Arc<Ledger>, EntryId)) -> Self {
        let query_ids = work.queries.iter().map(|_| OnceLock::new()).collect();
        Self {
            work,
            most,
            query_ids,
            sink,
            ledger,
            entry,
            forsaken: AtomicBool::new(false),
            admitted: Instant::now(),
            tokenise_nanos: AtomicU64::new(0),
            queue_nanos: AtomicU64::new(0),
            inference_nanos: AtomicU64::new(0),
            tokenised: Stretch::empty(),
            inferred: Stretch::empty(),
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

    pub(super) fn tokenised_for(&self, spent: Duration) {
        self.tokenise_nanos.fetch_add(nanos(spent), Ordering::Relaxed);
        self.tokenised.cover(self.admitted.elapsed(), spent);
    }

    pub(super) fn inferred_for(&self, spent: Duration) {
        self.inference_nanos.fetch_add(nanos(spent), Ordering::Relaxed);
        self.inferred.cover(self.admitted.elapsed(), spent);
        self.forwards.fetch_add(1, Ordering::Relaxed);
    }

    /// Token ids of a query, tokenised once for all its documents. `None` when the tokenizer refused it.
    pub(super) fn query(&self, position: u32, tokenizer: &PairTokenizer) -> Option<&QueryIds> {
        let position = position as usize;
        let ids = self.query_ids.get(position)?;
        ids.get_or_init(|| tokenizer.query(&self.work.queries[position]).ok()).as_ref()
    }

    /// Somebody who waited has gone; whether anybody is left, the [`Sink`] says.
    pub(super) fn forsake(&self) {
        self.forsaken.store(true, Ordering::Release);
    }

    pub(super) fn is_forsaken(&self) -> bool {
        self.forsaken.load(Ordering::Acquire)
    }

    /// Tokens that all its pairs are expected to be.
    pub(super) fn estimated_tokens(&self) -> u64 {
        self.work.estimated_tokens(self.most)
    }

    fn estimate(&self, slot: u32) -> u64 {
        let pair = self.work.documents.get(slot as usize);
        pair.map_or(0, |(query, document)| self.work.estimate((*query, document), self.most))
    }
}

impl Stretch {
    const fn empty() -> Self {
        Self { begin: AtomicU64::new(u64::MAX), end: AtomicU64::new(0) }
    }

    /// Takes in what ended just now and took so long.
    fn cover(&self, now: Duration, spent: Duration) {
        self.begin.fetch_min(nanos(now.saturating_sub(spent)), Ordering::Relaxed);
        self.end.fetch_max(nanos(now), Ordering::Relaxed);
    }

    fn since(&self, admitted: Instant) -> Option<(Instant, Instant)> {
        let at = |nanos: &AtomicU64| nanos.load(Ordering::Relaxed);
        let (begin, end) = (at(&self.begin), at(&self.end));
        (begin < end).then(|| (admitted + Duration::from_nanos(begin), admitted + Duration::from_nanos(end)))
    }
}

impl Arrival {
    pub(super) const fn new(job: Arc<Job>) -> Self {
        Self(Some(job))
    }

    /// The job, and one claim for each of its pairs, in order.
    pub(super) fn take(mut self) -> Option<(Arc<Job>, Vec<Claim>)> {
        self.0.take().map(|job| {
            let claims = Claim::of(&job);
            (job, claims)
        })
    }

    /// Nobody will answer: the caller has been refused.
    pub(super) fn defuse(mut self) {
        self.0 = None;
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            drop(Claim::of(&job));
        }
    }
}

impl Claim {
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

    /// Whether the pair is still worth its inference; it is refused when it is not.
    pub(super) fn is_live(&self, now: Instant) -> bool {
        if self.fault.get().is_some() {
            return false;
        }
        let fault = if now >= self.job.work.deadline {
            PairFault::Expired
        } else if self.job.sink.wanted(self.slot as usize) {
            return true;
        } else {
            PairFault::Abandoned
        };
        self.refuse(fault);
        false
    }

    /// The pair will have no score. The first reason stays.
    pub(super) fn refuse(&self, fault: PairFault) {
        // A second refusal changes nothing: the first is what happened.
        self.fault.get_or_init(|| fault);
        self.answer();
    }

    /// Splits the pair into its windows.
    pub(super) fn into_units(self, fitted: Fitted, ready: Instant) -> Vec<Unit> {
        let tokens: usize = fitted.windows.iter().map(Encoding::len).sum();
        self.tokens.store(u32::try_from(tokens).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.left.store(u32::try_from(fitted.windows.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.cut.store(fitted.cut, Ordering::Relaxed);
        let estimate = self.job.estimate(self.slot) / fitted.windows.len().max(1) as u64;
        let claim = Arc::new(self);
        let unit = |encoding| Unit { claim: Arc::clone(&claim), encoding, estimate, ready };
        fitted.windows.into_iter().map(unit).collect()
    }

    /// Takes one window's output.
    pub(super) fn scored(&self, output: f32) {
        match Logit::new(output) {
            Some(logit) => {
                self.best.fetch_max(ordered(logit.get()), Ordering::AcqRel);
                if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.answer();
                }
            }
            None => self.refuse(PairFault::NonFinite),
        }
    }

    /// The pair waited this long for a forward pass.
    pub(super) fn waited(&self, now: Instant) {
        self.job.queue_nanos.fetch_max(nanos(now - self.job.admitted), Ordering::Relaxed);
    }

    fn outcome(&self) -> Result<Scored, PairFault> {
        if let Some(&fault) = self.fault.get() {
            return Err(fault);
        }
        let logit = Logit::new(unordered(self.best.load(Ordering::Acquire)));
        match (self.left.load(Ordering::Acquire), logit) {
            (0, Some(logit)) => {
                Ok(Scored { logit, tokens: self.tokens.load(Ordering::Relaxed), cut: self.cut.load(Ordering::Relaxed) })
            }
            _ => Err(PairFault::Lost),
        }
    }
}

impl Claim {
    /// Answers, the first time; a thread that hangs may hold the claim for ever.
    fn answer(&self) {
        if self.answered.swap(true, Ordering::AcqRel) {
            return;
        }
        let outcome = self.outcome();
        let metrics = self.job.ledger.metrics();
        match outcome {
            Ok(scored) => {
                metrics.pairs_scored.inc();
                metrics.documents_cut.inc_by(u64::from(scored.cut));
            }
            Err(fault) => {
                metrics.pair_failures.get_or_create(&Reason { reason: fault.word() }).inc();
            }
        }
        self.job.ledger.leave(self.job.entry, self.job.estimate(self.slot));
        self.job.sink.settle(self.slot as usize, outcome);
    }
}

impl Drop for Claim {
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

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
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
