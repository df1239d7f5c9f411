//! `bench concurrency`: how throughput and latency go with the number of clients, and where more of them only wait.
//!
//! Owns the sweep and the rule for the knee. It must not know how a client asks.

use super::arms::{Arm, ArmRun, race};
use super::load::Load;
use super::report::{Better, Chart, Fact, Kind, Measure, Point, Section, Series, Table, Tone, figure};
use super::stats::Spread;
use super::{BenchError, Setup};

/// The share of the best throughput that the knee reaches.
const ENOUGH: f64 = 0.95;

/// Requests of a client in each round, at least; few clients send more, so that each round has enough.
const OF_A_CLIENT: usize = 2;
const LEAST: usize = 8;

/// Distinct requests; far more than clients, so that no pair is in flight twice.
const POOL: usize = 256;

/// The server's own limits, which a recommendation keeps (`RESCORED_MAX_DOCUMENTS`, tokens).
const LEAST_QUEUE: f64 = 10_000.0;

/// How long a request may take when its caller names no deadline (`RESCORED_DEADLINE`), in seconds.
const DEADLINE_S: f64 = 30.0;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Numbers of clients.
    pub clients: Vec<usize>,
    /// Documents of a request.
    pub batch: usize,
}

/// Measures.
///
/// # Errors
/// When this program does not start or there are no texts.
pub fn run(setup: &Setup<'_>, options: &Options) -> Result<Section, BenchError> {
    let served = setup.serve(&[])?;
    let requests = setup.texts.requests(POOL, options.batch)?;
    let arms: Vec<Arm<'_>> = options
        .clients
        .iter()
        .map(|&clients| Arm {
            name: format!("{clients} clients"),
            target: &served,
            process: Some(served.process()),
            load: Load::Closed { clients },
            requests: &requests,
            each: (clients * OF_A_CLIENT).max(LEAST),
        })
        .collect();
    let before = served.metric("rescored_tokens_total").map_err(BenchError::Answer)?;
    let done = race(&arms, setup.effort, setup.watch);
    let tokens = served.metric("rescored_tokens_total").map_err(BenchError::Answer)? - before;
    let seen: Vec<Seen> =
        options.clients.iter().zip(&done.arm_runs).filter_map(|(n, arm_run)| Seen::of(*n, arm_run)).collect();
    let pairs: usize = done.arm_runs.iter().flat_map(|arm_run| &arm_run.rounds).map(|round| round.outcome.pairs).sum();
    // The warm-up's pairs count among the tokens and not among the pairs; a mean over all is near enough for a queue.
    let warm_up: usize = options.clients.iter().map(|clients| clients * options.batch).sum();
    let each = tokens / (pairs + warm_up).max(1) as f64;
    let mut section = summarise(&seen, each);
    section.measures = seen.iter().zip(&done.arm_runs).flat_map(|(seen, arm_run)| measures(seen, arm_run)).collect();
    section.setup = setup.setup_facts(&[
        ("documents a request", options.batch.to_string()),
        ("load", "closed: each client sends when it was answered".to_owned()),
        ("requests a round", format!("{OF_A_CLIENT} a client, {LEAST} at least{}", super::shortened(done.share))),
        ("rounds", done.rounds.to_string()),
    ]);
    Ok(section)
}

/// What one number of clients came to.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    clients: usize,
    rate: Spread,
    /// Milliseconds.
    p50: Spread,
    p95: Spread,
    p99: Spread,
}

impl Seen {
    fn of(clients: usize, arm_run: &ArmRun) -> Option<Self> {
        let quantile = |share| arm_run.spread(|round| round.outcome.latencies.quantile_ms(share));
        let rate = arm_run.spread(|round| round.outcome.rate())?;
        Some(Self { clients, rate, p50: quantile(0.5)?, p95: quantile(0.95)?, p99: quantile(0.99)? })
    }
}

/// The fewest clients that bring nearly the best throughput: more only wait.
fn knee(seen: &[Seen]) -> Option<&Seen> {
    let best = seen.iter().map(|one| one.rate.middle).fold(0.0, f64::max);
    seen.iter().find(|one| one.rate.middle >= ENOUGH * best)
}

fn summarise(seen: &[Seen], tokens_a_pair: f64) -> Section {
    let knee = knee(seen);
    let mut table = Table::new("", &["clients", "pairs/s", "least to most", "p50 ms", "p95 ms", "p99 ms"]);
    for one in seen {
        let tone = if knee == Some(one) { Tone::Best } else { Tone::Plain };
        let Spread { least, middle, most } = one.rate;
        let cells = [one.clients.to_string(), figure(middle), format!("{} to {}", figure(least), figure(most))];
        let latencies = [one.p50, one.p95, one.p99].map(|spread| figure(spread.middle));
        table.push(tone, cells.into_iter().chain(latencies).collect());
    }
    let mut findings = Vec::new();
    let mut settings = Vec::new();
    if let (Some(knee), Some(last)) = (knee, seen.last()) {
        findings.push(format!(
            "The knee is at {} client(s): {} pairs/s, {:.0} % or more of the best; p50 {} ms, p99 {} ms.",
            knee.clients,
            figure(knee.rate.middle),
            ENOUGH * 100.0,
            figure(knee.p50.middle),
            figure(knee.p99.middle)
        ));
        if last.clients > knee.clients {
            findings.push(format!(
                "{} clients bring {} × the pairs of the knee and wait {} × as long at the median: they share the same work.",
                last.clients,
                figure(last.rate.middle / knee.rate.middle),
                figure(last.p50.middle / knee.p50.middle)
            ));
        }
        let queue = (knee.rate.middle * tokens_a_pair * DEADLINE_S / 1000.0).ceil() * 1000.0;
        findings.push(format!(
            "At that rate {} tokens are done within the default deadline of {DEADLINE_S:.0} s; what queues beyond would be answered too late, so refusing it at once is kinder.",
            figure(queue)
        ));
        settings.push(Fact::new("RESCORED_QUEUE_TOKENS", format!("{:.0}", queue.max(LEAST_QUEUE))));
    }
    Section {
        id: "concurrency".to_owned(),
        title: "Concurrency".to_owned(),
        question: "How many clients keep this machine busy, and what do more of them cost?".to_owned(),
        findings,
        settings,
        tables: vec![table],
        charts: charts(seen),
        notes: vec![format!(
            "the knee: the fewest clients that reach {:.0} % of the best median throughput",
            ENOUGH * 100.0
        )],
        ..Section::default()
    }
}

fn charts(seen: &[Seen]) -> Vec<Chart> {
    let line = |name: &str, take: &dyn Fn(&Seen) -> Spread| Series {
        name: name.to_owned(),
        tone: Tone::Plain,
        points: seen
            .iter()
            .map(|one| {
                let Spread { least, middle, most } = take(one);
                Point { x: one.clients as f64, y: middle, least, most }
            })
            .collect(),
    };
    let chart = |name: &str, (title, y): (&str, &str), (kind, series): (Kind, Vec<Series>)| Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        x: "clients".to_owned(),
        y: y.to_owned(),
        kind,
        series,
    };
    vec![
        chart(
            "concurrency-throughput",
            ("Throughput by clients", "pairs/s"),
            (Kind::LinesLogX, vec![line("rescored", &|one| one.rate)]),
        ),
        chart(
            "concurrency-latency",
            ("Latency by clients", "ms a request"),
            (
                Kind::LinesLogLog,
                vec![line("p50", &|one| one.p50), line("p95", &|one| one.p95), line("p99", &|one| one.p99)],
            ),
        ),
    ]
}

fn measures(seen: &Seen, arm_run: &ArmRun) -> Vec<Measure> {
    let measure = |name: &str, (unit, better): (&str, Better), rounds: Vec<f64>| Measure {
        name: format!("{} clients/{name}", seen.clients),
        unit: unit.to_owned(),
        better,
        rounds,
    };
    vec![
        measure("throughput", ("pairs/s", Better::Higher), arm_run.figures(|round| round.outcome.rate())),
        measure("p99", ("ms", Better::Lower), arm_run.figures(|round| round.outcome.latencies.quantile_ms(0.99))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(clients: usize, rate: f64, ms: f64) -> Seen {
        let spread = |middle| Spread { least: middle, middle, most: middle };
        Seen { clients, rate: spread(rate), p50: spread(ms), p95: spread(ms), p99: spread(ms) }
    }

    #[test]
    fn the_knee_is_where_more_clients_only_wait() {
        let all = [seen(1, 50.0, 10.0), seen(2, 96.0, 11.0), seen(4, 100.0, 20.0), seen(64, 97.0, 400.0)];
        assert_eq!(knee(&all).map(|one| one.clients), Some(2));
        assert_eq!(knee(&[]), None);
        let section = summarise(&all, 100.0);
        assert!(section.findings[0].starts_with("The knee is at 2 client(s): 96.0 pairs/s"), "{:?}", section.findings);
        assert_eq!(section.settings, [Fact::new("RESCORED_QUEUE_TOKENS", "288000")]);
        assert_eq!(section.tables[0].rows[1].tone, Tone::Best);
    }

    #[test]
    fn nothing_measured_recommends_nothing() {
        assert!(summarise(&[], 100.0).settings.is_empty());
    }
}
