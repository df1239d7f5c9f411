//! A layer against the same one in 64-bit floats, alone and in company, on every path.

use super::*;
use crate::matrix::Weights;
use crate::quantise::Precision;

const HIDDEN: usize = 24;
const WIDE: usize = 40;
const HEADS: usize = 3;
const LENGTHS: [usize; 5] = [1, 7, 2, 30, 13];

/// Numbers from a seed, about zero.
fn values(seed: u64, count: usize, size: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 2.0 * size
    };
    (0..count).map(|_| draw()).collect()
}

/// A product's weights and bias.
struct Dense {
    rows: usize,
    columns: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

struct Plain {
    dense: [Dense; 6],
    norms: [Norm; 2],
    is_gated: bool,
    placement: Placement,
    places: Places,
    reach: Reach,
}

fn plain(placement: Placement, is_gated: bool) -> Plain {
    let dense = |seed, rows: usize, columns: usize| Dense {
        rows,
        columns,
        weight: values(seed, rows * columns, 0.4),
        bias: values(seed + 100, columns, 0.2),
    };
    let outputs = if is_gated { 2 * WIDE } else { WIDE };
    let norm = |seed| Norm {
        gain: values(seed, HIDDEN, 0.3).iter().map(|value| value + 1.0).collect(),
        bias: values(seed + 7, HIDDEN, 0.2),
        epsilon: 1e-6,
    };
    let (places, reach) = match placement {
        Placement::After => (Places::Absolute, Reach::All),
        Placement::Before => (Places::Slopes(vec![0.5, 0.25, 0.0625]), Reach::Window(4)),
    };
    Plain {
        dense: [
            dense(1, HIDDEN, HIDDEN),
            dense(2, HIDDEN, HIDDEN),
            dense(3, HIDDEN, HIDDEN),
            dense(4, HIDDEN, HIDDEN),
            dense(5, HIDDEN, outputs),
            dense(6, WIDE, HIDDEN),
        ],
        norms: [norm(11), norm(12)],
        is_gated,
        placement,
        places,
        reach,
    }
}

impl Plain {
    fn packed(&self, path: Path, precision: Precision) -> EncoderLayer {
        let mut packed = self.dense.iter().map(|Dense { rows, columns, weight, bias }| {
            let weights = Weights { values: weight, rows: *rows, columns: *columns, bias };
            PackedMatrix::from_floats(path, precision, &weights).unwrap()
        });
        let mut next = || packed.next().unwrap();
        let parts = Parts {
            heads: HEADS,
            scale: 1.0 / ((HIDDEN / HEADS) as f32).sqrt(),
            reach: self.reach,
            places: self.places.clone(),
            placement: self.placement,
            query: next(),
            key: next(),
            value: next(),
            output: next(),
            up: next(),
            is_gated: self.is_gated,
            down: next(),
            attention_norm: Some(self.norms[0].clone()),
            norm: self.norms[1].clone(),
        };
        EncoderLayer::new(path, parts).unwrap()
    }

    /// One pair's rows after the layer, from the definition, in 64 bits.
    fn reference(&self, rows: &[f32]) -> Vec<f64> {
        let rows: Vec<f64> = rows.iter().map(|&value| value.into()).collect();
        let [query, key, value, output, up, down] = &self.dense;
        let normed = |norm: &Norm, rows: &[f64]| -> Vec<f64> {
            rows.chunks(HIDDEN)
                .flat_map(|row| {
                    let mean = row.iter().sum::<f64>() / HIDDEN as f64;
                    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / HIDDEN as f64;
                    let root = (variance + f64::from(norm.epsilon)).sqrt();
                    let one = move |(at, x): (usize, &f64)| {
                        (x - mean) / root * f64::from(norm.gain[at]) + f64::from(norm.bias[at])
                    };
                    row.iter().enumerate().map(one).collect::<Vec<_>>()
                })
                .collect()
        };
        let before = self.placement == Placement::Before;
        let input = if before { normed(&self.norms[0], &rows) } else { rows.clone() };
        let (q, k, v) = (query.of(&input), key.of(&input), value.of(&input));
        let width = HIDDEN / HEADS;
        let tokens = rows.len() / HIDDEN;
        let mut context = vec![0.0; rows.len()];
        for head in 0..HEADS {
            for i in 0..tokens {
                let at = |rows: &[f64], row: usize, x: usize| rows[row * HIDDEN + head * width + x];
                let sees = |j: usize| match self.reach {
                    Reach::Window(side) => i.abs_diff(j) <= side,
                    Reach::Causal => j <= i,
                    Reach::CausalWindow(side) => j <= i && i - j <= side,
                    Reach::All => true,
                };
                let slope = if let Places::Slopes(slopes) = &self.places { f64::from(slopes[head]) } else { 0.0 };
                let score = |j: usize| {
                    let product: f64 = (0..width).map(|x| at(&q, i, x) * at(&k, j, x)).sum();
                    product / (width as f64).sqrt() - slope * i.abs_diff(j) as f64
                };
                let shares: Vec<(usize, f64)> = (0..tokens).filter(|&j| sees(j)).map(|j| (j, score(j).exp())).collect();
                let all: f64 = shares.iter().map(|(_, share)| share).sum();
                for x in 0..width {
                    context[i * HIDDEN + head * width + x] =
                        shares.iter().map(|&(j, share)| share / all * at(&v, j, x)).sum();
                }
            }
        }
        let added = |a: Vec<f64>, b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
        let sum = added(output.of(&context), &rows);
        let middle = normed(&self.norms[usize::from(before)], &sum);
        let wide = up.of(&middle);
        let gelu = |x: f64| x * 0.5 * (1.0 + erf(x / 2.0_f64.sqrt()));
        let wide: Vec<f64> = if self.is_gated {
            wide.chunks(2 * WIDE)
                .flat_map(|row| (0..WIDE).map(|x| gelu(row[x]) * row[WIDE + x]).collect::<Vec<_>>())
                .collect()
        } else {
            wide.into_iter().map(gelu).collect()
        };
        let out = down.of(&wide);
        if before { added(out, &sum) } else { normed(&self.norms[1], &added(out, &middle)) }
    }
}

impl Dense {
    fn of(&self, rows: &[f64]) -> Vec<f64> {
        let product = |row: &[f64], column: usize| {
            let sum: f64 =
                row.iter().enumerate().map(|(at, x)| x * f64::from(self.weight[at * self.columns + column])).sum();
            sum + f64::from(self.bias[column])
        };
        rows.chunks(self.rows).flat_map(|row| (0..self.columns).map(|c| product(row, c)).collect::<Vec<_>>()).collect()
    }
}

/// The error function by its series, for the arguments that occur here.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..80 {
        let n = f64::from(n);
        term *= -x * x / n;
        sum += term / (2.0 * n + 1.0);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

const KINDS: [(Placement, bool); 4] =
    [(Placement::After, false), (Placement::After, true), (Placement::Before, false), (Placement::Before, true)];

fn run(layer: &EncoderLayer, rows: &[f32], lengths: &[usize], queries: Queries) -> Vec<f32> {
    let wanted = if queries == Queries::First { lengths.len() } else { lengths.iter().sum() };
    let mut out = vec![f32::NAN; wanted * HIDDEN];
    layer.run(rows, (lengths, queries), &mut LayerScratch::default(), &mut out).unwrap();
    out
}

#[test]
fn a_layer_is_near_its_definition_and_sixteen_bits_are_nearer() {
    let rows = values(21, LENGTHS.iter().sum::<usize>() * HIDDEN, 2.0);
    for (placement, is_gated) in KINDS {
        let plain = plain(placement, is_gated);
        let mut start = 0;
        let mut wanted = Vec::new();
        for length in LENGTHS {
            wanted.extend(plain.reference(&rows[start * HIDDEN..(start + length) * HIDDEN]));
            start += length;
        }
        let size = wanted.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        for (precision, limit) in [(Precision::Int8, 0.05), (Precision::Int16, 0.002)] {
            for path in Path::available() {
                let found = run(&plain.packed(path, precision), &rows, &LENGTHS, Queries::All);
                let gap = found.iter().zip(&wanted).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                assert!(gap / size < limit, "{placement:?}, gate {is_gated}, {precision:?}, {path:?}: {}", gap / size);
            }
        }
    }
}

#[test]
fn a_pair_has_the_same_bits_alone_and_in_company_and_its_first_row_those_of_all() {
    let rows = values(22, LENGTHS.iter().sum::<usize>() * HIDDEN, 2.0);
    for (placement, is_gated) in KINDS {
        for path in Path::available() {
            let layer = plain(placement, is_gated).packed(path, Precision::Int8);
            let all = run(&layer, &rows, &LENGTHS, Queries::All);
            let first = run(&layer, &rows, &LENGTHS, Queries::First);
            let mut start = 0;
            for (at, length) in LENGTHS.into_iter().enumerate() {
                let own = start * HIDDEN..(start + length) * HIDDEN;
                let alone = run(&layer, &rows[own.clone()], &[length], Queries::All);
                let bits = |rows: &[f32]| rows.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&alone), bits(&all[own]), "{path:?}, {length} tokens");
                assert_eq!(bits(&alone[..HIDDEN]), bits(&first[at * HIDDEN..(at + 1) * HIDDEN]), "{path:?}, first");
                start += length;
            }
        }
    }
}

#[test]
fn pairs_of_more_tokens_than_go_together_have_the_same_bits_as_alone() {
    let lengths = [300, 200, 1, TOGETHER + 190, 40, TOGETHER];
    let rows = values(24, lengths.iter().sum::<usize>() * HIDDEN, 2.0);
    let bits = |rows: &[f32]| rows.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for (placement, is_gated) in KINDS {
        let layer = plain(placement, is_gated).packed(Path::best(), Precision::Int8);
        let all = run(&layer, &rows, &lengths, Queries::All);
        let mut start = 0;
        for length in lengths {
            let own = start * HIDDEN..(start + length) * HIDDEN;
            let alone = run(&layer, &rows[own.clone()], &[length], Queries::All);
            assert!(bits(&alone) == bits(&all[own]), "{placement:?}, gate {is_gated}, {length} tokens");
            start += length;
        }
    }
}

#[test]
fn groups_are_all_pairs_in_order_and_no_longer_than_they_must_be() {
    for lengths in [&[1; 1200][..], &[TOGETHER, 1, TOGETHER + 9, 2, 500, 12, 1], &[7], &[]] {
        let all: Vec<&[usize]> = groups(lengths).collect();
        assert_eq!(all.concat(), lengths);
        let tokens = |group: &[usize]| group.iter().sum::<usize>();
        assert!(all.iter().all(|group| group.len() == 1 || tokens(group) <= TOGETHER));
        assert!(
            all.windows(2).all(|two| tokens(two[0]) + two[1][0] > TOGETHER),
            "a group that has room for the next pair"
        );
    }
}

#[test]
fn a_row_that_is_not_finite_spoils_its_own_pair_alone() {
    let mut rows = values(23, LENGTHS.iter().sum::<usize>() * HIDDEN, 2.0);
    rows[2 * HIDDEN] = f32::INFINITY;
    let layer = plain(Placement::After, false).packed(Path::best(), Precision::Int8);
    let found = run(&layer, &rows, &LENGTHS, Queries::First);
    let is_finite: Vec<bool> = found.chunks(HIDDEN).map(|row| row.iter().all(|value| value.is_finite())).collect();
    assert_eq!(is_finite, [true, false, true, true, true]);
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let layer = plain(Placement::After, false).packed(Path::best(), Precision::Int8);
    let mut out = vec![0.0; 3 * HIDDEN];
    let mut run = |rows: usize, lengths: &[usize], queries| {
        layer.run(&vec![0.0; rows], (lengths, queries), &mut LayerScratch::default(), &mut out)
    };
    assert!(run(3 * HIDDEN, &[3], Queries::All).is_ok());
    assert!(run(3 * HIDDEN, &[2], Queries::All).is_err());
    assert!(run(3 * HIDDEN, &[3], Queries::First).is_err(), "the output is longer");
    assert!(run(3 * HIDDEN, &[3, 0], Queries::All).is_err());
    assert!(run(3 * HIDDEN, &[3], Queries::Last).is_err());
}

#[cfg(target_os = "linux")]
mod speed;
