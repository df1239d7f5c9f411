//! A score is a function of the pair alone: not of its neighbours, the order, the clients, the cache.

use std::collections::HashMap;

use crate::support::{Alone, REAL, golden, logits, text};

/// Mixed requests, and the clients that send them.
const REQUESTS: usize = 2000;
const CLIENTS: usize = 32;

/// Short golden pairs, so that every test here stays within seconds.
fn short_pairs(most: usize) -> Vec<(String, String)> {
    let pairs = golden("pairs");
    let short = |document: &str| document.len() < 400;
    let pairs = pairs.iter().filter(|pair| pair["may_refuse"] != true && short(text(pair, "document")));
    pairs.map(|pair| (text(pair, "query").into(), text(pair, "document").into())).take(most).collect()
}

#[test]
fn company_order_clients_and_cache_leave_every_bit_of_a_logit_alone() {
    let pairs = short_pairs(50);
    let mut alone = Alone::open();
    let query = pairs[0].0.as_str();
    let documents: Vec<&str> = pairs.iter().map(|(_, document)| document.as_str()).collect();
    let expected: HashMap<&str, u32> =
        documents.iter().map(|document| (*document, alone.logit(query, document).to_bits())).collect();
    let check = |documents: &[&str], case: &str| {
        let got = logits(&mut REAL.connect(), query, documents);
        for (document, logit) in documents.iter().zip(got) {
            assert_eq!(logit.to_bits(), expected[document], "{case}: {logit}");
        }
    };
    let backwards: Vec<&str> = documents.iter().rev().copied().collect();
    // Eight clients at once, cold: each pair is scored for one of them and shared with the others.
    std::thread::scope(|scope| {
        for client in 0..8 {
            let documents = if client % 2 == 0 { &documents } else { &backwards };
            scope.spawn(move || check(documents, "one of eight clients"));
        }
    });
    check(&documents, "cached");
    check(&backwards, "cached, in another order");
    for document in documents.iter().take(10) {
        check(&[document], "alone");
    }
}

#[test]
fn a_query_among_others_scores_as_alone() {
    let pairs = short_pairs(20);
    let mut alone = Alone::open();
    for (query, document) in &pairs[10..] {
        let logit = logits(&mut REAL.connect(), query, &["a neighbour of no matter", document])[1];
        assert_eq!(logit.to_bits(), alone.logit(query, document).to_bits());
    }
}

#[test]
fn two_thousand_mixed_requests_from_thirty_two_clients_equal_their_serial_twins() {
    let pairs = short_pairs(60);
    let documents: Vec<&str> = pairs.iter().map(|(_, document)| document.as_str()).collect();
    let queries: Vec<&str> = pairs.iter().map(|(query, _)| query.as_str()).take(5).collect();
    // The n-th request: one of five queries, one to twelve documents from a place of its own.
    let request = |n: usize| {
        let size = 1 + n * 7 % 12;
        let documents: Vec<&str> = (0..size).map(|at| documents[(n * 13 + at) % documents.len()]).collect();
        (queries[n % queries.len()], documents)
    };
    let answers: Vec<(usize, Vec<u32>)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let mut connection = REAL.connect();
                    (client..REQUESTS)
                        .step_by(CLIENTS)
                        .map(|n| {
                            let (query, documents) = request(n);
                            (n, bits(logits(&mut connection, query, &documents)))
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    assert_eq!(answers.len(), REQUESTS);
    let mut alone = Alone::open();
    let mut twins: HashMap<(&str, &str), u32> = HashMap::new();
    for (n, answer) in answers {
        let (query, documents) = request(n);
        let expected: Vec<u32> = documents
            .iter()
            .map(|document| *twins.entry((query, document)).or_insert_with(|| alone.logit(query, document).to_bits()))
            .collect();
        assert_eq!(answer, expected, "request {n}");
    }
}

#[test]
fn clients_that_ask_the_same_at_once_share_each_forward_pass() {
    let pairs = short_pairs(8);
    let documents: Vec<String> = pairs.iter().map(|(_, document)| format!("{document} shared by all")).collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    // Other tests score pairs meanwhile; what can be counted here is that no client computed for itself.
    let before = REAL.count("rescored_cache_misses_total");
    let answers: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..16).map(|_| scope.spawn(|| bits(logits(&mut REAL.connect(), "who shares", &documents)))).collect();
        clients.into_iter().map(|client| client.join().expect("a client")).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "all clients get the same answer");
    assert!(REAL.count("rescored_cache_misses_total") > before);
}

fn bits(logits: Vec<f32>) -> Vec<u32> {
    logits.into_iter().map(f32::to_bits).collect()
}
