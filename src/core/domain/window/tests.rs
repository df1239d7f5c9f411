//! What a window makes of hits: the arithmetic of each engine, tails, and when the first scores alone decide.

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
        let window = Window { size: 1, query_weight: 0.7, rescore_query_weight: 1.2, mode, tail: Tail::MayOvertake };
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
fn a_combination_in_which_the_first_scores_decide_is_reported() {
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
        ("close first scores", sum, standings(&[2.0, 1.9, 1.8]), sigmoids([0.9, 0.5, 0.1]).into(), Some(1.0), false),
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
