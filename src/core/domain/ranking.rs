//! The order of an answer: score descending, ties by the caller's index ascending.
//!
//! Pure arithmetic over logits. It must not know activations (monotonic, so they cannot change an order) or wire formats.

use std::cmp::Ordering;

use super::Logit;

/// Positions of the `top` best logits, best first; equal logits keep the caller's order. `None` ranks all.
///
/// Selection first, then a sort of the selected part: `O(n + top log top)`.
pub fn rank(logits: &[Logit], top: Option<usize>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let by_score = |&a: &usize, &b: &usize| -> Ordering { logits[b].cmp(&logits[a]).then(a.cmp(&b)) };
    let top = top.unwrap_or(order.len()).min(order.len());
    if top == 0 {
        return Vec::new();
    }
    if top < order.len() {
        order.select_nth_unstable_by(top - 1, by_score);
        order.truncate(top);
    }
    order.sort_unstable_by(by_score);
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranking_equals_a_stable_sort_cut_to_the_top(values in proptest::collection::vec(-4i8..4, 0..80), top in proptest::option::of(0usize..90)) {
            let logits: Vec<Logit> = values.iter().map(|&v| Logit::new(f32::from(v)).unwrap()).collect();
            let mut expected: Vec<usize> = (0..logits.len()).collect();
            expected.sort_by(|&a, &b| logits[b].cmp(&logits[a]));
            expected.truncate(top.unwrap_or(usize::MAX));
            prop_assert_eq!(rank(&logits, top), expected);
        }
    }
}
