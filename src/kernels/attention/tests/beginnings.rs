//! Beginnings that several pairs share, given once, against whole pairs.

use proptest::prelude::*;

use super::{Rows, attentions};
use crate::attention::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Pairs that share a beginning, given whole, and with the beginning once.
    #[test]
    fn a_shared_beginning_changes_no_bit(
        attention in attentions(),
        beginning in 1..50_usize,
        ends in prop::collection::vec(1..60_usize, 1..4),
        stranger in 1..40_usize,
        last in any::<bool>(),
        window in prop::option::of(0..40_usize),
        seed in any::<u32>(),
    ) {
        let reach = window.map_or(Reach::Causal, Reach::CausalWindow);
        let mut drawn = attention;
        drawn.reach = reach;
        prop_assume!(drawn.kind < 3);
        let attention = drawn.attention();
        let (row, key_row) = (attention.heads * attention.width, attention.key_heads * attention.width);
        let queries = if last { Queries::Last } else { Queries::All };
        // Every row is given once; whole pairs repeat those of the beginning.
        let lengths: Vec<usize> = [stranger, beginning].into_iter().chain(ends.iter().copied()).collect();
        let shared = Rows::new(&attention, &lengths, Queries::All, seed);
        let place = |pair: usize| lengths[..pair].iter().sum::<usize>();
        let whole_lengths: Vec<usize> = ends.iter().map(|end| beginning + end).collect();
        let of = |values: &[f32], row: usize| -> Vec<f32> {
            let rows = |pair: usize| &values[place(pair) * row..(place(pair) + lengths[pair]) * row];
            (0..ends.len()).flat_map(|end| [rows(1), rows(end + 2)].concat()).collect()
        };
        let whole = Rows {
            query: of(&shared.query, row),
            key: of(&shared.key, key_row),
            value: of(&shared.value, key_row),
            lengths: whole_lengths.clone(),
            queries: Queries::All,
        };
        let beginnings: Vec<usize> = [0, 1].into_iter().chain(ends.iter().map(|_| 1)).collect();
        let lasts = |rows: &Rows| -> Vec<f32> {
            let ends = rows.lengths.iter().scan(0, |sum, length| { *sum += length; Some(*sum) });
            ends.flat_map(|end| rows.query[(end - 1) * row..end * row].to_vec()).collect()
        };
        let query = if last { lasts(&shared) } else { shared.query.clone() };
        for isa in Isa::available() {
            let expected = whole.run(&attention, isa, &mut Scratch::default());
            let inputs = Inputs { query: &query, beginnings: &beginnings, queries, ..shared.inputs() };
            let mut out = vec![f32::NAN; query.len()];
            attention.run(isa, &inputs, &mut Scratch::default(), &mut out).unwrap();
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            let mut from = 0;
            for (end, &length) in whole_lengths.iter().enumerate() {
                let own = if last { length - 1..length } else { beginning..length };
                let expected = &expected[(from + own.start) * row..(from + own.end) * row];
                let rows = if last { end + 2..end + 3 } else { place(end + 2)..place(end + 2) + ends[end] };
                prop_assert_eq!(bits(&out[rows.start * row..rows.end * row]), bits(expected), "{}", isa);
                from += length;
            }
        }
    }
}

#[test]
fn beginnings_that_cannot_be_are_refused() {
    let causal = Attention {
        heads: 1,
        key_heads: 1,
        width: 4,
        scale: 1.0,
        reach: Reach::Causal,
        head_norms: None,
        positions: Positions::Absolute,
    };
    let lengths = [2, 1, 1];
    for (why, reach, beginnings, fits) in [
        ("none", Reach::All, &[][..], true),
        ("whole pairs", Reach::Causal, &[0, 1, 2][..], true),
        ("one for two", Reach::Causal, &[0, 0, 0], true),
        ("a later pair", Reach::Causal, &[0, 2, 2], false),
        ("one that has a beginning itself", Reach::Causal, &[0, 0, 1], false),
        ("no pair at all", Reach::Causal, &[0, 1, 9], false),
        ("too few", Reach::Causal, &[0, 0], false),
        ("tokens that see what follows", Reach::All, &[0, 0, 0], false),
    ] {
        let rows = vec![0.5; 16];
        let inputs =
            Inputs { query: &rows, key: &rows, value: &rows, lengths: &lengths, beginnings, queries: Queries::All };
        let attention = Attention { reach, ..causal.clone() };
        let done = attention.run(Isa::best(), &inputs, &mut Scratch::default(), &mut [0.0; 16]);
        assert_eq!(done.is_ok(), fits, "{why}: {done:?}");
    }
}
