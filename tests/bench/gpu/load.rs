//! Texts over HTTP: clients that keep their connections, requests that no cache has seen.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rescored_lab::bench::load::{Span, drive};
use serde_json::Value;

use super::client::Connection;
use super::{list, number, xquad};

/// Characters of a passage on average; with its query such a pair is about 76 tokens of English WordPiece long.
const CHARACTERS: usize = 205;
/// Requests that each client has ready, and repeats with other words in front of the query.
const READY: usize = 24;

pub(crate) fn run() {
    let address: SocketAddr = list("BENCH_ADDRESS", "127.0.0.1:8787")[0].parse().expect("an address");
    let seconds = Duration::from_secs(number("BENCH_SECONDS", 5) as u64);
    let passages = passages();
    for documents in list("BENCH_DOCUMENTS", "32") {
        for clients in list("BENCH_CLIENTS", "1,16") {
            measure(
                address,
                clients.parse().expect("clients"),
                documents.parse().expect("documents"),
                &passages,
                seconds,
            );
        }
    }
}

fn measure(address: SocketAddr, clients: usize, documents: usize, passages: &[String], seconds: Duration) {
    let began = Instant::now();
    let connect = |number| Client::new(address, number, documents, passages);
    let sent = drive(clients, Span::Time(seconds), connect, |client, _| client.ask());
    let elapsed = began.elapsed();
    let mut times: Vec<Duration> = sent.into_iter().map(|one| one.took).collect();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let mean = times.iter().sum::<Duration>().as_secs_f64() / times.len() as f64 * 1e3;
    println!(
        "http: {clients} clients, {documents} documents a request: {:.0} pairs/s; {mean:.2} ms on average, {:.2} p50, {:.2} p99, {} requests",
        (times.len() * documents) as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        times.len()
    );
}

/// One client, with the lists of documents that it repeats.
struct Client {
    connection: Connection,
    number: usize,
    asked: usize,
    lists: Vec<String>,
}

impl Client {
    fn new(address: SocketAddr, number: usize, documents: usize, passages: &[String]) -> Self {
        let list = |at: usize| {
            let first = (number * READY + at) * documents;
            let chosen: Vec<&String> = (0..documents).map(|n| &passages[(first + n * 7) % passages.len()]).collect();
            serde_json::to_string(&chosen).expect("JSON")
        };
        Self { connection: Connection::open(address), number, asked: 0, lists: (0..READY).map(list).collect() }
    }

    /// Sends one request. The query names it, so no two pairs are the same.
    fn ask(&mut self) {
        let (number, count) = (self.number, self.asked);
        self.asked += 1;
        let query = format!("which treatment of case {number} {count} has the better outcome");
        let documents = &self.lists[count % READY];
        let body = format!("{{\"query\":\"{query}\",\"return_documents\":false,\"documents\":{documents}}}");
        let answer = self.connection.post("/v1/rerank", body, "");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }
}

/// The corpora of the folder that `BENCH_TEXTS` names, both of them; else the one of `tests/data`.
fn corpora() -> Vec<String> {
    let Ok(folder) = std::env::var("BENCH_TEXTS") else { return vec![xquad::file("corpus.jsonl")] };
    ["pubmedqa/corpus.jsonl", "xquad-en/corpus.jsonl"]
        .iter()
        .map(|file| PathBuf::from(&folder).join(file))
        .map(|path| std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display())))
        .collect()
}

/// Runs of sentences of real text, ragged.
fn passages() -> Vec<String> {
    let mut sentences = Vec::new();
    for text in corpora() {
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).expect("a line of JSON");
            sentences.extend(value["text"].as_str().expect("a text").split_inclusive(". ").map(str::to_owned));
        }
    }
    assert!(!sentences.is_empty(), "a corpus without a sentence");
    let mut passages = Vec::new();
    let mut passage = String::new();
    for (at, sentence) in sentences.iter().enumerate() {
        passage.push_str(sentence);
        // Between a third and five thirds of the mean.
        let enough = CHARACTERS / 3 + (at * 2_654_435_761 % 97) * CHARACTERS * 4 / 3 / 97;
        if passage.len() >= enough {
            passages.push(std::mem::take(&mut passage));
        }
    }
    passages
}
