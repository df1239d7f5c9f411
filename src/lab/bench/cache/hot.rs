//! A request that is all hits: how many pairs a second, and how long one takes.

use std::sync::Mutex;
use std::time::Instant;

use rescored_process::sync::{held, lock};

use super::super::Setup;
use super::super::host;
use super::super::load::Latencies;
use super::super::report::{Better, Fact, Measure, Section, Table, Tone, figure};
use super::super::stats;
use super::super::texts::Request;
use super::wire::{Prepared, Wire};
use super::{Options, nonce, serve};

/// What the product promises of a hot request of 100 documents on two cores, load generator included.
const PROMISED: (f64, f64) = (300_000.0, 5.0);

/// Characters of a document at most.
const DOCUMENT: usize = 300;

/// One round.
struct Round {
    pairs_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Microseconds of the server's CPU that a request took.
    cpu_us: Option<f64>,
}

pub(super) fn run(setup: &Setup<'_>, options: &Options) -> Result<Section, String> {
    let served = serve(setup, &[])?;
    let request = request(setup, options)?;
    let prepared = Prepared::new(&request);
    Wire::open(served.url())?.send(&prepared)?;
    let mut rounds = Vec::new();
    for round in 0..=setup.effort.rounds.max(1) {
        let measured = round_of(served.url(), served.process(), &prepared, options)?;
        // The first one warms up.
        if round > 0 {
            rounds.push(measured);
        }
    }
    Ok(section(&rounds, &request, &prepared, options))
}

/// Passages of a length that search engines index, each distinguished from the others by its number, however few texts there are.
fn request(setup: &Setup<'_>, options: &Options) -> Result<Request, String> {
    let drawn = setup.texts.requests(options.documents, 1).map_err(|error| error.to_string())?;
    let short = |(number, request): (usize, &Request)| {
        let text = request.documents.first().map_or("", String::as_str);
        format!("{number} {text}").chars().take(DOCUMENT).collect()
    };
    let query = drawn.first().map_or("", |request| request.query.as_str());
    Ok(Request { query: format!("{query} {}", nonce()), documents: drawn.iter().enumerate().map(short).collect() })
}

fn round_of(url: &str, process: u32, request: &Prepared, options: &Options) -> Result<Round, String> {
    let all = Mutex::new(Latencies::new());
    let before = host::usage(process);
    let started = Instant::now();
    let client = || -> Result<(), String> {
        let mut wire = Wire::open(url)?;
        let mut mine = Latencies::new();
        while started.elapsed() < options.length {
            let sent = Instant::now();
            let hits = wire.send(request)?;
            mine.record(sent.elapsed());
            if hits != request.pairs {
                return Err(format!("{hits} of {} pairs were hits", request.pairs));
            }
        }
        lock(&all).add(&mine);
        Ok(())
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..options.connections).map(|_| scope.spawn(client)).collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| "a client panicked".to_owned())?)
    })?;
    let took = started.elapsed().as_secs_f64();
    let after = host::usage(process);
    let latencies = held(all.into_inner());
    let requests = latencies.count() as f64;
    let cpu = after.cpu_s.zip(before.cpu_s).map(|(after, before)| after - before);
    Ok(Round {
        pairs_per_second: requests * request.pairs as f64 / took,
        p50_ms: latencies.quantile_ms(0.5),
        p99_ms: latencies.quantile_ms(0.99),
        cpu_us: cpu.map(|seconds| seconds / requests.max(1.0) * 1e6),
    })
}

fn section(rounds: &[Round], request: &Request, prepared: &Prepared, options: &Options) -> Section {
    let of = |figure: fn(&Round) -> f64| rounds.iter().map(figure).collect::<Vec<f64>>();
    let rates = of(|round| round.pairs_per_second);
    let (p50, p99) = (of(|round| round.p50_ms), of(|round| round.p99_ms));
    let cpu: Vec<f64> = rounds.iter().filter_map(|round| round.cpu_us).collect();
    let middle = |values: &[f64]| stats::median(values).unwrap_or(f64::NAN);
    let mut table = Table::new("", &["pairs/s", "p50 ms", "p99 ms", "server CPU µs a request"]);
    let cells = [&rates, &p50, &p99, &cpu].map(|values| figure(middle(values)));
    table.push(Tone::Best, cells.into());
    let kept = if middle(&rates) >= PROMISED.0 && middle(&p99) < PROMISED.1 { "kept" } else { "not kept" };
    let measure = |name: &str, unit: &str, better, rounds| Measure {
        name: format!("cache hot/{name}"),
        unit: unit.to_owned(),
        better,
        rounds,
    };
    Section {
        id: "cache-hot".to_owned(),
        title: "A hot request".to_owned(),
        question: "How fast are pairs that were scored before?".to_owned(),
        setup: vec![
            Fact::new("documents of a request", request.documents.len().to_string()),
            Fact::new("bytes of a request", prepared.len().to_string()),
            Fact::new("connections", options.connections.to_string()),
        ],
        findings: vec![format!(
            "{} pairs/s at a p99 of {} ms; at least {} pairs/s under {} ms on two cores is {kept}",
            figure(middle(&rates)),
            figure(middle(&p99)),
            figure(PROMISED.0),
            figure(PROMISED.1),
        )],
        tables: vec![table],
        notes: vec!["The load generator runs on the same host and takes its part of it.".to_owned()],
        measures: vec![measure("pairs", "pairs/s", Better::Higher, rates), measure("p99", "ms", Better::Lower, p99)],
        ..Section::default()
    }
}
