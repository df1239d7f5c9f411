//! Pairs per second over HTTP against other programs with the same weights, in one interleaved run on the same texts; the
//! share of the CPU's product rate that forwards reach; and the time of a cached request. Run it by `make bench`.
//!
//! Real, ragged passages of `tests/data`; the server runs without its cache for the comparison. Every round
//! gives each contender the same requests, new ones in each round; what is printed, as Markdown, are medians over rounds with their spread, and
//! medians of the rounds' own ratios, which a busy neighbour disturbs less than rates.
//!
//! `BENCH_ROUNDS`, `BENCH_REQUESTS` and `BENCH_SHAPES` (layers, comma-separated) shorten it; `RESCORED_BIN` names another
//! server; `BENCH_REPORT` names a file to write as well, `BENCH_README` a page whose table between `<!-- throughput -->` and
//! `<!-- /throughput -->` is written anew.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a driver that prints its figures and stops at what it did not expect; clippy does not take it for a test"
)]

#[path = "../api/support/client.rs"]
#[expect(dead_code, reason = "shared with the black-box tests, which use all of it")]
mod client;
mod contender;
mod efficiency;
mod host;
mod report;
mod server;
mod stage;
mod texts;

use std::time::{Duration, Instant};

use contender::{Contender, Peer, Precision};
use report::Figures;
use server::Server;
use stage::{Shape, setting};
use texts::Request;

/// Documents of one request, as in the experiment that this project grew out of.
const BATCH: usize = 32;
/// Requests of one round, for each contender.
const REQUESTS: usize = 8;
/// Rounds, after one that only warms up.
const ROUNDS: usize = 6;
/// Clients at the same time, in the rows of several.
const CLIENTS: usize = 8;
/// Documents of the cached request.
const HOT_DOCUMENTS: usize = 100;
/// How often it is repeated.
const HOT_REPEATS: usize = 2000;
/// Between contenders, so that one's threads have stopped spinning when the next one starts.
const PAUSE: Duration = Duration::from_millis(200);
/// What ratios are given to.
const BASE: &str = "sentence-transformers, PyTorch";

/// Peers: name, arithmetic, script, what it gets between the model's folder and the threads.
const PEERS: [(&str, Precision, &str, &str); 13] = [
    (BASE, Precision::Fp32, "sentence_transformers_.py", "torch"),
    ("sentence-transformers, torch.compile", Precision::Fp32, "sentence_transformers_.py", "torch-compile"),
    ("sentence-transformers, onnx", Precision::Fp32, "sentence_transformers_.py", "onnx"),
    ("sentence-transformers, openvino", Precision::Fp32, "sentence_transformers_.py", "openvino"),
    ("ONNX Runtime in Python, padded", Precision::Fp32, "onnxruntime_padded.py", FP32),
    ("ONNX Runtime in Python, sorted, batches of 8", Precision::Fp32, "onnxruntime_sorted.py", FP32),
    ("FlashRank", Precision::Fp32, "flashrank_.py", FP32),
    ("fastembed", Precision::Fp32, "fastembed_.py", FP32),
    ("fastembed for Rust", Precision::Fp32, "fastembed_rs_.py", FP32),
    ("text-embeddings-inference", Precision::Fp32, "tei_.py", "url"),
    ("ONNX Runtime in Python, padded", Precision::Int8, "onnxruntime_padded.py", INT8),
    ("ONNX Runtime in Python, sorted, batches of 8", Precision::Int8, "onnxruntime_sorted.py", INT8),
    ("FlashRank", Precision::Int8, "flashrank_.py", INT8),
];
const FP32: &str = "onnx/model.onnx";
const INT8: &str = "onnx/model_int8.onnx";

fn main() {
    // `cargo test --benches` and `cargo bench` both come here; only the latter asks for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (count, rounds) = (number("BENCH_REQUESTS", REQUESTS), number("BENCH_ROUNDS", ROUNDS));
    let requests = texts::ragged(count * rounds + count.max(CLIENTS), BATCH);
    let texts = Texts { requests, count, rounds };
    let mut out = Printed { all: String::new() };
    out.print(&heading(&texts));
    let mut efficiency = String::new();
    let mut summaries = Vec::new();
    for layers in setting("BENCH_SHAPES").unwrap_or_else(|| "12,6".to_owned()).split(',') {
        let layers = layers.trim().parse().expect("BENCH_SHAPES: layers, comma-separated");
        let shape = Shape::prepare(layers).unwrap_or_else(|error| panic!("{error}; `make fetch` first"));
        let (text, summary) = compare(&shape, &texts);
        out.print(&text);
        summaries.push((layers, summary));
        let line = efficiency::measure(&shape, texts.of(0, 1), rounds)
            .unwrap_or_else(|why| format!("- not measured: {why}\n"));
        efficiency.push_str(&line);
    }
    out.print(&format!("## Share of the CPU's product rate\n\n{efficiency}\n"));
    out.print(&format!("## From the cache\n\n{}\n\nLoad at the end: {}.\n", hot(&texts.requests), host::load()));
    if let Some(page) = setting("BENCH_README") {
        let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("BENCH_README: {page}: {error}"));
        let text =
            report::replaced(&text, &report::summary(&summaries)).expect("BENCH_README: the page has both marks");
        std::fs::write(&page, text).unwrap_or_else(|error| panic!("BENCH_README: {page}: {error}"));
    }
}

/// All texts of a run.
struct Texts {
    requests: Vec<Request>,
    /// Requests of a round.
    count: usize,
    rounds: usize,
}

impl Texts {
    /// Those of one round: a request at least for each client.
    fn of(&self, round: usize, clients: usize) -> &[Request] {
        &self.requests[round * self.count..][..self.count.max(clients)]
    }
}

/// What was printed so far, for `BENCH_REPORT`.
struct Printed {
    all: String,
}

impl Printed {
    fn print(&mut self, text: &str) {
        print!("{text}");
        self.all.push_str(text);
        if let Some(path) = setting("BENCH_REPORT") {
            std::fs::write(&path, &self.all).unwrap_or_else(|error| panic!("BENCH_REPORT: {path}: {error}"));
        }
    }
}

fn number(name: &str, default: usize) -> usize {
    setting(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: `{text}` is no number")))
}

fn heading(Texts { requests, count, rounds }: &Texts) -> String {
    let lengths: Vec<usize> = requests.iter().flat_map(|request| &request.documents).map(String::len).collect();
    format!(
        "# Throughput on a CPU\n\n- command: `BENCH_ROUNDS={rounds} BENCH_REQUESTS={count} make bench`\n{}\
         - every round has texts of its own: {count} requests of {BATCH} documents, {} for {CLIENTS} clients; {rounds} rounds \
         after one to warm up; a document has {:.0} bytes on average, {} at most\n\
         - rounds interleave all contenders; the median of their own ratios is what to compare, since other work may \
         share the machine, and two threads that wait for each other suffer more from it than two that do not: load (runnable tasks over the last minute) at the start {}, more below\n\n",
        host::facts(),
        count.max(&CLIENTS),
        lengths.iter().sum::<usize>() as f64 / lengths.len() as f64,
        lengths.iter().max().copied().unwrap_or_default(),
        host::load(),
    )
}

/// The table of a shape, and its rows' ratios to the base.
fn compare(shape: &Shape, texts: &Texts) -> (String, Vec<report::Row>) {
    let [fp32, int8] = ["fp32", "int8"].map(|precision| Server::start(&shape.served(precision)));
    let source = shape.is_whole().then(|| {
        let mut vars: Vec<_> = shape.served("int8").into();
        vars.push(("RESCORED_GRAPH", "source".to_owned()));
        Server::start(&vars)
    });
    let mut contenders = vec![
        Contender::over_http("**rescored**", Precision::Fp32, &fp32, 1),
        Contender::over_http("**rescored**", Precision::Fp32, &fp32, CLIENTS),
        Contender::over_http("**rescored**", Precision::Int8, &int8, 1),
        Contender::over_http("**rescored**", Precision::Int8, &int8, CLIENTS),
    ];
    if let Some(source) = &source {
        contenders.push(Contender::over_http("rescored, graph as shipped", Precision::Int8, source, 1));
    }
    let (folder, cores) = (shape.folder.to_str().expect("UTF-8"), host::cores().to_string());
    contenders.extend(PEERS.map(|(name, precision, script, script_arguments)| {
        Contender::peer(name, precision, Peer::start(script, &[folder, script_arguments, &cores]))
    }));
    contenders.iter_mut().for_each(Contender::settle);
    let before = host::load();
    let figures = race(&mut contenders, texts);
    let text = format!(
        "## {} layers\n\n{}\nLoad: {before} before, {} after.\n\n",
        shape.layers,
        report::table(&contenders, &figures, BASE),
        host::load()
    );
    (text, report::rows(&contenders, &figures, BASE))
}

/// Round after round, each contender in turn on the round's texts. The first round only warms up. Scores are compared with
/// the first contender's.
fn race(contenders: &mut [Contender<'_>], texts: &Texts) -> Vec<Figures> {
    let mut figures: Vec<Figures> = contenders.iter().map(|_| Figures::default()).collect();
    for round in 0..=texts.rounds {
        let mut ours = None;
        for (contender, figures) in contenders.iter_mut().zip(&mut figures) {
            std::thread::sleep(PAUSE);
            let requests = texts.of(round, contender.clients());
            let before = contender.cpu_seconds();
            let Some(run) = contender.run(requests) else { continue };
            let cpu = contender.cpu_seconds().zip(before).map(|(after, before)| after - before);
            let pairs = (requests.len() * BATCH) as f64;
            let rate = pairs / run.time.as_secs_f64();
            eprintln!("round {round}: {}: {rate:.1} pairs/s", contender.name);
            let ours = ours.get_or_insert_with(|| run.logits.clone());
            figures.distances.extend(report::distances(ours, &run.logits));
            if round > 0 {
                figures.rates.push(rate);
                figures.cpu.extend(cpu.map(|cpu| cpu * 1000.0 / pairs));
            }
        }
    }
    figures
}

fn hot(requests: &[Request]) -> String {
    let server = Server::start::<&str>(&[]);
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
    format!(
        "A cached request of {} documents ({} bytes): median {:.3} ms, p99 {:.3} ms, {:.0} pairs/s on one connection.",
        documents.len(),
        body.len(),
        at(50),
        at(99),
        documents.len() as f64 / at(50) * 1000.0
    )
}
