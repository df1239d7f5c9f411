//! How fast products are, beside the processor's own pace: `cargo test --release -p rescored-kernels speed -- --ignored
//! --nocapture --test-threads 1`.

use super::*;
use crate::attention::{Attention, Inputs, Positions, Queries, Reach, Scratch};
use crate::lines::Lines;
use crate::norm::LayerNorm;
use crate::speed::{pace, paths, seconds};

#[test]
#[ignore = "measures"]
fn speed_of_products() {
    println!("path precision shape then: GOP/s, share of the instruction's pace");
    for path in paths() {
        for precision in [Precision::Int8, Precision::Int16] {
            let pace = pace(path, Layout::of(path, precision));
            for shape in [
                [153, 384, 384],
                [153, 384, 1152],
                [153, 384, 1536],
                [153, 1536, 384],
                [38, 384, 1536],
                [612, 768, 3072],
            ] {
                let drawn = Drawn::new(shape, 1);
                let matrix = drawn.packed(path, precision);
                let rows = drawn.quantised(&matrix);
                let mut out = Lines::default();
                out.sized(shape[0] * shape[2]);
                for then in [Then::Store, Then::Add(&drawn.others), Then::Gelu] {
                    let name = match then {
                        Then::Store => "store",
                        Then::Add(_) => "add",
                        Then::Gelu => "gelu",
                    };
                    let operations = 2.0 * shape.iter().product::<usize>() as f64;
                    let rate = operations / seconds(|| matrix.multiply(&rows, then, &mut out).unwrap());
                    println!("{path} {precision:?} {shape:?} {name}: {:.1} {:.3}", rate / 1e9, rate / pace);
                }
            }
        }
    }
}

#[test]
#[ignore = "measures"]
fn speed_of_rows() {
    println!("path, nanoseconds an element");
    for path in paths() {
        let rows = floats(153 * 384, 3);
        let norm = LayerNorm { gain: &rows[..384], bias: &rows[384..768], epsilon: 1e-12 };
        let (mut out, mut quantised) = (rows.clone(), Rows::new());
        for precision in [Precision::Int8, Precision::Int16] {
            let format = Format { layout: Layout::of(path, precision), range: 127 };
            let each = 1e9 / rows.len() as f64;
            let quantise = each * seconds(|| quantised.quantise(path, format, &rows, 384).unwrap());
            let norm = each
                * seconds(|| norm.run(path, &rows, Some(&rows), &mut out, Some((&mut quantised, format))).unwrap());
            println!("{path} {precision:?}: quantise {quantise:.3}, norm with addition and quantise {norm:.3}");
        }
        let mut values = rows.clone();
        let gelu = 1e9 / rows.len() as f64 * seconds(|| crate::activation::gelu_rows(path, &mut values));
        println!("{path}: gelu {gelu:.3}");
    }
}

/// A layer of the default model, 12 heads of 32, over four pairs of 153 tokens: where its time goes.
#[test]
#[ignore = "measures"]
fn speed_of_a_layer() {
    let tokens = 4 * 153;
    let lengths = [153; 4];
    println!("milliseconds of a layer over four pairs of 153 tokens");
    for path in paths() {
        for precision in [Precision::Int8, Precision::Int16] {
            let drawn = |rows, columns| Drawn::new([tokens, rows, columns], 1);
            let [attend, project, up, down] = [drawn(384, 1152), drawn(384, 384), drawn(384, 1536), drawn(1536, 384)];
            let of = |drawn: &Drawn, then: Then<'_>| {
                let matrix = drawn.packed(path, precision);
                let rows = drawn.quantised(&matrix);
                let mut out = Lines::default();
                out.sized(tokens * drawn.shape[2]);
                seconds(|| matrix.multiply(&rows, then, &mut out).unwrap()) * 1e3
            };
            let products = [
                of(&attend, Then::Store),
                of(&project, Then::Add(&project.others)),
                of(&up, Then::Gelu),
                of(&down, Then::Add(&down.others)),
            ];
            let matrix = up.packed(path, precision);
            let norm = LayerNorm { gain: &up.rows[..384], bias: &up.rows[384..768], epsilon: 1e-12 };
            let (mut out, mut quantised) = (vec![0.0; tokens * 384], Rows::new());
            let norms = 2e3
                * seconds(|| {
                    norm.run(path, &up.rows, None, &mut out, Some((&mut quantised, matrix.format()))).unwrap();
                });
            let context = seconds(|| quantised.quantise(path, matrix.format(), &up.rows, 384).unwrap()) * 1e3;
            let inner = seconds(|| quantised.quantise(path, matrix.format(), &down.rows, 1536).unwrap()) * 1e3;
            let attention = Attention {
                heads: 12,
                key_heads: 12,
                width: 32,
                scale: 0.18,
                reach: Reach::All,
                head_norms: None,
                positions: Positions::Absolute,
            };
            let rows = &up.rows;
            let inputs = Inputs {
                query: rows,
                key: rows,
                value: rows,
                lengths: &lengths,
                beginnings: &[],
                queries: Queries::All,
            };
            let mut scratch = Scratch::default();
            let attention = seconds(|| attention.run(path.isa(), &inputs, &mut scratch, &mut out).unwrap()) * 1e3;
            println!(
                "{path} {precision:?}: products {products:.3?}, norms {norms:.3}, quantise {:.3}, attention {attention:.3}",
                context + inner
            );
        }
    }
}
