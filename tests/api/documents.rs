//! What a caller may send as a document, a query or a whole body, in every dialect.

use std::time::Duration;

use rescored_core::domain::EmptyDocuments;
use rescored_server::http::{Leniency, Strict};

use crate::support::{App, Pace, Response, Setup};

/// A dialect's path, and the body of one query `Q` against the documents `D…`, each written as a JSON string.
type Spelled = (&'static str, fn(&str, &[&str]) -> String);

fn list(documents: &[&str], each: fn(&str) -> String) -> String {
    documents.iter().map(|document| each(document)).collect::<Vec<_>>().join(",")
}

fn plain(documents: &[&str]) -> String {
    list(documents, |document| (*document).to_owned())
}

/// Every dialect that scores, with the way in which it takes texts.
pub(crate) const DIALECTS: &[Spelled] = &[
    ("/v1/rerank", |query, documents| format!(r#"{{"query":{query},"documents":[{}]}}"#, plain(documents))),
    ("/v2/rerank", |query, documents| format!(r#"{{"query":{query},"documents":[{}]}}"#, plain(documents))),
    ("/jina/v1/rerank", |query, documents| format!(r#"{{"query":{query},"documents":[{}]}}"#, plain(documents))),
    ("/rerank", |query, documents| format!(r#"{{"query":{query},"texts":[{}]}}"#, plain(documents))),
    ("/weaviate/rerank", |query, documents| {
        format!(r#"{{"query":{query},"documents":[{}],"property":""}}"#, plain(documents))
    }),
    ("/vllm/rerank", |query, documents| format!(r#"{{"query":{query},"documents":[{}]}}"#, plain(documents))),
    ("/infinity/rerank", |query, documents| format!(r#"{{"query":{query},"documents":[{}]}}"#, plain(documents))),
    ("/voyage/v1/rerank", |query, documents| format!(r#"{{"query":{query},"documents":[{}]}}"#, plain(documents))),
    ("/array/rerank", |query, documents| format!(r#"{{"query":{query},"documents":[{}]}}"#, plain(documents))),
    ("/mlcommons/rerank", |query, documents| format!(r#"{{"query":{query},"documents":[{}]}}"#, plain(documents))),
    ("/v1/ranking", |query, documents| {
        let passages = list(documents, |document| format!(r#"{{"text":{document}}}"#));
        format!(r#"{{"query":{{"text":{query}}},"passages":[{passages}]}}"#)
    }),
    ("/score", |query, documents| format!(r#"{{"text_1":{query},"text_2":[{}]}}"#, plain(documents))),
    ("/predict", |query, documents| {
        let pairs = documents.iter().map(|document| format!("[{query},{document}]")).collect::<Vec<_>>().join(",");
        format!(r#"{{"inputs":[{pairs}]}}"#)
    }),
    ("/v2/models/fake/infer", |query, documents| {
        let documents = plain(documents);
        format!(r#"{{"inputs":[{{"name":"query","data":[{query}]}},{{"name":"passage","data":[{documents}]}}]}}"#)
    }),
    ("/bedrock/rerank", |query, documents| {
        let sources = list(documents, |document| {
            format!(
                r#"{{"inlineDocumentSource":{{"textDocument":{{"text":{document}}},"type":"TEXT"}},"type":"INLINE"}}"#
            )
        });
        format!(r#"{{"queries":[{{"textQuery":{{"text":{query}}},"type":"TEXT"}}],"sources":[{sources}]}}"#)
    }),
];

/// An engine's result of one hit.
fn hit(path: &str, query: &str, field: &str) -> String {
    match path {
        "/rescore/vespa" => format!(
            r#"{{"query":{query},"fields":["t"],"replace":true,"raw_scores":true,"result":{{"root":{{"children":[{{"id":"1","relevance":1.0,"fields":{{"t":{field}}}}}]}}}}}}"#
        ),
        _ => format!(
            r#"{{"query":{query},"fields":["t"],"replace":true,"raw_scores":true,"response":{{"hits":{{"hits":[{{"_id":"1","_score":1.0,"_source":{{"t":{field}}}}}]}}}}}}"#
        ),
    }
}

/// The numbers of an answer, as they are spelled and in their order.
fn numbers(app: &App, path: &str, body: impl AsRef<[u8]>) -> Vec<String> {
    let response = app.post(path, body);
    assert_eq!(response.status, 200, "{path}: {response:?}");
    let keys = ["relevance_score", "relevanceScore", "logit", "score", "data", "_score", "relevance"];
    let text = response.text();
    let mut found = Vec::new();
    for key in keys {
        let mark = format!("\"{key}\":");
        for rest in text.split(mark.as_str()).skip(1) {
            let list = rest.strip_prefix('[').map(|rest| rest.split(']').next().unwrap_or_default());
            for rest in list.unwrap_or(rest).split(',').take(if list.is_some() { usize::MAX } else { 1 }) {
                let literal: String = rest.chars().take_while(|c| c.is_ascii_digit() || "+-.e".contains(*c)).collect();
                found.extend(Some(literal).filter(|literal| !literal.is_empty()));
            }
        }
    }
    assert!(!found.is_empty(), "{path}: no number in {response:?}");
    found
}

// Case B7.
#[test]
fn half_a_surrogate_pair_reads_as_the_replacement_character_on_every_face() {
    let app = App::start();
    for (path, body) in DIALECTS {
        for (half, whole) in [
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (r#""cut \uDE00 here""#, r#""cut \ufffd here""#),
            (r#""\ude00\ud83d x""#, r#""\ufffd\ufffd x""#),
            (r#""\\ud83d x""#, r#""\u005cud83d x""#),
        ] {
            let expected = numbers(&app, path, body("\"q\"", &[whole]));
            assert_eq!(numbers(&app, path, body("\"q\"", &[half])), expected, "{path}: {half}");
            let expected = numbers(&app, path, body(whole, &["\"d\""]));
            assert_eq!(numbers(&app, path, body(half, &["\"d\""])), expected, "{path}: {half} as query");
        }
        let elsewhere = body("\"q\"", &["\"d\""]).replacen('{', r#"{"x \ud83d":["\udfff",{"y":"\ud83d z"}],"#, 1);
        assert_eq!(numbers(&app, path, elsewhere), numbers(&app, path, body("\"q\"", &["\"d\""])), "{path}");
        // Read on another thread.
        let long = "x".repeat(300 << 10);
        let large = |half: &str| body("\"q\"", &[&format!("\"{half} {long}\"")]);
        assert_eq!(numbers(&app, path, large("\\ud83d")), numbers(&app, path, large("\\ufffd")), "{path}");
    }
    for path in ["/rescore/opensearch", "/rescore/vespa"] {
        let expected = numbers(&app, path, hit(path, "\"q\"", r#""cut \ufffd""#));
        assert_eq!(numbers(&app, path, hit(path, "\"q\"", r#""cut \ud83d""#)), expected, "{path}");
    }
}

// Case B7.
#[test]
fn a_warm_up_line_with_half_a_surrogate_pair_warms_the_pair_that_is_asked_for() {
    let app = App::start();
    let line = "\u{feff}{\"query\":\"q\",\"documents\":[\"cut \\ud83d\"],\"x\":\"\\ude00\"}\n";
    let mut connection = app.connect();
    connection
        .write(format!("POST /v1/cache/warm HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{line}", line.len()));
    let mut last = String::new();
    while !last.contains("\"done\":true") {
        last.clear();
        connection.line(&mut last);
    }
    assert!(last.contains("\"failed\":0") && last.contains("\"pairs\":1"), "{last}");
    let answer = app.post("/v1/rerank", r#"{"query":"q","documents":["cut \ufffd"]}"#);
    assert_eq!(answer.header("x-rescored-cache-hits"), Some("1"), "{answer:?}");
}

// Case B7: its neighbours.
#[test]
fn a_byte_order_mark_before_a_body_is_passed_over() {
    let app = App::start();
    for (path, body) in DIALECTS {
        let body = body("\"q\"", &["\"d\""]);
        assert_eq!(numbers(&app, path, format!("\u{feff}{body}")), numbers(&app, path, &body), "{path}");
    }
    for path in ["/rescore/opensearch", "/rescore/vespa"] {
        let body = hit(path, "\"q\"", "\"d\"");
        assert_eq!(numbers(&app, path, format!("\u{feff}{body}")), numbers(&app, path, &body), "{path}");
    }
    assert_eq!(app.post("/v1/rerank", "\u{feff}").status, 400, "a mark alone is no body");
}

/// Dialects that take a document in whatever form it comes.
fn takes_objects(path: &str) -> bool {
    !["/v2/models/fake/infer", "/bedrock/rerank"].contains(&path)
}

// Case B1.
#[test]
fn a_document_in_any_form_scores_as_the_text_that_it_holds() {
    let app = App::start();
    let part = r#"{"type":"text","text":"Berlin has 7 lakes"}"#;
    let chat = format!(r#"{{"content":[{part}]}}"#);
    let long_chat = format!(r#"{{"role":"user","content":[{part},{{"text":"and more","type":"text"}}]}}"#);
    let cases = [
        (part, r#""Berlin has 7 lakes""#),
        (chat.as_str(), r#""Berlin has 7 lakes""#),
        (long_chat.as_str(), r#""Berlin has 7 lakes\nand more""#),
        (r#"{"content":"Berlin"}"#, r#""Berlin""#),
        (r#"{"text":3520031}"#, r#""3520031""#),
        (r#"{"text":1.50e3}"#, r#""1.50e3""#),
        (r#"{"text":["Berlin",["has",7]]}"#, r#""Berlin has 7""#),
        (r#"{"text":{"city":"Berlin","lakes":7}}"#, r#""Berlin 7""#),
        (r#"{"doc":{"text":"Berlin"}}"#, r#""Berlin""#),
        (r#"{"document":{"content":[{"type":"text","text":"Berlin"}]}}"#, r#""Berlin""#),
        (r#"{"title":"Berlin","body":"has lakes"}"#, r#""Berlin\nhas lakes""#),
        (r#"{"text":"caf\u00e9 \ud83d","id":7}"#, r#""caf\u00e9 \ufffd""#),
    ];
    for (path, body) in DIALECTS.iter().filter(|(path, _)| takes_objects(path) && *path != "/v1/ranking") {
        for (given, text) in cases {
            let expected = numbers(&app, path, body("\"q\"", &["\"x\"", text]));
            assert_eq!(numbers(&app, path, body("\"q\"", &["\"x\"", given])), expected, "{path}: {given}");
        }
    }
    for (given, text) in
        [("3520031", "\"3520031\""), (r#"["a",1]"#, "\"a 1\""), (chat.as_str(), r#""Berlin has 7 lakes""#)]
    {
        let ranking = DIALECTS.iter().find(|(path, _)| *path == "/v1/ranking").expect("NIM's dialect").1;
        let expected = numbers(&app, "/v1/ranking", ranking("\"q\"", &[text]));
        assert_eq!(numbers(&app, "/v1/ranking", ranking("\"q\"", &[given])), expected, "NIM: {given}");
        for path in ["/rescore/opensearch", "/rescore/vespa"] {
            assert_eq!(
                numbers(&app, path, hit(path, "\"q\"", given)),
                numbers(&app, path, hit(path, "\"q\"", text)),
                "{path}"
            );
        }
    }
    let source = r#"{"inlineDocumentSource":{"jsonDocument":{"title":"Berlin"},"type":"JSON"},"type":"INLINE"}"#;
    let json = format!(r#"{{"queries":[{{"textQuery":{{"text":"q"}}}}],"sources":[{source}]}}"#);
    let bedrock = DIALECTS.iter().find(|(path, _)| *path == "/bedrock/rerank").expect("Bedrock's dialect").1;
    assert_eq!(
        numbers(&app, "/bedrock/rerank", json),
        numbers(&app, "/bedrock/rerank", bedrock("\"q\"", &["\"Berlin\""]))
    );
}

// Case B1.
#[test]
fn rank_fields_choose_values_of_every_kind() {
    let app = App::start();
    let record = r#"{"Title":"Berlin","n":3520031,"tags":["a",2],"o":{"p.q":"deep","b":true},"text":"other"}"#;
    for (fields, text, missing) in [
        (r#"["Title"]"#, "Berlin", None),
        (r#"["n","tags"]"#, "3520031\\na 2", None),
        (r#"["o.p.q","o.b","Title"]"#, "deep\\ntrue\\nBerlin", None),
        (r#"["title","n"]"#, "3520031", Some("1")),
    ] {
        let body = format!(r#"{{"query":"q","documents":["x",{record}],"rank_fields":{fields}}}"#);
        let answer = app.post("/v1/rerank", &body);
        assert_eq!(answer.header("x-rescored-missing-fields"), missing, "{fields}");
        let plain = format!(r#"{{"query":"q","documents":["x","{text}"]}}"#);
        assert_eq!(answer.ok()["results"], app.post("/v1/rerank", plain).ok()["results"], "{fields}");
    }
    let left_out = app.post("/v1/rerank", r#"{"query":"q","documents":[{"title":"Berlin","year":1999,"image":"u"}]}"#);
    assert_eq!(left_out.header("x-rescored-left-out-fields"), Some("2"), "{left_out:?}");
    let beside = app.post("/v1/rerank", r#"{"query":{"text":"q","image":"u"},"documents":[{"text":"a","image":"u"}]}"#);
    assert_eq!(beside.header("x-rescored-left-out-fields"), Some("2"), "images beside texts: {beside:?}");
    let (open, close) = ("[".repeat(40), "]".repeat(40));
    let deep = format!(r#"{{"query":"q","documents":[{{"title":"a","x":{open}"b"{close}}}]}}"#);
    assert_eq!(app.post("/v1/rerank", deep).header("x-rescored-left-out-fields"), Some("1"), "what lies too deep");
    let nameless = app.post("/v1/rerank", r#"{"query":"q","documents":[{"a":"x","b":"y"}],"rank_fields":["b",""]}"#);
    assert!(nameless.status == 400 && nameless.text().contains("rank_fields[1]"), "{nameless:?}");
    let names = vec!["\"text\""; 101].join(",");
    let many = app.post("/v1/rerank", format!(r#"{{"query":"q","documents":[{record}],"rank_fields":[{names}]}}"#));
    assert!(many.status == 400 && many.text().contains("rank_fields: more than 100"), "{many:?}");
    let strings = app.post("/v1/rerank", r#"{"query":"q","documents":["a"],"rank_fields":["title"]}"#);
    assert_eq!(strings.header("x-rescored-warnings"), Some("rank_fields"), "{strings:?}");
}

// Case B1.
#[test]
fn a_document_without_readable_text_is_refused_by_its_index() {
    let app = App::start();
    let cases = [
        r#"{"image":"https://example.org/zanzibar.png"}"#,
        r#"{"image":{"url":"zanzibar"}}"#,
        r#"{"type":"image_url","image_url":{"url":"zanzibar"}}"#,
        r#"{"content":[{"type":"image_url","image_url":{"url":"zanzibar"}}]}"#,
        r#"{"content":[{"type":"text","text":"zanzibar"},{"type":"image_url","image_url":{"url":"u"}}]}"#,
        r#"{"text":null}"#,
        r#"{"text":[]}"#,
        r#"{"text":{"image":null}}"#,
        r#"{"type":"text"}"#,
        r#"{"type":"input_text","text":null}"#,
        r#"{"type":"image_url"}"#,
        r#"{"content":[{"type":"text"}]}"#,
        "null",
    ];
    for (path, body) in DIALECTS.iter().filter(|(path, _)| takes_objects(path) && *path != "/v1/ranking") {
        for document in cases {
            let answer = app.post(path, body("\"q\"", &["\"x\"", document]));
            assert_eq!(answer.status, 400, "{path}: {document}: {answer:?}");
            let reported = answer.json()["error"].as_str().expect("a sentence").to_owned();
            assert!(reported.contains("[1]") && !reported.contains("zanzibar"), "{path}: {document}: {reported}");
        }
    }
    let unmatched = app.post("/v2/rerank", r#"{"query":"q","documents":["x",{"a":"y"}],"rank_fields":["b"]}"#);
    assert_eq!(unmatched.status, 400);
    assert!(unmatched.text().contains("documents[1]: none of `rank_fields`"), "{unmatched:?}");
    // An engine's other hits are ranked all the same.
    for (path, root) in [("/rescore/opensearch", "hits"), ("/rescore/vespa", "root")] {
        let answer = app.post(path, hit(path, "\"q\"", r#"[{"type":"image_url","image_url":{"url":"u"}}]"#));
        assert_eq!(answer.header("x-rescored-missing-fields"), Some("1"), "{path}: {answer:?}");
        assert!(answer.ok()[root].is_object());
    }
}

// Case B1.
#[test]
fn content_parts_of_one_object_are_documents_as_vllm_counts_them() {
    let app = App::start();
    let parts = r#"{"content":[{"type":"text","text":"=1"},{"type":"text","text":"=3"}]}"#;
    let scores = numbers(&app, "/score", format!(r#"{{"text_1":"q","text_2":{parts},"use_activation":false}}"#));
    assert_eq!(scores, ["1.0", "3.0"]);
    let ranked = numbers(&app, "/vllm/rerank", format!(r#"{{"query":"q","documents":{parts},"raw_scores":true}}"#));
    assert_eq!(ranked, ["3.0", "1.0"]);
    let query = r#"{"content":[{"type":"text","text":"q"}]}"#;
    let listed = format!(r#"{{"text_1":{query},"text_2":["d",{parts}]}}"#);
    assert_eq!(numbers(&app, "/score", listed), numbers(&app, "/score", r#"{"text_1":"q","text_2":["d","=1\n=3"]}"#));
    let as_query = format!(r#"{{"query":{query},"documents":["d"]}}"#);
    assert_eq!(
        numbers(&app, "/v1/rerank", as_query),
        numbers(&app, "/v1/rerank", r#"{"query":"q","documents":["d"]}"#)
    );
}

const BLANK: &[&str] =
    &[r#""""#, r#"" \t\n""#, r#""\u00a0\u3000\u2028""#, r#""\u200b\ufeff\u00ad""#, r#""\u0000\u001f""#, r#""\ud83d""#];

// Case B2.
#[test]
fn a_document_without_text_ranks_last_on_every_face_and_costs_nothing() {
    let app = App::start();
    for (path, body) in DIALECTS {
        for blank in BLANK {
            let scored = app.figure("rescored_pairs_scored_total");
            let answer = app.post(path, body(&format!("\"{path}\""), &[r#""=-7 a""#, blank, r#""=-9 b""#, r#""""#]));
            assert_eq!(answer.header("x-rescored-empty-documents"), Some("2"), "{path}: {answer:?}");
            assert!(app.figure("rescored_pairs_scored_total") <= scored + 2, "{path}: it was scored");
            let found =
                numbers(&app, path, body(&format!("\"{path}\""), &[r#""=-7 a""#, blank, r#""=-9 b""#, r#""""#]));
            let found: Vec<f32> = found.iter().map(|number| number.parse().expect("a number")).collect();
            let none = if found.iter().any(|score| *score < -1.0) { -500.0 } else { 0.0 };
            let places: Vec<usize> = (0..4).filter(|&place| found[place].to_bits() == f32::to_bits(none)).collect();
            let by_rank = answer.text().contains("\"index\":3") && !answer.text().contains("\"object\":\"score\"");
            assert_eq!(places, if by_rank { [2, 3] } else { [1, 3] }, "{path}: {found:?}");
        }
    }
    let ranked =
        app.post("/v1/rerank", r#"{"query":"q","documents":[" ","=-200 a","","=-300 b"],"raw_scores":true}"#).ok();
    let order: Vec<u64> =
        ranked["results"].as_array().unwrap().iter().map(|one| one["index"].as_u64().unwrap()).collect();
    assert_eq!(order, [1, 3, 0, 2], "below the worst, in the caller's order");
    let alone = app.post("/v1/rerank", r#"{"query":"q","documents":[""],"raw_scores":true}"#);
    assert_eq!(alone.ok()["results"][0]["relevance_score"], -500.0, "whatever its neighbours: {alone:?}");
    assert_eq!((alone.header("x-rescored-cache-hits"), alone.header("x-compute-tokens")), (Some("0"), Some("0")));
    assert!(app.figure("rescored_documents_empty_total") > 50);
    let cached = app.post("/v1/rerank", r#"{"query":"q","documents":["","=-200 a"]}"#);
    assert_eq!(cached.header("x-rescored-cache-hits"), Some("1"), "only what has text is kept");
}

/// Documents of which the tokenizer leaves nothing, or nothing of the part that is read.
fn without_a_token() -> [String; 3] {
    [
        r#""\u0301""#.to_owned(),
        r#""\u0301\u0302\u0303 \u0301""#.replace(' ', ""),
        format!("\"{}=1 a\"", "\u{301}".repeat(60_000)),
    ]
}

// Case B2: its neighbours.
#[test]
fn a_document_that_leaves_no_token_ranks_last_on_every_face() {
    let app = App::start();
    for (path, body) in DIALECTS {
        for blank in without_a_token() {
            let scored = app.figure("rescored_pairs_scored_total");
            let texts: &[&str] = &[r#""=-7 a""#, &blank, r#""=-9 b""#, r#""""#];
            let body = body(&format!("\"{path}\""), texts);
            for time in ["cold", "known"] {
                let answer = app.post(path, &body);
                assert_eq!(answer.header("x-rescored-empty-documents"), Some("2"), "{path}, {time}: {answer:?}");
            }
            assert!(app.figure("rescored_pairs_scored_total") <= scored + 2, "{path}: it was scored");
            let found: Vec<f32> =
                numbers(&app, path, &body).iter().map(|number| number.parse().expect("one")).collect();
            let none = if found.iter().any(|score| *score < -1.0) { -500.0 } else { 0.0 };
            assert_eq!(
                found.iter().filter(|score| score.to_bits() == f32::to_bits(none)).count(),
                2,
                "{path}: {found:?}"
            );
        }
    }
    assert_eq!(app.figure("rescored_documents_empty_total"), 2 * 9 * DIALECTS.len() as u64);
    let unread = app.post("/v1/rerank", format!(r#"{{"query":"q","documents":[{}]}}"#, without_a_token()[2]));
    assert_eq!(unread.header("x-rescored-truncated"), Some("1"), "a text may stand behind: {unread:?}");
    let leniency = Leniency { empty_documents: EmptyDocuments::Score, ..Leniency::default() };
    let scoring = App::with(Setup { leniency, ..Setup::default() });
    let answer = scoring.post("/v1/rerank", r#"{"query":"q","documents":["\u0301"],"raw_scores":true}"#);
    assert_eq!(answer.header("x-rescored-empty-documents"), None, "{answer:?}");
    assert_ne!(answer.ok()["results"][0]["relevance_score"], -500.0);
}

// Case B2.
#[test]
fn a_model_that_goes_below_a_document_without_text_keeps_its_order_above_it() {
    let app = App::start();
    let body =
        r#"{"query":"q","documents":["","=-700 a","=-1e30 b","=-600 c","=-65504 d","=-3e38 e"],"raw_scores":true}"#;
    let (fresh, cached) = (app.post("/v1/rerank", body), app.post("/v1/rerank", body));
    assert_eq!(cached.header("x-rescored-cache-hits"), Some("5"), "{cached:?}");
    for answer in [fresh, cached] {
        let results = answer.ok()["results"].as_array().expect("a list").clone();
        let order: Vec<u64> = results.iter().map(|one| one["index"].as_u64().expect("an index")).collect();
        assert_eq!(order, [3, 1, 4, 2, 5, 0], "{results:?}");
        let scores: Vec<f64> = results.iter().map(|one| one["relevance_score"].as_f64().expect("a score")).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b) && scores[4] > scores[5], "{scores:?}");
        assert!(scores.iter().all(|score| (-score).exp().is_finite()), "a caller's own sigmoid: {scores:?}");
    }
}

// Case B2.
#[test]
fn a_fault_among_documents_without_text_names_the_callers_index() {
    let app = App::start();
    let answer = app.post("/v1/rerank", r#"{"query":"q","documents":[""," ","=1 a","=nan"]}"#);
    assert_eq!(answer.status, 424);
    assert!(answer.text().contains("documents[3]"), "{answer:?}");
    let long = "x".repeat(1000);
    let answer = app.post("/rerank", format!(r#"{{"query":"q","texts":["","{long}"],"truncate":false}}"#));
    assert!(answer.status == 422 && answer.text().contains("documents[1]"), "{answer:?}");
    assert_eq!(app.post("/v1/rerank", r#"{"query":"q","documents":[""],"model":"nobody"}"#).status, 404);
}

// Case B2.
#[test]
fn what_is_late_stands_above_what_has_no_text() {
    let app = App::start();
    let documents: Vec<String> = (0..10).map(|n| format!("\"=slow {}\"", "x".repeat(n + 1))).collect();
    let body = format!(
        r#"{{"query":"q","documents":["",{}],"allow_partial":true,"timeout_ms":1000,"raw_scores":true}}"#,
        documents.join(",")
    );
    let answer = app.post("/v1/rerank", body);
    assert!(answer.header("x-rescored-partial").is_some(), "{answer:?}");
    let results = answer.ok()["results"].clone();
    assert_eq!(results[10]["index"], 0, "{results}");
}

// Case B2.
#[test]
fn a_hit_without_text_ranks_last_in_an_engines_result() {
    let app = App::start();
    let hits = |texts: [&str; 3]| {
        let hit = |(place, text): (usize, &&str)| {
            format!(r#"{{"_id":"{place}","_score":{}.5,"_source":{{"t":"{text}"}}}}"#, 9 - place)
        };
        texts.iter().enumerate().map(hit).collect::<Vec<_>>().join(",")
    };
    for terms in [
        "",
        r#""rescore":{"window_size":1},"#,
        r#""replace":true,"#,
        r#""raw_scores":true,"#,
        r#""rescore":{"query":{"score_mode":"multiply"}},"#,
    ] {
        let body = format!(
            r#"{{"query":"q","fields":["t"],{terms}"response":{{"hits":{{"max_score":9.5,"hits":[{}]}}}}}}"#,
            hits([" \\u200b", "=1 a", "=-1 b"])
        );
        let answer = app.post("/rescore/opensearch", &body);
        assert_eq!(answer.header("x-rescored-empty-documents"), Some("1"), "{terms}: {answer:?}");
        assert_eq!(answer.header("x-rescored-partial"), None, "{terms}: nothing was late");
        let hits = answer.ok()["hits"]["hits"].as_array().expect("hits").clone();
        assert_eq!(hits[2]["_id"], "0", "{terms}: {hits:?}");
        let scores: Vec<f64> = hits.iter().map(|hit| hit["_score"].as_f64().expect("a score")).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{terms}: {scores:?}");
    }
}

// Case B2.
#[test]
fn a_setting_has_documents_without_text_scored() {
    let leniency = Leniency { empty_documents: EmptyDocuments::Score, ..Leniency::default() };
    let app = App::with(Setup { leniency, ..Setup::default() });
    let body = r#"{"query":"q","documents":["","=-300 a"],"raw_scores":true}"#;
    let answer = app.post("/v1/rerank", body);
    assert_eq!(answer.header("x-rescored-empty-documents"), None);
    assert_eq!(answer.ok()["results"][0]["index"], 0, "as any other text");
    assert_eq!(app.post("/v1/rerank", body).header("x-rescored-cache-hits"), Some("2"));
    assert_eq!(app.figure("rescored_documents_empty_total"), 0);
}

/// Parameters of all dialects, and some of none, each with a value that asks for something.
const PARAMETERS: &[(&str, &str)] = &[
    ("model", "\"nobody\""),
    ("top_n", "1"),
    ("top_k", "1"),
    ("min_score", "2.0"),
    ("score_threshold", "2.0"),
    ("return_documents", "true"),
    ("return_text", "true"),
    ("raw_scores", "true"),
    ("use_activation", "false"),
    ("truncate", "false"),
    ("truncation", "false"),
    ("truncation_direction", "\"left\""),
    ("truncation_side", "\"left\""),
    ("truncate_prompt_tokens", "20"),
    ("rank_fields", "[\"title\"]"),
    ("max_chunks_per_doc", "3"),
    ("max_tokens_per_doc", "9"),
    ("timeout_ms", "1"),
    ("instruction", "\"find lakes\""),
    ("instruct", "\"find lakes\""),
    ("max_tokens_per_query", "3"),
    ("priority", "7"),
    ("relevant_spans", "true"),
    ("overlap_tokens", "5"),
    ("encoding_format", "\"base64\""),
    ("embedding_type", "\"float\""),
    ("return_embeddings", "true"),
    ("mm_processor_kwargs", "{\"a\":1}"),
    ("additional_data", "\"x\""),
    ("add_special_tokens", "false"),
    ("chat_template_kwargs", "{}"),
    ("user", "\"u\""),
    ("normalize", "true"),
    ("softmax", "true"),
    ("activation", "\"none\""),
    ("parameters", "{\"a\":1}"),
    ("outputs", "[{\"name\":\"other\"}]"),
    ("numberOfResults", "1"),
    ("nextToken", "\"x\""),
    ("rerankingConfiguration", "{}"),
    ("documents", "[\"z\"]"),
    ("texts", "[\"z\"]"),
    ("passages", "[{\"text\":\"z\"}]"),
    ("property", "\"z\""),
    ("text_1", "\"z\""),
    ("text_2", "[\"z\"]"),
    ("queries", "[\"z\"]"),
    ("items", "[\"z\"]"),
    ("data_1", "\"z\""),
    ("data_2", "[\"z\"]"),
    ("inputs", "[[\"z\",\"z\"]]"),
    ("sources", "[]"),
    // Google's and Vertex' ranking.
    ("records", "[{\"content\":\"z\"}]"),
    ("topN", "1"),
    ("ignoreRecordDetailsInResponse", "true"),
    ("userLabels", "{\"a\":\"b\"}"),
    ("instances", "[{\"query\":\"z\"}]"),
    // Mixedbread, DashScope and watsonx, Elasticsearch's own: `input` beside or around the rest.
    ("input", "[\"z\"]"),
    ("return_input", "true"),
    ("rewrite_query", "true"),
    ("model_id", "\"m\""),
    ("project_id", "\"p\""),
    ("task_settings", "{\"top_n\":1}"),
    // Bedrock's own, Azure's, SageMaker's and Cloudflare's.
    ("api_version", "2"),
    ("api-version", "\"2024-05-01\""),
    ("extra_params", "{\"a\":1}"),
    ("options", "{\"wait_for_model\":true}"),
    ("contexts", "[{\"text\":\"z\"}]"),
    // LiteLLM's, where its proxy passes them on.
    ("custom_llm_provider", "\"cohere\""),
    ("metadata", "{\"a\":1}"),
    ("tags", "[\"a\"]"),
    ("timeout", "3"),
    ("num_retries", "2"),
    ("extra_body", "{\"a\":1}"),
    // vLLM, SGLang, llama.cpp, Xinference and Jina.
    ("request_id", "\"r\""),
    ("rid", "\"r\""),
    ("cache_salt", "\"s\""),
    ("chat_template", "\"t\""),
    ("score_template", "\"t\""),
    ("multi_modal_data", "{\"a\":1}"),
    ("return_len", "true"),
    ("max_doc_length", "9"),
    ("max_query_length", "9"),
    ("max_length", "9"),
    ("batch_size", "9"),
    ("normalise", "true"),
    ("activation_fn", "\"sigmoid\""),
    ("query_text", "\"z\""),
    ("text_docs", "[\"z\"]"),
    ("service_tier", "\"default\""),
    ("top_N", "1"),
    ("topn", "1"),
    ("stream", "true"),
];

/// What a dialect does anyway, so that asking for it changes nothing.
const AS_IT_IS: &[(&str, &str)] = &[
    ("/v1/ranking", "raw_scores"),
    ("/v1/ranking", "use_activation"),
    ("/vllm/rerank", "return_documents"),
    ("/vllm/rerank", "return_text"),
    ("/weaviate/rerank", "return_documents"),
    ("/weaviate/rerank", "return_text"),
];

/// What an answer says, but for what is never the same, and for warnings.
fn said(answer: &Response) -> (u16, Vec<String>, [Option<String>; 2]) {
    let never = ["\"id\"", "\"created\"", "\"query\"", "\"warnings\"", " ignored"];
    let pieces =
        answer.text().split(['{', '}', ',']).filter(|piece| !never.iter().any(|start| piece.starts_with(start)));
    let headers = ["x-compute-tokens", "x-rescored-truncated"].map(|name| answer.header(name).map(str::to_owned));
    (answer.status, pieces.filter(|piece| !piece.is_empty()).map(str::to_owned).collect(), headers)
}

fn with(body: &str, name: &str, value: &str) -> String {
    body.replacen('{', &format!("{{\"{name}\":{value},"), 1)
}

// Case B6.
#[test]
fn every_parameter_of_every_dialect_is_served_warned_of_or_refused_on_every_face() {
    let app =
        App::with(Setup { pace: Pace { pass: Duration::from_millis(4), token: Duration::ZERO }, ..Setup::default() });
    let long = format!("\"=2.5 {}\"", "x".repeat(600));
    let mut query = 10_000;
    // Never from the cache, so that a deadline shows.
    let mut fresh = |body: fn(&str, &[&str]) -> String| {
        query += 1;
        body(&format!("\"q{query}\""), &["\"=1.5 a\"", &long])
    };
    for (path, body) in DIALECTS {
        let plain = app.post(path, fresh(*body));
        assert_eq!((plain.status, plain.header("x-rescored-warnings")), (200, None), "{path}: {plain:?}");
        for (name, value) in PARAMETERS {
            let mut answer = app.post(path, with(&fresh(*body), name, value));
            for _ in 0..5 {
                // On a busy machine a pass and its deadline may be seen over at the same moment.
                if *name == "timeout_ms" && answer.status == 200 {
                    answer = app.post(path, with(&fresh(*body), name, value));
                }
            }
            let warned = answer
                .header("x-rescored-warnings")
                .is_some_and(|reported| reported.split(", ").any(|reported| reported == *name));
            let as_it_is = AS_IT_IS.contains(&(path, name));
            assert!(warned || as_it_is || said(&answer) != said(&plain), "{path}: `{name}` is ignored: {answer:?}");
            assert!(
                !(warned && answer.status == 200 && said(&answer).1 != said(&plain).1),
                "{path}: `{name}` is warned of, and served: {answer:?}"
            );
        }
    }
}

// Case B6.
#[test]
fn every_parameter_is_served_warned_of_or_refused_with_engine_results() {
    let app = App::start();
    let served = [
        "model",
        "raw_scores",
        "timeout_ms",
        "max_tokens_per_doc",
        "max_chunks_per_doc",
        "truncate",
        "truncation_direction",
    ];
    for path in ["/rescore/opensearch", "/rescore/vespa"] {
        for (name, value) in PARAMETERS.iter().filter(|(name, _)| !served.contains(name)) {
            let answer = app.post(path, with(&hit(path, "\"q\"", "\"d\""), name, value));
            assert_eq!((answer.status, answer.header("x-rescored-warnings")), (200, Some(*name)), "{path}: {answer:?}");
        }
        let stage = r#"{"window":5,"query":{"rescore_query":{"match":{}},"weight":2}}"#;
        let answer = app.post(path, with(&hit(path, "\"q\"", "\"d\""), "rescore", stage));
        assert_eq!(answer.header("x-rescored-warnings"), Some("rescore.window, rescore.query.weight"), "{answer:?}");
    }
}

// Case B6.
#[test]
fn numbers_and_switches_that_mean_nothing_here_are_warned_of() {
    let app = App::start();
    let cases = [
        ("/v1/rerank", r#""top_k":-1"#, None, "-1 means all"),
        ("/v1/rerank", r#""top_n":0"#, None, "0 means all"),
        ("/v1/rerank", r#""top_n":-3"#, Some("top_n"), "-3 means nothing"),
        ("/v1/rerank", r#""max_tokens_per_doc":-1"#, Some("max_tokens_per_doc"), "no document has so few tokens"),
        ("/v1/rerank", r#""truncate_prompt_tokens":-1"#, None, "vLLM's way to say the model's limit"),
        ("/v1/rerank", r#""truncate_prompt_tokens":-9"#, Some("truncate_prompt_tokens"), "no way at all"),
        ("/v1/rerank", r#""top_n":1,"top_k":1"#, None, "two names that agree"),
        ("/v1/rerank", r#""top_n":1,"top_k":2"#, Some("top_k"), "two names that do not"),
        ("/v1/rerank", r#""raw_scores":true,"use_activation":true"#, Some("use_activation"), "a contradiction"),
        ("/v1/rerank", r#""priority":null,"top_N":null"#, None, "null asks for nothing"),
        ("/vllm/rerank", r#""return_documents":false"#, Some("return_documents"), "vLLM's answers always have them"),
        ("/array/rerank", r#""return_documents":true"#, Some("return_documents"), "no place for them"),
        ("/array/rerank", r#""return_documents":false"#, None, "as it is"),
        ("/weaviate/rerank", r#""top_n":1"#, Some("top_n"), "all scores, by place"),
        ("/v1/rerank", r#""a secret text":1,"é":2"#, Some("+2"), "names that are no names are counted"),
    ];
    for (path, extra, warned, why) in cases {
        let answer = app.post(path, format!(r#"{{"query":"q","documents":["a"],{extra}}}"#));
        assert_eq!((answer.status, answer.header("x-rescored-warnings")), (200, warned), "{why}: {answer:?}");
    }
    let tensor = r#"{"name":"query","data":["q"],"parameters":{"binary_data_size":3}},{"name":"passage","data":["a"]}"#;
    let kserve = app.post("/v2/models/fake/infer", format!(r#"{{"inputs":[{tensor}]}}"#));
    assert_eq!(kserve.header("x-rescored-warnings"), Some("inputs[0].parameters"), "{kserve:?}");
    let nim = app.post("/v1/ranking", r#"{"query":{"text":"q"},"passages":[{"text":"a"}],"raw_scores":false}"#);
    assert_eq!(nim.header("x-rescored-warnings"), Some("raw_scores"), "{nim:?}");
}

// Case B6: its neighbours.
#[test]
fn what_stands_beside_a_nested_text_is_warned_of() {
    let app = App::start();
    let source = r#"{"inlineDocumentSource":{"textDocument":{"text":"a"},"jsonDocument":{"a":"b"},"type":"TEXT","x":1},"type":"INLINE","y":1}"#;
    let bedrock = format!(
        r#"{{"queries":[{{"textQuery":{{"text":"q"}},"type":"TEXT","z":1}}],"sources":[{source},{source}],"numberOfResults":-5}}"#
    );
    let reported = "queries[].z, sources[].y, sources[].inlineDocumentSource.x, sources[].inlineDocumentSource.jsonDocument, numberOfResults";
    let pair = r#"{"text":"q","text_pair":"a","top_k":1}"#;
    for (path, body, reported) in [
        ("/bedrock/rerank", bedrock, reported),
        ("/predict", format!(r#"{{"inputs":[{pair},{pair}]}}"#), "inputs[].top_k"),
        ("/predict", format!(r#"{{"inputs":{pair}}}"#), "inputs.top_k"),
    ] {
        let answer = app.post(path, body);
        assert_eq!((answer.status, answer.header("x-rescored-warnings")), (200, Some(reported)), "{path}: {answer:?}");
    }
    assert_eq!(
        app.post("/v1/rerank", r#"{"query":"q","documents":["a"],"property":null}"#).header("x-rescored-warnings"),
        None
    );
}

// Case B1: its neighbours.
#[test]
fn a_pair_that_is_none_is_named_by_its_place() {
    let app = App::start();
    let tensor = |passages: &str| {
        format!(r#"{{"inputs":[{{"name":"query","data":["q"]}},{{"name":"passage","data":{passages}}}]}}"#)
    };
    for (path, body, reported) in [
        ("/predict", r#"{"inputs":[["q","a"],["q"]]}"#.to_owned(), "inputs[1]: 1 texts are no pair"),
        (
            "/predict",
            r#"{"inputs":[{"text":"q","text_pair":"a"},{"text":"q"}]}"#.to_owned(),
            "inputs[1].text_pair: missing",
        ),
        ("/predict", r#"{"inputs":{"text_pair":"a"}}"#.to_owned(), "inputs.text: missing"),
        ("/v2/models/fake/infer", tensor(r#"["a",[],"b"]"#), "rows of unequal length"),
        ("/v2/models/fake/infer", tensor(r#"[["a"],["b","c"]]"#), "rows of unequal length"),
        (
            "/v2/models/fake/infer",
            r#"{"inputs":[{"name":"passage","data":["q"]},{"name":"documents","data":["a"]}]}"#.to_owned(),
            "two tensors of documents",
        ),
        ("/weaviate/rerank", r#"{"query":"q","property":null}"#.to_owned(), "documents: missing"),
        ("/rerank", r#"{"query":"q","property":null}"#.to_owned(), "documents: missing"),
        (
            "/bedrock/rerank",
            r#"{"queries":["q"],"sources":[]}"#.to_owned(),
            "queries[0]: expected an object with `textQuery`",
        ),
    ] {
        let answer = app.post(path, body);
        assert!(
            (400..500).contains(&answer.status) && answer.text().contains(reported),
            "{path}, {reported}: {answer:?}"
        );
    }
    assert_eq!(numbers(&app, "/v2/models/fake/infer", tensor(r#"[["=1"],["=2"]]"#)), ["1.0", "2.0"]);
}

// Case B6.
#[test]
fn warnings_stand_in_the_body_where_there_is_a_place_for_them() {
    let app = App::start();
    let reported = serde_json::json!(["top_N: not served here, ignored"]);
    for (path, place) in [
        ("/v1/rerank", "/meta/warnings"),
        ("/jina/v1/rerank", "/meta/warnings"),
        ("/vllm/rerank", "/warnings"),
        ("/infinity/rerank", "/warnings"),
        ("/voyage/v1/rerank", "/warnings"),
        ("/score", "/warnings"),
        ("/v1/ranking", "/warnings"),
    ] {
        let body = DIALECTS.iter().find(|(known, _)| *known == path).expect("a dialect").1;
        let answer = app.post(path, with(&body("\"q\"", &["\"a\""]), "top_N", "1")).ok();
        assert_eq!(answer.pointer(place), Some(&reported), "{path}: {answer}");
        let quiet = app.post(path, body("\"q\"", &["\"a\""])).ok();
        assert_eq!(quiet.pointer(place), None, "{path}");
    }
    assert_eq!(app.figure("rescored_requests_warned_total"), 7);
}

// Case B6.
#[test]
fn a_least_score_leaves_out_what_is_below_it() {
    let app = App::start();
    for name in ["min_score", "score_threshold"] {
        for (least, raw, left) in [("0.5", false, 2), ("\"0.9\"", false, 1), ("1.0", true, 2), ("3", true, 0)] {
            let body = format!(
                r#"{{"query":"q","documents":["=0.0","=2.5","=1.0","=-4.0 b"],"raw_scores":{raw},"{name}":{least},"top_n":2}}"#
            );
            let answer = app.post("/v1/rerank", body);
            assert_eq!(answer.ok()["results"].as_array().expect("a list").len(), left, "{name} {least}");
        }
    }
    assert_eq!(app.post("/v1/rerank", r#"{"query":"q","documents":["a"],"min_score":"high"}"#).status, 400);
}

// Case B6.
#[test]
fn in_strict_mode_what_is_not_served_is_refused_by_name() {
    let app = App::with(Setup { leniency: Leniency { strict: Strict::On, ..Leniency::default() }, ..Setup::default() });
    for (path, body) in DIALECTS {
        app.post(path, body("\"q\"", &["\"a\""])).ok();
        for name in ["top_N", "instruction"] {
            let answer = app.post(path, with(&body("\"q\"", &["\"a\""]), name, "\"1\""));
            assert_eq!(answer.status, 400, "{path}: {answer:?}");
            assert!(answer.text().contains(&format!("{name}: not served here")), "{path}: {answer:?}");
        }
    }
    for path in ["/rescore/opensearch", "/rescore/vespa"] {
        app.post(path, hit(path, "\"q\"", "\"d\"")).ok();
        assert_eq!(app.post(path, with(&hit(path, "\"q\"", "\"d\""), "window", "1")).status, 400, "{path}");
    }
    let unnamed = app.post("/v1/rerank", r#"{"query":"q","documents":["a"],"zanzibar is a text":1}"#);
    assert!(unnamed.status == 400 && !unnamed.text().contains("zanzibar"), "{unnamed:?}");
}
