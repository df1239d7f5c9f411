//! `bench batch`: how much to put into one forward pass, and into one request.
//!
//! Owns the two sweeps: token budgets (`RESCORED_BATCH_TOKENS`), a server each, and documents of a request. It must not
//! know how a batch is made.

use super::arms::{Arm, ArmRun, race};
use super::load::Load;
use super::report::{Better, Chart, Fact, Kind, Measure, Point, Section, Series, Table, Tone, figure};
use super::served::Served;
use super::stats::{Spread, rank_test};
use super::texts::Request;
use super::{BenchError, Setup};

/// A difference that chance explains less often than this is one.
const ALPHA: f64 = 0.05;

/// The budget that is in force when none is set (CONFIG.md, `RESCORED_BATCH_TOKENS`).
const DEFAULT: usize = 512;

/// Pairs of a round.
const PAIRS: usize = 128;

/// Distinct requests.
const POOL: usize = 64;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Token budgets of a forward pass.
    pub budgets: Vec<usize>,
    /// Documents of a request.
    pub sizes: Vec<usize>,
    /// Documents of a request while budgets are compared.
    pub batch: usize,
    /// Clients.
    pub concurrency: usize,
}

/// Measures.
///
/// # Errors
/// When this program does not start or there are no texts.
pub fn run(setup: &Setup<'_>, options: &Options) -> Result<Section, BenchError> {
    let servers: Result<Vec<Served>, BenchError> = options
        .budgets
        .iter()
        .map(|budget| {
            setup.watch.say(&format!("starting rescored with RESCORED_BATCH_TOKENS={budget}"));
            setup.serve(&[("RESCORED_BATCH_TOKENS", budget.to_string())])
        })
        .collect();
    let (servers, plain) = (servers?, setup.serve(&[])?);
    let requests = setup.texts.requests(POOL, options.batch)?;
    let sizes: Vec<usize> = options.sizes.iter().copied().filter(|size| *size <= setup.texts.documents()).collect();
    let by_size: Result<Vec<_>, _> =
        sizes.iter().map(|&size| setup.texts.requests(POOL.max(2 * PAIRS / size), size)).collect();
    let by_size = by_size?;
    let mut arms: Vec<Arm<'_>> = Vec::new();
    for (budget, server) in options.budgets.iter().zip(&servers) {
        arms.push(arm(format!("{budget} tokens"), server, &requests, options.batch, options.concurrency));
    }
    for (size, requests) in sizes.iter().zip(&by_size) {
        arms.push(arm(format!("{size} documents"), &plain, requests, *size, options.concurrency));
    }
    let done = race(&arms, setup.effort, setup.watch);
    let (budgets, documents) = done.arm_runs.split_at(options.budgets.len());
    let budgets: Vec<(usize, &ArmRun)> = options.budgets.iter().copied().zip(budgets).collect();
    let documents: Vec<(usize, &ArmRun)> = sizes.iter().copied().zip(documents).collect();
    let mut section = summarise(&budgets, &documents);
    section.setup = setup.setup_facts(&[
        ("documents a request, for budgets", options.batch.to_string()),
        ("load", format!("closed: {} client(s)", options.concurrency)),
        ("pairs a round", format!("{PAIRS} of each arm{}", super::shortened(done.share))),
        ("rounds", done.rounds.to_string()),
    ]);
    Ok(section)
}

/// Requests of so many documents, from so many clients.
fn arm<'t>(name: String, target: &'t Served, requests: &'t [Request], size: usize, clients: usize) -> Arm<'t> {
    let each = (PAIRS / size.max(1)).max(clients);
    Arm { name, target, process: Some(target.process()), load: Load::Closed { clients }, requests, each }
}

fn rates(arm_run: &ArmRun) -> Vec<f64> {
    arm_run.figures(|round| round.outcome.rate())
}

fn summarise(budgets: &[(usize, &ArmRun)], documents: &[(usize, &ArmRun)]) -> Section {
    let (mut findings, mut settings) = (Vec::new(), Vec::new());
    let middle = |arm_run: &ArmRun| Spread::of(&rates(arm_run)).map_or(0.0, |spread| spread.middle);
    let best = budgets.iter().max_by(|a, b| middle(a.1).total_cmp(&middle(b.1))).copied();
    if let Some((budget, arm_run)) = best.filter(|(_, arm_run)| !arm_run.rounds.is_empty()) {
        let default = budgets.iter().find(|(budget, _)| *budget == DEFAULT);
        let same = default.is_some_and(|(_, default)| rank_test(&rates(arm_run), &rates(default)) > ALPHA);
        findings.push(format!("Best budget: {budget} tokens a pass, {} pairs/s.", figure(middle(arm_run))));
        // What cannot be distinguished from the default is no reason to leave it.
        let keep = if same { DEFAULT } else { budget };
        if same && budget != DEFAULT {
            findings.push(format!(
                "Rounds this few or this uneven do not tell it from the default of {DEFAULT}, which stays."
            ));
        }
        settings.push(Fact::new("RESCORED_BATCH_TOKENS", keep.to_string()));
    }
    if let (Some((size, one)), Some((most, many))) = (documents.first(), documents.last())
        && !one.rounds.is_empty()
        && !many.rounds.is_empty()
    {
        let latency = |arm_run: &ArmRun| {
            arm_run.spread(|round| round.outcome.latencies.mean_ms()).map_or(f64::NAN, |all| all.middle)
        };
        findings.push(format!(
            "A request of {most} documents takes {} ms and one of {size} takes {} ms; per pair the larger does {} × the throughput.",
            figure(latency(many)),
            figure(latency(one)),
            figure(middle(many) / middle(one))
        ));
    }
    Section {
        id: "batch".to_owned(),
        title: "Batch sizes".to_owned(),
        question: "How many tokens belong into one forward pass, and how many documents into one request?".to_owned(),
        findings,
        settings,
        tables: vec![
            table("Token budgets of a forward pass", "tokens", budgets, best.map(|(budget, _)| budget)),
            table("Documents of a request", "documents", documents, None),
        ],
        charts: vec![
            chart("batch-tokens", "Throughput by token budget", "tokens of a pass", budgets),
            chart("batch-documents", "Throughput by request size", "documents of a request", documents),
        ],
        notes: vec![
            "a single pair that is longer than the budget goes alone; padding does not enter where the graph packs"
                .to_owned(),
        ],
        measures: measures("tokens", budgets).chain(measures("documents", documents)).collect(),
        ..Section::default()
    }
}

fn table(title: &str, first: &str, all: &[(usize, &ArmRun)], best: Option<usize>) -> Table {
    let mut table = Table::new(title, &[first, "pairs/s", "least to most", "latency avg ms", "p99 ms", "note"]);
    for (size, arm_run) in all {
        let Some(Spread { least, middle, most }) = Spread::of(&rates(arm_run)) else {
            let why = arm_run.failure.clone().unwrap_or_default();
            table.push(Tone::Aside, vec![size.to_string(), "-".into(), "-".into(), "-".into(), "-".into(), why]);
            continue;
        };
        let latency = |take: &dyn Fn(&super::arms::Round) -> f64| {
            arm_run.spread(take).map_or_else(String::new, |all| figure(all.middle))
        };
        let tone = if best == Some(*size) { Tone::Best } else { Tone::Plain };
        table.push(
            tone,
            vec![
                size.to_string(),
                figure(middle),
                format!("{} to {}", figure(least), figure(most)),
                latency(&|round| round.outcome.latencies.mean_ms()),
                latency(&|round| round.outcome.latencies.quantile_ms(0.99)),
                String::new(),
            ],
        );
    }
    table
}

fn chart(name: &str, title: &str, x: &str, all: &[(usize, &ArmRun)]) -> Chart {
    let points = all.iter().filter_map(|(size, arm_run)| {
        let Spread { least, middle, most } = Spread::of(&rates(arm_run))?;
        Some(Point { x: *size as f64, y: middle, least, most })
    });
    Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        x: x.to_owned(),
        y: "pairs/s".to_owned(),
        kind: Kind::LinesLogX,
        series: vec![Series { name: "rescored".to_owned(), tone: Tone::Plain, points: points.collect() }],
    }
}

fn measures<'a>(what: &'a str, all: &'a [(usize, &ArmRun)]) -> impl Iterator<Item = Measure> + 'a {
    all.iter().map(move |(size, arm_run)| Measure {
        name: format!("{size} {what}/throughput"),
        unit: "pairs/s".to_owned(),
        better: Better::Higher,
        rounds: rates(arm_run),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::arms::Round;
    use super::super::load::{Latencies, Outcome};
    use super::*;

    fn arm_run(rates: [f64; 5]) -> ArmRun {
        let round = |rate: f64| {
            let took = Duration::from_secs_f64(100.0 / rate);
            let mut latencies = Latencies::new();
            latencies.record(took);
            let outcome = Outcome { took, pairs: 100, latencies, failed: 0, failures: Vec::new(), logits: Vec::new() };
            Round { outcome, first: 0, cores: None, accelerator: None }
        };
        ArmRun { rounds: rates.map(round).into(), ..ArmRun::default() }
    }

    #[test]
    fn a_better_budget_is_recommended_only_when_noise_does_not_explain_it() {
        let default = arm_run([100.0, 101.0, 99.0, 100.5, 98.0]);
        let (better, same) =
            (arm_run([120.0, 121.0, 119.0, 122.0, 118.0]), arm_run([101.0, 100.0, 102.0, 99.5, 100.2]));
        let settings = |other: &ArmRun| summarise(&[(512, &default), (1024, other)], &[]).settings;
        assert_eq!(settings(&better), [Fact::new("RESCORED_BATCH_TOKENS", "1024")]);
        assert_eq!(settings(&same), [Fact::new("RESCORED_BATCH_TOKENS", "512")]);
    }

    #[test]
    fn a_budget_that_failed_has_a_row_that_says_why() {
        let failed = ArmRun { failure: Some("refused".to_owned()), ..ArmRun::default() };
        let section = summarise(&[(512, &arm_run([1.0, 2.0, 3.0, 4.0, 5.0])), (8192, &failed)], &[]);
        assert_eq!(section.tables[0].rows[1].cells[5], "refused");
        assert_eq!(section.settings, [Fact::new("RESCORED_BATCH_TOKENS", "512")]);
    }
}
