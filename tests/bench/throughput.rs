//! Pairs per second over HTTP against the plain way, in one interleaved run on the same texts, and the time of a cached
//! request. Run it by `make bench`.
//!
//! Real, ragged passages of the shared test data; the server runs without its cache for the comparison. Every round
//! gives each contender the same requests; what is printed are medians over rounds, with their spread, and the ratios of
//! each round.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that cannot go on says why and ends"
)]

#[path = "../api/support/client.rs"]
#[expect(dead_code, reason = "shared with the black-box tests, which use all of it")]
mod client;
mod contender;
mod texts;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use contender::{Contender, Peer, Server};
use texts::Request;

/// Documents of one request, as in the experiment that this project grew out of.
const BATCH: usize = 32;
/// Requests of one round, for each contender.
const REQUESTS: usize = 8;
/// Rounds; the first only warms up.
const ROUNDS: usize = 6;
/// Documents of the cached request.
const HOT_DOCUMENTS: usize = 100;
/// How often it is repeated.
const HOT_REPEATS: usize = 2000;

fn main() {
    // `cargo test --benches` and `cargo bench` both come here; only the latter asks for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let Some(requests) = texts::ragged(REQUESTS, BATCH) else { return };
    let lengths: Vec<usize> = requests.iter().flat_map(|request| &request.documents).map(String::len).collect();
    println!(
        "{} requests of {BATCH} documents; a document has {:.0} bytes on average, {} at most\n",
        requests.len(),
        lengths.iter().sum::<usize>() as f64 / lengths.len() as f64,
        lengths.iter().max().copied().unwrap_or_default()
    );
    compare(&requests);
    hot(&requests);
}

fn compare(requests: &[Request]) {
    let server = Server::start(&[("RESCORED_CACHE_BYTES", "0")]);
    let model = server.model_folder();
    let mut contenders = vec![
        Contender::over_http("rescored int8, 1 client", &server, 1),
        Contender::over_http("rescored int8, 8 clients", &server, 8),
    ];
    match Peer::start("onnxruntime_padded.py", &[model.to_str().unwrap_or_default(), "2"]) {
        Some(peer) => contenders.push(Contender::peer("onnxruntime in Python, padded 32, 2 threads", peer)),
        None => println!("skipped: no Python with onnxruntime, tokenizers, numpy; `make bench` makes one\n"),
    }
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
    for round in 0..=ROUNDS {
        for (contender, rates) in contenders.iter_mut().zip(&mut rates) {
            let seconds = contender.time(requests);
            if round > 0 {
                rates.push((requests.len() * BATCH) as f64 / seconds.as_secs_f64());
            }
        }
    }
    println!("| contender | pairs/s, median | least to most | ratio to the last, median |\n|---|---|---|---|");
    let base = rates.last().cloned().unwrap_or_default();
    for (contender, rates) in contenders.iter().zip(&rates) {
        let ratios: Vec<f64> = rates.iter().zip(&base).map(|(rate, base)| rate / base).collect();
        let [least, middle, most] = spread(rates);
        println!("| {} | {middle:.1} | {least:.1} to {most:.1} | {:.2} |", contender.name, spread(&ratios)[1]);
    }
    println!();
}

fn hot(requests: &[Request]) {
    let server = Server::start(&[]);
    let documents: Vec<String> =
        requests.iter().flat_map(|request| &request.documents).take(HOT_DOCUMENTS).cloned().collect();
    let request = Request { query: requests[0].query.clone(), documents };
    let (body, documents) = (request.body(), request.documents);
    let mut connection = server.connect();
    connection.post("/v1/rerank", &body, "").ok();
    let mut times: Vec<f64> = (0..HOT_REPEATS)
        .map(|_| {
            let started = Instant::now();
            let answer = connection.post("/v1/rerank", &body, "");
            let time = started.elapsed();
            assert_eq!(answer.header("x-rescored-cache-hits"), Some(documents.len().to_string().as_str()));
            time.as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "a cached request of {} documents ({} bytes): median {:.3} ms, p99 {:.3} ms, {:.0} pairs/s on one connection",
        documents.len(),
        body.len(),
        at(50),
        at(99),
        documents.len() as f64 / at(50) * 1000.0
    );
}

/// Least, median, most.
fn spread(values: &[f64]) -> [f64; 3] {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => [f64::NAN; 3],
        [first, .., last] => [*first, values[values.len() / 2], *last],
        [only] => [*only; 3],
    }
}

/// Where `make bench` puts its Python.
fn python() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv-bench/bin/python")
}

/// Long enough for a model to load on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);
