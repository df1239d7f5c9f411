//! Engine results in, engine results out, over the socket. Formulas are recomputed from the first scores and from the
//! logits that the server itself gives for the same passages.

use serde_json::{Value, json};

use crate::support::App;

/// Hits whose documents carry their logit, with falling first scores.
fn response(logits: &[f32]) -> Value {
    let hits: Vec<Value> = logits
        .iter()
        .enumerate()
        .map(|(n, logit)| {
            json!({"_index": "i", "_id": n.to_string(), "_score": 10.0 - n as f32,
                   "_source": {"body": format!("={logit} passage {n}")}, "highlight": {"body": ["<em>x</em>"]}})
        })
        .collect();
    json!({"took": 3, "timed_out": false, "hits": {"total": {"value": logits.len(), "relation": "eq"},
           "max_score": 10.0, "hits": hits}, "aggregations": {"a": {"buckets": [1.50, 2]}}})
}

fn ids(answer: &Value) -> Vec<usize> {
    let hits = answer["hits"]["hits"].as_array().expect("hits");
    hits.iter().map(|hit| hit["_id"].as_str().expect("an id").parse().expect("a number")).collect()
}

/// What OpenSearch's `QueryRescorer` computes, in 32-bit floats; hits outside the window keep `first * weight`.
fn expected(first: &[f32], second: &[f32], weights: (f32, f32), window: usize, mode: &str) -> Vec<(usize, f32)> {
    let mut scores: Vec<(usize, f32)> = first
        .iter()
        .zip(second)
        .enumerate()
        .map(|(n, (first, second))| {
            let (p, s) = (first * weights.0, second * weights.1);
            let score = match mode {
                _ if n >= window => p,
                "total" => p + s,
                "multiply" => p * s,
                "avg" => f32::midpoint(p, s),
                "max" => p.max(s),
                "min" => p.min(s),
                other => panic!("no mode {other}"),
            };
            (n, score)
        })
        .collect();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1));
    scores
}

#[test]
fn opensearch_scores_follow_its_formulas_in_every_mode_and_window() {
    let app = App::start();
    let logits = [0.5_f32, 3.0, -2.0, 7.5, 1.25, -6.0];
    let first: Vec<f32> = (0..logits.len()).map(|n| 10.0 - n as f32).collect();
    for mode in ["total", "multiply", "avg", "max", "min"] {
        for window in [1, 3, 6, 50] {
            let rescore = json!({"window_size": window, "tail": "opensearch",
                "query": {"query_weight": 0.7, "rescore_query_weight": 1.2, "score_mode": mode.to_uppercase()}});
            let body = json!({"query": "q", "fields": ["body"], "rescore": rescore, "raw_scores": true,
                              "response": response(&logits)});
            let answer = app.post("/rescore/opensearch", body.to_string()).ok();
            let expected = expected(&first, &logits, (0.7, 1.2), window, mode);
            let order: Vec<usize> = expected.iter().map(|(n, _)| *n).collect();
            assert_eq!(ids(&answer), order, "{mode}, window {window}");
            for (hit, (_, score)) in answer["hits"]["hits"].as_array().unwrap().iter().zip(&expected) {
                let printed: f32 = hit["_score"].to_string().parse().unwrap();
                assert_eq!(printed.to_bits(), score.to_bits(), "{mode}, window {window}: {hit}");
            }
            assert_eq!(answer["hits"]["max_score"], answer["hits"]["hits"][0]["_score"]);
            assert_eq!(answer["aggregations"], response(&logits)["aggregations"]);
        }
    }
}

// Case B3.
#[test]
fn without_weights_the_model_makes_the_order_and_a_sum_that_cannot_is_reported() {
    let app = App::start();
    let logits = [-4.0_f32, 3.0, -2.0, 7.5];
    let plain = json!({"query": "q", "fields": ["body"], "response": response(&logits)});
    let answer = app.post("/rescore/opensearch", plain.to_string());
    assert_eq!(answer.header("x-rescored-outweighed"), None);
    assert_eq!(ids(&answer.ok()), [3, 1, 2, 0]);
    let sum = json!({"query": "q", "fields": ["body"], "response": response(&logits), "explain": true,
                     "rescore": {"query": {"query_weight": 2, "rescore_query_weight": 1}}});
    let answer = app.post("/rescore/opensearch", sum.to_string());
    assert_eq!(answer.header("x-rescored-outweighed"), Some("1"));
    let answer = answer.ok();
    assert_eq!(ids(&answer), [0, 1, 2, 3], "scores of 10, 9, 8 and 7 and sigmoids");
    assert_eq!(answer["hits"]["hits"][0]["_rescored"]["outweighed"], true);
    let children: Vec<Value> = [(9.0, -5.0), (8.0, 4.0)]
        .iter()
        .map(|(relevance, logit)| json!({"id": logit, "relevance": relevance, "fields": {"body": format!("={logit} x")}}))
        .collect();
    let vespa = json!({"query": "q", "fields": ["body"], "result": {"root": {"children": children}}});
    assert_eq!(app.post("/rescore/vespa", vespa.to_string()).ok()["root"]["children"][0]["id"], 4.0);
}

// Case B4.
#[test]
fn unscored_hits_stay_below_scored_ones_and_max_score_is_the_best_one() {
    let app = App::start();
    let rescore = json!({"window_size": 2});
    let body = json!({"query": "q", "fields": ["body"], "raw_scores": true, "replace": true, "rescore": rescore,
                      "response": response(&[8.75, -11.25, 20.0])});
    let answer = app.post("/rescore/opensearch", body.to_string()).ok();
    assert_eq!(ids(&answer), [0, 1, 2]);
    assert_eq!(answer["hits"]["max_score"], 8.75);
    assert!(answer["hits"]["hits"][2]["_score"].as_f64().unwrap() < -11.25, "{answer}");
}

// Case B5.
#[test]
fn hits_with_a_tie_breaker_are_served_and_the_next_page_is_named() {
    let app = App::start();
    let mut sorted = response(&[-4.0, 3.0]);
    for (n, hit) in sorted["hits"]["hits"].as_array_mut().unwrap().iter_mut().enumerate() {
        hit["sort"] = json!([10.0 - n as f32, n.to_string()]);
    }
    let body = json!({"query": "q", "fields": ["body"], "response": sorted});
    let answer = app.post("/rescore/opensearch", body.to_string());
    assert_eq!(answer.header("x-rescored-search-after"), Some(r#"[9.0,"1"]"#));
    assert_eq!(answer.header("x-rescored-search-after-hit"), Some("0"));
    assert_eq!(ids(&answer.ok()), [1, 0]);
}

#[test]
fn two_stages_feed_each_other_and_each_may_name_its_model() {
    let app = App::start();
    let logits = [1.0_f32, 2.0, 3.0, 4.0];
    let stage = |window: usize, model: &str| json!({"window_size": window, "model": model, "replace": true});
    let body = json!({"query": "q", "fields": ["body"], "raw_scores": true, "response": response(&logits),
                      "rescore": [stage(4, "fake"), stage(2, "other")]});
    let answer = app.post("/rescore/opensearch", body.to_string()).ok();
    assert_eq!(ids(&answer)[..2], [3, 2]);
    let unknown = json!({"query": "q", "fields": ["body"], "response": response(&logits), "rescore": stage(4, "none")});
    assert_eq!(app.post("/rescore/opensearch", unknown.to_string()).status, 404);
}

#[test]
fn vespa_hits_outside_the_window_stay_below_it() {
    let app = App::start();
    let children: Vec<Value> = [(9.0, -5.0), (8.0, 4.0), (7.0, 7.0)]
        .iter()
        .enumerate()
        .map(|(n, (relevance, logit))| {
            json!({"id": n.to_string(), "relevance": relevance, "source": "s", "fields": {"body": format!("={logit} x")}})
        })
        .collect();
    let result =
        json!({"root": {"id": "toplevel", "relevance": 1.0, "fields": {"totalCount": 3}, "children": children}});
    let rescore = json!({"window_size": 2, "replace": true});
    let body = json!({"query": "q", "fields": "body", "raw_scores": true, "rescore": rescore, "result": result});
    let answer = app.post("/rescore/vespa", body.to_string()).ok();
    let order: Vec<&str> =
        answer["root"]["children"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect();
    assert_eq!(order, ["1", "0", "2"], "{answer}");
    assert_eq!(answer["root"]["fields"]["totalCount"], 3);
}

#[test]
fn what_is_late_stays_below_in_first_stage_order_and_is_counted() {
    let app = App::start();
    let mut slow = response(&[1.0; 12]);
    for (n, hit) in slow["hits"]["hits"].as_array_mut().unwrap().iter_mut().enumerate() {
        // Of different lengths, so that each is a pass of its own.
        hit["_source"]["body"] = json!(format!("=slow {}", "x".repeat(n + 1)));
    }
    let body = json!({"query": "q", "fields": ["body"], "rescore": {"window_size": 12}, "timeout_ms": 1000,
                      "response": slow});
    let answer = app.post("/rescore/opensearch", body.to_string());
    let partial = answer.header("x-rescored-partial").expect("the answer says that it is partial").to_owned();
    let (done, wanted) = partial.split_once('/').expect("done/wanted");
    let done: usize = done.parse().unwrap();
    assert!(wanted == "12" && done > 0 && done < 12, "{partial}");
    let order = ids(&answer.ok());
    assert!(order[done..].is_sorted(), "the late ones keep their order: {order:?}");
    let whole = json!({"query": "q", "fields": ["body"], "rescore": {"window_size": 12}, "timeout_ms": 300,
                       "allow_partial": false, "response": response(&[1.0; 1])});
    app.post("/rescore/opensearch", whole.to_string()).ok();
    let body = body.to_string().replace("\"timeout_ms\":1000", "\"timeout_ms\":100,\"allow_partial\":false");
    let body = body.replace("=slow", "=slow again");
    assert_eq!(app.post("/rescore/opensearch", body).status, 504);
}

#[test]
fn wrong_bodies_name_the_path_that_is_wrong() {
    let app = App::start();
    let good = response(&[1.0]);
    let mut score = good.clone();
    score["hits"]["hits"][0]["_score"] = json!({});
    let cases = [
        (json!({"fields": ["body"], "response": good}), "query"),
        (json!({"query": "q", "fields": ["body"]}), "response"),
        (json!({"query": "q", "fields": ["body"], "response": score}), "response.hits.hits[0]._score"),
        (
            json!({"query": "q", "fields": ["body"], "response": good, "rescore": {"query": {"score_mode": "mean"}}}),
            "score_mode",
        ),
    ];
    for (body, path) in cases {
        let answer = app.post("/rescore/opensearch", body.to_string());
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.json()["error"].as_str().unwrap().contains(path), "{path}: {answer:?}");
    }
    let many = response(&[1.0; 30]);
    let small = App::with(crate::support::Setup { max_documents: 20, ..Default::default() });
    let body = json!({"query": "q", "fields": ["body"], "response": many}).to_string();
    let answer = small.post("/rescore/opensearch", body);
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("RESCORED_MAX_DOCUMENTS"), "{answer:?}");
    assert_eq!(app.get("/rescore/vespa").status, 405);
}

#[test]
fn a_result_without_hits_comes_back_byte_for_byte() {
    let app = App::start();
    let inner = r#"{"took":1, "hits":{"total":{"value":0},"max_score":null,"hits":[]}}"#;
    let body = format!(r#"{{"query":"q","fields":["body"],"response":{inner}}}"#);
    assert_eq!(app.post("/rescore/opensearch", body).text(), inner);
}
