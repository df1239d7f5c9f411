//! The conformance checklist of the reranking protocols: what real engines and clients send, and what they parse.
//!
//! One row a check, with its number. Not here: C40 (`transport`, with keys set), C53 (a test of its own that waits 75
//! seconds), C63 and C64 (engine results in and out).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{App, Response, Setup};

type Check = (&'static str, &'static str, fn(&App));

#[test]
fn every_row_of_the_checklist_holds() {
    let app = App::start();
    let failed: Vec<String> = CHECKS
        .iter()
        .filter(|(_, _, check)| catch_unwind(AssertUnwindSafe(|| check(&app))).is_err())
        .map(|(number, sentence, _)| format!("{number}: {sentence}"))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A body of one query and some documents.
fn cohere(documents: &[&str], extra: &Value) -> String {
    body(json!({"query": "q", "documents": documents}), extra)
}

fn tei(texts: &[&str], extra: &Value) -> String {
    body(json!({"query": "q", "texts": texts}), extra)
}

fn body(mut body: Value, extra: &Value) -> String {
    let more = extra.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(more);
    body.to_string()
}

fn indices(items: &Value) -> Vec<u64> {
    items.as_array().expect("a list").iter().map(|item| item["index"].as_u64().expect("an integer index")).collect()
}

fn scores(items: &Value, key: &str) -> Vec<f64> {
    items.as_array().expect("a list").iter().map(|item| item[key].as_f64().expect("a score")).collect()
}

fn keys(item: &Value) -> Vec<&str> {
    item.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// The number literals after every `key` of a body.
fn literals<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let mark = format!("\"{key}\":");
    text.split(mark.as_str()).skip(1).map(|rest| rest.split([',', '}', ']']).next().expect("a literal")).collect()
}

fn is_refusal(response: &Response, statuses: &[u16]) {
    assert!(statuses.contains(&response.status), "{response:?}");
    let body = response.json();
    for key in ["error", "error_type", "message", "detail"] {
        assert!(body[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {response:?}");
    }
    assert!(response.body.len() < 1000, "{response:?}");
}

const RAW: &str = r#"{"query":"q","documents":["=-4.5 b","=9.25 a","=0.5 c"],"raw_scores":true}"#;

static CHECKS: &[Check] = &[
    ("C01", "/rerank with texts answers an array of index and score", |app| {
        assert_eq!(keys(&app.post("/rerank", tei(&["a", "b"], &json!({}))).ok()[0]), ["index", "score"]);
    }),
    ("C02", "/rerank with documents answers an object with results", |app| {
        assert_eq!(
            keys(&app.post("/rerank", cohere(&["a"], &json!({}))).ok()["results"][0]),
            ["index", "relevance_score"]
        );
    }),
    ("C03", "/rerank with documents and property answers Weaviate's scores", |app| {
        let answer = app.post("/rerank", cohere(&["a", "b"], &json!({"property": ""}))).ok();
        assert_eq!(keys(&answer), ["query", "scores"]);
        assert_eq!(keys(&answer["scores"][0]), ["document", "score"]);
    }),
    ("C04", "the legacy single form answers query, property, score", |app| {
        assert_eq!(keys(&app.post("/rerank", r#"{"query":"q","property":"a"}"#).ok()), ["property", "query", "score"]);
    }),
    ("C05", "/v1/rerank and /v2/rerank rank alike", |app| {
        assert_eq!(app.post("/v1/rerank", RAW).ok()["results"], app.post("/v2/rerank", RAW).ok()["results"]);
    }),
    ("C06", "an explicit prefix forces its dialect", |app| {
        assert!(app.post("/tei/rerank", tei(&["a"], &json!({"documents": ["b"], "property": ""}))).ok().is_array());
        assert!(app.post("/weaviate/rerank", cohere(&["a"], &json!({"texts": ["b"]}))).ok()["scores"].is_array());
        assert!(app.post("/cohere/v2/rerank", cohere(&["a"], &json!({"property": ""}))).ok()["results"].is_array());
        assert_eq!(app.get("/weaviate/.well-known/ready").status, 204);
        assert!(app.get("/weaviate/meta").ok().is_object());
    }),
    ("C07", "NIM's paths answer rankings of logits, best first", |app| {
        for path in ["/v1/ranking", "/v1/retrieval/nvidia/reranking"] {
            let body = r#"{"model":"fake","query":{"text":"q"},"passages":[{"text":"=-1.5"},{"text":"=2.5"}]}"#;
            assert_eq!(
                app.post(path, body).ok()["rankings"],
                json!([{"index": 1, "logit": 2.5}, {"index": 0, "logit": -1.5}])
            );
        }
    }),
    ("C08", "the bedrock body answers relevanceScore", |app| {
        let source =
            json!({"inlineDocumentSource": {"textDocument": {"text": "=0"}, "type": "TEXT"}, "type": "INLINE"});
        let body = json!({"queries": [{"textQuery": {"text": "q"}, "type": "TEXT"}], "sources": [source], "numberOfResults": 1});
        assert_eq!(
            app.post("/bedrock/rerank", body.to_string()).ok(),
            json!({"results": [{"index": 0, "relevanceScore": 0.5}]})
        );
    }),
    ("C09", "the array dialect answers a root array", |app| {
        assert_eq!(
            app.post("/array/rerank", cohere(&["=0"], &json!({}))).ok(),
            json!([{"index": 0, "relevance_score": 0.5}])
        );
    }),
    ("C10", "the passthrough dialect answers tensors in input order", |app| {
        let output = &app.post("/mlcommons/rerank", RAW).ok()["inference_results"][0]["output"];
        assert_eq!(output[0], json!({"name": "similarity", "data_type": "FLOAT32", "shape": [1], "data": [-4.5]}));
        assert_eq!(output[1]["data"], json!([9.25]));
    }),
    ("C11", "/score takes one against many and pairs, in input order", |app| {
        for path in ["/score", "/v1/score"] {
            for (first, second) in
                [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")]
            {
                for queries in [json!("q"), json!(["q"]), json!(["q", "r"])] {
                    let body = json!({first: queries, second: ["=1", "=2"], "use_activation": false});
                    let data = &app.post(path, body.to_string()).ok()["data"];
                    assert_eq!((indices(data), scores(data, "score")), (vec![0, 1], vec![1.0, 2.0]));
                }
            }
        }
    }),
    ("C12", "a list of text and text_pair answers labels and scores in input order", |app| {
        let body = r#"{"inputs":[{"text":"q","text_pair":"=0"},{"text":"q","text_pair":"=200"}]}"#;
        assert_eq!(
            app.post("/predict", body).ok(),
            json!([{"score": 0.5, "label": "LABEL_0"}, {"score": 1.0, "label": "LABEL_0"}])
        );
    }),
    ("C13", "one text and text_pair answers one object", |app| {
        let body = r#"{"inputs":{"text":"q","text_pair":"=0"}}"#;
        assert_eq!(app.post("/predict", body).ok(), json!({"score": 0.5, "label": "LABEL_0"}));
    }),
    ("C14", "KServe's infer keeps order, shape and id", |app| {
        let tensor =
            |name: &str, data: [&str; 2]| json!({"name": name, "shape": [2, 1], "datatype": "BYTES", "data": data});
        let body = json!({"id": "7", "inputs": [tensor("query", ["q", "q"]), tensor("passage", ["=1.5", "=-2.5"])]});
        let answer = app.post("/v2/models/fake/infer", body.to_string()).ok();
        assert_eq!((&answer["id"], &answer["model_name"]), (&json!("7"), &json!("fake")));
        assert_eq!(
            answer["outputs"],
            json!([{"name": "logit", "shape": [2, 1], "datatype": "FP32", "data": [1.5, -2.5]}])
        );
    }),
    ("C15", "Voyage's request answers data and usage", |app| {
        let answer = app.post("/voyage/v1/rerank", cohere(&["=0", "=1"], &json!({"top_k": 1, "model": "fake"}))).ok();
        assert_eq!(keys(&answer["data"][0]), ["index", "relevance_score"]);
        assert!(answer["data"].as_array().unwrap().len() == 1 && answer["usage"]["total_tokens"].is_u64());
    }),
    ("C16", "scores of 0 and 1 keep their point", |app| {
        let response = app.post("/v1/rerank", cohere(&["=-200", "=200"], &json!({})));
        assert_eq!(literals(response.text(), "relevance_score"), ["1.0", "0.0"]);
    }),
    ("C17", "no score literal is longer than 18 characters", |app| {
        let floats =
            (0..3000_u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9))).filter(|float| float.is_finite());
        let documents: Vec<String> = floats.map(|float| format!("={float:e} x")).collect();
        for extra in [json!({"raw_scores": true}), json!({})] {
            let response = app.post("/v1/rerank", body(json!({"query": "q", "documents": documents}), &extra));
            for literal in literals(response.text(), "relevance_score") {
                assert!(literal.len() <= 18 && literal.contains(['.', 'e']), "{literal}");
            }
        }
    }),
    ("C18", "a non-finite output is an error status", |app| {
        for document in ["=nan", "=inf", "=-inf"] {
            is_refusal(&app.post("/v1/rerank", cohere(&["a", document], &json!({}))), &[424]);
        }
    }),
    ("C19", "index and score stand in every item, the index an integer", |app| {
        let response = app.post("/v1/rerank", RAW);
        assert!(
            literals(response.text(), "index").iter().all(|literal| literal.bytes().all(|byte| byte.is_ascii_digit()))
        );
        assert_eq!(
            (indices(&response.ok()["results"]).len(), literals(response.text(), "relevance_score").len()),
            (3, 3)
        );
    }),
    ("C20", "without top_n every document comes back once", |app| {
        let mut all = indices(&app.post("/v1/rerank", RAW).ok()["results"]);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    }),
    ("C21", "top_n as 2, 2.0 and \"2\" means the same", |app| {
        for top_n in [json!(2), json!(2.0), json!("2")] {
            assert_eq!(
                indices(&app.post("/v1/rerank", cohere(&["=1", "=2", "=3"], &json!({"top_n": top_n}))).ok()["results"]),
                [2, 1]
            );
        }
    }),
    ("C22", "top_n of 0, below 0 or above n returns all", |app| {
        for top_n in [json!(0), json!(-1), json!(100), json!("-3"), json!(null)] {
            assert_eq!(
                indices(&app.post("/v1/rerank", cohere(&["=1", "=2"], &json!({"top_n": top_n}))).ok()["results"]),
                [1, 0]
            );
        }
    }),
    ("C23", "top_n in a texts body is never refused", |app| {
        assert_eq!(indices(&app.post("/rerank", tei(&["=1", "=2"], &json!({"top_n": 1}))).ok()), [1]);
    }),
    ("C24", "Weaviate's scores keep length and order, duplicates included", |app| {
        let answer = app.post("/rerank", cohere(&["b", "a", "b"], &json!({"property": "", "top_n": 1}))).ok();
        let documents: Vec<&str> =
            answer["scores"].as_array().unwrap().iter().map(|item| item["document"].as_str().unwrap()).collect();
        assert_eq!(documents, ["b", "a", "b"]);
    }),
    ("C25", "answers are sorted, ties by index, and one item works", |app| {
        assert_eq!(indices(&app.post("/rerank", tei(&["=1", "=2", "=1", "=2"], &json!({}))).ok()), [1, 3, 0, 2]);
        assert_eq!(indices(&app.post("/v1/rerank", cohere(&["=1", "=1"], &json!({}))).ok()["results"]), [0, 1]);
        assert_eq!(indices(&app.post("/rerank", tei(&["=1"], &json!({}))).ok()), [0]);
    }),
    ("C26", "Cohere items hold index, relevance_score and, if asked, document", |app| {
        for path in ["/v1/rerank", "/v2/rerank"] {
            assert_eq!(
                keys(&app.post(path, cohere(&["a"], &json!({}))).ok()["results"][0]),
                ["index", "relevance_score"]
            );
            let item = app.post(path, cohere(&["a"], &json!({"return_documents": true}))).ok()["results"][0].clone();
            assert_eq!(keys(&item), ["document", "index", "relevance_score"]);
        }
    }),
    ("C27", "document is an object with text, and absent unless asked for", |app| {
        let item = |extra: Value| app.post("/v1/rerank", cohere(&["a"], &extra)).ok()["results"][0]["document"].clone();
        assert_eq!(item(json!({"return_documents": true})), json!({"text": "a"}));
        assert_eq!((item(json!({"return_documents": false})), item(json!({}))), (Value::Null, Value::Null));
    }),
    ("C28", "Voyage items hold relevance_score, index and, if asked, a string", |app| {
        let item = |extra: Value| app.post("/voyage/v1/rerank", cohere(&["=0"], &extra)).ok()["data"][0].clone();
        assert_eq!(item(json!({})), json!({"relevance_score": 0.5, "index": 0}));
        assert_eq!(
            item(json!({"return_documents": true})),
            json!({"relevance_score": 0.5, "index": 0, "document": "=0"})
        );
    }),
    ("C29", "TEI items hold text only when asked for", |app| {
        assert_eq!(
            app.post("/rerank", tei(&["=0"], &json!({"return_text": false}))).ok(),
            json!([{"index": 0, "score": 0.5}])
        );
        assert_eq!(
            app.post("/rerank", tei(&["=0"], &json!({"return_text": true}))).ok(),
            json!([{"index": 0, "score": 0.5, "text": "=0"}])
        );
    }),
    ("C30", "usage is always there, in integers", |app| {
        for path in
            ["/v1/rerank", "/v2/rerank", "/jina/v1/rerank", "/voyage/v1/rerank", "/vllm/rerank", "/infinity/rerank"]
        {
            let usage = app.post(path, cohere(&["a"], &json!({}))).ok()["usage"].clone();
            assert!(usage["total_tokens"].as_u64() > Some(0) && usage["prompt_tokens"].is_u64(), "{path}: {usage}");
        }
    }),
    ("C31", "meta.tokens is always there, in integers", |app| {
        let tokens = app.post("/v1/rerank", cohere(&["a"], &json!({}))).ok()["meta"]["tokens"].clone();
        assert!(tokens["input_tokens"].as_u64() > Some(0) && tokens["output_tokens"].is_u64(), "{tokens}");
    }),
    ("C32", "unknown keys are ignored in every dialect", |app| {
        let extra = json!({"unknown": {"deep": [1, {"x": null}]}, "user": "u", "stream": false});
        for path in [
            "/v1/rerank",
            "/v2/rerank",
            "/rerank",
            "/voyage/v1/rerank",
            "/vllm/rerank",
            "/infinity/rerank",
            "/weaviate/rerank",
        ] {
            app.post(path, cohere(&["a"], &extra)).ok();
        }
        app.post("/rerank", tei(&["a"], &extra)).ok();
        app.post("/score", body(json!({"text_1": "q", "text_2": "a"}), &extra)).ok();
        app.post("/predict", body(json!({"inputs": ["q", "a"]}), &extra)).ok();
        app.post(
            "/v1/ranking",
            body(json!({"query": {"text": "q", "id": 1}, "passages": [{"text": "a", "id": 2}]}), &extra),
        )
        .ok();
        let inputs = json!([{"name": "query", "data": ["q"], "parameters": {}}, {"name": "passage", "data": ["a"]}]);
        app.post("/v2/models/fake/infer", body(json!({"inputs": inputs, "outputs": [{"name": "logit"}]}), &extra)).ok();
    }),
    ("C33", "\"return_documents\":\"true\" is true", |app| {
        let answer = app.post("/v1/rerank", cohere(&["a"], &json!({"return_documents": "true"}))).ok();
        assert_eq!(answer["results"][0]["document"]["text"], "a");
    }),
    ("C34", "documents as objects are read, in the order of rank_fields", |app| {
        let documents = json!([{"text": "=1 t", "title": "h"}, {"title": "=2", "year": 1999, "body": "b"}]);
        let request = json!({"query": "q", "documents": documents, "return_documents": true});
        let results = app.post("/v1/rerank", request.to_string()).ok()["results"].clone();
        assert_eq!(
            (&results[0]["document"]["text"], &results[1]["document"]["text"]),
            (&json!("b\n=2"), &json!("=1 t"))
        );
        let results =
            app.post("/v1/rerank", body(request, &json!({"rank_fields": ["title", "body"]}))).ok()["results"].clone();
        assert!(results.as_array().unwrap().iter().any(|item| item["document"]["text"] == "=2\nb"), "{results}");
    }),
    ("C35", "truncation_direction and truncate are read as clients write them", |app| {
        for direction in ["left", "Left", "right", "Right"] {
            for truncate in [json!(true), json!(false), json!(null)] {
                app.post("/rerank", tei(&["a"], &json!({"truncation_direction": direction, "truncate": truncate})))
                    .ok();
            }
        }
    }),
    ("C36", "other engines' bounds are accepted", |app| {
        let extra =
            json!({"max_chunks_per_doc": 4, "max_tokens_per_doc": 4096, "priority": 0, "truncate_prompt_tokens": -1});
        for path in ["/v1/rerank", "/v2/rerank", "/rerank"] {
            app.post(path, cohere(&["a"], &extra)).ok();
        }
    }),
    ("C37", "escaped texts are the same texts", |app| {
        let plain = app.post("/rerank", r#"{"query":"a/é😀","texts":["tür/tor"]}"#).ok();
        assert_eq!(app.post("/rerank", r#"{"query":"a\/\u00e9\ud83d\ude00","texts":["t\u00fcr\/tor"]}"#).ok(), plain);
    }),
    ("C38", "an unknown model is 404, a missing one the default", |app| {
        is_refusal(&app.post("/v1/rerank", cohere(&["a"], &json!({"model": "rerank-v3.5"}))), &[404]);
        for model in [json!(null), json!(""), json!("default")] {
            assert_eq!(app.post("/v1/rerank", cohere(&["a"], &json!({"model": model}))).ok()["model"], "fake");
        }
    }),
    ("C39", "without keys any Authorization is accepted", |app| {
        for value in ["Bearer x", "bearer x", "Basic eDp5", "nonsense"] {
            app.post_with("/v1/rerank", RAW, &format!("authorization: {value}\r\n")).ok();
        }
    }),
    ("C41", "health, readiness and metrics need no key", |app| {
        for path in ["/livez", "/readyz", "/health", "/metrics", "/meta"] {
            assert_eq!(app.get(path).status, 200, "{path}");
        }
    }),
    ("C42", "an empty document gets a score, alone and among others", |app| {
        assert_eq!(app.post("/v1/rerank", cohere(&[""], &json!({}))).ok()["results"].as_array().unwrap().len(), 1);
        assert_eq!(app.post("/rerank", tei(&["a", "", "b"], &json!({}))).ok().as_array().unwrap().len(), 3);
    }),
    ("C43", "an empty list is 400", |app| {
        is_refusal(&app.post("/v1/rerank", cohere(&[], &json!({}))), &[400]);
        is_refusal(&app.post("/rerank", tei(&[], &json!({}))), &[400]);
        is_refusal(&app.post("/rerank", cohere(&[], &json!({"property": ""}))), &[400]);
        is_refusal(&app.post("/v1/ranking", r#"{"query":{"text":"q"},"passages":[]}"#), &[400]);
    }),
    ("C44", "an over-long document is cut, answered and reported", |app| {
        let response = app.post("/v1/rerank", cohere(&["a", &"b".repeat(5000)], &json!({})));
        assert_eq!((response.status, response.header("x-rescored-truncated")), (200, Some("1")));
    }),
    ("C45", "truncate false and NONE refuse an over-long document", |app| {
        let long = "b".repeat(5000);
        is_refusal(&app.post("/rerank", tei(&["a", &long], &json!({"truncate": false}))), &[422]);
        let nim = json!({"query": {"text": "q"}, "passages": [{"text": long}], "truncate": "NONE"});
        is_refusal(&app.post("/v1/ranking", nim.to_string()), &[422]);
    }),
    ("C46", "33 to 1001 documents pass", |app| {
        for count in [33, 512, 600, 1000, 1001] {
            let documents: Vec<String> = (0..count).map(|i| format!("={i}")).collect();
            let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
            assert_eq!(app.post("/rerank", tei(&documents, &json!({}))).ok().as_array().unwrap().len(), count);
        }
    }),
    ("C47", "10,000 documents of 2 kB pass, and C49, their answer is small", |app| {
        let documents = vec!["x".repeat(2000); 10_000];
        let response = app.post("/v1/rerank", json!({"query": "q", "documents": documents}).to_string());
        assert!(response.body.len() < 50_000_000);
        assert_eq!(response.ok()["results"].as_array().unwrap().len(), 10_000);
    }),
    ("C48", "a request above the cap is refused with limit and setting", |_| {
        let app = App::with(Setup { max_documents: 3, ..Setup::default() });
        let response = app.post("/v1/rerank", cohere(&["a", "b", "c", "d"], &json!({})));
        is_refusal(&response, &[413, 422]);
        assert!(
            response.text().contains("limit is 3") && response.text().contains("RESCORED_MAX_DOCUMENTS"),
            "{response:?}"
        );
    }),
    ("C50", "a score is the same alone, in chunks and in one call", |app| {
        let documents: Vec<String> = (0..100).map(|i| format!("document number {i}")).collect();
        let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
        let score = |documents: &[&str]| {
            let body = json!({"text_1": "q", "text_2": documents});
            scores(&app.post("/score", body.to_string()).ok()["data"], "score")
        };
        let whole = score(&documents);
        for size in [1, 8, 32] {
            assert_eq!(documents.chunks(size).flat_map(score).collect::<Vec<_>>(), whole, "chunks of {size}");
        }
    }),
    ("C51", "default scores are sigmoids of the logits that the switches give", |app| {
        let of = |extra: Value| {
            scores(
                &app.post("/v1/rerank", cohere(&["=-3.5", "=2", "=0.25"], &extra)).ok()["results"],
                "relevance_score",
            )
        };
        let (default, logits) = (of(json!({})), of(json!({"raw_scores": true})));
        assert_eq!((logits.as_slice(), of(json!({"use_activation": false}))), (&[2.0, 0.25, -3.5][..], logits.clone()));
        assert!(
            default.iter().zip(&logits).all(|(score, logit)| (score - sigmoid(*logit)).abs() < 1e-6),
            "{default:?}"
        );
    }),
    ("C52", "NIM and KServe give logits", |app| {
        let nim = app.post("/v1/ranking", r#"{"query":{"text":"q"},"passages":[{"text":"=7.5"}]}"#).ok();
        assert_eq!(nim["rankings"][0]["logit"], 7.5);
        let kserve = r#"{"inputs":[{"name":"query","data":["q"]},{"name":"passage","data":["=7.5"]}]}"#;
        assert_eq!(app.post("/v2/models/fake/infer", kserve).ok()["outputs"][0]["data"], json!([7.5]));
    }),
    ("C54", "answers are HTTP/1.1 with length and type, uncompressed", |app| {
        let response = app.post("/v1/rerank", RAW);
        assert_eq!(response.version, "HTTP/1.1");
        assert_eq!(response.header("content-length"), Some(response.body.len().to_string().as_str()));
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!((response.header("content-encoding"), response.header("transfer-encoding")), (None, None));
    }),
    ("C55", "answers are ASCII, echoed documents included", |app| {
        for path in ["/v1/rerank", "/vllm/rerank", "/infinity/rerank", "/voyage/v1/rerank", "/weaviate/rerank"] {
            let response = app.post(path, cohere(&["straße 東京 😀"], &json!({"return_documents": true})));
            assert!(response.status == 200 && response.body.is_ascii(), "{path}: {response:?}");
            assert!(response.json().to_string().contains("straße 東京 😀"), "{path}");
        }
    }),
    ("C56", "success is 200 with a JSON body", |app| {
        for path in ["/v1/rerank", "/rerank", "/voyage/v1/rerank", "/weaviate/rerank", "/array/rerank"] {
            let response = app.post(path, RAW);
            assert!(response.status == 200 && !response.body.is_empty());
            response.ok();
        }
    }),
    ("C57", "every error body has all four texts", |app| {
        for body in ["", "{", "[]", "null", "{}", r#"{"query":1}"#, r#"{"query":"q","documents":[1]}"#] {
            for path in [
                "/v1/rerank",
                "/rerank",
                "/score",
                "/predict",
                "/v1/ranking",
                "/voyage/v1/rerank",
                "/v2/models/fake/infer",
                "/bedrock/rerank",
            ] {
                is_refusal(&app.post(path, body), &[400]);
            }
        }
        is_refusal(&app.post("/nowhere", "{}"), &[404]);
        is_refusal(&app.get("/v1/rerank"), &[405]);
    }),
    ("C58", "error bodies hold no text", |app| {
        let secret = "zanzibar";
        let bodies = [
            format!(r#"{{"query":"{secret}","documents":"{secret}"}}"#),
            format!(r#"{{"query":"{secret}","documents":["{secret}","=nan {secret}"]}}"#),
            format!(r#"{{"query":"{secret}","documents":["{}"],"truncate":false}}"#, secret.repeat(1000)),
            format!(r#"{{"query":"{secret}","documents":["{secret}"],"top_n":"{secret}"}}"#),
            format!(r#"{{"query":"{secret}" {secret}"#),
        ];
        for body in bodies {
            let response = app.post("/v1/rerank", &body);
            is_refusal(&response, &[400, 413, 422, 424]);
            assert!(!response.text().contains(secret), "{response:?}");
        }
    }),
    ("C59", "permanent faults are 4xx other than 429", |app| {
        for body in ["{", "{}", r#"{"query":"q","documents":[]}"#, r#"{"query":"q","documents":["a"],"model":"x"}"#] {
            let status = app.post("/v1/rerank", body).status;
            assert!((400..500).contains(&status) && status != 429, "{status}");
        }
    }),
    ("C60", "overload answers 429 with Retry-After at once, and passes", |_| {
        let app = App::with(Setup { queue_tokens: 50, ..Setup::default() });
        let slow = r#"{"query":"q","documents":["=slow 1","=slow 2","=slow 3"]}"#;
        let mut busy = app.connect();
        busy.write(format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{slow}", slow.len()));
        std::thread::sleep(Duration::from_millis(100));
        let more = cohere(&[&"z".repeat(400)], &json!({}));
        let refused = app.post("/v1/rerank", &more);
        is_refusal(&refused, &[429]);
        assert!(refused.header("retry-after").is_some());
        assert_eq!(busy.read().status, 200);
        app.post("/v1/rerank", &more).ok();
    }),
    ("C61", "a deadline of 500 ms gives 504 before the caller gives up", |_| {
        let app = App::start();
        let documents: Vec<String> = (0..30).map(|i| format!("=slow {i}")).collect();
        let started = Instant::now();
        let response = app.post_with(
            "/v1/rerank",
            json!({"query": "q", "documents": documents}).to_string(),
            "x-request-timeout-ms: 450\r\n",
        );
        is_refusal(&response, &[504]);
        assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    }),
    ("C62", "readiness answers 503 before the warm-up and quickly after it, also under load", |_| {
        let app = App::with(Setup { warm: false, ..Setup::default() });
        let paths = [
            "/health",
            "/ping",
            "/ready",
            "/.well-known/ready",
            "/v2/health/ready",
            "/v1/health/ready",
            "/meta",
            "/info",
            "/v1/models",
        ];
        for path in paths {
            is_refusal(&app.get(path), &[503]);
        }
        app.health.warmed();
        let slow = r#"{"query":"q","documents":["=slow 1","=slow 2","=slow 3"]}"#;
        let mut busy = app.connect();
        busy.write(format!("POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{slow}", slow.len()));
        for path in paths {
            let started = Instant::now();
            assert_eq!(app.get(path).status, if path == "/.well-known/ready" { 204 } else { 200 }, "{path}");
            assert!(started.elapsed() < Duration::from_millis(500), "{path}");
        }
        let info = app.get("/info").ok();
        assert!(
            info["model_id"].is_string()
                && info["model_type"]["reranker"].is_object()
                && info["max_client_batch_size"].is_u64()
        );
    }),
];
