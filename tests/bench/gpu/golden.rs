//! How far a model's logits are from the golden fp32 ones, alone and in a batch, and whether they rank alike.

use std::path::Path;

use rescored_runtime::{Batch, Encoding};
use serde_json::Value;

use super::opened;

/// Pairs of one pass, in a batch.
const COMPANY: usize = 50;

pub(crate) fn run() {
    let read = |name: &str| -> Vec<Value> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.jsonl.zst"));
        let file = std::fs::File::open(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        let text = String::from_utf8(zstd::decode_all(file).expect("zstd")).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    };
    let (_, model) = opened();
    let mut scorer = model.scorers.build().expect("a session");
    let mut batch = Batch::default();
    let encodings: Vec<Encoding> = read("tokens").iter().map(encoding).collect();
    let wanted: Vec<f64> = read("golden-fp32").iter().map(|line| line["logit"].as_f64().expect("a logit")).collect();
    let mut score = |group: &[Encoding]| -> Vec<f64> {
        model.batching_policy.arrange(&group.iter().collect::<Vec<_>>(), &mut batch);
        scorer.score(&batch).expect("a pass").into_iter().map(f64::from).collect()
    };
    let alone: Vec<f64> = encodings.chunks(1).flat_map(&mut score).collect();
    let batched: Vec<f64> = encodings.chunks(COMPANY).flat_map(&mut score).collect();
    report("golden fp32, alone", &alone, &wanted);
    report(&format!("golden fp32, {COMPANY} a pass"), &batched, &wanted);
    report("alone against company", &alone, &batched);
    println!("ranking: {:.4} % of all pairs of logits are in the golden order", agreement(&alone, &wanted) * 100.0);
}

fn encoding(line: &Value) -> Encoding {
    let ints = |key: &str| line[key].as_array().expect("a list").iter().filter_map(Value::as_u64).collect::<Vec<_>>();
    let types = ints("token_type_ids");
    let starts = types.iter().position(|&kind| kind == 1).unwrap_or(types.len());
    let ids: Vec<u32> = ints("input_ids").into_iter().filter_map(|id| u32::try_from(id).ok()).collect();
    Encoding::new(ids, u32::try_from(starts).expect("a short pair"), 1)
}

fn report(what: &str, a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    let gaps: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect();
    let max = gaps.iter().copied().fold(0.0, f64::max);
    println!(
        "{what}: {max:.5} at most, {:.5} on average, {} pairs",
        gaps.iter().sum::<f64>() / gaps.len() as f64,
        a.len()
    );
}

/// The share of pairs of values that stand in the same order in both lists; those that are equal in the second count too.
fn agreement(a: &[f64], b: &[f64]) -> f64 {
    let (mut same, mut all) = (0_u32, 0_u32);
    for i in 0..a.len() {
        for j in 0..i {
            all += 1;
            let wanted = b[i].total_cmp(&b[j]);
            same += u32::from(wanted.is_eq() || a[i].total_cmp(&a[j]) == wanted);
        }
    }
    f64::from(same) / f64::from(all)
}
