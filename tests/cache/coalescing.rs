//! A pair in flight is computed once, whoever asks for it.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use rescored_core::domain::Priority;
use serde_json::json;

use crate::client::Connection;
use crate::support::{Server, core, documents, eventually, score, score_as, thread};

#[test]
fn sixty_four_clients_with_the_same_cold_request_cost_each_distinct_pair_once() {
    let core = core();
    let server = Server::start(&core);
    // Every document comes twice, so that a request coalesces with itself, too.
    let distinct = documents("cold", 20);
    let twice = [distinct.clone(), distinct.clone()].concat();
    let body = json!({"query": "q", "documents": twice}).to_string();
    let before = server.figure("rescored_pairs_scored_total");
    let gate = Arc::new(Barrier::new(64));
    let clients: Vec<_> = (0..64)
        .map(|_| {
            let (address, body, gate) = (server.address, body.clone(), Arc::clone(&gate));
            thread("client", move || {
                let mut connection = Connection::open(address);
                gate.wait();
                connection.post("/v1/rerank", &body, "").ok()["results"].clone()
            })
        })
        .collect();
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().expect("answered")).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "all got the same");
    assert_eq!(answers[0].as_array().map(Vec::len), Some(40));
    assert_eq!(server.figure("rescored_pairs_scored_total") - before, distinct.len() as u64);
}

#[test]
fn a_search_does_not_wait_for_the_warm_up_job_that_scores_its_pair() {
    let core = core();
    // Two workers, and thirty documents of 400 ms each, none as long as another: six seconds of warm-up.
    let slow: Vec<String> = (1..=30).map(|length| format!("=slow {}", "x".repeat(length))).collect();
    let job = {
        let (core, slow) = (core.clone(), slow.clone());
        thread("client", move || score_as(&core, "q", &slow, Priority::WarmUp))
    };
    eventually("the warm-up job runs", || core.metrics.forwards.get() > 0);
    // What the job would come to last: the longest go first.
    let started = Instant::now();
    let answer = score(&core, "q", &slow[..1]).expect("scored");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}: it waited for the job");
    let all = job.join().expect("no panic").expect("the job is answered, too");
    assert_eq!(all.scored[0], answer.scored[0]);
    let twice = core.metrics.pairs_scored.get().saturating_sub(slow.len() as u64);
    assert!(twice <= 1, "{twice} pairs were computed twice; only what is in a forward pass may be");
}
