//! What an engine's user sees, one story a test.

use std::time::Duration;

use rescored_core::domain::{CutSide, LongDocuments};

use super::*;

pub(super) fn body(members: &str, hits: &str) -> String {
    format!(r#"{{"query":"q","fields":["t"],"raw_scores":true,{members}"response":{{"hits":{hits}}}}}"#)
}

/// The response's part that is left after `{"hits":`.
fn hits(answer: &(String, Counters)) -> &str {
    answer.0.strip_prefix(r#"{"hits":"#).unwrap().strip_suffix('}').unwrap()
}

#[test]
fn scores_order_and_best_score_change_and_nothing_else() {
    let given = r#"{"query":"q","fields":"body","raw_scores":"true","rescore":{"window_size":"2.0","query":{"rescore_query":{"match":{}},"query_weight":"0.5","score_mode":"ToTaL"}},
        "response": {"took":3, "hits":{"total":{"value":2,"relation":"eq"},"max_score":3.0,
         "hits":[ {"_index":"i","_id":"1","_score":3.0,"_source":{"body":"1","n":1.50e0}} ,
                  {"_id":"2","_score" : 2, "_source":{"body":"4"},"inner_hits":{"x":{"hits":{"max_score":1,"hits":[{"_score":1}]}}}},
                  {"_id":"3","_score":1.25,"_source":{"body":"no number"}}
         ]}, "aggregations":{"a":{"hits":{"hits":[{"_score":9}]}}}} }"#;
    let expected = r#"{"took":3, "hits":{"total":{"value":2,"relation":"eq"},"max_score":5.0,
         "hits":[ {"_id":"2","_score" : 5.0, "_source":{"body":"4"},"inner_hits":{"x":{"hits":{"max_score":1,"hits":[{"_score":1}]}}}} ,
                  {"_index":"i","_id":"1","_score":2.5,"_source":{"body":"1","n":1.50e0}},
                  {"_id":"3","_score":0.625,"_source":{"body":"no number"}}
         ]}, "aggregations":{"a":{"hits":{"hits":[{"_score":9}]}}}}"#;
    let (answer, counters) = run(Engine::OpenSearch, given, spelled);
    assert_eq!(answer, expected);
    assert_eq!(counters, Counters { hits: 3, rescored: 2, ..Counters::default() });
}

#[test]
fn a_response_without_hits_comes_back_as_it_is() {
    for response in [
        r#"{"hits":{"total":{"value":0},"max_score":null,"hits":[]}}"#,
        r#"{ "hits" : { "hits" : [ ] , "max_score" : null } }"#,
        r#"{"hits":{"total":7}}"#,
        r#"{"hits":{"hits":null},"é":"ü"}"#,
    ] {
        let given = format!(r#"{{"response":{response},"query":"q","fields":["t"]}}"#);
        assert_eq!(run(Engine::OpenSearch, &given, spelled).0, response);
    }
    for result in [
        r#"{"root":{"id":"toplevel","relevance":1.0,"errors":[{"code":12}]}}"#,
        r#"{"root":{"children":[]}, "timing":{}}"#,
    ] {
        let given = format!(r#"{{"query":"q","fields":["t"],"result":{result}}}"#);
        assert_eq!(run(Engine::Vespa, &given, spelled).0, result);
    }
}

#[test]
fn no_stage_changes_nothing() {
    let given = body(r#""rescore":[],"#, r#"{"max_score":9,"hits":[{"_score":1},{"_score":2}]}"#);
    assert_eq!(
        hits(&run(Engine::OpenSearch, &given, spelled)),
        r#"{"max_score":9,"hits":[{"_score":1},{"_score":2}]}"#
    );
}

#[test]
fn hits_without_a_score_get_their_second_one_or_go_last() {
    let given = body(
        r#""rescore":{"window_size":3},"#,
        r#"{"max_score":null,"hits":[{"_score":null,"_source":{"t":"1"}},{"_source":{"t":"2"}},{"fields":{"t":["3"]},"_score":"NaN"},{"_score":null},{"_score":0.5}]}"#,
    );
    let answer = run(Engine::OpenSearch, &given, spelled);
    assert_eq!(
        hits(&answer),
        r#"{"max_score":3.0,"hits":[{"fields":{"t":["3"]},"_score":3.0},{"_source":{"t":"2"},"_score":2.0},{"_score":1.0,"_source":{"t":"1"}},{"_score":0.5},{"_score":null}]}"#
    );
    assert_eq!(answer.1.unscored, 4);
}

#[test]
fn an_object_without_members_is_a_hit_too() {
    let given = body("", r#"{"hits":[{ }]}"#);
    let answer = run(Engine::OpenSearch, &given, |_, passage| logit(if passage.is_empty() { 1.5 } else { 0.0 }));
    assert_eq!(hits(&answer), r#"{"hits":[{ "_score":1.5}]}"#);
    assert_eq!((answer.1.missing_fields, answer.1.empty_passages), (1, 1));
}

#[test]
fn the_default_window_is_all_hits_and_ten_where_the_engines_score_counts() {
    let list: Vec<String> = (0..12).map(|n| format!(r#"{{"_score":1,"_source":{{"t":"{n}"}}}}"#)).collect();
    let hits = format!(r#"{{"hits":[{}]}}"#, list.join(","));
    for (members, rescored) in [
        ("", 12),
        (r#""replace":true,"#, 12),
        (r#""replace":true,"rescore":{"window_size":3},"#, 3),
        (r#""replace":false,"#, 10),
        (r#""rescore":{"query":{"query_weight":0.5}},"#, 10),
        (r#""rescore":{"query":{"query_weight":0,"score_mode":"total"}},"#, 12),
        (r#""rescore":{"query":{"rescore_query":{"match":{}}}},"#, 12),
        (r#""rescore":{"query":{"score_mode":"max"}},"#, 10),
    ] {
        assert_eq!(run(Engine::OpenSearch, &body(members, &hits), spelled).1.rescored, rescored, "{members}");
    }
}

#[test]
fn replace_gives_the_second_score_alone() {
    let given = body(
        r#""replace":true,"#,
        r#"{"max_score":8,"hits":[{"_score":8,"_source":{"t":"-2"}},{"_score":7,"_source":{"t":"0.1"}}]}"#,
    );
    let expected =
        r#"{"max_score":0.1,"hits":[{"_score":0.1,"_source":{"t":"0.1"}},{"_score":-2.0,"_source":{"t":"-2"}}]}"#;
    assert_eq!(hits(&run(Engine::OpenSearch, &given, spelled)), expected);
}

#[test]
fn the_second_score_is_activated_unless_raw_is_asked_for() {
    let hits = r#""response":{"hits":{"hits":[{"_score":0.0}]}}"#;
    for (raw, expected) in [("", 0.880_797_1f32), (r#""raw_scores":true,"#, 2.0)] {
        let given = format!(r#"{{"query":"q","fields":"t",{raw}{hits}}}"#);
        let mut job = Job::parse(Engine::OpenSearch, given.as_bytes(), &Options::default()).unwrap();
        assert_eq!(job.next_stage().unwrap().texts.pairs.len(), 1);
        job.settle(&[logit(2.0)], Activation::Sigmoid).unwrap();
        let answer = String::from_utf8(job.finish().bytes).unwrap();
        assert_eq!(answer, format!(r#"{{"hits":{{"hits":[{{"_score":{expected:?}}}]}}}}"#));
    }
}

#[test]
fn each_stage_is_fed_the_order_of_the_one_before() {
    let given = body(
        r#""model":"large","rescore":[{"window_size":3,"model":"small"},{"window_size":1,"query":{"query_weight":0}}],"#,
        r#"{"hits":[{"_score":3,"_source":{"t":"a"}},{"_score":2,"_source":{"t":"b"}},{"_score":1,"_source":{"t":"c"}}]}"#,
    );
    let mut job = Job::parse(Engine::OpenSearch, given.as_bytes(), &Options::default()).unwrap();
    assert_eq!(job.widest(), 3);
    let first = job.next_stage().unwrap();
    assert_eq!((first.model.as_deref(), first.texts.pairs.len()), (Some("small"), 3));
    job.settle(&[logit(0.0), logit(0.0), logit(10.0)], Activation::Identity).unwrap();
    let second = job.next_stage().unwrap();
    assert_eq!((second.model.as_deref(), second.texts.pairs[0].document.as_ref()), (Some("large"), "c"));
    job.settle(&[logit(0.5)], Activation::Identity).unwrap();
    assert!(job.next_stage().is_none());
    let output = job.finish();
    assert_eq!((output.counters.rescored, output.counters.missing_fields), (3, 0));
    let expected = r#"{"hits":{"hits":[{"_score":0.5,"_source":{"t":"c"}},{"_score":0.0,"_source":{"t":"a"}},{"_score":0.0,"_source":{"t":"b"}}]}}"#;
    assert_eq!(String::from_utf8(output.bytes).unwrap(), expected);
}

#[test]
fn a_partial_answer_keeps_the_rest_below_in_first_stage_order() {
    let given = body(
        "",
        r#"{"hits":[{"_id":"a","_score":30},{"_id":"b","_score":20},{"_id":"c","_score":10},{"_id":"d","_score":5}]}"#,
    );
    let mut job = Job::parse(Engine::OpenSearch, given.as_bytes(), &Options::default()).unwrap();
    assert!(job.next_stage().is_some());
    assert_eq!(job.settle(&[None], Activation::Identity), Err(Miscounted { stage: 0, given: 1, wanted: 4 }));
    job.settle(&[None, logit(0.0), None, logit(1.0)], Activation::Identity).unwrap();
    let output = job.finish();
    assert_eq!((output.counters.rescored, output.counters.unsettled), (2, 2));
    let answer: serde_json::Value = serde_json::from_slice(&output.bytes).unwrap();
    let ids: Vec<&str> =
        answer["hits"]["hits"].as_array().unwrap().iter().map(|hit| hit["_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["d", "b", "a", "c"]);
}

/// Hits with falling first scores that no sigmoid bridges, and logits in the opposite order.
const APART: &str = r#"{"max_score":9,"hits":[{"_id":"a","_score":9,"_source":{"t":"-3"}},{"_id":"b","_score":5,"_source":{"t":"4"}}]}"#;

// Case B3.
#[test]
fn without_weights_the_models_order_comes_back_in_both_formats() {
    let children = APART.replace("_score", "relevance").replace("_source", "fields");
    let children = children.strip_prefix(r#"{"maxrelevance":9,"hits":"#).unwrap().strip_suffix('}').unwrap();
    for rescore in ["", r#""rescore":{"window_size":5},"#, r#""rescore":{"query":{"rescore_query":{"match_all":{}}}},"#]
    {
        let answer = run(Engine::OpenSearch, &body(rescore, APART), spelled);
        assert_eq!(
            hits(&answer),
            r#"{"max_score":4.0,"hits":[{"_id":"b","_score":4.0,"_source":{"t":"4"}},{"_id":"a","_score":-3.0,"_source":{"t":"-3"}}]}"#
        );
        assert_eq!(answer.1.outweighed, 0, "{rescore}");
        let vespa = format!(
            r#"{{"query":"q","fields":["t"],"raw_scores":true,{rescore}"result":{{"root":{{"children":{children}}}}}}}"#
        );
        let answer = run(Engine::Vespa, &vespa, spelled).0;
        assert_eq!(
            answer,
            r#"{"root":{"children":[{"_id":"b","relevance":4.0,"fields":{"t":"4"}},{"_id":"a","relevance":-3.0,"fields":{"t":"-3"}}]}}"#
        );
    }
}

// Case B3.
#[test]
fn a_sum_that_cannot_change_the_order_says_so() {
    let given = format!(
        r#"{{"query":"q","fields":["t"],"explain":true,"rescore":{{"query":{{"query_weight":1}}}},"response":{{"hits":{APART}}}}}"#
    );
    let mut job = Job::parse(Engine::OpenSearch, given.as_bytes(), &Options::default()).unwrap();
    assert_eq!(job.next_stage().unwrap().texts.pairs.len(), 2);
    job.settle(&[logit(-3.0), logit(4.0)], Activation::Sigmoid).unwrap();
    let output = job.finish();
    assert_eq!(output.counters.outweighed, 1);
    let answer: serde_json::Value = serde_json::from_slice(&output.bytes).unwrap();
    for (hit, id) in answer["hits"]["hits"].as_array().unwrap().iter().zip(["a", "b"]) {
        assert_eq!((hit["_id"].as_str(), hit["_rescored"]["outweighed"].as_bool()), (Some(id), Some(true)), "{answer}");
    }
    let enough = body(r#""replace":false,"#, &APART.replace("-3", "-9"));
    assert_eq!(run(Engine::OpenSearch, &enough, spelled).1.outweighed, 0, "logits can");
}

// Case B4.
#[test]
fn a_hit_that_was_not_scored_stays_below_those_that_were_unless_the_caller_asks() {
    let list = r#"{"max_score":3,"hits":[{"_score":3,"_source":{"t":"8.8"}},{"_score":2,"_source":{"t":"-11.3"}},{"_score":1}]}"#;
    let scores = |members: &str| -> Vec<f32> {
        let answer = run(Engine::OpenSearch, &body(members, list), spelled).0;
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let list = answer["hits"]["hits"].as_array().unwrap();
        assert_eq!(answer["hits"]["max_score"], list[0]["_score"], "{members}");
        let scores: Vec<f32> = list.iter().map(|hit| hit["_score"].to_string().parse().unwrap()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{members}: {scores:?}");
        if !members.contains("\"opensearch\"") {
            assert!(list[2].get("_source").is_none(), "{members}: {answer}");
            assert!(scores[2] < scores[1], "{members}: whoever sorts again keeps the order: {scores:?}");
        }
        scores
    };
    assert_eq!(scores(r#""replace":true,"rescore":{"window_size":2},"#)[..2], [8.8, -11.3]);
    assert_eq!(scores(r#""replace":true,"tail":"opensearch","rescore":{"window_size":2},"#), [8.8, 0.0, -11.3]);
    for mode in ["total", "multiply", "avg", "max", "min"] {
        for weight in ["0.5", "-1", "0"] {
            scores(&format!(
                r#""rescore":{{"window_size":2,"query":{{"query_weight":{weight},"score_mode":"{mode}"}}}},"#
            ));
        }
    }
}

// Case B4: its neighbours.
#[test]
fn hits_without_text_change_nothing_for_the_others() {
    let without_text = Some(Scored { logit: Logit::NO_TEXT, tokens: 0, cut: false });
    let blank = r#"{"_id":"blank","_score":3,"_source":{"t":""}}"#;
    let others = r#"{"_id":"1","_score":2,"_source":{"t":"8.8"}},{"_id":"2","_score":2,"_source":{"t":"-1"}},{"_id":"3","_score":1}"#;
    let scores = |members: &str, list: &str, seconds: &[Option<Scored>]| {
        let given = body(members, &format!(r#"{{"hits":[{list}]}}"#));
        let mut job = Job::parse(Engine::OpenSearch, given.as_bytes(), &Options::default()).unwrap();
        job.next_stage().unwrap();
        job.settle(seconds, Activation::Identity).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&job.finish().bytes).unwrap();
        let list = answer["hits"]["hits"].as_array().unwrap().clone();
        list.iter().map(|hit| (hit["_id"].to_string(), hit["_score"].to_string())).collect::<Vec<_>>()
    };
    for tail in ["below", "opensearch", "vespa"] {
        for weights in [r#""replace":true,"#, ""] {
            let members = |size: usize| {
                let stage = if weights.is_empty() { r#","query":{"query_weight":2}"# } else { "" };
                format!(r#"{weights}"tail":"{tail}","rescore":{{"window_size":{size}{stage}}},"#)
            };
            let alone = scores(&members(2), others, &[logit(8.8), logit(-1.0)]);
            let list = format!("{blank},{others}");
            let beside = scores(&members(3), &list, &[without_text, logit(8.8), logit(-1.0)]);
            assert_eq!(beside[..3], alone, "{tail} {weights}");
            let number = |place: usize| beside[place].1.parse::<f32>().unwrap();
            assert!(beside[3].0.contains("blank") && number(3) < number(2), "{tail} {weights}: {beside:?}");
        }
    }
}

// Case B5.
#[test]
fn hits_sorted_by_their_scores_and_a_tie_breaker_are_rescored_and_say_where_the_next_page_begins() {
    let list = r#"{"max_score":null,"hits":[
        {"_id":"1","_score":7.25,"sort":[7.25,"1"],"_source":{"t":"-3"}},
        {"_id":"2","sort":[7.25,"2"],"_score":7.25,"_source":{"t":"2"}},
        {"_id":"é","_score":5.0,"_source":{"t":"9"},"sort":[5.0,
          "é"]}]}"#;
    let mut job = Job::parse(Engine::OpenSearch, body("", list).leak().as_bytes(), &Options::default()).unwrap();
    job.next_stage().unwrap();
    job.settle(&[logit(-3.0), logit(2.0), logit(9.0)], Activation::Identity).unwrap();
    let output = job.finish();
    let answer: serde_json::Value = serde_json::from_slice(&output.bytes).unwrap();
    let list = answer["hits"]["hits"].as_array().unwrap();
    assert_eq!(list.iter().map(|hit| hit["_id"].as_str().unwrap()).collect::<Vec<_>>(), ["é", "2", "1"]);
    assert_eq!(list[1]["sort"], serde_json::json!([7.25, "2"]), "what pages are asked for by stays");
    let after = output.search_after.expect("a place to go on from");
    assert_eq!((after.hit, after.sort.as_str()), (0, r#"[5.0,           "\u00e9"]"#));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&after.sort).unwrap(), list[0]["sort"]);
}

// Case B5.
#[test]
fn a_caller_may_say_that_hits_are_sorted_by_their_scores() {
    let list = r#"{"hits":[{"_score":null,"sort":[7.5,1],"_source":{"t":"1"}},{"sort":[6,2],"_source":{"t":"2"}},{"_score":null,"sort":[5,3]}]}"#;
    let refused = Job::parse(Engine::OpenSearch, body("", list).leak().as_bytes(), &Options::default()).unwrap_err();
    assert_eq!(refused.path(), "response.hits.hits[0].sort");
    assert!(refused.to_string().contains("sorted_by_score"), "{refused}");
    let given = body(r#""replace":false,"sorted_by_score":true,"rescore":{"window_size":2},"#, list);
    let answer = run(Engine::OpenSearch, &given, spelled);
    assert_eq!(
        hits(&answer),
        r#"{"hits":[{"_score":8.5,"sort":[7.5,1],"_source":{"t":"1"}},{"sort":[6,2],"_source":{"t":"2"},"_score":8.0},{"_score":5.0,"sort":[5,3]}]}"#
    );
    assert_eq!(answer.1.unscored, 0);
    let upwards = r#"{"hits":[{"_score":1,"sort":[1]},{"_score":2,"sort":[2]}]}"#;
    let refused = Job::parse(Engine::OpenSearch, body("", upwards).leak().as_bytes(), &Options::default()).unwrap_err();
    assert!(refused.to_string().contains("upwards"), "{refused}");
}

#[test]
fn a_job_may_be_finished_before_its_stages_are_settled() {
    let list = r#"{"max_score":3,"hits":[{"_score":3},{"_score":2}]}"#;
    let given = body("", list);
    let mut job = Job::parse(Engine::OpenSearch, given.as_bytes(), &Options::default()).unwrap();
    assert!(job.next_stage().is_some());
    assert_eq!(job.finish().bytes, format!(r#"{{"hits":{list}}}"#).into_bytes());
}

#[test]
fn explain_says_how_a_score_came_about() {
    let given = body(
        r#""explain":"TRUE","rescore":{"window_size":2},"#,
        r#"{"hits":[{"_score":3},{"_rescored":"old","_score":null},{"_score":1}]}"#,
    );
    let cut = |_: usize, _: &str| Some(Scored { logit: Logit::new(2.5).unwrap(), tokens: 512, cut: true });
    let answer = run(Engine::OpenSearch, &given, cut);
    let expected = concat!(
        r#"{"hits":[{"_score":2.5,"_rescored":{"first_score":3.0,"score":2.5,"logit":2.5,"second_score":2.5,"cut":true}},"#,
        r#"{"_rescored":{"first_score":null,"score":2.5,"logit":2.5,"second_score":2.5,"cut":true},"_score":2.5},"#,
        r#"{"_score":1,"_rescored":{"first_score":1.0,"score":1.0,"logit":null,"second_score":null,"cut":false}}]}"#
    );
    assert_eq!(hits(&answer), expected);
    assert_eq!(answer.1.cut, 2);
}

#[test]
fn explain_lists_the_stages_when_there_are_several() {
    let given = body(r#""explain":true,"rescore":[{},{"query":{"query_weight":2}}],"#, r#"{"hits":[{"_score":1}]}"#);
    let answer = run(Engine::OpenSearch, &given, |stage, _| logit(if stage == 0 { 0.5 } else { 4.0 }));
    let expected = concat!(
        r#"{"hits":[{"_score":5.0,"_rescored":{"first_score":1.0,"score":5.0,"logit":4.0,"second_score":4.0,"cut":false,"stages":["#,
        r#"{"stage":0,"logit":0.5,"second_score":0.5,"score":0.5,"cut":false},"#,
        r#"{"stage":1,"logit":4.0,"second_score":4.0,"score":5.0,"cut":false}]}}]}"#
    );
    assert_eq!(hits(&answer), expected);
}

#[test]
fn terms_are_read_in_every_spelling() {
    let given = body(
        r#""timeout_ms":"250","allow_partial":"True","truncate":"START","max_tokens_per_doc":128.0,"max_chunks_per_doc":4,"unknown":{"a":[1]},"#,
        r#"{"hits":[]}"#,
    );
    let job = Job::parse(Engine::OpenSearch, given.as_bytes(), &Options::default()).unwrap();
    let cut = Truncation {
        max_document: Some(128),
        side: CutSide::Left,
        long_documents: LongDocuments::MaxPassage { windows: 4 },
        ..Truncation::MODEL
    };
    let timeout = Some(Duration::from_millis(250));
    assert_eq!(*job.terms(), Terms { timeout, allow_partial: true, cut, refuse_cut: false, explain: false });
    for (truncate, refuse_cut) in
        [("false", true), ("\"NONE\"", true), ("true", false), ("null", false), ("\"end\"", false)]
    {
        let given = body(&format!(r#""truncate":{truncate},"#), r#"{"hits":[]}"#);
        let job = Job::parse(Engine::OpenSearch, given.as_bytes(), &Options::default()).unwrap();
        assert_eq!(job.terms().refuse_cut, refuse_cut, "{truncate}");
    }
}

#[test]
fn jobs_and_stages_may_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Job<'_>>();
    crosses::<StageRequest<'_>>();
}
