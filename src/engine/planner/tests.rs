//! Properties of the planner: nothing lost, nothing twice, budgets kept, shares fair.

use proptest::prelude::*;

use super::*;

fn arrived(job: JobId, tokens: u64, documents: usize) -> Arrived {
    Arrived { job, model: 0, priority: Priority::Live, tokens, documents, order: Order::LongestFirst }
}

/// Brings a request in and makes all its encodings ready.
fn admit(planner: &mut Planner, job: JobId, lengths: &[u32]) {
    planner.arrive(arrived(job, lengths.iter().map(|&length| u64::from(length)).sum(), lengths.len()));
    while let Some(chunk) = planner.next_chunk() {
        assert_eq!(chunk.job, job, "texts of other requests were read before");
        planner.tokenised(job, &lengths[chunk.documents]);
    }
}

fn company() -> impl Strategy<Value = Company> {
    prop_oneof![
        Just(Company::Alone),
        Just(Company::SameLength),
        (1u8..=100).prop_map(|least_percent| Company::Padded { least_percent }),
        (1u32..9).prop_map(|slots| Company::Packed { slots }),
    ]
}

proptest! {
    #[test]
    fn every_encoding_is_planned_once_within_the_budget(
        company in company(),
        order in prop_oneof![Just(Order::LongestFirst), Just(Order::AsGiven)],
        budget in 512usize..2000,
        requests in proptest::collection::vec(proptest::collection::vec(1u32..512, 1..40), 1..6),
    ) {
        let mut planner = Planner::new(vec![company], budget);
        for (job, lengths) in requests.iter().enumerate() {
            planner.arrive(Arrived { order, ..arrived(job, 1, lengths.len()) });
        }
        let mut seen: Vec<Vec<u32>> = requests.iter().map(|lengths| vec![0; lengths.len()]).collect();
        let mut ready: Vec<Vec<u32>> = vec![Vec::new(); requests.len()];
        let mut given = vec![0; requests.len()];
        loop {
            if let Some(chunk) = planner.next_chunk() {
                let lengths = &requests[chunk.job][chunk.documents];
                ready[chunk.job].extend(lengths);
                planner.tokenised(chunk.job, lengths);
                continue;
            }
            let Some(planned) = planner.next_batch() else { break };
            let lengths: Vec<u32> = planned.units.iter().map(|&unit| ready[planned.job][unit]).collect();
            for &unit in &planned.units {
                seen[planned.job][unit] += 1;
            }
            let longest = *lengths.iter().max().unwrap();
            let padded = longest as usize * lengths.len();
            let packed = lengths.iter().sum::<u32>() as usize;
            let held = if matches!(company, Company::Packed { .. }) { packed } else { padded };
            prop_assert!(lengths.len() == 1 || held <= budget, "{held} tokens in a batch of {budget}");
            if order == Order::AsGiven {
                let last = given[planned.job];
                prop_assert!(planned.units.is_sorted() && planned.units[0] == last, "{planned:?} after {last}");
                given[planned.job] += planned.units.len();
            }
            match company {
                Company::Packed { slots } => prop_assert!(lengths.len() <= slots as usize),
                Company::Alone => prop_assert_eq!(lengths.len(), 1),
                Company::SameLength => prop_assert!(lengths.iter().all(|&length| length == longest)),
                Company::Padded { least_percent } => {
                    prop_assert!(lengths.iter().all(|&length| length >= longest * u32::from(least_percent) / 100));
                }
            }
        }
        prop_assert!(seen.iter().flatten().all(|&times| times == 1), "{seen:?}");
        for job in 0..requests.len() {
            prop_assert!(planner.is_done(job));
        }
    }

    /// The bound of the module's head, measured against equal sharing computed step by step.
    #[test]
    fn no_request_finishes_later_than_under_equal_sharing_plus_one_batch(
        requests in proptest::collection::vec((0u64..40, proptest::collection::vec(1u32..60, 1..30)), 1..8),
    ) {
        const LONGEST: f64 = 60.0;
        let mut planner = Planner::new(vec![Company::Alone], 100_000);
        let mut coming: Vec<(usize, u64)> = requests.iter().enumerate().map(|(job, (at, _))| (job, *at * 50)).collect();
        coming.sort_by_key(|&(_, at)| at);
        let mut sharing = Sharing { left: vec![None; requests.len()], done: vec![f64::INFINITY; requests.len()] };
        let mut left: Vec<usize> = requests.iter().map(|(_, lengths)| lengths.len()).collect();
        let mut finished = vec![None; requests.len()];
        let mut served = 0u64;
        let mut coming = coming.into_iter().peekable();
        loop {
            while let Some((job, _)) = coming.next_if(|&(_, at)| at <= served) {
                admit(&mut planner, job, &requests[job].1);
                sharing.left[job] = Some(requests[job].1.iter().map(|&length| f64::from(length)).sum());
            }
            let Some(planned) = planner.next_batch() else {
                match coming.peek() {
                    Some(&(_, at)) => { served = served.max(at); continue; }
                    None => break,
                }
            };
            let job = planned.job;
            // A request's lengths are served longest first.
            let mut lengths = requests[job].1.clone();
            lengths.sort_unstable();
            left[job] -= 1;
            let tokens = lengths[left[job]];
            sharing.serve(served as f64, f64::from(tokens));
            served += u64::from(tokens);
            if left[job] == 0 {
                finished[job] = Some(served as f64);
            }
        }
        for (job, finished) in finished.into_iter().enumerate() {
            let finished = finished.expect("every request finishes");
            prop_assert!(finished <= sharing.done[job] + LONGEST + 1.0, "request {job} at {finished}, ideal {}", sharing.done[job]);
        }
    }
}

/// All waiting requests served at once in equal shares.
struct Sharing {
    /// Tokens each still needs.
    left: Vec<Option<f64>>,
    /// When, in tokens served to all, each was done.
    done: Vec<f64>,
}

impl Sharing {
    fn serve(&mut self, mut now: f64, mut work: f64) {
        while work > 1e-9 {
            let active: Vec<usize> = (0..self.left.len()).filter(|&job| self.left[job].is_some()).collect();
            let Some(least) = active.iter().filter_map(|&job| self.left[job]).min_by(f64::total_cmp) else { return };
            let step = (least * active.len() as f64).min(work);
            now += step;
            work -= step;
            for &job in &active {
                let rest = self.left[job].unwrap() - step / active.len() as f64;
                self.left[job] = (rest > 1e-9).then_some(rest);
                if self.left[job].is_none() {
                    self.done[job] = now;
                }
            }
        }
    }
}

#[test]
fn a_small_request_overtakes_a_large_one() {
    let mut planner = Planner::new(vec![Company::Alone], 512);
    admit(&mut planner, 0, &[100; 200]);
    for _ in 0..10 {
        assert_eq!(planner.next_batch().unwrap().job, 0);
    }
    planner.arrive(arrived(1, 200, 2));
    let chunk = planner.next_chunk().unwrap();
    assert_eq!(chunk.job, 1, "its texts are read first");
    planner.tokenised(1, &[100, 100]);
    assert_eq!([planner.next_batch().unwrap().job, planner.next_batch().unwrap().job], [1, 1]);
    assert_eq!(planner.next_batch().unwrap().job, 0);
}

#[test]
fn equal_requests_go_in_the_order_they_came() {
    let mut planner = Planner::new(vec![Company::SameLength], 512);
    for job in 0..4 {
        planner.arrive(arrived(job, 2000, 5));
        let chunk = planner.next_chunk().unwrap();
        planner.tokenised(chunk.job, &[400; 5]);
    }
    let order: Vec<JobId> = std::iter::from_fn(|| planner.next_batch()).map(|planned| planned.job).collect();
    let expected: Vec<JobId> = (0..4).flat_map(|job| [job; 5]).collect();
    assert_eq!(order, expected);
}

#[test]
fn warm_up_work_waits_until_no_live_work_is_ready() {
    let mut planner = Planner::new(vec![Company::Alone], 512);
    planner.arrive(Arrived { priority: Priority::WarmUp, ..arrived(0, 10, 2) });
    planner.arrive(arrived(1, 1_000_000, 2));
    for _ in 0..2 {
        let chunk = planner.next_chunk().unwrap();
        planner.tokenised(chunk.job, &[10, 10]);
    }
    let order: Vec<JobId> = std::iter::from_fn(|| planner.next_batch()).map(|planned| planned.job).collect();
    assert_eq!(order, [1, 1, 0, 0]);
}

#[test]
fn a_forgotten_request_leaves_nothing_behind() {
    let mut planner = Planner::new(vec![Company::Alone], 512);
    admit(&mut planner, 0, &[100; 20]);
    planner.next_batch().unwrap();
    planner.forget(0);
    assert!(planner.next_batch().is_none() && planner.next_chunk().is_none() && planner.is_done(0));
    assert_eq!(planner.ready_tokens, 0);
    assert!(planner.live.active.is_empty());
}
