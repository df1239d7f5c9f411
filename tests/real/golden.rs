//! Token ids and logits against the golden files.

use crate::support::{Alone, REAL, float, golden, golden_logits, logits, text};

fn ids(line: &serde_json::Value) -> Vec<u32> {
    line["input_ids"]
        .as_array()
        .expect("ids")
        .iter()
        .map(|id| u32::try_from(id.as_u64().expect("an id")).expect("an id"))
        .collect()
}

/// Tokens of the longest query that leaves a long document its floor, a fifth of the room of 509.
const LEAVES_ROOM: usize = 408;

// Case E14, and invariant 2.
#[test]
fn token_ids_equal_the_librarys_for_every_golden_pair() {
    let (pairs, tokens) = (golden("pairs"), golden("tokens"));
    let model = Alone::open();
    assert_eq!((pairs.len(), tokens.len()), (200, 200));
    let mut compared = 0;
    for (pair, expected) in pairs.iter().zip(&tokens) {
        assert_eq!(pair["id"], expected["id"]);
        let (encoding, cut) = model.encode(text(pair, "query"), text(pair, "document"));
        assert_eq!(cut, expected["truncated"], "whether {} was cut", pair["id"]);
        let types = expected["token_type_ids"].as_array().expect("types");
        let starts = types.iter().position(|kind| kind == 1).unwrap_or(types.len());
        if cut && starts - 2 > LEAVES_ROOM {
            continue;
        }
        compared += 1;
        assert_eq!(encoding.ids(), ids(expected), "ids of {}", pair["id"]);
        assert_eq!(encoding.document_starts(), starts, "segments of {}", pair["id"]);
    }
    assert_eq!(compared, 199, "all but the pair whose query leaves one token");
}

// Case B8.
#[test]
fn a_document_keeps_its_floor_beside_a_query_that_leaves_it_one_token() {
    let tight = golden("pairs").into_iter().find(|pair| pair["id"] == "p150").expect("508 tokens of query");
    let expected = golden("tokens").into_iter().find(|line| line["id"] == "p150").expect("its ids");
    let (encoding, cut) = Alone::open().encode(text(&tight, "query"), text(&tight, "document"));
    assert_eq!((encoding.len(), encoding.document_starts(), cut), (512, 2 + LEAVES_ROOM, true));
    assert_eq!(encoding.ids()[..=LEAVES_ROOM], ids(&expected)[..=LEAVES_ROOM], "the query's beginning");
    assert_eq!(encoding.ids()[2 + LEAVES_ROOM], ids(&expected)[510], "the document's first token");
}

#[test]
fn a_query_that_is_longer_than_the_room_is_cut_longest_first() {
    let model = Alone::open();
    for (pair, expected) in golden("overlong").iter().zip(&golden("golden-overlong")) {
        let (encoding, cut) = model.encode(text(pair, "query"), text(pair, "document"));
        assert_eq!(encoding.ids(), ids(&expected["longest_first"]), "ids of {}", pair["id"]);
        let tokens = expected["query_tokens"].as_u64().zip(expected["document_tokens"].as_u64());
        assert_eq!(
            cut,
            tokens.is_some_and(|(query, document)| query + document > 509),
            "whether {} was cut",
            pair["id"]
        );
    }
}

/// The tolerances are those that the golden set's own README justifies for int8 across builds and processors.
#[test]
fn logits_over_http_stay_near_the_golden_ones() {
    // Without VNNI the shipped graph's products saturate, and the golden file has that as a field of its own.
    let field = if multiplies_exactly() { "logit_u8" } else { "logit" };
    let mut connection = REAL.connect();
    let mut distances = Vec::new();
    let lines = golden_logits("golden-int8");
    // All short pairs, and every fourth long one: they cost most, and all of them went through the compiled graph.
    let some = lines.iter().enumerate().filter(|(at, (pair, _))| text(pair, "document").len() < 600 || at % 4 == 0);
    for (_, (pair, golden)) in some.filter(|(_, (pair, _))| pair["may_refuse"] != true) {
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
