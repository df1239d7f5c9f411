//! Models that have work are given passes by weight.

use super::*;

proptest! {
    /// The bound of `sharing`, counted in tokens: over any stretch in which two models both have work, what they were given
    /// differs, by weight, by no more than a pass of each, whatever the number and size of their requests.
    #[test]
    fn models_with_work_are_given_passes_by_weight(
        (policy, budget) in (policy(), 60usize..400),
        weights in proptest::collection::vec(1u32..9, 2..4),
        requests in proptest::collection::vec((0usize..4, 0u64..30, proptest::collection::vec(1u32..60, 1..30)), 1..20),
    ) {
        let batching = |&weight: &u32| Batching { policy, tokens: budget, spread: 1, weight };
        let mut planner = Planner::new(&weights.iter().map(batching).collect::<Vec<_>>());
        let requests: Vec<_> =
            requests.into_iter().map(|(model, at, lengths)| (model % weights.len(), at * 50, lengths)).collect();
        let mut coming: Vec<(usize, u64)> = requests.iter().enumerate().map(|(job, (_, at, _))| (job, *at)).collect();
        coming.sort_by_key(|&(_, at)| at);
        let mut coming = coming.into_iter().peekable();
        let (mut left, mut given) = (vec![0usize; weights.len()], vec![0u64; weights.len()]);
        // What both were given since both have had work.
        let mut since: HashMap<(usize, usize), (u64, u64)> = HashMap::new();
        let mut now = 0;
        loop {
            while let Some((job, _)) = coming.next_if(|&(_, at)| at <= now) {
                let (model, _, lengths) = &requests[job];
                planner.arrive(Arrived { model: *model, ..estimated(job, lengths) });
                left[*model] += lengths.len();
            }
            while let Some(chunk) = planner.next_chunk() {
                let lengths = of(&requests[chunk.job].2, &chunk);
                read(&mut planner, &chunk, &lengths);
            }
            for one in 0..weights.len() {
                for other in 0..one {
                    let both = left[one] > 0 && left[other] > 0;
                    let (a, b) = if both {
                        *since.entry((one, other)).or_insert((given[one], given[other]))
                    } else {
                        since.remove(&(one, other));
                        continue;
                    };
                    let pass = budget.max(60) as f64;
                    let share = |model: usize, before| (given[model] - before) as f64 / f64::from(weights[model]);
                    let bound = pass / f64::from(weights[one]) + pass / f64::from(weights[other]);
                    let apart = (share(one, a) - share(other, b)).abs();
                    prop_assert!(apart <= bound + 1.0, "{one} and {other}: {apart} apart, at most {bound}");
                }
            }
            let amounts: Vec<u64> = planner.live.queues.iter().map(|queue| queue.amount.1).collect();
            let Some(planned) = next(&mut planner, 0) else {
                match coming.peek() {
                    Some(&(_, at)) => { now = now.max(at); continue; }
                    None => break,
                }
            };
            prop_assert!(planned.sequences.iter().all(|&(job, _)| requests[job].0 == planned.model), "a pass of two models");
            // The lengths of what was chosen, counted as they were made ready.
            let tokens: u64 = planned.sequences.iter().map(|&(job, sequence)| u64::from(requests[job].2[sequence])).sum();
            prop_assert_eq!(amounts[planned.model] - planner.live.queues[planned.model].amount.1, tokens);
            left[planned.model] -= planned.sequences.len();
            given[planned.model] += tokens;
            now += tokens;
        }
        prop_assert!(left.iter().all(|&left| left == 0));
    }
}

#[test]
fn a_burst_on_one_model_costs_another_its_share_and_no_more() {
    // Passes of the burst that go before the last of the victim's 8.
    let before = |weights: [u32; 2]| {
        let batching = |weight| Batching { policy: BatchingPolicy::Alone, tokens: 512, spread: 1, weight };
        let mut planner = Planner::new(&weights.map(batching));
        for job in 0..100 {
            planner.arrive(Arrived { model: 1, ..arrived(job, 1000, 10) });
        }
        let mut victim_comes = true;
        let mut order = Vec::new();
        loop {
            while let Some(chunk) = planner.next_chunk() {
                read(&mut planner, &chunk, &vec![100; chunk.documents.len()]);
            }
            let Some(pass) = next(&mut planner, 0) else { break };
            order.push(pass.model);
            // In the midst of the burst, when all that the planner reads ahead of it is read.
            if victim_comes && order.len() == 300 {
                planner.arrive(Arrived { model: 0, ..arrived(1000, 800, 8) });
                victim_comes = false;
            }
        }
        assert_eq!(order.len(), 1008, "everything is served");
        let last = order.iter().rposition(|&model| model == 0).expect("the victim is served");
        last + 1 - 300 - 8
    };
    for (weights, share) in [([1, 1], 8), ([3, 1], 3), ([1, 3], 24)] {
        let before = before(weights);
        // The first of the victim's passes goes at once, and so does the second where the first has paid for nothing yet.
        assert!(before <= share && before * 2 >= share, "{weights:?}: {before} passes before, its share is {share}");
    }
}
