//! Which query comes next: Zipf's law.
//!
//! Pure. The query of rank `r` (from 1) comes with a frequency of `1 / r^exponent`, by inversion: a number spread evenly
//! over the sum of all frequencies falls into one query's part of it. Search logs have exponents from 0.7 to 1.

use rescored_core::random::Seeded;

/// Ranks, from 0, of so many searches; the same for the same arguments, on every machine.
pub(super) fn searches(searches: usize, queries: usize, exponent: f64) -> Vec<usize> {
    let mut all = 0.0;
    let sums: Vec<f64> = (1..=queries)
        .map(|rank| {
            all += (rank as f64).powf(-exponent);
            all
        })
        .collect();
    let mut random = Seeded::new(42);
    let last = queries.saturating_sub(1);
    (0..searches)
        .map(|_| {
            let place = random.share() * all;
            sums.partition_point(|sum| *sum <= place).min(last)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_fall_as_the_law_says() {
        let mut seen = [0_u32; 100];
        for rank in searches(200_000, 100, 1.0) {
            seen[rank] += 1;
        }
        let all: f64 = (1..=100).map(|rank| 1.0 / f64::from(rank)).sum();
        for rank in [1_u32, 2, 10, 100] {
            let expected = 200_000.0 / all / f64::from(rank);
            let found = f64::from(seen[rank as usize - 1]);
            assert!((found / expected - 1.0).abs() < 0.15, "rank {rank}: {found} of {expected:.0}");
        }
        assert_eq!(searches(3, 100, 1.0), searches(3, 100, 1.0));
    }

    #[test]
    fn without_an_exponent_all_are_alike() {
        let mut seen = [0_u32; 10];
        for rank in searches(10_000, 10, 0.0) {
            seen[rank] += 1;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
