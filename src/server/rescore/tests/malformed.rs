//! Every malformed body is refused with the path that is wrong, and without its text.

use super::*;

fn opensearch(rescore: &str, hits: &str) -> String {
    format!(r#"{{"query":"q","fields":["t"],"rescore":{rescore},"response":{{"hits":{{"hits":{hits}}}}}}}"#)
}

fn with(members: &str) -> String {
    format!(r#"{{"query":"q","fields":["t"],"response":{{"hits":{{"hits":[]}}}},{members}}}"#)
}

fn vespa(result: &str) -> String {
    format!(r#"{{"query":"q","fields":["t"],"result":{result}}}"#)
}

fn fault(engine: Engine, body: &str) -> Malformed {
    Job::parse(engine, body.as_bytes(), &Options::default()).map(|_| body.to_owned()).unwrap_err()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_malformed_body_names_its_path() {
    let stage = |stage: &str| opensearch(stage, "[]");
    let hit = |hit: &str| opensearch("{}", hit);
    let cases: Vec<(&str, String, &str)> = vec![
        ("the body is no object", "[]".into(), "body: an array, expected an object"),
        ("nothing at all", String::new(), "body: not JSON at byte 0: expected a value"),
        ("cut off", r#"{"query":"q""#.into(), "body: not JSON at byte 12: expected a comma or a closing brace"),
        ("text after it", with(r#""x":1"#) + "x", "body: not JSON at byte 66: expected the end of the body"),
        ("a bare NaN", hit(r#"[{"_score":NaN}]"#), "body: not JSON at byte 79: expected a value; JSON has no NaN"),
        ("no query", r#"{"fields":"t","response":{"hits":{}}}"#.into(), "query: missing, expected a string"),
        ("a query that is null", with(r#""query":null"#), "query: missing, expected a string"),
        ("a query that is an object", with(r#""query":{"match":{}}"#), "query: an object, expected a string"),
        (
            "no fields",
            r#"{"query":"q","response":{"hits":{}}}"#.into(),
            "fields: missing, expected an array of field names",
        ),
        ("no field", with(r#""fields":[]"#), "fields: an empty array, expected at least one field name"),
        (
            "fields of the wrong kind",
            with(r#""fields":{"a":1}"#),
            "fields: an object, expected an array of field names",
        ),
        ("a field that is a number", with(r#""fields":["a",1]"#), "fields[1]: a number, expected a field name"),
        ("a field without a name", with(r#""fields":["a",""]"#), "fields[1]: an empty string, expected a field name"),
        (
            "too many fields",
            with(&format!(r#""fields":[{}"t"]"#, r#""t","#.repeat(50))),
            "fields: more than 50 fields; send fewer",
        ),
        ("rescore is a number", stage("1"), "rescore: a number, expected an object"),
        ("a stage is a string", stage(r#"[{},"x"]"#), "rescore[1]: a string, expected an object"),
        ("too many stages", stage(&format!("[{}{{}}]", "{},".repeat(10))), "rescore: more than 10 stages; send fewer"),
        ("window 0", stage(r#"{"window_size":0}"#), "rescore.window_size: 0, expected an integer of at least 1"),
        (
            "window 2.5",
            stage(r#"[{"window_size":2.5}]"#),
            "rescore[0].window_size: 2.5, expected an integer of at least 1",
        ),
        (
            "window ten",
            stage(r#"{"window_size":"ten"}"#),
            "rescore.window_size: \"ten\", expected an integer of at least 1",
        ),
        ("stage query", stage(r#"{"query":[]}"#), "rescore.query: an array, expected an object"),
        (
            "a weight",
            stage(r#"[{"query":{"query_weight":true}}]"#),
            "rescore[0].query.query_weight: true, expected a number within 32-bit floats",
        ),
        (
            "a huge weight",
            stage(r#"{"query":{"rescore_query_weight":1e39}}"#),
            "rescore.query.rescore_query_weight: 1e39, expected a number within 32-bit floats",
        ),
        (
            "an unknown mode",
            stage(r#"{"query":{"score_mode":"sum"}}"#),
            "rescore.query.score_mode: \"sum\", expected \"total\", \"multiply\", \"avg\", \"max\" or \"min\"",
        ),
        (
            "text for a mode",
            stage(r#"{"query":{"score_mode":"some secret text"}}"#),
            "rescore.query.score_mode: a string, expected \"total\", \"multiply\", \"avg\", \"max\" or \"min\"",
        ),
        (
            "an unknown tail",
            stage(r#"{"tail":"solr"}"#),
            "rescore.tail: \"solr\", expected \"below\", \"opensearch\" or \"vespa\"",
        ),
        (
            "replace against a weight",
            stage(r#"{"replace":true,"query":{"query_weight":1}}"#),
            "rescore.query.query_weight: `replace` means 0; leave one of them out",
        ),
        (
            "replace against a mode",
            stage(r#"{"replace":true,"query":{"score_mode":"max"}}"#),
            "rescore.query.score_mode: `replace` means total; leave one out",
        ),
        ("a stage's model", stage(r#"[{"model":5}]"#), "rescore[0].model: a number, expected a string"),
        ("the body's model", with(r#""model":[]"#), "model: an array, expected a string"),
        ("raw_scores", with(r#""raw_scores":"yes""#), "raw_scores: \"yes\", expected true or false"),
        ("explain", with(r#""explain":1"#), "explain: 1, expected true or false"),
        ("separator", with(r#""separator":0"#), "separator: a number, expected a string"),
        ("timeout_ms", with(r#""timeout_ms":-1"#), "timeout_ms: -1, expected an integer of at least 1"),
        ("allow_partial", with(r#""allow_partial":{}"#), "allow_partial: an object, expected true or false"),
        (
            "max_tokens_per_doc",
            with(r#""max_tokens_per_doc":0"#),
            "max_tokens_per_doc: 0, expected an integer of at least 1",
        ),
        (
            "max_chunks_per_doc",
            with(r#""max_chunks_per_doc":"x""#),
            "max_chunks_per_doc: \"x\", expected an integer of at least 1",
        ),
        (
            "truncate",
            with(r#""truncate":"middle""#),
            "truncate: \"middle\", expected true, false, \"NONE\", \"START\" or \"END\"",
        ),
        (
            "direction",
            with(r#""truncation_direction":"up""#),
            "truncation_direction: \"up\", expected \"left\" or \"right\"",
        ),
        ("no response", r#"{"query":"q","fields":"t"}"#.into(), "response: missing, expected an object"),
        (
            "a response of text",
            r#"{"query":"q","fields":"t","response":"x"}"#.into(),
            "response: a string, expected an object",
        ),
        (
            "an error's response",
            with(r#""response":{"error":{},"status":400}"#),
            "response.hits: missing, expected an object",
        ),
        ("hits is an array", with(r#""response":{"hits":[]}"#), "response.hits: an array, expected an object"),
        ("hits.hits is an object", hit("{}"), "response.hits.hits: an object, expected an array of hits"),
        ("a hit is null", hit("[{},null]"), "response.hits.hits[1]: null, expected an object"),
        (
            "a score is an object",
            hit(r#"[{},{},{},{"_score":{}}]"#),
            "response.hits.hits[3]._score: an object, expected a number, null, or a string such as \"NaN\"",
        ),
        (
            "a score is a word",
            hit(r#"[{"_score":"secret"}]"#),
            "response.hits.hits[0]._score: a string, expected a number, null, or a string such as \"NaN\"",
        ),
        (
            "sorted by a field",
            hit(r#"[{"_score":null,"sort":["2024"]}]"#),
            "response.hits.hits[0].sort: sorted by something other than the score, which no engine rescores; leave `sort` out of the search",
        ),
    ];
    for (case, body, message) in cases {
        let fault = fault(Engine::OpenSearch, &body);
        assert!(fault.to_string().starts_with(message), "{case}: {fault}");
        assert!(message.starts_with(fault.path()), "{case}: {}", fault.path());
    }
}

#[test]
fn every_malformed_vespa_result_names_its_path() {
    let cases = [
        ("no result", r#"{"query":"q","fields":"t"}"#.to_owned(), "result: missing, expected an object"),
        ("no root", vespa("{}"), "result.root: missing, expected an object"),
        ("a root of text", vespa(r#"{"root":"x"}"#), "result.root: a string, expected an object"),
        (
            "children",
            vespa(r#"{"root":{"children":{}}}"#),
            "result.root.children: an object, expected an array of hits",
        ),
        ("a child", vespa(r#"{"root":{"children":[{},7]}}"#), "result.root.children[1]: a number, expected an object"),
        (
            "a relevance",
            vespa(r#"{"root":{"children":[{"relevance":true}]}}"#),
            "result.root.children[0].relevance: a boolean, expected a number, null, or a string such as \"NaN\"",
        ),
    ];
    for (case, body, message) in cases {
        assert_eq!(fault(Engine::Vespa, &body).to_string(), message, "{case}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let fault = Job::parse(Engine::Vespa, b"{\"query\":\"\xff\"}", &Options::default()).map(|_| ()).unwrap_err();
    assert_eq!(fault, Malformed::Encoding { offset: 10 });
}

#[test]
fn more_hits_than_allowed_are_refused_with_the_limit() {
    let body = opensearch("{}", r#"[{"_score":1},{"_score":1},{"_score":1}]"#);
    let options = |max_hits| Options { max_hits, ..Options::default() };
    assert!(Job::parse(Engine::OpenSearch, body.as_bytes(), &options(3)).is_ok());
    let fault = Job::parse(Engine::OpenSearch, body.as_bytes(), &options(2)).map(|_| ()).unwrap_err();
    assert!(matches!(fault, Malformed::TooMany { limit: 2, .. }), "{fault}");
    assert_eq!(fault.path(), "response.hits.hits");
}
