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
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn mode() -> impl Strategy<Value = ScoreMode> {
        proptest::sample::select(ScoreMode::NAMES.map(|(_, mode)| mode).to_vec())
    }

    fn window(tail: impl Strategy<Value = Tail>) -> impl Strategy<Value = Window> {
        (0usize..12, -3f32..3.0, -3f32..3.0, mode(), tail).prop_map(
            |(size, query_weight, rescore_query_weight, mode, tail)| Window {
                size,
                query_weight,
                rescore_query_weight,
                mode,
                tail,
            },
        )
    }

    fn tails() -> impl Strategy<Value = Tail> {
        proptest::sample::select(vec![Tail::Below, Tail::MayOvertake, Tail::KeptBelow])
    }

    /// A list as an engine gives it: best first, the unscored at its end.
    fn list() -> impl Strategy<Value = Vec<Standing>> {
        vec(proptest::option::weighted(0.9, -20f32..20.0), 0..12).prop_map(|mut scores| {
            scores.sort_by(|a, b| descending(*a, *b));
            scores.into_iter().enumerate().map(|(hit, score)| Standing { hit, score }).collect()
        })
    }

    fn plain(tail: Tail, size: usize) -> Window {
        Window { size, query_weight: 1.0, rescore_query_weight: 1.0, mode: ScoreMode::Total, tail }
    }

    fn standings(scores: &[f32]) -> Vec<Standing> {
        scores.iter().enumerate().map(|(hit, &score)| Standing { hit, score: Some(score) }).collect()
    }

    fn rows(standings: &[Standing]) -> Vec<(usize, Option<f32>)> {
        standings.iter().map(|standing| (standing.hit, standing.score)).collect()
    }

    #[test]
    #[expect(clippy::manual_midpoint, reason = "the formula as OpenSearch writes it")]
    fn modes_are_those_of_opensearch() {
        let p = 0.7f32 * 3.3;
        let s = 1.2f32 * 0.9;
        let cases = [
            (ScoreMode::Total, p + s),
            (ScoreMode::Multiply, p * s),
            (ScoreMode::Avg, (p + s) / 2.0),
            (ScoreMode::Max, p),
            (ScoreMode::Min, s),
        ];
        for (mode, expected) in cases {
            let window =
                Window { size: 1, query_weight: 0.7, rescore_query_weight: 1.2, mode, tail: Tail::MayOvertake };
            assert_eq!(window.combine(Some(3.3), 0.9).to_bits(), expected.to_bits(), "{mode:?}");
        }
    }

    #[test]
    fn an_opensearch_tail_hit_may_overtake_a_rescored_one() {
        let window = Window { query_weight: 2.0, rescore_query_weight: -1.0, ..plain(Tail::MayOvertake, 1) };
        let after = window.rescore(&standings(&[3.0, 2.0, 1.0]), &[Some(5.0)]);
        assert_eq!(rows(&after), [(1, Some(4.0)), (2, Some(2.0)), (0, Some(1.0))]);
    }

    #[test]
    fn a_vespa_tail_is_moved_by_scale_and_bias() {
        // initial range 4 to 8, final range 1 to 3: scale 2/4, bias 1 - 4 * 0.5 = -1.
        let window = Window { query_weight: 0.0, ..plain(Tail::KeptBelow, 2) };
        let after = window.rescore(&standings(&[8.0, 4.0, 3.0, 2.0]), &[Some(1.0), Some(3.0)]);
        assert_eq!(rows(&after), [(1, Some(3.0)), (0, Some(1.0)), (2, Some(0.5)), (3, Some(0.0))]);
    }

    #[test]
    fn a_vespa_tail_that_is_below_already_stays_as_it_is() {
        let after = plain(Tail::KeptBelow, 1).rescore(&standings(&[8.0, 4.0]), &[Some(1.0)]);
        assert_eq!(rows(&after), [(0, Some(9.0)), (1, Some(4.0))]);
    }

    // Case B4.
    #[test]
    fn the_default_tail_keeps_its_scores_where_they_are_below_and_is_moved_where_they_are_not() {
        let replace = Window { query_weight: 0.0, ..plain(Tail::Below, 2) };
        let raw = replace.rescore(&standings(&[3.0, 2.0, 1.0]), &[Some(8.75), Some(-11.25)]);
        assert_eq!(rows(&raw), [(0, Some(8.75)), (1, Some(-11.25)), (2, Some((-11.25f32).next_down()))]);
        let high = replace.rescore(&standings(&[3.0, 2.0, 1.0]), &[Some(8.75), Some(7.5)]);
        assert_eq!(rows(&high), [(0, Some(8.75)), (1, Some(7.5)), (2, Some(1.0))]);
        let weighted = Window { query_weight: 0.5, ..plain(Tail::Below, 1) };
        let after = weighted.rescore(&standings(&[3.0, 2.0]), &[Some(1.0)]);
        assert_eq!(rows(&after), [(0, Some(2.5)), (1, Some(1.0))], "as OpenSearch scores it");
    }

    // Case B3.
    #[test]
    fn a_combination_in_which_the_first_scores_decide_is_told() {
        type Case<'a> = (&'a str, Window, Vec<Standing>, Vec<Option<f32>>, Option<f32>, bool);
        let sum = plain(Tail::Below, 3);
        let bm25 = standings(&[12.5, 9.0, 7.25]);
        let sigmoids = |scores: [f32; 3]| scores.map(Some);
        let cases: Vec<Case<'_>> = vec![
            ("gaps that no sigmoid bridges", sum, bm25.clone(), sigmoids([0.1, 0.9, 0.5]).into(), Some(1.0), true),
            ("the same, by a model that agrees", sum, bm25.clone(), sigmoids([0.9, 0.5, 0.1]).into(), Some(1.0), true),
            ("logits that could have, and agree", sum, bm25.clone(), sigmoids([0.9, 0.5, 0.1]).into(), None, false),
            ("logits that disagree in vain", sum, bm25.clone(), sigmoids([0.1, 0.9, 0.5]).into(), None, true),
            ("logits that change it", sum, bm25.clone(), sigmoids([-9.0, 9.0, 5.0]).into(), None, false),
            ("one hit", Window { size: 1, ..sum }, bm25.clone(), vec![Some(0.1)], Some(1.0), false),
            (
                "close first scores",
                sum,
                standings(&[2.0, 1.9, 1.8]),
                sigmoids([0.9, 0.5, 0.1]).into(),
                Some(1.0),
                false,
            ),
            (
                "a model weighed by nothing",
                Window { rescore_query_weight: 0.0, ..sum },
                bm25.clone(),
                sigmoids([0.1, 0.9, 0.5]).into(),
                Some(1.0),
                true,
            ),
            (
                "the model alone",
                Window { query_weight: 0.0, ..sum },
                bm25.clone(),
                sigmoids([0.9, 0.5, 0.1]).into(),
                Some(1.0),
                false,
            ),
            (
                "the larger of the two",
                Window { mode: ScoreMode::Max, ..sum },
                bm25,
                sigmoids([0.1, 0.9, 0.5]).into(),
                Some(1.0),
                true,
            ),
        ];
        for (case, window, list, seconds, spread, reported) in cases {
            assert_eq!(window.is_outweighed(&list, &seconds, spread), reported, "{case}");
        }
    }

    #[test]
    fn ranges_narrower_than_one_count_as_one() {
        let window = Window { query_weight: 0.0, ..plain(Tail::KeptBelow, 1) };
        let after = window.rescore(&standings(&[8.0, 7.0]), &[Some(0.5)]);
        assert_eq!(rows(&after), [(0, Some(0.5)), (1, Some(-0.5))]);
    }

    #[test]
    fn overflow_stops_at_the_largest_number() {
        let window = Window { query_weight: f32::MAX, mode: ScoreMode::Multiply, ..plain(Tail::MayOvertake, 1) };
        assert!(window.combine(Some(f32::MAX), -9.0) <= f32::MIN);
        assert!(window.combine(Some(0.0), f32::MAX).abs() < f32::EPSILON);
    }

    proptest! {
        #[test]
        fn a_complete_opensearch_stage_is_the_formula_and_a_stable_sort(
            list in list(), window in window(Just(Tail::MayOvertake)), seconds in vec(-5f32..5.0, 12),
        ) {
            let reach = window.size.min(list.len());
            let mut expected: Vec<(usize, Option<f32>)> = list.iter().enumerate().map(|(place, standing)| {
                let p = standing.score.map(|first| first * window.query_weight);
                if place >= reach {
                    return (standing.hit, p);
                }
                let s = seconds[place] * window.rescore_query_weight;
                let Some(p) = p else { return (standing.hit, Some(s)) };
                (standing.hit, Some(match window.mode {
                    ScoreMode::Total => p + s,
                    ScoreMode::Multiply => p * s,
                    ScoreMode::Avg => 0.5 * (p + s),
                    ScoreMode::Max => if p > s { p } else { s },
                    ScoreMode::Min => if p < s { p } else { s },
                }))
            }).collect();
            if reach == 0 {
                expected = rows(&list);
            } else {
                expected.sort_by(|a, b| descending(a.1, b.1));
            }
            let given: Vec<Option<f32>> = seconds[..reach].iter().map(|&second| Some(second)).collect();
            prop_assert_eq!(rows(&window.rescore(&list, &given)), expected);
        }

        #[test]
        fn every_hit_stays_and_scores_descend(
            list in list(), window in window(tails()), seconds in vec(proptest::option::of(-5f32..5.0), 0..12),
        ) {
            let after = window.rescore(&list, &seconds);
            let mut hits: Vec<usize> = after.iter().map(|standing| standing.hit).collect();
            hits.sort_unstable();
            prop_assert_eq!(hits, (0..list.len()).collect::<Vec<_>>());
            prop_assert!(after.is_sorted_by(|a, b| descending(a.score, b.score).is_le()));
            prop_assert!(after.iter().filter_map(|standing| standing.score).all(f32::is_finite));
        }

        #[test]
        fn a_kept_tail_stays_below_in_its_order(
            list in list(),
            window in window(proptest::sample::select(vec![Tail::Below, Tail::KeptBelow])),
            seconds in vec(proptest::option::weighted(0.8, -5f32..5.0), 12),
        ) {
            let reach = window.size.min(list.len());
            let after = window.rescore(&list, &seconds[..reach]);
            let scored: Vec<usize> = (0..reach).filter(|&place| seconds[place].is_some()).collect();
            let rest: Vec<usize> = (0..list.len()).filter(|place| !scored.contains(place)).collect();
            let (top, bottom) = after.split_at(scored.len());
            prop_assert!(top.iter().all(|standing| scored.contains(&standing.hit)), "{:?} in {:?}", scored, after);
            prop_assert_eq!(bottom.iter().map(|standing| standing.hit).collect::<Vec<_>>(), rest);
        }

        // Case B4: in every mode, with negative scores and weights, and with partial answers, whoever sorts by the printed
        // scores again finds the rescored hits above the others.
        #[test]
        fn the_default_tail_has_lower_scores_than_what_was_rescored(
            list in list(), window in window(Just(Tail::Below)), seconds in vec(proptest::option::weighted(0.8, -5f32..5.0), 12),
        ) {
            let reach = window.size.min(list.len());
            let after = window.rescore(&list, &seconds[..reach]);
            let scored = seconds[..reach].iter().flatten().count();
            let (top, bottom) = after.split_at(scored);
            let worst = top.iter().filter_map(|standing| standing.score).fold(f32::INFINITY, f32::min);
            prop_assert!(bottom.iter().filter_map(|standing| standing.score).all(|score| score < worst), "{:?}", after);
        }

        #[test]
        fn hits_not_scored_in_time_stay_below_with_either_tail(
            list in list(), window in window(tails()), seconds in vec(proptest::option::of(-5f32..5.0), 12),
        ) {
            let reach = window.size.min(list.len());
            let scored = seconds[..reach].iter().flatten().count();
            if scored == reach {
                return Ok(());
            }
            let after = window.rescore(&list, &seconds[..reach]);
            let bottom: Vec<usize> = after[scored..].iter().map(|standing| standing.hit).collect();
            prop_assert!(bottom.is_sorted(), "{:?}", after);
        }
    }
}
