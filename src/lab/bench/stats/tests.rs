//! What the figures must hold for every lot, and some worked by hand.

use proptest::prelude::*;

use super::*;

fn lot() -> impl Strategy<Value = Vec<f64>> {
    // Few distinct values, so that ties are common.
    prop::collection::vec((1_u8..30).prop_map(f64::from), 1..12)
}

/// Every choice of `first` among the values, by brute force.
fn brute(a: &[f64], b: &[f64]) -> f64 {
    let ranks = doubled_ranks(a, b);
    let all: usize = ranks.iter().sum();
    let off = |sum: usize| (sum * ranks.len()).abs_diff(a.len() * all);
    let seen = off(ranks[..a.len()].iter().sum());
    let (mut extreme, mut total) = (0_u32, 0_u32);
    for choice in 0_u32..1 << ranks.len() {
        if choice.count_ones() as usize == a.len() {
            let sum = ranks.iter().enumerate().filter(|(at, _)| choice >> at & 1 == 1).map(|(_, rank)| rank).sum();
            total += 1;
            extreme += u32::from(off(sum) >= seen);
        }
    }
    f64::from(extreme) / f64::from(total)
}

#[test]
fn the_rank_test_gives_what_tables_print() {
    // Two lots of five without overlap: 2 of 252 choices.
    let (low, high) = ([1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]);
    assert!((rank_test(&low, &high) - 2.0 / 252.0).abs() < 1e-12);
    assert!((least_rank_test(5, 5) - 2.0 / 252.0).abs() < 1e-12);
    assert!((rank_test(&low, &low) - 1.0).abs() < 1e-12, "the same values");
    assert!((least_rank_test(1, 1) - 1.0).abs() < 1e-12, "one value each shows nothing");
}

#[test]
fn the_approximation_meets_the_count_where_both_are_good() {
    let a: Vec<f64> = (0..25).map(|n| f64::from(n * 37 % 101)).collect();
    let b: Vec<f64> = (0..30).map(|n| f64::from(n * 53 % 97 + 20)).collect();
    let ranks = doubled_ranks(&a, &b);
    let (counted, estimated) = (exact(&ranks, a.len()), approximate(&ranks, a.len()));
    assert!((counted - estimated).abs() < 0.01, "{counted} {estimated}");
}

#[test]
fn quantiles_lie_between_their_neighbours() {
    let values = sorted(&[4.0, 1.0, 3.0, 2.0]);
    assert_eq!(quantile(&values, 0.5), Some(2.5));
    assert_eq!(quantile(&values, 0.0), Some(1.0));
    assert_eq!(quantile(&values, 1.0), Some(4.0));
    assert_eq!(quantile(&[], 0.5), None);
}

#[test]
fn adjusted_likelihoods_are_holms() {
    let adjusted = adjusted(&[0.01, 0.04, 0.03, 0.5]);
    for (got, want) in adjusted.iter().zip([0.04, 0.09, 0.09, 0.5]) {
        assert!((got - want).abs() < 1e-12, "{adjusted:?}");
    }
}

#[test]
fn orders_agree_fully_or_not_at_all() {
    assert_eq!(kendall(&[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0]), Some(1.0));
    assert_eq!(kendall(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
    assert_eq!(kendall(&[1.0, 1.0], &[3.0, 2.0]), None, "no order in the first");
}

proptest! {
    #[test]
    fn the_count_is_what_brute_force_finds(a in prop::collection::vec((1_u8..9).prop_map(f64::from), 1..6),
                                           b in prop::collection::vec((1_u8..9).prop_map(f64::from), 1..6)) {
        prop_assert!((rank_test(&a, &b) - brute(&a, &b)).abs() < 1e-9);
    }

    #[test]
    fn the_rank_test_is_a_likelihood_and_has_no_sides(a in lot(), b in lot()) {
        let likelihood = rank_test(&a, &b);
        prop_assert!((0.0..=1.0).contains(&likelihood));
        prop_assert!((likelihood - rank_test(&b, &a)).abs() < 1e-9);
    }

    #[test]
    fn scaling_both_changes_no_verdict(a in lot(), b in lot(), factor in 0.5_f64..20.0) {
        let scaled = |values: &[f64]| values.iter().map(|value| value * factor).collect::<Vec<_>>();
        prop_assert!((rank_test(&a, &b) - rank_test(&scaled(&a), &scaled(&b))).abs() < 1e-9);
        let (low, high) = ratio_interval(&a, &b, 0.95).unwrap();
        let (scaled_low, scaled_high) = ratio_interval(&scaled(&a), &scaled(&b), 0.95).unwrap();
        prop_assert!((low - scaled_low).abs() < 1e-9 && (high - scaled_high).abs() < 1e-9);
    }

    #[test]
    fn the_interval_is_in_order_and_within_what_is_possible(a in lot(), b in lot()) {
        let (low, high) = ratio_interval(&a, &b, 0.95).unwrap();
        let (old, new) = (Spread::of(&a).unwrap(), Spread::of(&b).unwrap());
        prop_assert!(low <= high);
        prop_assert!(new.least / old.most <= low && high <= new.most / old.least);
    }

    #[test]
    fn spreads_are_in_order(values in lot()) {
        let Spread { least, middle, most } = Spread::of(&values).unwrap();
        prop_assert!(least <= middle && middle <= most);
    }

    #[test]
    fn adjusting_never_lowers(likelihoods in prop::collection::vec(0.0_f64..=1.0, 0..20)) {
        for (before, after) in likelihoods.iter().zip(adjusted(&likelihoods)) {
            prop_assert!(*before <= after && after <= 1.0);
        }
    }

    #[test]
    fn orders_are_compared_without_sides(pairs in prop::collection::vec((0_u8..9, 0_u8..9), 2..20)) {
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(a, b)| (f64::from(*a), f64::from(*b))).unzip();
        let alike = kendall(&a, &b);
        prop_assert_eq!(alike, kendall(&b, &a));
        prop_assert!(alike.is_none_or(|alike| (-1.0..=1.0).contains(&alike)));
    }
}
