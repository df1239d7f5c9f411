//! Figures of repeated measurements: middle, spread, and whether two lots differ by more than noise.
//!
//! Pure. Owns the arithmetic of small samples. It must not know what was measured.

use std::cmp::Ordering;

use rescored_core::random::Seeded;

/// Values of both lots up to which the distribution of rank sums is counted out; beyond, it is as good as normal.
const EXACT: usize = 60;

/// Resamplings behind an interval.
const RESAMPLES: usize = 2000;

/// The seed of every resampling, so that a verdict on two reports is always the same.
const SEED: u64 = 20_261_125;

/// Least, middle and most of some values.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The median.
    pub middle: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of these values; `None` without any.
    pub fn of(values: &[f64]) -> Option<Self> {
        let values = sorted(values);
        let (least, most) = (*values.first()?, *values.last()?);
        Some(Self { least, middle: quantile(&values, 0.5)?, most })
    }

    /// Distance from least to most as a share of the middle.
    pub fn relative(&self) -> f64 {
        if self.middle == 0.0 { 0.0 } else { (self.most - self.least) / self.middle.abs() }
    }
}

/// In ascending order.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// The quantile `share` (0 to 1) of values in ascending order, interpolated between neighbours; `None` without any.
pub fn quantile(ascending: &[f64], share: f64) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
    let below = place.floor() as usize;
    let (low, high) = (ascending.get(below)?, ascending.get((below + 1).min(last))?);
    Some(low + (high - low) * (place - below as f64))
}

/// The median; `None` without any value.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

/// The arithmetic mean; `None` without any value.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The interval, at this confidence, of the ratio of `new`'s median to `old`'s, by resampling both with replacement.
pub fn ratio_interval(old: &[f64], new: &[f64], confidence: f64) -> Option<(f64, f64)> {
    let mut random = Seeded::new(SEED);
    let mut ratios = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let (old, new) = (median(&resample(old, &mut random))?, median(&resample(new, &mut random))?);
        ratios.push(if old == 0.0 { f64::INFINITY } else { new / old });
    }
    let ratios = sorted(&ratios);
    let tail = (1.0 - confidence) / 2.0;
    Some((quantile(&ratios, tail)?, quantile(&ratios, 1.0 - tail)?))
}

fn resample(values: &[f64], random: &mut Seeded) -> Vec<f64> {
    (0..values.len()).filter_map(|_| values.get(random.below(values.len())).copied()).collect()
}

/// How likely it is that two lots of the same distribution differ as much as these, by their ranks (Mann and Whitney,
/// two-sided): exact, ties included, for small lots, by the normal approximation for larger ones. 1 without values.
pub fn rank_test(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    let ranks = doubled_ranks(a, b);
    if ranks.len() <= EXACT { exact(&ranks, a.len()) } else { approximate(&ranks, a.len()) }
}

/// The least that [`rank_test`] can give for lots of these sizes: fewer values cannot show more.
pub fn least_rank_test(a: usize, b: usize) -> f64 {
    let ways = (1..=a).fold(1.0, |ways, n| ways * (b + n) as f64 / n as f64);
    (2.0 / ways).min(1.0)
}

/// Twice the rank (ties share the mean of theirs) of every value, `a`'s first.
fn doubled_ranks(a: &[f64], b: &[f64]) -> Vec<usize> {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    all.iter()
        .map(|one| {
            let below = all.iter().filter(|other| other.total_cmp(one) == Ordering::Less).count();
            let same = all.iter().filter(|other| other.total_cmp(one) == Ordering::Equal).count();
            2 * below + same + 1
        })
        .collect()
}

/// Counts, over all choices of `first` among the ranks, those whose sum is as far from the middle as what was seen.
fn exact(ranks: &[usize], first: usize) -> f64 {
    let all: usize = ranks.iter().sum();
    // ways[n][sum]: choices of n ranks with that sum.
    let mut ways = vec![vec![0.0_f64; all + 1]; first + 1];
    ways[0][0] = 1.0;
    for (done, &rank) in ranks.iter().enumerate() {
        for n in (1..=first.min(done + 1)).rev() {
            for sum in (rank..=all).rev() {
                ways[n][sum] += ways[n - 1][sum - rank];
            }
        }
    }
    // Compared in units that keep them whole: sum × values against first × all.
    let off = |sum: usize| (sum * ranks.len()).abs_diff(first * all);
    let seen = off(ranks[..first].iter().sum());
    let (mut extreme, mut total) = (0.0, 0.0);
    for (sum, count) in ways[first].iter().enumerate() {
        total += count;
        if off(sum) >= seen {
            extreme += count;
        }
    }
    (extreme / total).min(1.0)
}

/// The normal approximation, with the correction for ties and for continuity.
fn approximate(ranks: &[usize], first: usize) -> f64 {
    let (all, a) = (ranks.len() as f64, first as f64);
    let b = all - a;
    let sum = ranks[..first].iter().sum::<usize>() as f64 / 2.0;
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    let ties: f64 = sorted.chunk_by(|x, y| x == y).map(|same| (same.len() as f64).powi(3) - same.len() as f64).sum();
    let variance = a * b / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let off = ((sum - a * (all + 1.0) / 2.0).abs() - 0.5).max(0.0);
    (2.0 * upper_tail(off / variance.sqrt())).min(1.0)
}

/// The share of a normal distribution above `z`, which is not negative (Abramowitz and Stegun 26.2.17; off by less
/// than 1e-7).
fn upper_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = series.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum
}

/// Adjusts likelihoods of many tests for their number (Holm): each stays or grows, none passes 1.
pub fn adjusted(likelihoods: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..likelihoods.len()).collect();
    order.sort_by(|&a, &b| likelihoods[a].total_cmp(&likelihoods[b]));
    let mut adjusted = vec![1.0; likelihoods.len()];
    let mut floor: f64 = 0.0;
    for (done, &at) in order.iter().enumerate() {
        floor = floor.max((likelihoods[at] * (likelihoods.len() - done) as f64).min(1.0));
        adjusted[at] = floor;
    }
    adjusted
}

/// How alike two orders of the same things are (Kendall's tau-b): 1 is the same, -1 the reverse. `None` when one of
/// them orders nothing.
pub fn kendall(a: &[f64], b: &[f64]) -> Option<f64> {
    let (mut agree, mut disagree, mut tied_a, mut tied_b) = (0_u64, 0_u64, 0_u64, 0_u64);
    for (at, (a_one, b_one)) in a.iter().zip(b).enumerate() {
        for (a_other, b_other) in a.iter().zip(b).skip(at + 1) {
            match (a_one.total_cmp(a_other), b_one.total_cmp(b_other)) {
                (Ordering::Equal, Ordering::Equal) => {}
                (Ordering::Equal, Ordering::Less | Ordering::Greater) => tied_a += 1,
                (Ordering::Less | Ordering::Greater, Ordering::Equal) => tied_b += 1,
                (one, other) if one == other => agree += 1,
                (_, _) => disagree += 1,
            }
        }
    }
    let apart = (agree + disagree) as f64;
    let all = ((apart + tied_a as f64) * (apart + tied_b as f64)).sqrt();
    (all > 0.0).then(|| (agree as f64 - disagree as f64) / all)
}

#[cfg(test)]
mod tests;
