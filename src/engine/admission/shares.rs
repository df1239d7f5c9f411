//! Who shares the workers, and how much is served until one of them is done.
//!
//! The ideal that predictions are made by: models share by weight, the requests of a model in equal parts. Pure; it must
//! not know rates or limits.

/// All requests that share, by model, with the models' weights.
#[derive(Debug)]
pub(super) struct Loads(Vec<(Shares, u32)>);

impl Loads {
    /// Requests by model, each model with its weight.
    pub(super) fn of(models: impl Iterator<Item = (Vec<Share>, u32)>) -> Self {
        Self(models.map(|(shares, weight)| (Shares::of(shares), weight)).collect())
    }

    /// Models that have work.
    pub(super) fn busy(&self) -> usize {
        self.0.iter().filter(|(shares, _)| !shares.sorted.is_empty()).count()
    }

    /// Every request, with its model.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, Share)> {
        self.0.iter().enumerate().flat_map(|(model, (shares, _))| shares.sorted.iter().map(move |one| (model, *one)))
    }

    /// Tokens of a model's requests that are served until one of them with `left` tokens is done.
    pub(super) fn served(&self, model: usize, left: u64) -> u64 {
        self.0.get(model).map_or(0, |(shares, _)| shares.served(left))
    }

    /// Tokens of all models that are served until one has been given `part`, when another has `more` to do besides.
    pub(super) fn until(&self, model: usize, part: u64, more: Option<(usize, u64)>) -> u64 {
        let weight = self.0.get(model).map_or(1, |(_, weight)| *weight).max(1);
        let others = self.0.iter().enumerate().filter(|(other, _)| *other != model).map(|(other, (shares, its))| {
            let more = more.filter(|(to, _)| *to == other).map_or(0, |(_, tokens)| tokens);
            let by_weight = u128::from(part) * u128::from(*its) / u128::from(weight);
            u64::try_from(by_weight).unwrap_or(u64::MAX).min(shares.all().saturating_add(more))
        });
        others.fold(part, u64::saturating_add)
    }
}

/// One request under equal sharing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) left: u64,
    /// Seconds until its deadline.
    pub(super) slack: f64,
    /// Whether nobody may make it late.
    pub(super) promised: bool,
}

/// All requests that share, the smallest first.
#[derive(Debug)]
struct Shares {
    sorted: Vec<Share>,
    /// The sum of what the first ones have left, for none of them, the first, the first two...
    sums: Vec<u64>,
}

impl Shares {
    fn of(mut sorted: Vec<Share>) -> Self {
        sorted.sort_unstable_by_key(|share| share.left);
        let mut sums = vec![0];
        sums.extend(sorted.iter().scan(0, |sum, share| {
            *sum += share.left;
            Some(*sum)
        }));
        Self { sorted, sums }
    }

    /// Tokens of all of them.
    fn all(&self) -> u64 {
        self.sums.last().copied().unwrap_or(0)
    }

    /// Tokens of these that are served under equal sharing until one with `left` tokens is done: of each, all it has left
    /// or as many as that one's, whichever is less.
    fn served(&self, left: u64) -> u64 {
        let smaller = self.sorted.partition_point(|share| share.left <= left);
        let larger = (self.sorted.len() - smaller) as u64;
        self.sums.get(smaller).copied().unwrap_or(0) + larger * left
    }
}
