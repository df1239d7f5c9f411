//! Properties of the planner: nothing lost, nothing twice, budgets kept, shares fair.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod equal_sharing;
mod weights;

fn planner(policy: BatchingPolicy, tokens: usize, spread: usize) -> Planner {
    Planner::new(&[Batching { policy, tokens, spread, weight: 1 }])
}

/// A request whose estimated tokens are spread over its documents.
fn arrived(job: JobId, tokens: u64, documents: usize) -> Arrived {
    let each = u32::try_from(tokens / documents.max(1) as u64).unwrap().max(1);
    estimated(job, &vec![each; documents])
}

/// A request whose documents are estimated at so many tokens.
fn estimated(job: JobId, tokens: &[u32]) -> Arrived {
    let texts = tokens.iter().map(|&tokens| Text { bytes: 64, tokens }).collect();
    Arrived { job, model: 0, priority: Priority::Live, texts, order: Order::LongestFirst }
}

/// All texts of a chunk were read and became these lengths.
fn read(planner: &mut Planner, chunk: &Chunk, lengths: &[u32]) {
    planner.tokenised(chunk.job, &Returned { expected: chunk.tokens, read: chunk.tokens, lengths });
}

/// The lengths of a chunk's documents.
fn of(lengths: &[u32], chunk: &Chunk) -> Vec<u32> {
    chunk.documents.iter().map(|&document| lengths[document]).collect()
}

/// The next pass, of which everything is wanted.
fn next(planner: &mut Planner, running: u64) -> Option<Planned> {
    planner.next_batch(running, &mut |_, _| true)
}

/// Brings a request in and makes all its encodings ready.
fn admit(planner: &mut Planner, job: JobId, lengths: &[u32]) {
    planner.arrive(estimated(job, lengths));
    while let Some(chunk) = planner.next_chunk() {
        assert_eq!(chunk.job, job, "texts of other requests were read before");
        read(planner, &chunk, &of(lengths, &chunk));
    }
}

/// The requests that pass after pass serves, one entry a pair.
fn served(planner: &mut Planner) -> Vec<Vec<JobId>> {
    let jobs = |planned: Planned| planned.sequences.into_iter().map(|(job, _)| job).collect();
    std::iter::from_fn(|| next(planner, 0)).map(jobs).collect()
}

fn policy() -> impl Strategy<Value = BatchingPolicy> {
    prop_oneof![
        Just(BatchingPolicy::Alone),
        Just(BatchingPolicy::SameLength),
        (1u8..=100).prop_map(|least_percent| BatchingPolicy::Padded { least_percent }),
        proptest::option::of(1u32..9).prop_map(|slots| BatchingPolicy::Packed { slots }),
    ]
}

proptest! {
    #[test]
    fn every_encoding_is_planned_once_within_the_budget(
        policy in policy(),
        order in prop_oneof![Just(Order::LongestFirst), Just(Order::AsGiven)],
        (budget, workers) in (512usize..2000, 1usize..9),
        requests in proptest::collection::vec(proptest::collection::vec(1u32..512, 1..40), 1..6),
    ) {
        let mut planner = planner(policy, budget, workers);
        for (job, lengths) in requests.iter().enumerate() {
            planner.arrive(Arrived { order, ..arrived(job, 1, lengths.len()) });
        }
        let mut seen: Vec<Vec<u32>> = requests.iter().map(|lengths| vec![0; lengths.len()]).collect();
        let mut ready: Vec<Vec<u32>> = vec![Vec::new(); requests.len()];
        let mut given = vec![0; requests.len()];
        loop {
            if let Some(chunk) = planner.next_chunk() {
                let lengths = of(&requests[chunk.job], &chunk);
                ready[chunk.job].extend(&lengths);
                read(&mut planner, &chunk, &lengths);
                continue;
            }
            let Some(planned) = next(&mut planner, 0) else { break };
            let lengths: Vec<u32> = planned.sequences.iter().map(|&(job, sequence)| ready[job][sequence]).collect();
            prop_assert!(!lengths.is_empty(), "an empty pass");
            for &(job, sequence) in &planned.sequences {
                seen[job][sequence] += 1;
                if order == Order::AsGiven {
                    prop_assert_eq!(sequence, given[job]);
                    given[job] += 1;
                }
            }
            let jobs: Vec<JobId> = planned.sequences.iter().map(|&(job, _)| job).collect();
            let runs = jobs.chunk_by(|a, b| a == b).count();
            prop_assert_eq!(runs, jobs.iter().collect::<BTreeSet<_>>().len(), "pairs of a request stand together");
            let longest = *lengths.iter().max().unwrap();
            let padded = longest as usize * lengths.len();
            let packed = lengths.iter().sum::<u32>() as usize;
            let held = if matches!(policy, BatchingPolicy::Packed { .. }) { packed } else { padded };
            prop_assert!(lengths.len() == 1 || held <= budget, "{held} tokens in a batch of {budget}");
            match policy {
                BatchingPolicy::Packed { slots } => prop_assert!(slots.is_none_or(|slots| lengths.len() <= slots as usize)),
                BatchingPolicy::Alone => prop_assert_eq!(lengths.len(), 1),
                BatchingPolicy::SameLength => prop_assert!(lengths.iter().all(|&length| length == longest)),
                BatchingPolicy::Padded { least_percent } => {
                    prop_assert!(lengths.iter().all(|&length| length >= longest * u32::from(least_percent) / 100));
                }
            }
        }
        prop_assert!(seen.iter().flatten().all(|&times| times == 1), "{seen:?}");
        for job in 0..requests.len() {
            prop_assert!(planner.is_done(job));
            planner.forget(job);
        }
        prop_assert_eq!((planner.live.waiting, planner.live.queues[0].amount), (0, (0, 0)));
    }
}

#[test]
fn a_small_request_overtakes_a_large_one() {
    let mut planner = planner(BatchingPolicy::Alone, 512, 1);
    admit(&mut planner, 0, &[100; 200]);
    for _ in 0..10 {
        assert_eq!(next(&mut planner, 0).unwrap().sequences[0].0, 0);
    }
    planner.arrive(arrived(1, 200, 2));
    let chunk = planner.next_chunk().unwrap();
    assert_eq!(chunk.job, 1, "its texts are read first");
    read(&mut planner, &chunk, &[100, 100]);
    assert_eq!(served(&mut planner)[..3], [[1], [1], [0]]);
}

/// Case A5, as it was seen: 10,000 one-word documents that are three times as long as estimated.
#[test]
fn a_small_request_never_waits_for_one_that_was_underestimated() {
    let mut planner = planner(BatchingPolicy::Alone, 512, 1);
    planner.arrive(estimated(0, &vec![2; 10_000]));
    let mut passes = 0;
    loop {
        while let Some(chunk) = planner.next_chunk() {
            read(&mut planner, &chunk, &vec![6; chunk.documents.len()]);
        }
        let Some(_) = next(&mut planner, 0) else { break };
        passes += 1;
        if passes % 500 == 0 && passes < 10_000 {
            planner.arrive(estimated(passes, &[20]));
            let chunk = planner.next_chunk().unwrap();
            assert_eq!(chunk.job, passes, "its text is read first");
            read(&mut planner, &chunk, &[6]);
            let waited = (0..20_000).find(|_| next(&mut planner, 0).unwrap().sequences[0].0 == passes).unwrap();
            assert_eq!(waited, 0, "after {passes} passes");
            passes += 1;
        }
    }
}

/// Case A5, the other way round.
#[test]
fn a_request_that_is_smaller_than_estimated_is_not_pushed_back() {
    let mut planner = planner(BatchingPolicy::Alone, 512, 1);
    planner.arrive(estimated(0, &[100; 400]));
    // White space, say: the first documents are read while the other request's are, and show what the rest is.
    planner.arrive(estimated(1, &[500; 400]));
    while let Some(chunk) = planner.next_chunk() {
        let length = if chunk.job == 0 { 100 } else { 3 };
        read(&mut planner, &chunk, &vec![length; chunk.documents.len()]);
    }
    let before = (0..400).find(|_| next(&mut planner, 0).unwrap().sequences[0].0 == 1).unwrap();
    assert_eq!(before, 0, "1,200 tokens go before 40,000");
}

#[test]
fn what_is_not_wanted_any_more_costs_nobody_anything() {
    let mut planner = planner(BatchingPolicy::Packed { slots: None }, 400, 1);
    admit(&mut planner, 0, &[100; 8]);
    admit(&mut planner, 1, &[100; 4]);
    // Of the first only two are wanted when their turn comes: the pass is filled up with those.
    let pass = planner.next_batch(0, &mut |job, sequence| job == 1 || sequence < 2).unwrap();
    assert_eq!((pass.tokens, pass.sequences.len()), (400, 4));
    assert_eq!(pass.sequences.iter().filter(|(job, _)| *job == 1).count(), 4, "the smaller one goes first");
    let pass = planner.next_batch(0, &mut |job, sequence| job == 1 || sequence < 2).unwrap();
    assert_eq!((pass.tokens, pass.sequences.len()), (200, 2));
    assert!(planner.is_done(0) && planner.is_done(1));
    assert_eq!((planner.live.waiting, planner.live.queues[0].amount), (0, (0, 0)));
}

#[test]
fn a_request_most_of_which_is_given_up_goes_by_what_is_left() {
    let mut planner = planner(BatchingPolicy::Alone, 512, 1);
    admit(&mut planner, 0, &[100; 50]);
    planner.arrive(estimated(1, &[100; 60]));
    let chunk = planner.next_chunk().unwrap();
    read(&mut planner, &chunk, &vec![100; chunk.documents.len()]);
    planner.retain(1, |document| document > 57, |sequence| sequence == 0);
    while let Some(chunk) = planner.next_chunk() {
        assert!(chunk.documents.iter().all(|&document| document > 57));
        read(&mut planner, &chunk, &vec![100; chunk.documents.len()]);
    }
    assert_eq!(served(&mut planner)[..4], [[1], [1], [1], [0]]);
}

/// Case A4.
#[test]
fn chunks_are_bounded_in_bytes_and_readers_shared_by_them() {
    let mut planner = planner(BatchingPolicy::Alone, 512, 1);
    let texts = |count: usize, bytes: u32| vec![Text { bytes, tokens: bytes / 16 }; count];
    // Dense texts: few documents, many bytes. Then one with many more tokens and as many bytes in all as one of those.
    planner.arrive(Arrived { texts: texts(5, 8192), ..arrived(0, 1, 1) });
    let first = planner.next_chunk().unwrap();
    assert_eq!((first.job, first.documents.len()), (0, 2), "16 KiB");
    planner.arrive(Arrived { texts: texts(100, 80), ..arrived(1, 1, 1) });
    planner.arrive(Arrived { texts: texts(1, 1 << 20), ..arrived(2, 1, 1) });
    let order: Vec<JobId> = std::iter::from_fn(|| planner.next_chunk()).map(|chunk| chunk.job).collect();
    assert_eq!(
        order,
        [1, 1, 1, 1, 1, 1, 1, 0, 0, 2],
        "who has the least to read left goes first; one document is never split"
    );
}

#[test]
fn equal_requests_go_in_the_order_they_came() {
    let mut planner = planner(BatchingPolicy::SameLength, 512, 1);
    for job in 0..4 {
        planner.arrive(arrived(job, 2000, 5));
        let chunk = planner.next_chunk().unwrap();
        read(&mut planner, &chunk, &[400; 5]);
    }
    let expected: Vec<Vec<JobId>> = (0..4).flat_map(|job| vec![vec![job]; 5]).collect();
    assert_eq!(served(&mut planner), expected);
}

#[test]
fn small_requests_share_a_pass_in_the_order_they_came() {
    let mut planner = planner(BatchingPolicy::Packed { slots: Some(4) }, 512, 1);
    for job in 0..6 {
        admit(&mut planner, job, &[40]);
    }
    assert_eq!(served(&mut planner), [vec![0, 1, 2, 3], vec![4, 5]]);
}

#[test]
fn a_graph_without_slots_takes_all_that_the_budget_holds() {
    let mut planner = planner(BatchingPolicy::Packed { slots: None }, 32_768, 1);
    for job in 0..10 {
        admit(&mut planner, job, &[100; 32]);
    }
    assert_eq!(planner.outlook(), Outlook::Room { model: 0 });
    admit(&mut planner, 10, &[100; 32]);
    assert_eq!(planner.outlook(), Outlook::Full);
    let passes = served(&mut planner);
    assert_eq!(passes.iter().map(Vec::len).collect::<Vec<_>>(), [327, 25]);
}

#[test]
fn few_pairs_are_spread_over_all_workers() {
    let sizes = |workers, lengths: &[u32]| {
        let mut planner = planner(BatchingPolicy::Packed { slots: Some(4) }, 512, workers);
        admit(&mut planner, 0, lengths);
        served(&mut planner).iter().map(Vec::len).collect::<Vec<_>>()
    };
    assert_eq!(sizes(1, &[100; 4]), [4], "one worker: the pass that streams the weights once");
    assert_eq!(sizes(2, &[110, 100, 95, 95]), [2, 1, 1], "two workers: half each, then what is left");
    assert_eq!(sizes(8, &[100; 4]), [1, 1, 1, 1], "a worker for each");
    assert_eq!(sizes(2, &[64; 32])[..3], [4, 4, 4], "while there is enough, passes are full");
}

#[test]
fn pairs_of_one_length_are_found_in_later_requests_once_those_are_owed_something() {
    let mut planner = planner(BatchingPolicy::SameLength, 400, 1);
    admit(&mut planner, 0, &[100, 90, 80, 70, 60]);
    admit(&mut planner, 1, &[100, 90, 80, 70, 60, 50]);
    let passes = served(&mut planner);
    assert_eq!(passes[0], [0], "nobody is owed anything yet");
    assert!(passes.contains(&vec![0, 1]), "{passes:?}");
    assert!(passes.len() < 11);
}

#[test]
fn a_pass_is_of_one_model_and_of_one_class() {
    let policy = BatchingPolicy::Packed { slots: None };
    let mut planner = Planner::new(&[Batching { policy, tokens: 512, spread: 1, weight: 1 }; 2]);
    for (job, model, priority) in [(0, 0, Priority::Live), (1, 1, Priority::Live), (2, 0, Priority::WarmUp)] {
        planner.arrive(Arrived { model, priority, ..arrived(job, 10, 1) });
        let chunk = planner.next_chunk().unwrap();
        read(&mut planner, &chunk, &[10]);
    }
    let passes: Vec<_> =
        std::iter::from_fn(|| next(&mut planner, 0)).map(|planned| (planned.model, planned.sequences)).collect();
    assert_eq!(passes, [(0, vec![(0, 0)]), (1, vec![(1, 0)]), (0, vec![(2, 0)])]);
}

#[test]
fn passes_shrink_to_what_was_scored_quickest() {
    let mut planner = planner(BatchingPolicy::Packed { slots: None }, 1024, 1);
    for _ in 0..200 {
        for (tokens, milliseconds) in [(1000, 300), (500, 100)] {
            let time = Duration::from_millis(milliseconds);
            planner.observe(&Spent { model: 0, tokens, work: tokens as f64, time });
        }
    }
    admit(&mut planner, 0, &[50; 40]);
    assert_eq!(served(&mut planner)[0].len(), 10);
}

#[test]
fn warm_up_work_waits_until_no_live_work_is_ready() {
    let mut planner = planner(BatchingPolicy::Alone, 512, 1);
    planner.arrive(Arrived { priority: Priority::WarmUp, ..arrived(0, 10, 2) });
    planner.arrive(arrived(1, 1_000_000, 2));
    for _ in 0..2 {
        let chunk = planner.next_chunk().unwrap();
        read(&mut planner, &chunk, &[10, 10]);
    }
    assert_eq!(served(&mut planner).concat(), [1, 1, 0, 0]);
}

#[test]
fn a_forgotten_request_leaves_nothing_behind() {
    let mut planner = planner(BatchingPolicy::Alone, 512, 1);
    admit(&mut planner, 0, &[100; 20]);
    next(&mut planner, 0).unwrap();
    planner.forget(0);
    assert!(next(&mut planner, 0).is_none() && planner.next_chunk().is_none() && planner.is_done(0));
    assert_eq!((planner.live.waiting, planner.outlook()), (0, Outlook::Nothing));
    assert_eq!(planner.live.queues[0].amount, (0, 0));
}

#[test]
fn what_a_warm_up_has_ready_keeps_no_live_text_from_its_tokenizer() {
    let mut planner = planner(BatchingPolicy::Alone, 8, 1);
    let documents = 10_000;
    planner.arrive(Arrived { priority: Priority::WarmUp, ..arrived(0, 80_000, documents) });
    let mut given = 0;
    while let Some(chunk) = planner.next_chunk() {
        assert!(chunk.documents.len() <= WARM_UP_CHUNK, "{chunk:?}");
        given += chunk.documents.len();
        read(&mut planner, &chunk, &vec![8; chunk.documents.len()]);
    }
    assert!(given < documents, "a warm-up is read no further ahead than others");
    assert!(!planner.live.has_texts());
    planner.arrive(arrived(1, 16, 2));
    assert!(planner.live.has_texts());
    let chunk = planner.next_chunk().unwrap();
    assert_eq!((chunk.job, &chunk.documents[..]), (1, &[0, 1][..]));
    read(&mut planner, &chunk, &[8, 8]);
    let jobs: Vec<JobId> = (0..3)
        .filter_map(|_| next(&mut planner, 0))
        .flat_map(|planned| planned.sequences)
        .map(|(job, _)| job)
        .collect();
    assert_eq!(jobs, [1, 1, 0], "live first");
}

#[test]
fn the_last_passes_are_as_large_as_it_takes_to_finish_together() {
    for (sentence, spread, waiting, running, wanted) in [
        ("both workers are free: half each", 2, 4, 0, 2),
        ("the other has just begun as much as waits: all of it", 2, 2, 200, 2),
        ("the other has half a pass before it: three quarters", 2, 4, 200, 3),
        ("the other is nearly done: half, as if it were free", 2, 4, 20, 2),
        ("the other has more before it than waits", 2, 3, 400, 3),
        ("three workers, two of them busy with a pair each", 3, 4, 200, 2),
        ("no larger than a pass may be", 2, 10, 5000, 5),
        ("on a device that wants large passes nothing is kept back", 1, 4, 0, 4),
    ] {
        let mut planner = planner(BatchingPolicy::Packed { slots: Some(8) }, 512, spread);
        admit(&mut planner, 0, &vec![100; waiting]);
        let pass = next(&mut planner, running).unwrap();
        assert_eq!((pass.sequences.len(), pass.tokens), (wanted, wanted as u64 * 100), "{sentence}");
    }
}

#[test]
fn what_a_pass_will_take_is_known_once_passes_were_measured() {
    let mut planner = planner(BatchingPolicy::Packed { slots: Some(4) }, 512, 1);
    admit(&mut planner, 0, &[100; 8]);
    assert_eq!(next(&mut planner, 0).unwrap().expected, None);
    let spent = Spent { model: 0, tokens: 400, work: work([100; 4].into_iter()), time: Duration::from_millis(80) };
    planner.observe(&spent);
    assert_eq!(next(&mut planner, 0).unwrap().expected, Some(spent.time), "as long as the one of the same lengths");
}
