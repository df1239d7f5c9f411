//! What a user of Vespa sees, one story a test.

use super::stories::body;
use super::*;

#[test]
fn vespa_reranks_hits_only_and_keeps_the_tail_below() {
    let given = r#"{"query":"q","fields":["t"],"raw_scores":true,"replace":true,"rescore":{"window_size":2},"result":{"root":{"id":"toplevel","relevance":1.0,
        "children":[
          {"id":"group:root:0","relevance":1.0,"children":[{"id":"grouplist:x","relevance":1.0,"children":[{"id":"deep","relevance":0.9}]}]},
          {"id":"a","relevance":0.9,"fields":{"t":"-4"}},
          {"id":"meta:x","fields":{}},
          {"id":"group:none","relevance":0.8},
          {"id":"b","relevance":0.8,"fields":{"t":"-3"}},
          {"id":"c","relevance":"-Infinity"},
          {"id":"d","relevance":0.7}
        ]},"timing":{"searchtime":0.01}}}"#;
    // Scale 1 (ranges below 1 wide, the second one 1 wide), bias -4 - 0.8.
    let expected = r#"{"root":{"id":"toplevel","relevance":1.0,
        "children":[
          {"id":"group:root:0","relevance":1.0,"children":[{"id":"grouplist:x","relevance":1.0,"children":[{"id":"deep","relevance":0.9}]}]},
          {"id":"b","relevance":-3.0,"fields":{"t":"-3"}},
          {"id":"meta:x","fields":{}},
          {"id":"group:none","relevance":0.8},
          {"id":"a","relevance":-4.0,"fields":{"t":"-4"}},
          {"id":"d","relevance":-4.1},
          {"id":"c","relevance":"-Infinity"}
        ]},"timing":{"searchtime":0.01}}"#;
    assert_eq!(run(Engine::Vespa, given, spelled).0, expected);
}

#[test]
fn vespa_hits_are_taken_by_relevance_whatever_their_order() {
    let given = r#"{"query":"q","fields":["t"],"raw_scores":true,"rescore":{"window_size":1},"result":{"root":{"children":[{"relevance":1,"fields":{"t":"9"}},{"relevance":2,"fields":{"t":"5"}}]}}}"#;
    let expected = r#"{"root":{"children":[{"relevance":5.0,"fields":{"t":"5"}},{"relevance":1,"fields":{"t":"9"}}]}}"#;
    assert_eq!(run(Engine::Vespa, given, spelled).0, expected);
}

#[test]
fn either_engine_takes_the_other_tail() {
    let hits = r#"[{"KEY":2,"fields":{"t":"-9"}},{"KEY":1}]"#;
    let opensearch = body(
        r#""tail":"Vespa","replace":false,"rescore":{"window_size":1},"#,
        &format!(r#"{{"hits":{}}}"#, hits.replace("KEY", "_score")),
    );
    let answer = run(Engine::OpenSearch, &opensearch, spelled).0;
    assert_eq!(answer, r#"{"hits":{"hits":[{"_score":-7.0,"fields":{"t":"-9"}},{"_score":-8.0}]}}"#);
    let children = hits.replace("KEY", "relevance");
    let vespa = format!(
        r#"{{"query":"q","fields":["t"],"raw_scores":true,"replace":false,"rescore":{{"tail":"opensearch","window_size":1}},"result":{{"root":{{"children":{children}}}}}}}"#
    );
    let answer = run(Engine::Vespa, &vespa, spelled).0;
    assert_eq!(answer, r#"{"root":{"children":[{"relevance":1},{"relevance":-7.0,"fields":{"t":"-9"}}]}}"#);
}
