//! Pairs per second over HTTP against other programs with the same weights, in one interleaved run on the same texts; the
//! share of the CPU's product rate that forwards reach. Run it by `make bench`.
//!
//! Real, ragged passages of `tests/data`; the server runs without its cache for the comparison. Every round
//! gives each contender the same requests, new ones in each round; what is printed, as Markdown, are medians over rounds with their spread, and
//! medians of the rounds' own ratios, which a busy neighbour disturbs less than rates.
//!
//! `BENCH_ROUNDS`, `BENCH_REQUESTS` and `BENCH_SHAPES` (layers, comma-separated) shorten it; `RESCORED_BIN` names another
//! server; `BENCH_REPORT` names a file to write as well, `BENCH_README` a page whose table between `<!-- throughput -->` and
//! `<!-- /throughput -->` is written anew.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a driver that prints its figures and stops at what it did not expect; clippy does not take it for a test"
)]

mod efficiency;
#[expect(dead_code, reason = "no bound is judged here")]
mod page;
mod program;
mod report;
mod stage;
mod texts;

use rescored_lab::bench::Watch;
use rescored_lab::bench::arms::{Arm, ArmRun, Effort, race};
use rescored_lab::bench::candidates::Candidate;
use rescored_lab::bench::load::{Load, Target};
use rescored_lab::bench::python::Python;
use rescored_lab::bench::report::{Fact, Section};
use rescored_lab::bench::served::{Program, Served, Setting};
use rescored_lab::bench::texts::Request;
use rescored_runtime::catalogue::PrecisionName;

use page::Page;
use program::{program, setting};
use report::{Contender, Row};
use stage::Shape;

/// Documents of one request, as in the experiment that this project grew out of.
const BATCH: usize = 32;
/// Requests of one round, for each contender.
const REQUESTS: usize = 8;
/// Rounds, after one that only warms up.
const ROUNDS: usize = 6;
/// Clients at the same time, in the rows of several.
const CLIENTS: usize = 8;

/// Progress, as lines.
struct Log;

impl Watch for Log {
    fn say(&self, line: &str) {
        eprintln!("{line}");
    }

    fn part(&self, _: f64, _: f64) {}

    fn step(&self, done: usize, all: usize, next: &str) {
        eprintln!("{done} of {all}: {next}");
    }
}

/// What is measured.
struct Texts {
    requests: Vec<Request>,
    /// Requests of a round.
    count: usize,
    rounds: usize,
}

fn main() {
    // `cargo test --benches` and `cargo bench` both come here; only the latter asks for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (count, rounds) = (number("BENCH_REQUESTS", REQUESTS), number("BENCH_ROUNDS", ROUNDS));
    let requests = texts::ragged(count.max(CLIENTS) * (rounds + 1), BATCH);
    let texts = Texts { requests, count, rounds };
    let program = program();
    let python = Python::given(stage::python(), program.vars.clone()).expect("a folder for the peers' scripts");
    let command = format!("BENCH_ROUNDS={rounds} BENCH_REQUESTS={count} make bench");
    let mut page = Page::begin("Throughput on a CPU", &command);
    let (mut summaries, mut efficiency) = (Vec::new(), Vec::new());
    for layers in setting("BENCH_SHAPES").unwrap_or_else(|| "12,6".to_owned()).split(',') {
        let layers = layers.trim().parse().expect("BENCH_SHAPES: layers, comma-separated");
        let shape = Shape::prepare(&program, layers).unwrap_or_else(|error| panic!("{error}; `make fetch` first"));
        page.add(|| {
            let (section, rows) = compare(&program, &python, &shape, &texts);
            summaries.push((layers, rows));
            section
        });
        let some = &texts.requests[..count];
        efficiency.push(
            efficiency::measure(&program, &python, &shape, some, rounds)
                .unwrap_or_else(|why| format!("{layers} layers: not measured: {why}")),
        );
    }
    page.add(|| Section {
        id: "product-rate".to_owned(),
        title: "Share of the CPU's product rate".to_owned(),
        question: "How much of what the cores can multiply do forward passes reach?".to_owned(),
        findings: efficiency,
        ..Section::default()
    });
    if summaries.iter().all(|(_, rows)| rows.is_empty()) {
        eprintln!("BENCH_README is left as it is: PyTorch, which ratios are given to, did not run");
    } else if let Some(path) = setting("BENCH_README") {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("BENCH_README: {path}: {error}"));
        let text =
            report::replaced(&text, &report::summary(&summaries)).expect("BENCH_README: the page has both marks");
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("BENCH_README: {path}: {error}"));
    }
}

fn number(name: &str, default: usize) -> usize {
    setting(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: `{text}` is no number")))
}

/// The section of a shape, and its rows' ratios to the base.
fn compare(program: &Program, python: &Python, shape: &Shape<'_>, texts: &Texts) -> (Section, Vec<Row>) {
    let serve =
        |settings: &[Setting]| program.serve(settings).unwrap_or_else(|why| panic!("rescored does not start: {why}"));
    let [fp32, int8] = ["fp32", "int8"].map(|precision| serve(&shape.served(precision)));
    let source = shape.is_whole().then(|| {
        let mut settings = shape.served("int8");
        settings.push(("RESCORED_GRAPH", "source".to_owned()));
        serve(&settings)
    });
    let mut contenders = vec![
        ours("rescored", PrecisionName::Fp32, &fp32, 1),
        ours("rescored", PrecisionName::Fp32, &fp32, CLIENTS),
        ours("rescored", PrecisionName::Int8, &int8, 1),
        ours("rescored", PrecisionName::Int8, &int8, CLIENTS),
    ];
    contenders.extend(source.as_ref().map(|source| ours("rescored, graph as shipped", PrecisionName::Int8, source, 1)));
    let peers = shape.peers(python, &Log);
    contenders.extend(peers.iter().map(theirs));
    let arms: Vec<Arm<'_>> = contenders.iter().filter_map(|contender| arm(contender, texts)).collect();
    let effort = Effort { rounds: texts.rounds, within: None };
    let mut runs = race(&arms, effort, &Log).arm_runs.into_iter();
    let entries = report::entries(contenders.into_iter().map(|contender| {
        let run = if contender.who.is_ok() { runs.next().unwrap_or_default() } else { ArmRun::default() };
        (contender, run)
    }));
    let mut section = report::section(shape.layers, &entries);
    section.setup = facts(texts, python);
    (section, report::rows(&entries))
}

fn ours<'c>(name: &str, arithmetic: PrecisionName, served: &'c Served, clients: usize) -> Contender<'c> {
    let plural = if clients == 1 { "client" } else { "clients" };
    Contender {
        name: format!("{name}, {clients} {plural}"),
        arithmetic,
        ours: true,
        version: concat!("rescored ", env!("CARGO_PKG_VERSION")).to_owned(),
        clients,
        who: Ok((served as &dyn Target, Some(served.process()))),
    }
}

fn theirs(candidate: &Candidate) -> Contender<'_> {
    let why = candidate.who.as_ref().err().cloned();
    Contender {
        name: candidate.name.clone(),
        arithmetic: candidate.arithmetic,
        ours: false,
        version: candidate.version.clone(),
        clients: 1,
        who: candidate.target().map(|target| (target, candidate.process())).ok_or_else(|| why.unwrap_or_default()),
    }
}

fn arm<'c>(contender: &Contender<'c>, texts: &'c Texts) -> Option<Arm<'c>> {
    let (target, process) = contender.who.as_ref().ok()?;
    Some(Arm {
        name: format!("{}, {}", contender.name, contender.arithmetic.word()),
        target: *target,
        process: *process,
        load: Load::Closed { clients: contender.clients },
        requests: &texts.requests,
        each: texts.count.max(contender.clients),
    })
}

fn facts(Texts { requests, count, rounds }: &Texts, python: &Python) -> Vec<Fact> {
    let lengths: Vec<usize> = requests.iter().flat_map(|request| &request.documents).map(String::len).collect();
    let mean = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
    vec![
        Fact::new("Python of the peers", python.version().unwrap_or_else(|| "none; run by `make bench`".to_owned())),
        Fact::new(
            "texts",
            format!(
                "XQuAD, ragged; {mean:.0} bytes a document on average, {} at most",
                lengths.iter().max().unwrap_or(&0)
            ),
        ),
        Fact::new(
            "requests of a round",
            format!(
                "{count} of {BATCH} documents, {} for {CLIENTS} clients; every round has texts of its own",
                count.max(&CLIENTS)
            ),
        ),
        Fact::new(
            "rounds",
            format!(
                "{rounds}, interleaved in random order, after a warm-up; compare the medians of the rounds' own ratios"
            ),
        ),
    ]
}
