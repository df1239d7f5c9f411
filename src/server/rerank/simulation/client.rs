//! A client of the simulator: what it asks, how long it waits, and whether what it gets is right.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rescored_core::domain::{EmptyDocuments, Pair, Priority, Scored, Texts, Truncation};
use rescored_engine::simulated::{FaultProfile, Random, ids, logit};

use crate::rerank::progress::Progress;
use crate::rerank::task::{Attempt, RerankTask};
use crate::rerank::{Generation, Late, Request, RerankError, Stats};

/// See the module.
pub(super) struct Client {
    // Above the generation: what it waits for goes first.
    attempt: Option<Attempt>,
    generation: Arc<Generation>,
    model: usize,
    texts: Texts<'static>,
    deadline: Instant,
    priority: Priority,
    refuse_cut: bool,
    late: Late,
    progress: Progress,
    found: Option<Vec<Option<Scored>>>,
    stats: Stats,
    leaves_at: Option<Instant>,
    /// It knows that everything is there.
    wakes_at: Option<Instant>,
}

impl Client {
    /// One that asks the models of now.
    pub(super) fn new(
        generation: Arc<Generation>,
        name: u64,
        fault_profile: FaultProfile,
        now: Instant,
        random: &mut Random,
    ) -> Self {
        let texts = match fault_profile {
            FaultProfile::NoFaults => faultless_texts(name, random),
            FaultProfile::WithFaults => rough_texts(random),
        };
        let faultless = fault_profile == FaultProfile::NoFaults;
        let patience =
            if faultless { Duration::from_hours(10) } else { Duration::from_millis(20 + random.below(4000)) };
        let leaves = !faultless && random.one_in(3);
        let late = if !faultless && random.one_in(5) { Late::IsLeftOut } else { Late::IsAFault };
        let (model, deadline) = (random.index(2), now + patience);
        let priority = if random.one_in(7) { Priority::WarmUp } else { Priority::Live };
        let refuse_cut = !faultless && random.one_in(20);
        let leaves_at = leaves.then(|| now + random.micros(60_000));
        let patient = Self::patient(generation, model, texts, late, deadline);
        Self { priority, refuse_cut, leaves_at, ..patient }
    }

    /// One that waits for these texts' scores until its deadline.
    pub(super) fn patient(
        generation: Arc<Generation>,
        model: usize,
        texts: Texts<'static>,
        late: Late,
        deadline: Instant,
    ) -> Self {
        let pairs = texts.pairs.len();
        Self {
            attempt: None,
            generation,
            model,
            texts,
            deadline,
            priority: Priority::Live,
            refuse_cut: false,
            late,
            progress: Progress::new(pairs, late, deadline),
            found: None,
            stats: Stats::default(),
            leaves_at: None,
            wakes_at: None,
        }
    }

    pub(super) fn pairs(&self) -> u64 {
        self.texts.pairs.len() as u64
    }

    /// When it does something of its own accord.
    pub(super) fn next_at(&self) -> Instant {
        [self.leaves_at, self.wakes_at].into_iter().flatten().fold(self.deadline, Instant::min)
    }

    /// It learns of a full collector after a while.
    pub(super) fn look(&mut self, now: Instant, random: &mut Random) {
        if self.wakes_at.is_none() && self.attempt.as_ref().is_some_and(|attempt| attempt.collector().is_full()) {
            self.wakes_at = Some(now + random.micros(100));
        }
    }

    pub(super) fn leaves(&self, now: Instant) -> bool {
        self.leaves_at.is_some_and(|at| at <= now)
    }

    /// Whether it still has no answer.
    pub(super) fn is_waiting(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| !attempt.collector().is_full())
    }

    /// Tries for what is missing; how many pairs it leads, or `None` when it has all it will get.
    pub(super) fn begin(&mut self, now: Instant) -> Result<Option<u64>, RerankError> {
        let Self { generation, texts, progress, stats, found, .. } = self;
        let request = Request {
            model: None,
            texts,
            cut: Truncation::MODEL,
            refuse_cut: self.refuse_cut,
            deadline: self.deadline,
            priority: self.priority,
            memory: None,
            empty: EmptyDocuments::Score,
        };
        let mut task = RerankTask::new(generation, self.model, &request, self.late);
        if let Some(found) = found {
            task.remember(found.clone());
        } else {
            let looked = pin!(task.look_up()).poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(looked, Poll::Ready(()), "there is no tier to wait for");
            *found = Some(task.found().to_vec());
        }
        let attempt = progress.begin(&task, stats, now)?;
        let pairs =
            attempt.as_ref().map(|attempt| attempt.handle.as_ref().map_or(0, rescored_engine::WorkHandle::pairs));
        self.attempt = attempt;
        self.wakes_at = None;
        Ok(pairs)
    }

    /// Takes what it was brought.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), RerankError> {
        match self.attempt.take() {
            Some(attempt) => self.progress.take(&attempt, &mut self.stats, now),
            None => Ok(()),
        }
    }

    /// Whether what it got is right.
    pub(super) fn judge(
        self,
        fault: Option<RerankError>,
        now: Instant,
        fault_profile: FaultProfile,
        short: bool,
        losses: bool,
    ) -> Result<(), String> {
        let right = match &fault {
            None => true,
            Some(RerankError::Memory) => short,
            Some(RerankError::Deadline { .. }) => now >= self.deadline,
            Some(RerankError::Overloaded { .. } | RerankError::Crowded { .. } | RerankError::Document { .. }) => {
                fault_profile == FaultProfile::WithFaults
            }
            Some(RerankError::Unavailable { .. }) => losses,
            Some(
                RerankError::UnknownModel { .. } | RerankError::TooLong { .. } | RerankError::LongInstruction { .. },
            ) => false,
        };
        if let (false, Some(fault)) = (right, fault) {
            return Err(format!("invariant 3: refused without cause: {fault}"));
        }
        let scored = self.progress.into_scored();
        for (pair, scored) in self.texts.pairs.iter().zip(scored) {
            let expected = logit(&ids(&self.texts.queries[pair.query], &pair.document));
            if scored.is_some_and(|scored| scored.logit.get().to_bits() != expected.to_bits()) {
                return Err("invariant 1: another pair's score".into());
            }
        }
        Ok(())
    }
}

/// Pairs that nobody else asks for: few or many, short or long, and estimated too short or too long; those of one request
/// are of one kind.
fn faultless_texts(name: u64, random: &mut Random) -> Texts<'static> {
    let count = match random.below(20) {
        0..14 => 1 + random.below(3),
        14..18 => 4 + random.below(30),
        18 => 100 + random.below(300),
        _ => 500 + random.below(1500),
    };
    let (longest, padding) = (1 + random.below(40), if random.one_in(3) { random.below(200) } else { 0 });
    let document = |number: u64| {
        let tokens = longest - random.below(longest.div_ceil(3));
        let padding = "!".repeat(usize::try_from(padding).unwrap());
        Cow::Owned(format!("{tokens} {name} {number:04} {padding}"))
    };
    Texts::one_query("q", (0..count).map(document).collect::<Vec<_>>())
}

/// Pairs that others ask for, too.
fn rough_texts(random: &mut Random) -> Texts<'static> {
    let count = if random.one_in(12) { 20 + random.below(60) } else { 1 + random.below(8) };
    let queries = vec![Cow::Borrowed("q"), Cow::Borrowed("another query")];
    let pair = |_| {
        let number = random.below(90);
        let ending = if number.is_multiple_of(45) { "poison" } else { "" };
        let document = Cow::Owned(format!("{} {number} {ending}", 1 + number % 60));
        Pair { query: random.index(2), document }
    };
    Texts { queries, pairs: (0..count).map(pair).collect(), instruction: None }
}
