//! `bench batching`: small requests that come at times of their own, with and without sharing forward passes.
//!
//! Owns the comparison of modes (each pair alone; shared without waiting; shared with a wait for more pairs) over
//! arrival rates, on every provider that this host runs. It must not know how a batch is made.

use super::arms::{Arm, ArmRun, race};
use super::load::Load;
use super::report::{Better, Chart, Fact, Kind, Measure, Point, Section, Series, Table, Tone, figure};
use super::served::{Served, Setting};
use super::stats::{Spread, median};
use super::{BenchError, Setup};

/// Shares of the capacity at which requests arrive.
const SHARES: [f64; 4] = [0.25, 0.5, 0.75, 0.9];

/// Clients that find out the capacity, and that carry an open load.
const CLIENTS: usize = 32;

/// Requests of a round at each rate.
const EACH: usize = 60;

/// Distinct requests.
const POOL: usize = 256;

/// A budget that a single pair fills: nothing shares a pass.
const ALONE: &str = "8";

/// Providers, by the words of `RESCORED_PROVIDER`, that batches may pay on.
const PROVIDERS: [&str; 5] = ["cpu", "coreml", "cuda", "tensorrt", "openvino"];

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a batch waits for more pairs, by the words of `RESCORED_BATCH_WAIT`.
    pub waits: Vec<String>,
    /// Documents of a request.
    pub batch: usize,
}

/// A way to batch, on one provider.
struct Mode {
    provider: &'static str,
    name: String,
    settings: Vec<Setting>,
    served: Result<Served, String>,
}

/// Measures.
///
/// # Errors
/// When this program starts in no mode, or there are no texts.
pub fn run(setup: &Setup<'_>, options: &Options) -> Result<Section, BenchError> {
    let requests = setup.texts.requests(POOL, options.batch)?;
    let modes = modes(setup, options);
    let closed = Load::Closed { clients: CLIENTS };
    let mut section = Section {
        id: "batching".to_owned(),
        title: "Dynamic batching".to_owned(),
        question: "What do requests gain, and what do they wait, when they share forward passes?".to_owned(),
        ..Section::default()
    };
    for provider in PROVIDERS {
        let here: Vec<&Mode> = modes.iter().filter(|mode| mode.provider == provider && mode.served.is_ok()).collect();
        let full: Vec<Arm<'_>> = here
            .iter()
            .filter_map(|mode| {
                let served = mode.served.as_ref().ok()?;
                let (name, process) = (format!("{}, saturated", mode.name), Some(served.process()));
                Some(Arm { name, target: served, process, load: closed, requests: &requests, each: 2 * CLIENTS })
            })
            .collect();
        if full.is_empty() {
            continue;
        }
        let half = super::arms::Effort { within: setup.effort.within.map(|within| within / 3), ..setup.effort };
        let saturated = race(&full, half, setup.watch).arm_runs;
        let capacity = saturated.iter().filter_map(|arm_run| median(&rates(arm_run))).fold(0.0, f64::max);
        let rate = |share: f64| (capacity * share / options.batch as f64).max(0.01);
        let mut arms: Vec<Arm<'_>> = Vec::new();
        for mode in &here {
            let Ok(served) = &mode.served else { continue };
            for share in SHARES {
                let (name, process) = (format!("{}, {:.0} %", mode.name, share * 100.0), Some(served.process()));
                let load = Load::Open { rate: rate(share), clients: CLIENTS };
                arms.push(Arm { name, target: served, process, load, requests: &requests, each: EACH });
            }
        }
        let rest = super::arms::Effort { within: setup.effort.within.map(|within| within * 2 / 3), ..setup.effort };
        let open = race(&arms, rest, setup.watch);
        summarise(
            &mut section,
            provider,
            &Seen { modes: &here, saturated: &saturated, open: &open.arm_runs, batch: options.batch },
        );
        section.setup = setup.setup_facts(&[
            ("documents a request", options.batch.to_string()),
            ("load", format!("closed with {CLIENTS} clients for the capacity; then open, at shares of it, at random times; latencies count from when a request was due")),
            ("requests a round", format!("{EACH} at each rate{}", super::shortened(open.share))),
            ("rounds", open.rounds.to_string()),
        ]);
    }
    missing(&mut section, &modes);
    if section.tables.is_empty() {
        let why = modes.iter().find_map(|mode| mode.served.as_ref().err().cloned());
        return Err(BenchError::Start(why.unwrap_or_default()));
    }
    Ok(section)
}

/// Every mode of every provider; those of one that does not run here end with the first refusal.
fn modes(setup: &Setup<'_>, options: &Options) -> Vec<Mode> {
    let mut modes = Vec::new();
    for provider in PROVIDERS {
        let mut ways: Vec<(String, Vec<Setting>)> = vec![
            ("each pair alone".to_owned(), vec![("RESCORED_BATCH_TOKENS", ALONE.to_owned())]),
            ("shared".to_owned(), Vec::new()),
        ];
        ways.extend(
            options
                .waits
                .iter()
                .map(|wait| (format!("shared, waits {wait}"), vec![("RESCORED_BATCH_WAIT", wait.clone())])),
        );
        for (name, settings) in ways {
            let mut all = settings.clone();
            all.push(("RESCORED_PROVIDER", provider.to_owned()));
            setup.watch.say(&format!("starting rescored, {provider}, {name}"));
            let served = setup.serve(&all).map_err(|error| error.to_string());
            // What does not start with the settings that every host knows does not run here.
            let gone = settings.first().is_some_and(|(name, _)| *name == "RESCORED_BATCH_TOKENS") && served.is_err();
            modes.push(Mode { provider, name, settings, served });
            if gone {
                break;
            }
        }
    }
    modes
}

/// What did not start, and why.
fn missing(section: &mut Section, modes: &[Mode]) {
    for mode in modes {
        if let Err(why) = &mode.served {
            let why = why.split_once("does not run here: ").map_or(why.as_str(), |(_, why)| why);
            let why = why.trim_start_matches("rescored does not start: ");
            section.notes.push(format!("not measured: {}, {}: {why}", mode.provider, mode.name));
        }
    }
}

/// What was measured on one provider.
struct Seen<'a> {
    modes: &'a [&'a Mode],
    saturated: &'a [ArmRun],
    /// For each mode one a share.
    open: &'a [ArmRun],
    batch: usize,
}

fn rates(arm_run: &ArmRun) -> Vec<f64> {
    arm_run.figures(|round| round.outcome.rate())
}

fn quantile(arm_run: &ArmRun, share: f64) -> Option<Spread> {
    arm_run.spread(|round| round.outcome.latencies.quantile_ms(share))
}

fn summarise(section: &mut Section, provider: &str, seen: &Seen<'_>) {
    let mut columns = vec!["mode".to_owned(), "pairs/s, saturated".to_owned()];
    columns.extend(SHARES.map(|share| format!("p50 / p99 ms at {:.0} %", share * 100.0)));
    let mut table = Table { title: format!("On {provider}"), columns, rows: Vec::new() };
    let mut lines = Vec::new();
    for (at, mode) in seen.modes.iter().enumerate() {
        let (Some(full), open) = (seen.saturated.get(at), seen.open.get(at * SHARES.len()..(at + 1) * SHARES.len()))
        else {
            continue;
        };
        let open = open.unwrap_or_default();
        let mut cells = vec![mode.name.clone(), median(&rates(full)).map_or_else(|| "-".to_owned(), figure)];
        cells.extend(open.iter().map(|arm_run| match (quantile(arm_run, 0.5), quantile(arm_run, 0.99)) {
            (Some(p50), Some(p99)) => format!("{} / {}", figure(p50.middle), figure(p99.middle)),
            _ => "-".to_owned(),
        }));
        table.push(Tone::Plain, cells);
        let points = SHARES.iter().zip(open).filter_map(|(share, arm_run)| {
            let Spread { least, middle, most } = quantile(arm_run, 0.99)?;
            Some(Point { x: share * 100.0, y: middle, least, most })
        });
        lines.push(Series { name: mode.name.clone(), tone: Tone::Plain, points: points.collect() });
        section.measures.extend(measures(provider, mode, full, open));
    }
    section.charts.push(Chart {
        name: format!("batching-{provider}"),
        title: format!("p99 of requests of {} documents, {provider}", seen.batch),
        x: "arrivals, % of the capacity".to_owned(),
        y: "ms from when it was due".to_owned(),
        kind: Kind::Lines,
        series: lines,
    });
    section.tables.push(table);
    findings(section, provider, seen);
}

fn measures(provider: &str, mode: &Mode, full: &ArmRun, open: &[ArmRun]) -> Vec<Measure> {
    let measure = |name: String, (unit, better): (&str, Better), rounds: Vec<f64>| Measure {
        name: format!("{provider}, {}/{name}", mode.name),
        unit: unit.to_owned(),
        better,
        rounds,
    };
    let mut all = vec![measure("saturated".to_owned(), ("pairs/s", Better::Higher), rates(full))];
    all.extend(SHARES.iter().zip(open).map(|(share, arm_run)| {
        let p99 = arm_run.figures(|round| round.outcome.latencies.quantile_ms(0.99));
        measure(format!("p99 at {:.0} %", share * 100.0), ("ms", Better::Lower), p99)
    }));
    all
}

/// The mode with the shortest tail at three quarters of the capacity, of those that lose nothing when saturated.
fn findings(section: &mut Section, provider: &str, seen: &Seen<'_>) {
    let full: Vec<f64> = seen.saturated.iter().map(|arm_run| median(&rates(arm_run)).unwrap_or(0.0)).collect();
    let best = full.iter().copied().fold(0.0, f64::max);
    let tail = |at: usize, share: usize| {
        seen.open
            .get(at * SHARES.len() + share)
            .and_then(|arm_run| quantile(arm_run, 0.99))
            .map_or(f64::INFINITY, |all| all.middle)
    };
    let good = (0..seen.modes.len()).filter(|&at| full.get(at).is_some_and(|rate| *rate >= 0.95 * best));
    let Some(chosen) = good.min_by(|&a, &b| tail(a, 2).total_cmp(&tail(b, 2))) else { return };
    section.findings.push(format!(
        "{provider}: the shortest p99 at {:.0} % of the capacity, {} ms, has \"{}\"; saturated it does {} pairs/s.",
        SHARES[2] * 100.0,
        figure(tail(chosen, 2)),
        seen.modes[chosen].name,
        figure(full[chosen])
    ));
    if let (Some(alone), Some(shared)) = (full.first(), full.get(1)) {
        section.findings.push(format!(
            "{provider}: sharing passes does {} × the pairs of each pair alone when saturated.",
            figure(shared / alone)
        ));
    }
    for (at, mode) in seen.modes.iter().enumerate().skip(2) {
        section.findings.push(format!(
            "{provider}: \"{}\" has a p99 of {} ms where little arrives ({:.0} % of the capacity), without a wait it is {} ms; saturated it does {} × the pairs.",
            mode.name,
            figure(tail(at, 0)),
            SHARES[0] * 100.0,
            figure(tail(1, 0)),
            figure(full[at] / full[1])
        ));
    }
    if section.settings.is_empty() {
        let settings = seen.modes[chosen].settings.iter().map(|(name, value)| Fact::new(*name, value.clone()));
        section.settings.extend(settings);
        section.settings.push(Fact::new("RESCORED_PROVIDER", provider));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::arms::Round;
    use super::super::load::{Latencies, Outcome};
    use super::*;

    fn mode(name: &str, wait: Option<&str>) -> Mode {
        let settings = wait.map(|wait| ("RESCORED_BATCH_WAIT", wait.to_owned())).into_iter().collect();
        Mode { provider: "cpu", name: name.to_owned(), settings, served: Err("not asked".to_owned()) }
    }

    fn arm_run(rate: f64, ms: u64) -> ArmRun {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_millis(ms));
        let took = Duration::from_secs_f64(100.0 / rate);
        let outcome = Outcome { took, pairs: 100, latencies, failed: 0, failures: Vec::new(), logits: Vec::new() };
        ArmRun { rounds: vec![Round { outcome, first: 0, cores: None, accelerator: None }], ..ArmRun::default() }
    }

    #[test]
    fn the_shortest_tail_wins_among_modes_that_lose_nothing_when_saturated() {
        let modes = [mode("each pair alone", None), mode("shared", None), mode("shared, waits 5ms", Some("5ms"))];
        let modes: Vec<&Mode> = modes.iter().collect();
        // Alone has the shortest tail and half the throughput.
        let saturated = [arm_run(50.0, 1), arm_run(100.0, 1), arm_run(99.0, 1)];
        let open: Vec<ArmRun> = [5, 20, 12].iter().flat_map(|ms| SHARES.map(|_| arm_run(10.0, *ms))).collect();
        let mut section = Section::default();
        summarise(&mut section, "cpu", &Seen { modes: &modes, saturated: &saturated, open: &open, batch: 2 });
        assert!(section.findings[0].contains("shared, waits 5ms"), "{:?}", section.findings);
        assert!(section.findings[1].contains("2.00 ×"), "{:?}", section.findings);
        let settings = [Fact::new("RESCORED_BATCH_WAIT", "5ms"), Fact::new("RESCORED_PROVIDER", "cpu")];
        assert_eq!(section.settings, settings);
        assert_eq!(section.tables[0].rows.len(), 3);
        assert_eq!(section.measures.len(), 3 * (1 + SHARES.len()));
    }

    #[test]
    fn what_did_not_start_is_noted_with_its_reason() {
        let mut section = Section::default();
        missing(&mut section, &[mode("shared", None)]);
        assert_eq!(section.notes, ["not measured: cpu, shared: not asked"]);
    }
}
