//! Searches beside a warm-up job at full speed: slices with and without the job, in turn, in one run.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::Setup;
use super::super::load::Latencies;
use super::super::report::{Better, Fact, Measure, Section, Table, Tone, figure};
use super::super::served::Served;
use super::super::stats;
use super::super::texts::Request;
use super::wire::{Prepared, Wire};
use super::{Options, nonce, serve};

/// Pairs of a search, all cold.
const PAIRS: usize = 4;

/// Documents of a line of the job, and its streams.
const LINE: usize = 50;
const STREAMS: usize = 4;

/// The pause between searches, so that the job has the engine to itself when one comes.
const PAUSE: Duration = Duration::from_millis(20);

/// The rise that is allowed, in micro-batches of the job: what runs when a search comes, it waits for.
const ALLOWED: f64 = 1.2;

/// How long the job runs before searches come: first it tokenises ahead what it may, then its micro-batches are timed.
const AHEAD: Duration = Duration::from_millis(500);

/// How long an engine may take to come to rest.
const PATIENCE: Duration = Duration::from_mins(1);

/// Figures of one slice.
struct Slice {
    p50_ms: f64,
    p99_ms: f64,
}

pub(super) fn run(setup: &Setup<'_>, options: &Options) -> Result<Section, String> {
    let served = serve(setup, &[])?;
    let drawn = setup.texts.requests(200, PAIRS).map_err(|error| error.to_string())?;
    let lines = setup.texts.requests(50, LINE).map_err(|error| error.to_string())?;
    let mut slices: [Vec<Slice>; 2] = Default::default();
    let mut all = [Latencies::new(), Latencies::new()];
    let mut job = Passes::default();
    let rounds = setup.effort.rounds.max(1) * 2;
    // The first pair of slices warms up.
    for round in 0..=rounds {
        let least = if round == 0 { 1 } else { options.live.div_ceil(rounds) };
        for beside in [false, true] {
            settled(&served)?;
            let (latencies, passes) = slice(&served, &drawn, &lines, beside, options.length, least)?;
            if round == 0 {
                continue;
            }
            job.add(&passes);
            let slot = usize::from(beside);
            slices[slot].push(Slice { p50_ms: latencies.quantile_ms(0.5), p99_ms: latencies.quantile_ms(0.99) });
            all[slot].add(&latencies);
        }
    }
    Ok(section(&slices, &all, job.mean_ms()))
}

/// Forward passes, and the seconds spent in them.
#[derive(Default)]
struct Passes {
    count: f64,
    seconds: f64,
}

impl Passes {
    fn so_far(served: &Served) -> Result<Self, String> {
        let count = served.metric("rescored_forward_seconds_count")?;
        Ok(Self { count, seconds: served.metric("rescored_forward_seconds_sum")? })
    }

    fn since(&self, before: &Self) -> Self {
        Self { count: self.count - before.count, seconds: self.seconds - before.seconds }
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.seconds += other.seconds;
    }

    fn mean_ms(&self) -> f64 {
        self.seconds / self.count * 1000.0
    }
}

/// Waits until nothing is queued.
fn settled(served: &Served) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    while served.metric("rescored_queue_tokens")? > 0.0 {
        if Instant::now() > until {
            return Err("the engine does not come to rest".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Searches for so long, and so many at least, with the job beside them or not; and passes of the job before they came.
fn slice(
    served: &Served,
    drawn: &[Request],
    lines: &[Request],
    beside: bool,
    length: Duration,
    least: usize,
) -> Result<(Latencies, Passes), String> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if beside {
            for _ in 0..STREAMS {
                scope.spawn(|| stream(served.url(), lines, &over));
            }
        }
        let found = ahead(served, beside).and_then(|passes| Ok((search(served.url(), drawn, length, least)?, passes)));
        over.store(true, Ordering::Relaxed);
        found
    })
}

/// The job's passes while it has the engine to itself.
fn ahead(served: &Served, beside: bool) -> Result<Passes, String> {
    if !beside {
        return Ok(Passes::default());
    }
    std::thread::sleep(AHEAD);
    let before = Passes::so_far(served)?;
    std::thread::sleep(AHEAD);
    Ok(Passes::so_far(served)?.since(&before))
}

fn search(url: &str, drawn: &[Request], length: Duration, least: usize) -> Result<Latencies, String> {
    let mut wire = Wire::open(url)?;
    let mut latencies = Latencies::new();
    let (started, nonce) = (Instant::now(), nonce());
    for (number, request) in drawn.iter().cycle().enumerate() {
        if started.elapsed() > length && number >= least {
            break;
        }
        let cold = Request { query: format!("{} {number} {nonce}", request.query), ..request.clone() };
        let prepared = Prepared::new(&cold);
        let sent = Instant::now();
        let hits = wire.send(&prepared)?;
        latencies.record(sent.elapsed());
        if hits > 0 {
            return Err(format!("{hits} pairs were not cold"));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(latencies)
}

/// One stream of the job, cut when the slice is over: what it has queued is given up then. A stream that is refused, or
/// whose connection breaks, leaves the others to go on.
fn stream(url: &str, lines: &[Request], over: &AtomicBool) {
    let Ok(mut socket) = TcpStream::connect(url.trim_start_matches("http://")) else { return };
    let head = "POST /v1/cache/warm HTTP/1.1\r\nhost: bench\r\ntransfer-encoding: chunked\r\n\r\n";
    let nonce = nonce();
    let timeout = socket.set_write_timeout(Some(Duration::from_millis(100)));
    let mut pending = head.as_bytes().to_vec();
    for (number, request) in lines.iter().cycle().enumerate() {
        let line = json!({"query": format!("{} {number} {nonce}", request.query), "documents": request.documents});
        let line = format!("{line}\n");
        pending.extend_from_slice(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes());
        while !pending.is_empty() {
            if over.load(Ordering::Relaxed) || timeout.is_err() {
                return;
            }
            match socket.write(&pending) {
                Ok(0) => return,
                Ok(written) => drop(pending.drain(..written)),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                }
                Err(_) => return,
            }
        }
    }
}

fn section(slices: &[Vec<Slice>; 2], all: &[Latencies; 2], pass_ms: f64) -> Section {
    let mut table = Table::new("", &["", "searches", "p50 ms", "p99 ms", "p99 ms, median of slices", "longest ms"]);
    let middle = |slices: &[Slice]| {
        let values: Vec<f64> = slices.iter().map(|slice| slice.p99_ms).collect();
        stats::median(&values).unwrap_or(f64::NAN)
    };
    for ((name, latencies), slices) in ["alone", "beside a job"].into_iter().zip(all).zip(slices) {
        let figures = [0.5, 0.99].map(|share| figure(latencies.quantile_ms(share)));
        let cells = [name.to_owned(), latencies.count().to_string()].into_iter().chain(figures);
        let cells = cells.chain([figure(middle(slices)), figure(latencies.quantile_ms(1.0))]);
        table.push(Tone::Plain, cells.collect());
    }
    let [alone, beside] = all.each_ref().map(|latencies| latencies.quantile_ms(0.99));
    let (rise, allowed) = (beside - alone, ALLOWED * pass_ms);
    let kept = if rise < allowed { "kept" } else { "not kept" };
    let measure = |name: &str, figure: fn(&Slice) -> f64, slot: usize| Measure {
        name: format!("cache beside/{name}"),
        unit: "ms".to_owned(),
        better: Better::Lower,
        rounds: slices[slot].iter().map(figure).collect(),
    };
    Section {
        id: "cache-beside".to_owned(),
        title: "Searches beside a warm-up job".to_owned(),
        question: "What does a warm-up job at full speed cost live traffic?".to_owned(),
        setup: vec![
            Fact::new("pairs of a search, all cold", PAIRS.to_string()),
            Fact::new("streams of the job", STREAMS.to_string()),
            Fact::new("documents of a line of the job", LINE.to_string()),
            Fact::new("slices of each kind", slices[0].len().to_string()),
        ],
        findings: vec![format!(
            "p99 is {} ms alone and {} ms beside the job, a rise of {} ms; a micro-batch of the job takes {} ms on average, and \
             less than {ALLOWED} of that, {} ms, is {kept}",
            figure(alone),
            figure(beside),
            figure(rise),
            figure(pass_ms),
            figure(allowed),
        )],
        tables: vec![table],
        notes: vec!["Slices with and without the job took turns in one run.".to_owned()],
        measures: vec![
            measure("alone p99", |slice| slice.p99_ms, 0),
            measure("p99", |slice| slice.p99_ms, 1),
            measure("p50", |slice| slice.p50_ms, 1),
        ],
        ..Section::default()
    }
}
