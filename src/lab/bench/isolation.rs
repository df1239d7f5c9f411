//! `bench models`: several models in one process, and what a burst on one of them does to the others.
//!
//! Owns the four scenarios: quiet; a burst on the other model of the same process; the same burst on the victim's own
//! model; the same burst on a process of its own beside it. It must not know how models share workers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rescored_core::random::Seeded;

use super::load::{self, Load, Outcome, Reply, Target};
use super::report::{Better, Chart, Fact, Kind, Measure, Point, Section, Series, Table, Tone, figure};
use super::served::Served;
use super::stats::{Spread, rank_test};
use super::texts::Request;
use super::{BenchError, Setup};

/// A difference that chance explains less often than this is one.
const ALPHA: f64 = 0.05;

/// The victim's share of what it could have alone.
const SHARE: f64 = 0.2;

/// Requests of the victim in a round.
const EACH: usize = 40;

/// Documents of the victim's requests, and of the burst's.
const SMALL: usize = 4;
const LARGE: usize = 32;

/// Distinct requests.
const POOL: usize = 256;

/// The burst begins this long before the victim's first request.
const HEAD_START: Duration = Duration::from_millis(500);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model whose callers are to be left in peace.
    pub victim: String,
    /// The model that the burst is for.
    pub other: String,
    /// Clients of the burst.
    pub clients: usize,
}

/// One model of a server.
#[derive(Debug)]
struct One<'s> {
    served: &'s Served,
    model: &'s str,
}

impl Target for One<'_> {
    fn send(&self, request: &Request) -> Result<Reply, String> {
        self.served.score(Some(self.model), request)
    }
}

/// What stands beside the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    Quiet,
    Other,
    Own,
    Apart,
}

const SCENES: [Scenario; 4] = [Scenario::Quiet, Scenario::Other, Scenario::Own, Scenario::Apart];

impl Scenario {
    const fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Other => "burst on the other model",
            Self::Own => "burst on its own model",
            Self::Apart => "burst on another process",
        }
    }
}

/// What a scenario came to, a round each.
#[derive(Clone, Debug, Default)]
struct Seen {
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Pairs a second of the burst.
    burst: Vec<f64>,
    failed: usize,
    failure: Option<String>,
}

/// Measures.
///
/// # Errors
/// When this program does not start with both models, or there are no texts.
pub fn run(setup: &Setup<'_>, options: &Options) -> Result<Section, BenchError> {
    let Options { victim, other, clients } = options;
    let shapes = || ("RESCORED_GRAPH", "shape".to_owned());
    setup.watch.say(&format!("starting rescored with {victim} and {other}, and another with {other} alone"));
    let start =
        |models: String| setup.program.serve(&[("RESCORED_MODELS", models), shapes()]).map_err(BenchError::Start);
    let (both, apart) = (start(format!("{victim},{other}"))?, start(other.clone())?);
    let small = setup.texts.requests(POOL, SMALL)?;
    let large = setup.texts.requests(POOL, LARGE.min(setup.texts.documents()))?;
    let target = One { served: &both, model: victim };
    setup.watch.say("finding out what the victim does alone");
    let alone = load::run(&target, small.get(..EACH).unwrap_or(&small), Load::Closed { clients: 4 });
    if let Some(why) = alone.failures.first() {
        return Err(BenchError::Answer(why.clone()));
    }
    let rate = (alone.rate() / SMALL as f64 * SHARE).max(0.05);
    let each = within(setup, rate);
    let burst = |scenario: Scenario| match scenario {
        Scenario::Quiet => None,
        Scenario::Other => Some(One { served: &both, model: other }),
        Scenario::Own => Some(One { served: &both, model: victim }),
        Scenario::Apart => Some(One { served: &apart, model: other }),
    };
    let mut seen: Vec<Seen> = SCENES.iter().map(|_| Seen::default()).collect();
    let (mut random, mut order) = (Seeded::new(7), (0..SCENES.len()).collect::<Vec<_>>());
    for round in 0..setup.effort.rounds {
        random.shuffle(&mut order);
        for (done, &at) in order.iter().enumerate() {
            setup.watch.step(round * SCENES.len() + done, setup.effort.rounds * SCENES.len(), SCENES[at].name());
            let requests: Vec<Request> = small.iter().cycle().skip(round * each).take(each).cloned().collect();
            let load = Load::Open { rate, clients: POOL };
            let (own, beside) = scene(&target, &requests, load, burst(SCENES[at]), &large, *clients);
            seen[at].take(&own, beside.as_ref());
        }
    }
    let mut section = summarise(&seen, options);
    section.setup = setup.setup_facts(&[
        (
            "victim",
            format!(
                "{victim}: {} requests of {SMALL} documents a second at random times, {:.0} % of what it does alone",
                figure(rate),
                SHARE * 100.0
            ),
        ),
        ("burst", format!("{other}: {clients} clients that send requests of {LARGE} documents without a pause")),
        ("requests of the victim a round", each.to_string()),
        ("rounds", setup.effort.rounds.to_string()),
    ]);
    Ok(section)
}

/// Requests of a round that the time allows: arrivals take their time.
fn within(setup: &Setup<'_>, rate: f64) -> usize {
    let Some(within) = setup.effort.within else { return EACH };
    let each = within.as_secs_f64() / (setup.effort.rounds.max(1) * SCENES.len()) as f64 * rate;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
    let each = each as usize;
    each.clamp(8, EACH)
}

fn scene(
    target: &dyn Target,
    requests: &[Request],
    load: Load,
    burst: Option<One<'_>>,
    large: &[Request],
    clients: usize,
) -> (Outcome, Option<Outcome>) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let beside = burst.map(|burst| {
            let stop = &stop;
            scope.spawn(move || load::run_until(stop, &burst, large, clients))
        });
        if beside.is_some() {
            std::thread::sleep(HEAD_START);
        }
        let own = load::run(target, requests, load);
        stop.store(true, Ordering::Relaxed);
        (own, beside.and_then(|beside| beside.join().ok()))
    })
}

impl Seen {
    fn take(&mut self, own: &Outcome, beside: Option<&Outcome>) {
        self.failed += own.failed;
        self.failure = self.failure.take().or_else(|| own.failures.first().cloned());
        if own.latencies.count() > 0 {
            self.p50.push(own.latencies.quantile_ms(0.5));
            self.p99.push(own.latencies.quantile_ms(0.99));
        }
        self.burst.extend(beside.map(Outcome::rate));
    }
}

fn summarise(seen: &[Seen], options: &Options) -> Section {
    let mut table = Table::new(
        "",
        &["beside the victim", "p50 ms", "p99 ms", "p99: least to most", "× quiet", "burst pairs/s", "failed"],
    );
    let p99 = |at: usize| Spread::of(&seen[at].p99);
    let quiet = p99(0).map_or(f64::NAN, |all| all.middle);
    let middle = |values: &[f64]| Spread::of(values).map_or_else(|| "-".to_owned(), |all| figure(all.middle));
    let mut bars = Vec::new();
    for (at, (scenario, own)) in SCENES.iter().zip(seen).enumerate() {
        let Some(Spread { least, middle: p, most }) = p99(at) else {
            let why = own.failure.clone().unwrap_or_default();
            table.push(
                Tone::Aside,
                vec![
                    scenario.name().to_owned(),
                    "-".into(),
                    "-".into(),
                    "-".into(),
                    "-".into(),
                    middle(&own.burst),
                    why,
                ],
            );
            continue;
        };
        let cells = vec![
            scenario.name().to_owned(),
            middle(&own.p50),
            figure(p),
            format!("{} to {}", figure(least), figure(most)),
            figure(p / quiet),
            middle(&own.burst),
            own.failed.to_string(),
        ];
        table.push(Tone::Plain, cells);
        bars.push(Series {
            name: scenario.name().to_owned(),
            tone: if at == 0 { Tone::Best } else { Tone::Plain },
            points: vec![Point { x: p, y: 0.0, least, most }],
        });
    }
    Section {
        id: "models".to_owned(),
        title: "Several models".to_owned(),
        question: "What does a burst on one model do to the callers of another one in the same process?".to_owned(),
        findings: findings(seen, quiet),
        settings: vec![Fact::new("RESCORED_MODELS", format!("{},{}", options.victim, options.other))],
        tables: vec![table],
        charts: vec![Chart {
            name: "models-isolation".to_owned(),
            title: "The victim's p99 (shorter is better)".to_owned(),
            x: "ms a request: median, least to most".to_owned(),
            y: "scenario".to_owned(),
            kind: Kind::Bars,
            series: bars,
        }],
        notes: vec!["a round's p99 of few requests is its slowest; another process shares the cores, so it is no more than the system's own fairness".to_owned()],
        measures: measures(seen),
        ..Section::default()
    }
}

fn measures(seen: &[Seen]) -> Vec<Measure> {
    let measure = |(scenario, own): (&Scenario, &Seen)| Measure {
        name: format!("{}/p99", scenario.name()),
        unit: "ms".to_owned(),
        better: Better::Lower,
        rounds: own.p99.clone(),
    };
    SCENES.iter().zip(seen).map(measure).collect()
}

fn findings(seen: &[Seen], quiet: f64) -> Vec<String> {
    let middle = |scenario: Scenario| {
        let at = SCENES.iter().position(|one| *one == scenario)?;
        Some((Spread::of(&seen[at].p99)?.middle, &seen[at].p99))
    };
    let mut reported = Vec::new();
    if let Some((other, rounds)) = middle(Scenario::Other) {
        reported.push(format!(
            "A burst on the other model makes the victim's p99 {} × what it is when all is quiet ({} ms against {} ms).",
            figure(other / quiet),
            figure(other),
            figure(quiet)
        ));
        if let Some((apart, apart_rounds)) = middle(Scenario::Apart) {
            let word = match () {
                () if rank_test(rounds, apart_rounds) > ALPHA => "does not differ measurably from",
                () if other < apart => "is shorter than",
                () => "is longer than",
            };
            reported.push(format!(
                "Two processes that the system shares the cores between give {} ms: one process with both models {word} that.",
                figure(apart)
            ));
        }
    }
    if let Some((own, _)) = middle(Scenario::Own) {
        reported.push(format!("The same burst on the victim's own model gives {} ms.", figure(own)));
    }
    let failed: usize = seen.iter().map(|one| one.failed).sum();
    reported.push(format!("{failed} of the victim's requests failed."));
    reported
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(p99: f64) -> Seen {
        Seen { p50: vec![p99 / 2.0; 5], p99: vec![p99, p99, p99, p99 + 1.0, p99 - 1.0], ..Seen::default() }
    }

    #[test]
    fn what_a_burst_does_is_reported_against_quiet_and_against_processes() {
        let options = Options { victim: "a".into(), other: "b".into(), clients: 8 };
        let section = summarise(&[seen(10.0), seen(30.0), seen(40.0), seen(60.0)], &options);
        assert!(section.findings[0].contains("3.00 ×"), "{:?}", section.findings);
        assert!(section.findings[1].contains("is shorter than"), "{:?}", section.findings);
        assert!(section.findings[3].starts_with("0 of the victim's"), "{:?}", section.findings);
        assert_eq!(section.settings, [Fact::new("RESCORED_MODELS", "a,b")]);
        assert_eq!(section.charts[0].series.len(), 4);
    }

    #[test]
    fn a_scene_that_failed_has_a_row_that_says_so() {
        let options = Options { victim: "a".into(), other: "b".into(), clients: 8 };
        let failed = Seen { failed: 40, failure: Some("status 500".into()), ..Seen::default() };
        let section = summarise(&[seen(10.0), failed, seen(40.0), seen(60.0)], &options);
        assert_eq!(section.tables[0].rows[1].cells[6], "status 500");
        assert!(section.findings.iter().any(|line| line.starts_with("40 of the victim's")), "{:?}", section.findings);
    }
}
