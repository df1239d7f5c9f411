//! No request finishes later than under equal sharing of what was read, but for the rest of a pass.

use rescored_core::random::Seeded;

use super::*;

proptest! {
    /// The bound of `fluid`, measured against equal sharing computed step by step.
    #[test]
    fn no_request_finishes_later_than_under_equal_sharing_but_for_a_pass(
        (policy, budget) in (policy(), 60usize..400),
        requests in proptest::collection::vec((0u64..40, proptest::collection::vec(1u32..60, 1..30)), 1..8),
    ) {
        let requests: Vec<_> = requests.into_iter().map(|(at, lengths)| Shared::known(at, lengths)).collect();
        keeps_to_equal_sharing(policy, budget, &requests)?;
    }

    /// Case A5. The same with estimates that are wrong in both directions, by request and by document, and requests so
    /// large that they are not read to their end at once.
    #[test]
    fn wrong_estimates_make_nobody_late(
        (policy, budget) in (policy(), 60usize..400),
        requests in proptest::collection::vec((0u64..400, request_with_wrong_estimates()), 1..8),
    ) {
        let requests: Vec<_> = requests.into_iter().map(|(at, (lengths, estimates))| Shared::of(at, lengths, estimates)).collect();
        keeps_to_equal_sharing(policy, budget, &requests)?;
    }

    /// Cases A4 and A5. The same while texts of some take long to read, for as long as many passes take.
    #[test]
    fn slow_reading_makes_nobody_else_late(
        (policy, budget) in (policy(), 60usize..400),
        requests in proptest::collection::vec((0u64..400, request_with_wrong_estimates(), 0u64..60), 1..8),
    ) {
        let slow = |(at, (lengths, estimates), reading)| Shared { reading, ..Shared::of(at, lengths, estimates) };
        let requests: Vec<_> = requests.into_iter().map(slow).collect();
        keeps_to_equal_sharing(policy, budget, &requests)?;
    }

    /// Case A6. The same while most of some is given up.
    #[test]
    fn what_is_given_up_makes_nobody_late(
        (policy, budget) in (policy(), 60usize..400),
        requests in proptest::collection::vec(
            (0u64..100, request_with_wrong_estimates(), 0u64..10, proptest::option::of((1u64..100, 2usize..9))),
            1..8,
        ),
    ) {
        let leaving = |(at, (lengths, estimates), reading, leaves)| Shared { reading, leaves, ..Shared::of(at, lengths, estimates) };
        let requests: Vec<_> = requests.into_iter().map(leaving).collect();
        keeps_to_equal_sharing(policy, budget, &requests)?;
    }
}

/// A request of these properties.
#[derive(Clone, Debug)]
struct Shared {
    /// When it comes, in fifties of tokens.
    at: u64,
    /// Its documents, and what they are estimated at.
    lengths: Vec<u32>,
    estimates: Vec<u32>,
    /// For how many passes a chunk of it is read.
    reading: u64,
    /// At which pass all but one in so many of its documents are given up.
    leaves: Option<(u64, usize)>,
}

impl Shared {
    fn known(at: u64, lengths: Vec<u32>) -> Self {
        Self::of(at, lengths.clone(), lengths)
    }

    fn of(at: u64, lengths: Vec<u32>, estimates: Vec<u32>) -> Self {
        Self { at, lengths, estimates, reading: 0, leaves: None }
    }
}

/// Lengths of a request's documents, and what they are estimated at: a few documents or thousands, of one kind.
fn request_with_wrong_estimates() -> impl Strategy<Value = (Vec<u32>, Vec<u32>)> {
    let documents = prop_oneof![4 => 1usize..30, 1 => 1000usize..4000];
    (documents, 1u32..60, 1u32..20, any::<bool>(), any::<u64>()).prop_map(|(count, most, wrong, over, seed)| {
        let mut random = Seeded::new(seed);
        let mut next = move |below: u32| u32::try_from(random.below(below as usize)).unwrap();
        (0..count)
            .map(|_| {
                let length = 1 + next(most);
                // Off by the same factor, and by up to a third besides.
                let estimate = if over { length * wrong } else { length.div_ceil(wrong) };
                (length, (estimate * (3 + next(3)) / 4).max(1))
            })
            .unzip()
    })
}

/// Runs requests through a planner with one worker and holds the bound.
fn keeps_to_equal_sharing(policy: BatchingPolicy, budget: usize, requests: &[Shared]) -> Result<(), TestCaseError> {
    let mut run = Run::new(planner(policy, budget, 1), requests);
    while !run.is_over() {
        run.pass();
    }
    let largest = budget.max(60) as f64;
    for (job, finished) in run.finished.into_iter().enumerate() {
        let finished = finished.expect("every request finishes");
        let ideal = run.sharing[job].done;
        prop_assert!(finished <= ideal + largest + 1.0, "request {job} at {finished}, ideal {ideal}, pass {largest}");
    }
    Ok(())
}

/// A planner with one worker and as many tokenizer threads as it likes, beside the ideal.
struct Run<'a> {
    planner: Planner,
    requests: &'a [Shared],
    coming: std::collections::VecDeque<JobId>,
    /// Chunks that are being read, and the pass before which they come back.
    reading: Vec<(u64, Chunk)>,
    /// The document and the length of each encoding.
    sequences: Vec<Vec<(usize, u32)>>,
    /// Documents that are still to be served, by request.
    left: Vec<BTreeSet<usize>>,
    sharing: Vec<Ideal>,
    finished: Vec<Option<f64>>,
    /// Tokens served, those of gaps included, and passes.
    now: u64,
    passes: u64,
}

/// What equal sharing of what was read makes of a request.
#[derive(Clone, Debug, Default)]
struct Ideal {
    /// Tokens that are ready in the ideal, and in truth.
    left: f64,
    ready: f64,
    /// When, in tokens served to all, it was done last.
    done: f64,
}

impl<'a> Run<'a> {
    fn new(planner: Planner, requests: &'a [Shared]) -> Self {
        let mut coming: Vec<JobId> = (0..requests.len()).collect();
        coming.sort_by_key(|&job| requests[job].at);
        Self {
            planner,
            requests,
            coming: coming.into(),
            reading: Vec::new(),
            sequences: vec![Vec::new(); requests.len()],
            left: requests.iter().map(|request| (0..request.lengths.len()).collect()).collect(),
            sharing: vec![Ideal::default(); requests.len()],
            finished: vec![None; requests.len()],
            now: 0,
            passes: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.left.iter().all(BTreeSet::is_empty) && self.reading.is_empty()
    }

    /// All that comes before the next pass, and the pass.
    fn pass(&mut self) {
        while let Some(job) = self.coming.pop_front_if(|job| self.requests[*job].at * 50 <= self.now) {
            self.planner.arrive(estimated(job, &self.requests[job].estimates));
        }
        for job in 0..self.requests.len() {
            if let Some((pass, of)) = self.requests[job].leaves
                && pass == self.passes
            {
                self.leave(job, of);
            }
        }
        while let Some(chunk) = self.planner.next_chunk() {
            self.reading.push((self.passes + self.requests[chunk.job].reading, chunk));
        }
        let passes = self.passes;
        for (_, chunk) in self.reading.extract_if(.., |(back, _)| *back <= passes).collect::<Vec<_>>() {
            self.take(&chunk);
        }
        self.passes += 1;
        let Some(pass) = next(&mut self.planner, 0) else {
            if self.reading.is_empty()
                && let Some(&job) = self.coming.front()
            {
                self.now = self.now.max(self.requests[job].at * 50);
            }
            return;
        };
        let of = |(job, sequence): &(JobId, SequenceId)| (*job, self.sequences[*job][*sequence]);
        let sequences: Vec<(JobId, (usize, u32))> = pass.sequences.iter().map(of).collect();
        let tokens = sequences.iter().map(|(_, (_, length))| u64::from(*length)).sum();
        self.share(tokens);
        self.now += tokens;
        for (job, (document, length)) in sequences {
            self.sharing[job].ready -= f64::from(length);
            assert!(self.left[job].remove(&document), "a document is served that nobody wants, or twice");
            self.finish(job);
        }
    }

    fn take(&mut self, chunk: &Chunk) {
        let Shared { lengths, estimates, .. } = &self.requests[chunk.job];
        let left = &self.left[chunk.job];
        let documents: Vec<usize> =
            chunk.documents.iter().copied().filter(|document| left.contains(document)).collect();
        let read: Vec<u32> = documents.iter().map(|&document| lengths[document]).collect();
        let expected = documents.iter().map(|&document| u64::from(estimates[document])).sum();
        self.sequences[chunk.job].extend(documents.into_iter().zip(read.iter().copied()));
        let tokens: f64 = read.iter().copied().map(f64::from).sum();
        self.sharing[chunk.job].left += tokens;
        self.sharing[chunk.job].ready += tokens;
        self.planner.tokenised(chunk.job, &Returned { expected: chunk.tokens, read: expected, lengths: &read });
    }

    fn leave(&mut self, job: JobId, of: usize) {
        let sequences = &self.sequences[job];
        let lost = |document: &usize| !document.is_multiple_of(of);
        let given_up: f64 = sequences
            .iter()
            .filter(|(document, _)| lost(document) && self.left[job].contains(document))
            .map(|(_, length)| f64::from(*length))
            .sum();
        let came = !self.coming.contains(&job);
        if !came {
            return;
        }
        self.planner.retain(job, |document| !lost(&document), |sequence| !lost(&sequences[sequence].0));
        self.left[job].retain(|document| !lost(document));
        // What is left is served by the ideal as if it were read now, at the latest.
        let ideal = &mut self.sharing[job];
        ideal.ready -= given_up;
        if given_up > 0.0 && ideal.left > 0.0 {
            ideal.left = (ideal.left - given_up).max(ideal.left.min(ideal.ready));
            ideal.done = self.now as f64;
        }
        self.finish(job);
    }

    fn finish(&mut self, job: JobId) {
        if self.left[job].is_empty() && self.finished[job].is_none() {
            self.finished[job] = Some(self.now as f64);
        }
    }

    /// All that is ready is served at once in equal shares.
    fn share(&mut self, tokens: u64) {
        let (mut now, mut work) = (self.now as f64, tokens as f64);
        while work > 1e-9 {
            let active = self.sharing.iter().filter(|ideal| ideal.left > 1e-9);
            let (count, least) = active.fold((0.0, f64::INFINITY), |(n, least), one| (n + 1.0, one.left.min(least)));
            if count == 0.0 {
                return;
            }
            let step = (least * count).min(work);
            now += step;
            work -= step;
            for ideal in self.sharing.iter_mut().filter(|ideal| ideal.left > 1e-9) {
                ideal.left -= step / count;
                ideal.done = now;
            }
        }
    }
}
