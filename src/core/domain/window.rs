//! The rescore window: how a first-stage score and the model's score become one, and where the other hits go.
//!
//! Pure arithmetic in `f32`, as OpenSearch's query rescorer computes it. Hits that were not rescored are kept below those
//! that were, by Vespa's formula or by one that leaves OpenSearch's scores alone where they are below already; OpenSearch's
//! own way, in which such a hit may overtake, is the third. It must not know JSON, engines' responses or models.

use std::cmp::Ordering;

/// How a weighted first score and a weighted second score become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ScoreMode {
    /// Their sum.
    #[default]
    Total,
    /// Their product.
    Multiply,
    /// Half their sum.
    Avg,
    /// The larger.
    Max,
    /// The smaller.
    Min,
}

/// What becomes of the hits that a stage did not rescore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tail {
    /// `first * query_weight` as in OpenSearch where that is below every rescored hit (the first score itself where
    /// `query_weight` is not positive); else all of them are moved below the worst rescored hit, in their order.
    Below,
    /// OpenSearch: `first * query_weight`, sorted in with the rest, so such a hit may overtake a rescored one.
    MayOvertake,
    /// Vespa: rescaled linearly so that the best of them is no better than the worst rescored one.
    KeptBelow,
}

/// One rescore stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Top hits that get a second score.
    pub size: usize,
    /// Weight of the first score; finite.
    pub query_weight: f32,
    /// Weight of the second score; finite.
    pub rescore_query_weight: f32,
    /// How the two become one.
    pub mode: ScoreMode,
    /// Where the other hits go.
    pub tail: Tail,
}

/// A hit's place in the list: which hit, and the score it stands there with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// The hit's index in the engine's response.
    pub hit: usize,
    /// Its finite score so far; `None` when the engine gave it none.
    pub score: Option<f32>,
}

/// What becomes of the scores of the hits that were not rescored.
enum Rest {
    /// They are multiplied by this.
    Weighted(f32),
    /// They are moved below the rescored ones.
    Lowered(Floor),
}

/// The linear map that lowers the hits that were not rescored.
struct Floor {
    scale: f64,
    bias: f64,
    lowest: f32,
}

/// The extremes of some scores.
#[derive(Clone, Copy)]
struct Range {
    low: f32,
    high: f32,
}

impl ScoreMode {
    /// Every mode, under the name that OpenSearch gives it.
    pub const NAMES: [(&str, Self); 5] = [
        ("total", Self::Total),
        ("multiply", Self::Multiply),
        ("avg", Self::Avg),
        ("max", Self::Max),
        ("min", Self::Min),
    ];

    /// Applies the mode to two weighted scores. Zeros of either sign are ordered as Java orders them.
    #[expect(clippy::manual_midpoint, reason = "the midpoint rounds and overflows elsewhere than OpenSearch's formula")]
    pub fn apply(self, primary: f32, secondary: f32) -> f32 {
        let primary_wins = primary.total_cmp(&secondary).is_ge();
        match self {
            Self::Total => primary + secondary,
            Self::Multiply => primary * secondary,
            Self::Avg => (primary + secondary) / 2.0,
            Self::Max if primary_wins => primary,
            Self::Min if !primary_wins => primary,
            Self::Max | Self::Min => secondary,
        }
    }
}

impl Window {
    /// The combined score of one hit.
    ///
    /// A hit without a first score has nothing to combine: it gets its weighted second score in every mode, the mirror
    /// image of OpenSearch's rule for a hit that the second query does not match. Overflow stops at the largest finite
    /// number, because JSON knows no infinity.
    pub fn combine(&self, first: Option<f32>, second: f32) -> f32 {
        let secondary = finite(second * self.rescore_query_weight);
        match first {
            Some(first) => finite(self.mode.apply(finite(first * self.query_weight), secondary)),
            None => secondary,
        }
    }

    /// How many of `hits` hits this stage rescores.
    pub fn reach(&self, hits: usize) -> usize {
        self.size.min(hits)
    }

    /// The list after this stage: score descending, ties in their previous order, hits without any score last.
    ///
    /// `seconds` holds the second scores of the top hits, in the list's order; `None` (or a slice that ends early)
    /// stands for a hit of the window that was not scored in time. When there is one, everything without a second score
    /// is kept below in its previous order, whatever the tail policy says: half of a window's second scores says nothing
    /// about the other half. When nothing was scored the list stays as it is.
    pub fn rescore(&self, standings: &[Standing], seconds: &[Option<f32>]) -> Vec<Standing> {
        let reach = self.reach(standings.len());
        let second = |place: usize| seconds.get(place).copied().flatten().filter(|_| place < reach);
        let scored = (0..reach).filter(|&place| second(place).is_some()).count();
        if scored == 0 {
            return standings.to_vec();
        }
        let combined: Vec<Option<f32>> = standings
            .iter()
            .enumerate()
            .map(|(place, standing)| second(place).map(|second| self.combine(standing.score, second)))
            .collect();
        let below = scored < reach || self.tail != Tail::MayOvertake;
        let rest = self.rest(standings, &combined, scored == reach);
        let left_over = |score: f32| match &rest {
            Rest::Weighted(weight) => finite(score * weight),
            Rest::Lowered(floor) => floor.lower(score),
        };
        let mut places: Vec<(Standing, bool)> = standings
            .iter()
            .zip(&combined)
            .map(|(standing, combined)| {
                let score = combined.or_else(|| standing.score.map(left_over));
                (Standing { score, ..*standing }, below && combined.is_none())
            })
            .collect();
        places.sort_by(|(a, a_below), (b, b_below)| descending(a.score, b.score).then(a_below.cmp(b_below)));
        places.into_iter().map(|(standing, _)| standing).collect()
    }

    /// Whether the first scores alone made the order of the rescored hits: it is the order from before, although the model
    /// has another one, or although no model could have changed it, its scores lying within `spread` of each other.
    ///
    /// `seconds` are as in [`Window::rescore`]; `spread` is `None` where second scores have no bounds. False where fewer
    /// than two hits were rescored.
    pub fn is_outweighed(&self, standings: &[Standing], seconds: &[Option<f32>], spread: Option<f32>) -> bool {
        let scored: Vec<(Option<f32>, f32)> = standings
            .iter()
            .take(self.reach(standings.len()))
            .zip(seconds)
            .filter_map(|(standing, second)| Some((standing.score, (*second)?)))
            .collect();
        let falls = |scores: &mut dyn Iterator<Item = f32>| scores.is_sorted_by(|a, b| a >= b);
        let order_stays = falls(&mut scored.iter().map(|&(first, second)| self.combine(first, second)));
        if scored.len() < 2 || !order_stays {
            return false;
        }
        let model_agrees = falls(&mut scored.iter().map(|&(_, second)| second * self.rescore_query_weight.signum()));
        !model_agrees || spread.is_some_and(|spread| self.leaves_no_room(&scored, spread))
    }

    /// Whether neighbours in the list lie farther apart by their first scores than second scores can move them.
    fn leaves_no_room(&self, scored: &[(Option<f32>, f32)], spread: f32) -> bool {
        let reach = spread * self.rescore_query_weight.abs();
        let is_far = |pair: &[(Option<f32>, f32)]| match pair {
            [(Some(a), _), (Some(b), _)] => (a - b) * self.query_weight > reach,
            _ => false,
        };
        matches!(self.mode, ScoreMode::Total | ScoreMode::Avg) && scored.windows(2).all(is_far)
    }

    /// How the hits without a second score are scored; `is_complete` says that there is none of them in the window.
    fn rest(&self, standings: &[Standing], combined: &[Option<f32>], is_complete: bool) -> Rest {
        match self.tail {
            Tail::MayOvertake if is_complete => Rest::Weighted(self.query_weight),
            Tail::KeptBelow => Floor::under(standings, combined).map_or(Rest::Weighted(1.0), Rest::Lowered),
            Tail::Below | Tail::MayOvertake => {
                let weight = if self.query_weight > 0.0 { self.query_weight } else { 1.0 };
                Floor::strictly_under(standings, combined, weight).map_or(Rest::Weighted(weight), Rest::Lowered)
            }
        }
    }
}

impl Floor {
    /// As [`Floor::under`], but the best of the others ends one step below the worst rescored hit, so that whoever sorts
    /// by score again keeps the order; `None` when they are below already, each multiplied by `weight`.
    fn strictly_under(standings: &[Standing], combined: &[Option<f32>], weight: f32) -> Option<Self> {
        let pairs = || standings.iter().zip(combined);
        let initial = Range::of(pairs().filter(|(_, new)| new.is_some()).filter_map(|(old, _)| old.score));
        let rescored = Range::of(combined.iter().filter_map(|&new| new))?;
        let waiting = Range::of(pairs().filter(|(_, new)| new.is_none()).filter_map(|(old, _)| old.score))?;
        if finite(waiting.high * weight) < rescored.low {
            return None;
        }
        let lowest = finite(rescored.low.next_down());
        let scale = rescored.width() / initial.map_or(1.0, Range::width);
        Some(Self { scale, bias: f64::from(lowest) - f64::from(waiting.high) * scale, lowest })
    }

    /// Vespa's `scale` and `bias`: with the rescored hits' first scores in `[initial_low, initial_high]` and their new
    /// ones in `[final_low, final_high]`, both ranges at least 1 wide,
    /// `scale = final range / initial range` and `bias = final_low - initial_low * scale`; nothing is moved when
    /// `initial_low <= final_low`. A hit that was not scored in time may stand above `initial_low`; the best such score
    /// then takes its place in both formulas, which keeps it below as well.
    fn under(standings: &[Standing], combined: &[Option<f32>]) -> Option<Self> {
        let pairs = || standings.iter().zip(combined);
        let initial = Range::of(pairs().filter(|(_, new)| new.is_some()).filter_map(|(old, _)| old.score));
        let rescored = Range::of(combined.iter().filter_map(|&new| new))?;
        let waiting = Range::of(pairs().filter(|(_, new)| new.is_none()).filter_map(|(old, _)| old.score))?;
        let top = initial.map_or(waiting.high, |initial| initial.low.max(waiting.high));
        if top <= rescored.low {
            return None;
        }
        let scale = rescored.width() / initial.map_or(1.0, Range::width);
        Some(Self { scale, bias: f64::from(rescored.low) - f64::from(top) * scale, lowest: rescored.low })
    }

    /// The score's new value. Rounding may not lift it over the worst rescored hit, hence the bound.
    #[expect(clippy::cast_possible_truncation, reason = "computed in 64 bits as Vespa does, rounded once")]
    fn lower(&self, score: f32) -> f32 {
        finite((f64::from(score) * self.scale + self.bias) as f32).min(self.lowest)
    }
}

impl Range {
    fn of(scores: impl Iterator<Item = f32>) -> Option<Self> {
        scores.fold(None, |range: Option<Self>, score| {
            let Self { low, high } = range.unwrap_or(Self { low: score, high: score });
            Some(Self { low: low.min(score), high: high.max(score) })
        })
    }

    /// Vespa takes a range narrower than 1 for 1.
    fn width(self) -> f64 {
        (f64::from(self.high) - f64::from(self.low)).max(1.0)
    }
}

/// Orders scores best first, absent ones last.
pub fn descending(a: Option<f32>, b: Option<f32>) -> Ordering {
    let key = |score: Option<f32>| score.unwrap_or(f32::NEG_INFINITY);
    key(b).total_cmp(&key(a))
}

/// Stops overflow at the largest finite number. With finite inputs there is no NaN to stop.
fn finite(score: f32) -> f32 {
    score.clamp(f32::MIN, f32::MAX)
}

#[cfg(test)]
mod tests;
