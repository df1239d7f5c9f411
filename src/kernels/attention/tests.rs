//! Every instruction set against the definition, and the same bits alone and in company.

mod beginnings;

use proptest::prelude::*;

use super::*;

/// The definition, in 64 bits, a query and a key at a time.
#[expect(clippy::too_many_lines, reason = "the definition, in one place")]
fn plainly(attention: &Attention<'_>, inputs: &Inputs<'_>) -> Vec<f64> {
    let Attention { heads, key_heads, width, scale, .. } = *attention;
    let mut out = Vec::new();
    let (mut start, group) = (0, heads / key_heads);
    for (pair, &tokens) in inputs.lengths.iter().enumerate() {
        let places = match inputs.queries {
            Queries::All => 0..tokens,
            Queries::First => 0..1.min(tokens),
            Queries::Last => tokens.saturating_sub(1)..tokens,
        };
        for place in places.clone() {
            let row = if inputs.queries == Queries::All { start + place } else { pair };
            for head in 0..heads {
                let norms = attention.head_norms.as_ref();
                let ready = |values: &[f32], gain: Option<&[f32]>, place: usize| {
                    let epsilon = norms.map_or(0.0, |norms| norms.epsilon);
                    turned(&attention.positions, &normalised(values, gain, epsilon), place)
                };
                let query = &inputs.query[(row * heads + head) * width..][..width];
                let query = ready(query, norms.map(|norms| norms.query), place);
                let key_of = |token: usize, rows: &'_ [f32]| -> Vec<f32> {
                    rows[((start + token) * key_heads + head / group) * width..][..width].to_vec()
                };
                let score = |token: usize| {
                    let seen = match attention.reach {
                        Reach::All => true,
                        Reach::Window(side) => token.abs_diff(place) <= side,
                        Reach::Causal => token <= place,
                        Reach::CausalWindow(side) => token <= place && place - token <= side,
                    };
                    if !seen {
                        return f64::NEG_INFINITY;
                    }
                    let key = ready(&key_of(token, inputs.key), norms.map(|norms| norms.key), token);
                    let mut sum = dot(&query, &key);
                    if let Positions::Relative(relative) = &attention.positions {
                        let row = relative.row(place.cast_signed() - token.cast_signed());
                        for (table, met) in [(relative.keys, &query), (relative.queries, &key)] {
                            if !table.is_empty() {
                                let entry: Vec<f64> = table[(row * heads + head) * width..][..width]
                                    .iter()
                                    .map(|&value| f64::from(value))
                                    .collect();
                                sum += dot(met, &entry);
                            }
                        }
                    }
                    let slope = match &attention.positions {
                        Positions::Slopes(slopes) => f64::from(slopes[head]) * token.abs_diff(place) as f64,
                        Positions::Absolute | Positions::Rotary(_) | Positions::Relative(_) => 0.0,
                    };
                    sum * f64::from(scale) - slope
                };
                let scores: Vec<f64> = (0..tokens).map(score).collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for at in 0..width {
                    let values = (0..tokens).map(|token| f64::from(key_of(token, inputs.value)[at]));
                    out.push(values.zip(&weights).map(|(value, weight)| value * weight).sum::<f64>() / sum);
                }
            }
        }
        start += tokens;
    }
    out
}

fn normalised(values: &[f32], gain: Option<&[f32]>, epsilon: f32) -> Vec<f64> {
    let mut out: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
    if let Some(gain) = gain {
        let root = (out.iter().map(|value| value * value).sum::<f64>() / out.len() as f64 + f64::from(epsilon)).sqrt();
        out.iter_mut().zip(gain).for_each(|(value, &gain)| *value *= f64::from(gain) / root);
    }
    out
}

fn turned(positions: &Positions<'_>, values: &[f64], place: usize) -> Vec<f64> {
    let mut out = values.to_vec();
    if let Positions::Rotary(rotary) = positions {
        let half = rotary.len();
        for (at, &frequency) in rotary.iter().enumerate() {
            let angle = f64::from(place as f32 * frequency);
            let (a, b) = (out[at], out[at + half]);
            out[at] = a * angle.cos() - b * angle.sin();
            out[at + half] = b * angle.cos() + a * angle.sin();
        }
    }
    out
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn floats(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(state >> 16).unwrap()) / 32768.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Rows for an attention over pairs of some lengths.
struct Rows {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    lengths: Vec<usize>,
    queries: Queries,
}

impl Rows {
    fn new(attention: &Attention<'_>, lengths: &[usize], queries: Queries, seed: u32) -> Self {
        let tokens: usize = lengths.iter().sum();
        let asking = if queries == Queries::All { tokens } else { lengths.len() };
        Self {
            query: floats(asking * attention.heads * attention.width, seed),
            key: floats(tokens * attention.key_heads * attention.width, seed ^ 0x55),
            value: floats(tokens * attention.key_heads * attention.width, seed ^ 0xaaaa),
            lengths: lengths.to_vec(),
            queries,
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        let Self { query, key, value, lengths, queries } = self;
        Inputs { query, key, value, lengths, beginnings: &[], queries: *queries }
    }

    fn run(&self, attention: &Attention<'_>, isa: Isa, scratch: &mut Scratch) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.query.len()];
        attention.run(isa, &self.inputs(), scratch, &mut out).unwrap();
        out
    }
}

/// What an attention borrows, drawn.
#[derive(Clone, Debug)]
struct Drawn {
    heads: usize,
    key_heads: usize,
    width: usize,
    reach: Reach,
    /// Gains of queries, then of keys; empty where there are no norms.
    gains: Vec<f32>,
    kind: u8,
    floats: Vec<f32>,
    more: Vec<f32>,
    rows: Vec<i64>,
}

impl Drawn {
    fn attention(&self) -> Attention<'_> {
        let positions = match self.kind {
            0 => Positions::Absolute,
            1 => Positions::Rotary(&self.floats),
            2 => Positions::Slopes(&self.floats),
            _ => Positions::Relative(Relative { rows: &self.rows, keys: &self.floats, queries: &self.more }),
        };
        let Self { heads, key_heads, width, reach, .. } = *self;
        let norms = |(query, key)| HeadNorms { query, key, epsilon: 1e-6 };
        let head_norms = self.gains.split_at_checked(width).map(norms);
        Attention { heads, key_heads, width, scale: 1.0 / (width as f32).sqrt(), reach, head_norms, positions }
    }
}

/// `base^(-2i / width)`.
fn frequencies(base: f64, width: usize) -> Vec<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "floats are wanted")]
    (0..width / 2).map(|at| base.powf(-(2.0 * at as f64) / width as f64) as f32).collect()
}

fn attentions() -> impl Strategy<Value = Drawn> {
    let width = prop_oneof![Just(4_usize), Just(20), Just(32), Just(64), Just(80), Just(96), Just(128), Just(256),];
    let sizes = (1..=4_usize, width, 1..=3_usize, any::<bool>(), any::<u32>());
    let reach = prop_oneof![
        Just(Reach::All),
        (0..40_usize).prop_map(Reach::Window),
        Just(Reach::Causal),
        (0..40_usize).prop_map(Reach::CausalWindow),
    ];
    (sizes, reach, 0..7_u8).prop_map(|((heads, width, group, has_norms, seed), reach, kind)| {
        let key_heads = if kind < 3 && heads.is_multiple_of(group) { heads / group } else { heads };
        // Relative terms meet keys as they are given.
        let gains = if has_norms && kind < 3 { floats(2 * width, seed ^ 0x33) } else { Vec::new() };
        let table = 16 * heads * width;
        let (numbers, more) = match kind {
            1 => (frequencies(10_000.0, if seed % 2 == 0 { width } else { width / 2 }), Vec::new()),
            2 => (floats(heads, seed).into_iter().map(f32::abs).collect(), Vec::new()),
            3 => (floats(table, seed), Vec::new()),
            4 => (Vec::new(), floats(table, seed)),
            _ => (floats(table, seed), floats(table, seed ^ 7)),
        };
        let rows = (-20..=20_i64).map(|distance| (distance / 2 + 8).clamp(0, 15)).collect();
        Drawn { heads, key_heads, width, reach, gains, kind, floats: numbers, more, rows }
    })
}

fn queries() -> impl Strategy<Value = Queries> {
    prop_oneof![Just(Queries::All), Just(Queries::First), Just(Queries::Last)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_instruction_set_computes_the_definition(
        attention in attentions(),
        lengths in prop::collection::vec(1..90_usize, 1..4),
        queries in queries(),
        seed in any::<u32>(),
    ) {
        let attention = attention.attention();
        let rows = Rows::new(&attention, &lengths, queries, seed);
        let right = plainly(&attention, &rows.inputs());
        for isa in Isa::available() {
            let got = rows.run(&attention, isa, &mut Scratch::default());
            for (at, (got, right)) in got.iter().zip(&right).enumerate() {
                prop_assert!((f64::from(*got) - right).abs() < 2e-5, "{} at {}: {} against {}", isa, at, got, right);
            }
        }
    }

    #[test]
    fn a_pair_has_the_same_bits_alone_and_in_company(
        attention in attentions(),
        lengths in prop::collection::vec(1..60_usize, 2..5),
        queries in queries(),
        seed in any::<u32>(),
    ) {
        let attention = attention.attention();
        let rows = Rows::new(&attention, &lengths, queries, seed);
        for isa in Isa::available() {
            // Buffers of another, longer pass must leave nothing behind.
            let mut scratch = Scratch::default();
            Rows::new(&attention, &[97], Queries::All, 3).run(&attention, isa, &mut scratch);
            let together = rows.run(&attention, isa, &mut scratch);
            let (row, key_row) = (attention.heads * attention.width, attention.key_heads * attention.width);
            let mut token = 0;
            for (pair, &length) in lengths.iter().enumerate() {
                let asked = if queries == Queries::All { token..token + length } else { pair..pair + 1 };
                let keys = token * key_row..(token + length) * key_row;
                let alone = Rows {
                    query: rows.query[asked.start * row..asked.end * row].to_vec(),
                    key: rows.key[keys.clone()].to_vec(),
                    value: rows.value[keys].to_vec(),
                    lengths: vec![length],
                    queries,
                };
                let alone = alone.run(&attention, isa, &mut Scratch::default());
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&alone), bits(&together[asked.start * row..asked.end * row]));
                token += length;
            }
        }
    }
}

#[test]
fn one_query_a_pair_has_the_bits_that_it_has_among_all() {
    let gains = floats(64, 21);
    for reach in [Reach::All, Reach::Window(5), Reach::Causal, Reach::CausalWindow(5)] {
        let turns = frequencies(10_000.0, 32);
        let head_norms = Some(HeadNorms { query: &gains[..32], key: &gains[32..], epsilon: 1e-6 });
        let positions = Positions::Rotary(&turns);
        let attention = Attention { heads: 4, key_heads: 2, width: 32, scale: 0.2, reach, head_norms, positions };
        let all = Rows::new(&attention, &[50, 7], Queries::All, 9);
        let row = 128;
        for (queries, tokens) in [(Queries::First, [0, 50]), (Queries::Last, [49, 56])] {
            let query = tokens.iter().flat_map(|token| &all.query[token * row..][..row]).copied().collect();
            let one = Rows { query, key: all.key.clone(), value: all.value.clone(), lengths: vec![50, 7], queries };
            for isa in Isa::available() {
                let together = all.run(&attention, isa, &mut Scratch::default());
                let alone = one.run(&attention, isa, &mut Scratch::default());
                for (at, token) in tokens.into_iter().enumerate() {
                    assert_eq!(alone[at * row..][..row], together[token * row..][..row], "{isa}, {reach:?}");
                }
            }
        }
    }
}

// A beginning that pairs share could not be computed once, did what follows it change a bit of it.
#[test]
fn causal_queries_do_not_depend_on_what_follows() {
    let turns = frequencies(10_000.0, 64);
    for reach in [Reach::Causal, Reach::CausalWindow(9)] {
        let positions = Positions::Rotary(&turns);
        let attention =
            Attention { heads: 2, key_heads: 1, width: 64, scale: 0.125, reach, head_norms: None, positions };
        let (row, key_row) = (128, 64);
        let whole = Rows::new(&attention, &[70], Queries::All, 9);
        for isa in Isa::available() {
            let all = whole.run(&attention, isa, &mut Scratch::default());
            for tokens in [1, 15, 16, 17, 41, 69] {
                let part = Rows {
                    query: whole.query[..tokens * row].to_vec(),
                    key: whole.key[..tokens * key_row].to_vec(),
                    value: whole.value[..tokens * key_row].to_vec(),
                    lengths: vec![tokens],
                    queries: Queries::All,
                };
                let part = part.run(&attention, isa, &mut Scratch::default());
                assert_eq!(part, all[..tokens * row], "{isa}, {tokens} tokens");
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_with_its_pair_and_is_none_at_its_end() {
    let attention = Attention {
        heads: 1,
        key_heads: 1,
        width: 32,
        scale: 1.0,
        reach: Reach::All,
        head_norms: None,
        positions: Positions::Absolute,
    };
    for bad in [f32::NAN, f32::INFINITY] {
        let mut rows = Rows::new(&attention, &[3, 4], Queries::All, 5);
        rows.value[0] = bad;
        for isa in Isa::available() {
            let out = rows.run(&attention, isa, &mut Scratch::default());
            assert!(!out[0].is_finite(), "{isa}");
            assert!(out[3 * 32..].iter().all(|value| value.is_finite()), "{isa}: another pair's");
        }
    }
    let mut rows = Rows::new(&attention, &[3], Queries::All, 5);
    rows.key[0] = f32::NAN;
    for isa in Isa::available() {
        assert!(rows.run(&attention, isa, &mut Scratch::default()).iter().all(|value| value.is_nan()), "{isa}");
    }
}

#[test]
fn scores_of_any_size_are_weighed() {
    let attention = Attention {
        heads: 1,
        key_heads: 1,
        width: 4,
        scale: 1.0,
        reach: Reach::All,
        head_norms: None,
        positions: Positions::Absolute,
    };
    let rows = Rows {
        query: vec![1e4, 0.0, 0.0, 0.0, -1e4, 0.0, 0.0, 0.0],
        key: vec![1e4, 0.0, 0.0, 0.0, -1e4, 0.0, 0.0, 0.0],
        value: vec![1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0],
        lengths: vec![2],
        queries: Queries::All,
    };
    for isa in Isa::available() {
        let out = rows.run(&attention, isa, &mut Scratch::default());
        assert_eq!(out, [1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0], "{isa}");
    }
}

#[test]
fn rows_that_do_not_fit_are_named() {
    let attention = Attention {
        heads: 2,
        key_heads: 2,
        width: 4,
        scale: 1.0,
        reach: Reach::All,
        head_norms: None,
        positions: Positions::Absolute,
    };
    let rows = Rows::new(&attention, &[3], Queries::All, 1);
    let mut out = vec![0.0; 24];
    let short = Inputs { key: &rows.key[1..], ..rows.inputs() };
    let misfit = attention.run(Isa::Portable, &short, &mut Scratch::default(), &mut out).unwrap_err();
    assert_eq!(misfit.to_string(), "key has 23 values, expected 24");
    for lengths in [&[3, 0][..], &[usize::MAX, 4]] {
        let odd = Inputs { lengths, ..rows.inputs() };
        assert!(attention.run(Isa::Portable, &odd, &mut Scratch::default(), &mut out).is_err(), "{lengths:?}");
    }
    let three = Attention { heads: 3, ..attention };
    assert!(three.run(Isa::Portable, &rows.inputs(), &mut Scratch::default(), &mut out).is_err());
}

#[test]
fn tables_that_do_not_hold_every_row_are_refused() {
    let rows =
        Rows { query: vec![0.0; 4], key: vec![0.0; 4], value: vec![0.0; 4], lengths: vec![1], queries: Queries::All };
    for (sentence, by_distance, table, good) in [
        ("enough rows", &[0, 1, 1][..], 8, true),
        ("a row that is not there", &[0, 1, 2], 8, false),
        ("a row before the first", &[-1, 1, 1], 8, false),
        ("no middle", &[0, 1], 8, false),
        ("half a row", &[0, 1, 1], 9, false),
        ("no distances", &[], 8, false),
        ("no table at all", &[0, 1, 1], 0, false),
    ] {
        let table = vec![0.0; table];
        let positions = Positions::Relative(Relative { rows: by_distance, keys: &table, queries: &[] });
        let attention =
            Attention { heads: 1, key_heads: 1, width: 4, scale: 1.0, reach: Reach::All, head_norms: None, positions };
        let done = attention.run(Isa::Portable, &rows.inputs(), &mut Scratch::default(), &mut [0.0; 4]);
        assert_eq!(done.is_ok(), good, "{sentence}");
    }
}
