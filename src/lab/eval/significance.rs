//! Whether a difference between two systems could be chance.
//!
//! Pure and seeded: a paired randomisation test and a bootstrap interval over the queries' differences. The same seed
//! gives the same figures in the same build. It must not know what was measured.

use serde::Serialize;

/// Differences smaller than this are rounding, and count as ties.
const TIE: f64 = 1e-9;

/// How much is drawn, and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    /// Draws of the test, and of the interval; at least 1.
    pub count: u32,
    /// Where the generator starts.
    pub seed: u64,
}

/// One system against another, over the same queries.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Mean of the differences.
    pub difference: f64,
    /// Lower end of its bootstrap interval of 95 %.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How often chance alone gives a difference at least as large, in either direction: a paired randomisation test.
    pub p: f64,
    /// Queries that got better.
    pub wins: usize,
    /// Queries that got worse.
    pub losses: usize,
    /// Queries that stayed the same.
    pub ties: usize,
}

/// Compares the values of `ours` with those of `theirs`, query by query.
pub fn compare(ours: &[f64], theirs: &[f64], draws: Draws) -> Comparison {
    let differences: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours - theirs).collect();
    let count = |of: fn(f64) -> bool| differences.iter().filter(|&&difference| of(difference)).count();
    let (wins, losses) = (count(|difference| difference > TIE), count(|difference| difference < -TIE));
    let (low, high) = interval(&differences, draws);
    Comparison {
        difference: mean(&differences),
        low,
        high,
        p: randomisation(&differences, draws),
        wins,
        losses,
        ties: differences.len() - wins - losses,
    }
}

/// The mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Two-sided p of a paired randomisation test: under the hypothesis of no difference each query's sign is a coin. The
/// difference itself is one of the draws, so that p is never 0.
fn randomisation(differences: &[f64], draws: Draws) -> f64 {
    // Queries without a difference have nothing to toss.
    let tossed: Vec<f64> = differences.iter().copied().filter(|difference| difference.abs() > TIE).collect();
    let seen = tossed.iter().sum::<f64>().abs();
    let mut random = fastrand::Rng::with_seed(draws.seed);
    let as_large = (0..draws.count)
        .filter(|_| {
            let sum: f64 = tossed.iter().map(|value| if random.bool() { *value } else { -value }).sum();
            sum.abs() >= seen - TIE
        })
        .count();
    (as_large as f64 + 1.0) / (f64::from(draws.count) + 1.0)
}

/// The middle 95 % of the means of samples drawn with replacement.
fn interval(differences: &[f64], draws: Draws) -> (f64, f64) {
    if differences.is_empty() {
        return (0.0, 0.0);
    }
    let mut random = fastrand::Rng::with_seed(draws.seed);
    let size = differences.len();
    let mut means: Vec<f64> = (0..draws.count)
        .map(|_| (0..size).map(|_| differences[random.usize(0..size)]).sum::<f64>() / size as f64)
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    (quantile(&means, 0.025), quantile(&means, 0.975))
}

/// The value below which this share of the sorted values lies; 0 of nothing.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length is an index")]
    let place = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(place).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DRAWS: Draws = Draws { count: 20_000, seed: 7 };

    /// p over every assignment of signs.
    fn exact(differences: &[f64]) -> f64 {
        let seen = differences.iter().sum::<f64>().abs();
        let all = 1u32 << differences.len();
        let as_large = (0..all).filter(|signs| {
            let sum: f64 = differences.iter().enumerate().map(|(n, d)| if signs >> n & 1 == 1 { -d } else { *d }).sum();
            sum.abs() >= seen - 1e-9
        });
        as_large.count() as f64 / f64::from(all)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn p_comes_near_to_the_share_of_all_sign_assignments(values in prop::collection::vec(-8i8..8, 1..10)) {
            let differences: Vec<f64> = values.iter().map(|&value| f64::from(value) / 8.0).collect();
            let expected = exact(&differences);
            let got = randomisation(&differences, DRAWS);
            prop_assert!((got - expected).abs() < 0.02, "{got}, exact {expected}");
        }

        #[test]
        fn the_interval_holds_the_mean_and_mirrors_with_the_sides(values in prop::collection::vec(-8i8..8, 5..40)) {
            let ours: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
            let zeros = vec![0.0; ours.len()];
            let (one, other) = (compare(&ours, &zeros, DRAWS), compare(&zeros, &ours, DRAWS));
            prop_assert!(one.low <= one.difference + 1e-9 && one.difference <= one.high + 1e-9, "{one:?}");
            prop_assert_eq!((one.wins, one.losses, one.ties), (other.losses, other.wins, other.ties));
            prop_assert_eq!(one.wins + one.losses + one.ties, ours.len());
            prop_assert!((one.p - other.p).abs() < 1e-12);
            prop_assert!((one.difference + other.difference).abs() < 1e-9);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_figures_and_sameness_is_no_difference() {
        let (ours, theirs) = ([0.9, 0.8, 1.0, 0.4], [0.7, 0.8, 0.9, 0.5]);
        assert_eq!(compare(&ours, &theirs, DRAWS), compare(&ours, &theirs, DRAWS));
        let same = compare(&ours, &ours, DRAWS);
        assert!((same.p - 1.0).abs() < 1e-12 && same.ties == 4 && same.difference.abs() < 1e-12, "{same:?}");
    }

    #[test]
    fn a_difference_in_every_one_of_many_queries_is_no_chance() {
        let ours = [0.1; 60];
        let found = compare(&ours, &[0.0; 60], DRAWS);
        assert!(found.p < 0.001, "{found:?}");
        assert!((found.low - 0.1).abs() < 1e-9 && (found.high - 0.1).abs() < 1e-9, "{found:?}");
    }
}
