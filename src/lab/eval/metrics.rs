//! How good a ranking is, from the gains of its documents.
//!
//! Pure: nDCG with linear gains, as `trec_eval` and BEIR count it, reciprocal rank and recall, each cut at a rank. It must
//! not know documents, queries or files.

/// Normalised discounted cumulative gain of a ranking's first `cut` documents. `ranked` holds gains in the ranking's
/// order, `judged` those of every judged document, found or not; 0 when none of them is relevant.
pub fn ndcg(ranked: &[u32], judged: &[u32], cut: usize) -> f64 {
    let mut ideal = judged.to_vec();
    ideal.sort_unstable_by(|a, b| b.cmp(a));
    let best = dcg(&ideal, cut);
    if best > 0.0 { dcg(ranked, cut) / best } else { 0.0 }
}

/// One over the rank of the first relevant document, 0 when it stands beyond `cut` or nowhere.
pub fn reciprocal_rank(ranked: &[u32], cut: usize) -> f64 {
    ranked.iter().take(cut).position(|&gain| gain > 0).map_or(0.0, |place| 1.0 / (place as f64 + 1.0))
}

/// The share of the relevant documents that stand among the first `cut`; 0 when none is relevant.
pub fn recall(ranked: &[u32], judged: &[u32], cut: usize) -> f64 {
    let relevant = judged.iter().filter(|&&gain| gain > 0).count();
    let found = ranked.iter().take(cut).filter(|&&gain| gain > 0).count();
    if relevant > 0 { found as f64 / relevant as f64 } else { 0.0 }
}

fn dcg(gains: &[u32], cut: usize) -> f64 {
    let discounted = |(place, &gain): (usize, &u32)| f64::from(gain) / (place as f64 + 2.0).log2();
    gains.iter().take(cut).enumerate().map(discounted).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rankings of distinct documents, by their gains, beside judged documents that were not found.
    fn rankings() -> impl Strategy<Value = (Vec<u32>, Vec<u32>, usize)> {
        (prop::collection::vec(0u32..4, 0..9), prop::collection::vec(0u32..4, 0..4), 1usize..12).prop_map(
            |(ranked, lost, cut)| {
                let judged = ranked.iter().chain(&lost).copied().collect();
                (ranked, judged, cut)
            },
        )
    }

    /// Every order of a list.
    fn orders(items: &[u32]) -> Vec<Vec<u32>> {
        let Some((first, rest)) = items.split_first() else { return vec![Vec::new()] };
        let with_first = |order: Vec<u32>| {
            (0..=order.len()).map(move |place| {
                let mut longer = order.clone();
                longer.insert(place, *first);
                longer
            })
        };
        orders(rest).into_iter().flat_map(with_first).collect()
    }

    /// The sum as the textbook writes it: ranks from 1, natural logarithms.
    fn naive_dcg(gains: &[u32], cut: usize) -> f64 {
        let mut sum = 0.0;
        for rank in 1..=cut {
            if let Some(&gain) = gains.get(rank - 1) {
                sum += f64::from(gain) * std::f64::consts::LN_2 / (rank as f64 + 1.0).ln();
            }
        }
        sum
    }

    proptest! {
        #[test]
        fn ndcg_is_the_share_of_the_best_order_that_there_is(
            (ranked, lost, cut) in (prop::collection::vec(0u32..4, 0..5), prop::collection::vec(0u32..4, 0..3), 1usize..7)
        ) {
            let judged: Vec<u32> = ranked.iter().chain(&lost).copied().collect();
            let best = orders(&judged).iter().map(|order| naive_dcg(order, cut)).fold(0.0, f64::max);
            let expected = if best > 0.0 { naive_dcg(&ranked, cut) / best } else { 0.0 };
            prop_assert!((ndcg(&ranked, &judged, cut) - expected).abs() < 1e-12);
        }

        #[test]
        fn measures_stay_between_nothing_and_all((ranked, judged, cut) in rankings()) {
            for value in [ndcg(&ranked, &judged, cut), reciprocal_rank(&ranked, cut), recall(&ranked, &judged, cut)] {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&value), "{value}");
            }
        }

        #[test]
        fn moving_a_better_document_up_never_costs((ranked, judged, cut) in rankings(), place in 0usize..8) {
            let mut better = ranked.clone();
            if let Some([one, other]) = better.get_mut(place..place + 2) {
                (*one, *other) = (*one.max(other), *one.min(other));
            }
            prop_assert!(ndcg(&better, &judged, cut) >= ndcg(&ranked, &judged, cut));
            prop_assert!(reciprocal_rank(&better, cut) >= reciprocal_rank(&ranked, cut));
            prop_assert!(recall(&better, &judged, cut) >= recall(&ranked, &judged, cut));
        }

        #[test]
        fn reciprocal_rank_and_recall_are_counted_by_hand((ranked, judged, cut) in rankings()) {
            let mut rank = 0;
            for (place, gain) in ranked.iter().enumerate() {
                if *gain > 0 && place < cut && rank == 0 {
                    rank = place + 1;
                }
            }
            let expected = if rank == 0 { 0.0 } else { 1.0 / rank as f64 };
            prop_assert!((reciprocal_rank(&ranked, cut) - expected).abs() < 1e-12);
            let (mut found, mut all) = (0.0, 0.0);
            for (place, gain) in ranked.iter().enumerate() {
                if *gain > 0 && place < cut {
                    found += 1.0;
                }
            }
            for gain in &judged {
                if *gain > 0 {
                    all += 1.0;
                }
            }
            let expected = if all > 0.0 { found / all } else { 0.0 };
            prop_assert!((recall(&ranked, &judged, cut) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn known_rankings_have_known_figures() {
        // The only relevant document second of three: 1/log2(3).
        assert!((ndcg(&[0, 1, 0], &[1], 10) - 0.630_929_753_571_457_4).abs() < 1e-12);
        // Graded: (1 + 2/log2(3)) / (2 + 1/log2(3)).
        assert!((ndcg(&[1, 2], &[2, 1], 10) - 0.859_718_699_852_197).abs() < 1e-12);
        assert!((reciprocal_rank(&[0, 0, 1], 10) - 1.0 / 3.0).abs() < 1e-12);
        assert!((recall(&[1, 0, 1], &[1, 1, 1, 1], 10) - 0.5).abs() < 1e-12);
        assert!(ndcg(&[0, 0], &[], 10).abs() < 1e-12, "nothing judged is nothing gained");
    }
}
