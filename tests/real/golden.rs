//! Token ids and logits against the golden files.

use crate::support::{Alone, REAL, float, logits, shared, text};

fn ids(line: &serde_json::Value) -> Vec<u32> {
    line["input_ids"]
        .as_array()
        .expect("ids")
        .iter()
        .map(|id| u32::try_from(id.as_u64().expect("an id")).expect("an id"))
        .collect()
}

#[test]
fn token_ids_equal_the_librarys_for_every_golden_pair() {
    let (Some(pairs), Some(tokens)) = (shared("golden/pairs.jsonl"), shared("golden/tokens.jsonl")) else { return };
    let model = Alone::open();
    assert!(!pairs.is_empty());
    for (pair, expected) in pairs.iter().zip(&tokens) {
        assert_eq!(pair["id"], expected["id"]);
        let (encoding, cut) = model.encode(text(pair, "query"), text(pair, "document"));
        assert_eq!(encoding.ids(), ids(expected), "ids of {}", pair["id"]);
        assert_eq!(cut, expected["truncated"], "whether {} was cut", pair["id"]);
        let types = expected["token_type_ids"].as_array().expect("types");
        let starts = types.iter().position(|kind| kind == 1).unwrap_or(types.len());
        assert_eq!(encoding.document_starts(), starts, "segments of {}", pair["id"]);
    }
}

#[test]
fn a_query_that_leaves_no_room_is_cut_longest_first() {
    let (Some(pairs), Some(expected)) = (shared("golden/overlong.jsonl"), shared("golden/golden-overlong.jsonl"))
    else {
        return;
    };
    let model = Alone::open();
    for (pair, expected) in pairs.iter().zip(&expected) {
        let (encoding, _) = model.encode(text(pair, "query"), text(pair, "document"));
        assert_eq!(encoding.ids(), ids(&expected["longest_first"]), "ids of {}", pair["id"]);
    }
}

/// The tolerances are those that the golden set's own README justifies for int8 across builds and processors.
#[test]
fn logits_over_http_stay_near_the_golden_ones() {
    let (Some(pairs), Some(golden)) = (shared("golden/pairs.jsonl"), shared("golden/golden-int8.jsonl")) else {
        return;
    };
    // Without VNNI the shipped graph's products saturate, and the golden file has that as a field of its own.
    let field = if multiplies_exactly() { "logit_u8" } else { "logit" };
    let mut connection = REAL.connect();
    let mut distances = Vec::new();
    for (pair, golden) in pairs.iter().zip(&golden).filter(|(pair, _)| pair["may_refuse"] != true) {
        let logit = logits(&mut connection, text(pair, "query"), &[text(pair, "document")])[0];
        distances.push((logit - float(&golden[field])).abs());
    }
    let mean = distances.iter().sum::<f32>() / distances.len() as f32;
    let most = distances.iter().copied().fold(0.0, f32::max);
    println!("distance to golden {field}: mean {mean}, most {most}, over {} pairs", distances.len());
    assert!(mean <= 0.06, "mean distance {mean} to {field}");
    assert!(most <= 0.5, "largest distance {most} to {field}");
}

#[cfg(target_arch = "x86_64")]
fn multiplies_exactly() -> bool {
    is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni")
}

#[cfg(not(target_arch = "x86_64"))]
fn multiplies_exactly() -> bool {
    true
}
