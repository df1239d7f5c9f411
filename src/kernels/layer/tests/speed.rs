//! How long a layer of the default model takes: `cargo test --release -p rescored-kernels speed_of_layers -- --ignored
//! --nocapture --test-threads 1`.

use super::*;
use crate::quantise::Layout;
use crate::speed::{pace, paths, seconds};

const SIZES: [usize; 2] = [384, 1536];

/// A layer of 384 elements a token, 1,536 in the feed-forward part, 12 heads; weights of no meaning.
fn layer(path: Path, precision: Precision) -> EncoderLayer {
    let [hidden, wide] = SIZES;
    let packed = |seed, rows: usize, columns: usize| {
        #[expect(clippy::cast_possible_truncation, reason = "rounded, and within the range")]
        let weights: Vec<i8> =
            values(seed, rows * columns, 127.0).into_iter().map(|value| value.round() as i8).collect();
        let (bias, scales) = (values(seed + 9, columns, 0.1), vec![3e-4; columns]);
        let weights = Weights { values: &weights, rows, columns, bias: &bias };
        PackedMatrix::from_integers(path, precision, &weights, &scales).unwrap()
    };
    let norm = || Norm { gain: vec![1.0; hidden], bias: vec![0.1; hidden], epsilon: 1e-12 };
    let parts = Parts {
        heads: 12,
        scale: 0.18,
        reach: Reach::All,
        places: Places::Absolute,
        placement: Placement::After,
        query: packed(1, hidden, hidden),
        key: packed(2, hidden, hidden),
        value: packed(3, hidden, hidden),
        output: packed(4, hidden, hidden),
        up: packed(5, hidden, wide),
        is_gated: false,
        down: packed(6, wide, hidden),
        attention_norm: Some(norm()),
        norm: norm(),
    };
    EncoderLayer::new(path, parts).unwrap()
}

#[test]
#[ignore = "measures"]
fn speed_of_layers() {
    let [hidden, wide] = SIZES;
    println!("path precision pairs x tokens: milliseconds a layer, share of the pace by products alone");
    for path in paths() {
        for precision in [Precision::Int8, Precision::Int16] {
            let (layer, pace) = (layer(path, precision), pace(path, Layout::of(path, precision)));
            for (pairs, length) in [(1, 40), (1, 150), (4, 150), (32, 150), (1, 450)] {
                let (tokens, lengths) = (pairs * length, vec![length; pairs]);
                let (rows, mut scratch) = (values(3, tokens * hidden, 1.0), LayerScratch::default());
                let mut out = vec![0.0; rows.len()];
                let time = seconds(|| layer.run(&rows, (&lengths, Queries::All), &mut scratch, &mut out).unwrap());
                let operations = 2.0 * (tokens * (4 * hidden * hidden + 2 * hidden * wide)) as f64;
                let share = operations / time / pace;
                println!("{path} {precision:?} {pairs} x {length}: {:.3} {share:.3}", time * 1e3);
            }
        }
    }
}
