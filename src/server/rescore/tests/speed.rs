//! How long a large response takes. It prints the time and asserts only what a debug build on a busy machine can hold.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::*;

const HITS: u16 = 10_000;

/// About 20 MB: hits of 2 kB, with the text in two fields and things that are not ours around it.
fn response() -> String {
    let sentence = "the quick brown fox jumps over the lazy dog and goes its way. ";
    let text = format!("{}He says \\\"no\\\" to the café, \\u0061s ever.\\n", sentence.repeat(4)).repeat(6);
    let mut hits = String::new();
    for n in 0..HITS {
        let separator = if n == 0 { "" } else { "," };
        let score = f32::from(HITS - n) / 7.0;
        let _ = write!(
            hits,
            r#"{separator}{{"_index":"wiki","_id":"{n}","_score":{score:?},"_source":{{"url":"https://example.org/{n}","tags":["a","b",{n}],"title":"title {n}","body":{{"text":"{text}"}},"vector":[0.1,-0.25,3e-4]}},"highlight":{{"body.text":["<em>fox</em>"]}}}}"#
        );
    }
    format!(
        r#"{{"took":12,"hits":{{"total":{{"value":10000,"relation":"gte"}},"max_score":1428.5714,"hits":[{hits}]}}}}"#
    )
}

#[test]
fn a_large_response_is_read_and_rewritten_quickly() {
    let response = response();
    let body = format!(
        r#"{{"query":"q","fields":["title","body.text"],"rescore":{{"window_size":10000}},"response":{response}}}"#
    );
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let mut job = Job::parse(Engine::OpenSearch, body.as_bytes(), &Options::default()).unwrap();
        let read = start.elapsed();
        let start_passages = Instant::now();
        let pairs = job.next_stage().unwrap().texts.pairs;
        let passages = start_passages.elapsed();
        let start_rest = Instant::now();
        let scored: Vec<_> = (0..pairs.len()).map(|n| logit(if n % 3 == 0 { 2000.5 } else { 0.5 })).collect();
        job.settle(&scored, Activation::Identity).unwrap();
        let output = job.finish();
        let (rest, total) = (start_rest.elapsed(), start.elapsed());
        eprintln!(
            "{} hits, {} bytes: read {read:?}, passages {passages:?}, settled and written {rest:?}, together {total:?}",
            output.counters.hits,
            body.len()
        );
        assert_eq!((output.counters.rescored, output.counters.missing_fields), (usize::from(HITS), 0));
        assert!(output.bytes.len() > response.len() - 100_000, "{}", output.bytes.len());
        best = best.min(total);
    }
    assert!(best < Duration::from_secs(2), "{best:?}");
}
