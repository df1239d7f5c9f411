//! Which ways to run are tried, in which order, and which of them is best; pure.
//!
//! One thing after the other, each with the best of the others so far: what costs most first (the arithmetic), then how
//! cores are shared out, then the size of a forward pass. Trying all combinations would take many times as long, and
//! these three hardly depend on each other.

use rescored_runtime::catalogue::PrecisionName;

/// A way to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TuningPoint {
    /// The arithmetic.
    pub precision: PrecisionName,
    /// Workers.
    pub workers: usize,
    /// Threads of each.
    pub threads: usize,
    /// Tokens of one forward pass at most.
    pub batch_tokens: usize,
}

/// How much quicker another way must be to be preferred: less than this is noise within a minute.
pub const WORTH: f64 = 1.03;

/// Sizes of a forward pass.
const SIZES: [usize; 5] = [512, 256, 1024, 128, 2048];

/// See the module.
#[derive(Clone, Debug)]
pub struct Search {
    first: TuningPoint,
    best: TuningPoint,
    rate: f64,
    precisions: Vec<PrecisionName>,
    shares: Vec<(usize, usize)>,
    sizes: Vec<usize>,
}

impl Search {
    /// The model's own arithmetic, the others that there are graphs for, and every way to share out so many cores.
    pub fn new(own: PrecisionName, others: &[PrecisionName], cores: usize) -> Self {
        let best = TuningPoint { precision: own, workers: cores.max(1), threads: 1, batch_tokens: SIZES[0] };
        let precisions = others.iter().rev().copied().collect();
        Self {
            first: best,
            best,
            rate: 0.0,
            precisions,
            shares: shares(cores),
            sizes: SIZES[1..].iter().rev().copied().collect(),
        }
    }

    /// The first way, which every other is compared with.
    pub const fn first(&self) -> TuningPoint {
        self.first
    }

    /// What to measure next; `None` when everything was.
    pub fn next_point(&mut self) -> Option<TuningPoint> {
        if let Some(precision) = self.precisions.pop() {
            return Some(TuningPoint { precision, ..self.best });
        }
        if let Some((workers, threads)) = self.shares.pop() {
            return Some(TuningPoint { workers, threads, ..self.best });
        }
        let batch_tokens = self.sizes.pop()?;
        Some(TuningPoint { batch_tokens, ..self.best })
    }

    /// What it came to.
    pub fn found(&mut self, point: &TuningPoint, rate: f64) {
        if rate > self.rate * WORTH {
            (self.best, self.rate) = (*point, rate);
        }
    }

    /// The best so far, and its rate.
    pub const fn best(&self) -> (TuningPoint, f64) {
        (self.best, self.rate)
    }
}

/// Workers and threads besides a worker a core: fewer workers of more threads, and half as many workers, for processors
/// that count a core twice.
fn shares(cores: usize) -> Vec<(usize, usize)> {
    let several =
        [2, 4, 8].into_iter().filter(|threads| threads * 2 <= cores).map(|threads| (cores / threads, threads));
    let mut shares: Vec<_> = several.chain((cores > 1).then_some((1, cores))).collect();
    if cores > 3 {
        shares.push((cores / 2, 1));
    }
    shares.dedup();
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries everything on a machine that is described by a function.
    fn tune(cores: usize, rate: impl Fn(&TuningPoint) -> f64) -> (TuningPoint, usize) {
        let mut search = Search::new(PrecisionName::Int8, &[PrecisionName::Fp32], cores);
        let first = search.first();
        search.found(&first, rate(&first));
        let mut tried = 1;
        while let Some(point) = search.next_point() {
            search.found(&point, rate(&point));
            tried += 1;
        }
        (search.best().0, tried)
    }

    #[test]
    fn the_best_of_every_kind_is_found() {
        let rate = |point: &TuningPoint| {
            let precision = if point.precision == PrecisionName::Fp32 { 1.0 } else { 2.0 };
            let sharing = if point.threads == 4 { 1.5 } else { 1.0 };
            let size = 1.0 / (1.0 + (point.batch_tokens as f64 / 1024.0).log2().abs() / 4.0);
            precision * sharing * size
        };
        let (best, tried) = tune(16, rate);
        assert_eq!(best, TuningPoint { precision: PrecisionName::Int8, workers: 4, threads: 4, batch_tokens: 1024 });
        assert!(tried < 14, "{tried} ways in a minute");
    }

    #[test]
    fn noise_changes_nothing() {
        let (best, _) = tune(2, |point| 100.0 + point.batch_tokens as f64 / 2048.0 + point.threads as f64);
        assert_eq!(best, TuningPoint { precision: PrecisionName::Int8, workers: 2, threads: 1, batch_tokens: 512 });
    }

    #[test]
    fn cores_are_never_overcommitted() {
        for cores in 1..40 {
            assert!(shares(cores).iter().all(|(workers, threads)| *workers > 0 && workers * threads <= cores));
        }
        assert!(shares(1).is_empty());
    }
}
