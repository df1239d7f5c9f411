//! Plans: every pair once, in a row that holds it, at a price that nothing cheaper beats.

use proptest::prelude::*;

use super::super::grid;
use super::*;

/// Prices as a device's might be: by places, dearer a place in long rows, and something for the run itself.
fn priced(overhead: f64, attention: f64) -> Vec<Priced> {
    let price = |shape: Shape| {
        let length = shape.length as f64;
        overhead + shape.places() as f64 * (1.0 + attention * length / 512.0)
    };
    grid::shapes(512).into_iter().map(|shape| Priced { shape, price: price(shape) }).collect()
}

fn price_of(runs: &[Run], shapes: &[Priced]) -> f64 {
    runs.iter().map(|run| shapes.iter().find(|priced| priced.shape == run.shape).unwrap().price).sum()
}

proptest! {
    #[test]
    fn every_pair_is_in_one_row_that_holds_it(
        lengths in prop::collection::vec(1_usize..=512, 1..80), overhead in 1.0_f64..5000.0, attention in 0.0_f64..1.0,
    ) {
        let shapes = priced(overhead, attention);
        let runs = plan(&lengths, &shapes);
        let mut seen = vec![0; lengths.len()];
        for run in &runs {
            prop_assert!(!run.rows.is_empty() && run.rows.len() <= run.shape.batch, "{run:?}");
            for row in &run.rows {
                prop_assert!(!row.is_empty() && row.len() <= run.shape.slots, "{run:?}");
                prop_assert!(row.iter().map(|&pair| lengths[pair]).sum::<usize>() <= run.shape.length, "{run:?}");
                for &pair in row {
                    seen[pair] += 1;
                }
            }
        }
        prop_assert!(seen.iter().all(|&count| count == 1), "{seen:?}");
    }

    #[test]
    fn a_run_has_the_cheapest_shape_that_holds_it(
        lengths in prop::collection::vec(1_usize..=512, 1..80), overhead in 1.0_f64..5000.0, attention in 0.0_f64..1.0,
    ) {
        let shapes = priced(overhead, attention);
        for run in plan(&lengths, &shapes) {
            let longest = run.rows.iter().map(|row| row.iter().map(|&pair| lengths[pair]).sum::<usize>()).max().unwrap();
            let slots = run.rows.iter().map(Vec::len).max().unwrap();
            let price = |shape: Shape| shapes.iter().find(|priced| priced.shape == shape).unwrap().price;
            let holds = |shape: Shape| {
                shape.batch >= run.rows.len() && shape.length >= longest && shape.slots >= slots
                    && shape.is_packed() == run.shape.is_packed()
            };
            let cheaper = shapes.iter().find(|other| holds(other.shape) && other.price < price(run.shape));
            prop_assert!(cheaper.is_none(), "{run:?} would fit {cheaper:?}");
        }
    }

    #[test]
    fn a_plan_costs_no_more_than_without_packing_and_than_one_run(
        lengths in prop::collection::vec(1_usize..=512, 1..80), overhead in 1.0_f64..5000.0, attention in 0.0_f64..1.0,
    ) {
        let shapes = priced(overhead, attention);
        let price = price_of(&plan(&lengths, &shapes), &shapes);
        let padded: Vec<_> = shapes.iter().copied().filter(|priced| !priced.shape.is_packed()).collect();
        prop_assert!(price <= price_of(&plan(&lengths, &padded), &padded) * (1.0 + 1e-9));
        let longest = lengths.iter().copied().max().unwrap();
        let whole = padded.iter().filter(|priced| priced.shape.batch >= lengths.len() && priced.shape.length >= longest);
        for priced in whole {
            prop_assert!(price <= priced.price * (1.0 + 1e-9));
        }
    }
}

fn reported(runs: &[Run]) -> Vec<String> {
    runs.iter().map(|run| format!("{} of {}", run.rows.iter().map(Vec::len).sum::<usize>(), run.shape)).collect()
}

#[test]
fn plans_that_are_easily_checked_by_hand() {
    let shapes = priced(200.0, 0.2);
    for (lengths, expected, why) in [
        (vec![100], vec!["1 of 1x128"], "one pair takes the smallest row that holds it"),
        (vec![128], vec!["1 of 1x128"], "a row may be full"),
        (vec![129], vec!["1 of 1x256"], "one token more takes the next"),
        (vec![120; 32], vec!["32 of 32x128"], "the usual request is one run"),
        (vec![512, 40], vec!["1 of 1x64", "1 of 1x512"], "a short pair is not padded to a long one's length"),
        (vec![170; 3], vec!["3 of 1x512p16"], "three pairs of a third fill one packed row instead of three of 256"),
    ] {
        assert_eq!(reported(&plan(&lengths, &shapes)), expected, "{why}");
    }
}

#[test]
fn nothing_is_packed_where_long_rows_cost_too_much() {
    let shapes = priced(1.0, 8.0);
    let runs = plan(&[170; 3], &shapes);
    assert!(runs.iter().all(|run| !run.shape.is_packed()), "{runs:?}");
}

#[test]
fn pairs_too_long_for_every_shape_are_left_out_and_nothing_is_planned_without_shapes() {
    let runs = plan(&[600, 10], &priced(1.0, 0.1));
    assert_eq!(reported(&runs), ["1 of 1x32"]);
    assert_eq!(plan(&[10], &[]), []);
    assert_eq!(plan(&[], &priced(1.0, 0.1)), []);
}
