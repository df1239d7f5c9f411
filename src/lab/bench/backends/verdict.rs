//! From what candidates did to a table, a winner, and sentences that follow from the figures.
//!
//! Pure. It must not know how anything was measured.

use std::collections::HashMap;

use rescored_runtime::catalogue::PrecisionName;

use super::super::arms::{ArmRun, Round};
use super::super::candidates::{Candidate, Device, tolerance};
use super::super::host;
use super::super::report::{Better, Chart, Fact, Kind, Measure, Point, Section, Series, Table, Tone, figure};
use super::super::stats::{Spread, mean, median, rank_test};

/// A difference that chance explains less often than this is one.
const ALPHA: f64 = 0.05;

/// A candidate and what it did.
pub(super) struct Row<'c> {
    pub(super) candidate: &'c Candidate,
    pub(super) arm_run: ArmRun,
    /// Distances of its logits from those in fp32.
    agreement: Option<Agreement>,
}

/// How far scores are from those in fp32.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Agreement {
    mean: f64,
    most: f64,
    /// Share of requests whose best document is the same.
    same_best: f64,
}

type Logits = HashMap<usize, Vec<f64>>;

/// Puts candidates beside their scores' distance from the first that runs in fp32, ours before others.
pub(super) fn rows<'c>(all: impl Iterator<Item = (&'c Candidate, ArmRun)>) -> Vec<Row<'c>> {
    let mut rows: Vec<Row<'c>> = all.map(|(candidate, arm_run)| Row { candidate, arm_run, agreement: None }).collect();
    let reference = rows
        .iter()
        .find(|row| row.candidate.arithmetic == PrecisionName::Fp32 && !row.arm_run.rounds.is_empty())
        .map(|row| logits(&row.arm_run));
    if let Some(reference) = reference {
        for row in &mut rows {
            row.agreement = agreement(&reference, &logits(&row.arm_run));
        }
    }
    rows
}

/// Every request's logits, by the request's place.
fn logits(arm_run: &ArmRun) -> Logits {
    let of_round = |round: &Round| {
        let first = round.first;
        round
            .outcome
            .logits
            .iter()
            .enumerate()
            .map(move |(at, logits)| (first + at, logits.clone()))
            .collect::<Vec<_>>()
    };
    arm_run.rounds.iter().flat_map(of_round).filter(|(_, logits)| !logits.is_empty()).collect()
}

fn agreement(reference: &Logits, own: &Logits) -> Option<Agreement> {
    let both: Vec<(&Vec<f64>, &Vec<f64>)> =
        own.iter().filter_map(|(at, own)| Some((reference.get(at)?, own))).collect();
    let distances: Vec<f64> =
        both.iter().flat_map(|(a, b)| a.iter().zip(b.iter()).map(|(a, b)| (a - b).abs())).collect();
    let best = |logits: &[f64]| (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    let same: Vec<f64> = both.iter().map(|(a, b)| f64::from(u8::from(best(a) == best(b)))).collect();
    // Not a number is as far as can be.
    let most = distances.iter().copied().fold(0.0, |most, one| if one.is_nan() { f64::NAN } else { one.max(most) });
    Some(Agreement { mean: mean(&distances)?, most, same_best: mean(&same)? })
}

impl Row<'_> {
    fn name(&self) -> String {
        self.candidate.full_name()
    }

    fn throughput(&self) -> Option<Spread> {
        self.arm_run.spread(|round| round.outcome.rate())
    }

    fn agrees(&self) -> bool {
        self.agreement.is_none_or(|agreement| agreement.mean <= tolerance(self.candidate.arithmetic))
    }

    /// Whether it did everything it was asked, and right.
    fn is_ranked(&self) -> bool {
        self.throughput().is_some() && self.arm_run.failure.is_none() && self.arm_run.failed() == 0 && self.agrees()
    }

    fn busy(&self) -> Option<String> {
        let accelerators = self.arm_run.rounds.iter().filter_map(|round| round.accelerator);
        let cores = self.arm_run.rounds.iter().filter_map(|round| round.cores);
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        match self.candidate.device {
            Device::Accelerator => Some(format!("GPU {}", percent(median(&accelerators.collect::<Vec<_>>())?))),
            Device::Cpu => Some(format!("CPU {}", percent(median(&cores.collect::<Vec<_>>())? / host::cores() as f64))),
            Device::Metal => None,
        }
    }

    fn note(&self) -> String {
        match (&self.candidate.who, &self.arm_run.failure) {
            // The server's own sentence begins with what the row says already.
            (Err(why), _) => {
                format!(
                    "cannot run here: {}",
                    why.split_once("does not run here: ").map_or(why.as_str(), |(_, why)| why)
                )
            }
            (Ok(_), Some(why)) => format!("failed: {why}"),
            (Ok(_), None) if self.arm_run.failed() > 0 => {
                let said = self.arm_run.rounds.iter().find_map(|round| round.outcome.failures.first());
                let said = said.map_or("", String::as_str);
                format!("not ranked: {} requests failed: {said}", self.arm_run.failed())
            }
            (Ok(_), None) if !self.agrees() => "not ranked: its scores are not the model's".to_owned(),
            (Ok(_), None) => self.candidate.version.clone(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let dash = || "-".to_owned();
        let of =
            |take: &dyn Fn(&Round) -> f64| self.arm_run.spread(take).map_or_else(dash, |spread| figure(spread.middle));
        let agreement = |take: &dyn Fn(&Agreement) -> String| self.agreement.as_ref().map_or_else(dash, take);
        vec![
            self.candidate.name.clone(),
            self.candidate.arithmetic.word().to_owned(),
            of(&|round| round.outcome.rate()),
            self.throughput().map_or_else(dash, |all| format!("{} to {}", figure(all.least), figure(all.most))),
            of(&|round| round.outcome.latencies.mean_ms()),
            of(&|round| round.outcome.latencies.quantile_ms(0.99)),
            self.busy().unwrap_or_else(dash),
            agreement(&|one| format!("{:.4}", one.mean)),
            agreement(&|one| format!("{:.4}", one.most)),
            agreement(&|one| format!("{:.0} %", one.same_best * 100.0)),
            self.arm_run.resident.map_or_else(dash, |bytes| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))),
            self.note(),
        ]
    }
}

const COLUMNS: [&str; 12] = [
    "backend",
    "arithmetic",
    "pairs/s",
    "least to most",
    "latency avg ms",
    "p99 ms",
    "busy",
    "logits off, mean",
    "logits off, max",
    "same best",
    "memory",
    "note",
];

/// Everything that there is to report, but for what was asked.
pub(super) fn section(rows: &[Row<'_>]) -> Section {
    let mut order: Vec<&Row<'_>> = rows.iter().collect();
    let middle = |row: &Row<'_>| row.throughput().map_or(-1.0, |spread| spread.middle);
    order.sort_by(|a, b| (b.is_ranked(), middle(b)).0.cmp(&a.is_ranked()).then(middle(b).total_cmp(&middle(a))));
    let winner = order.first().copied().filter(|row| row.is_ranked());
    let tone = |row: &Row<'_>| match row {
        row if winner.is_some_and(|winner| std::ptr::eq(winner, row)) => Tone::Best,
        row if row.is_ranked() => Tone::Plain,
        _ => Tone::Aside,
    };
    let mut table = Table::new("", &COLUMNS);
    for row in &order {
        table.push(tone(row), row.cells());
    }
    Section {
        id: "backends".to_owned(),
        title: "Backends".to_owned(),
        question: "Which way to score pairs is the fastest on this machine, with the same weights, texts and answers?"
            .to_owned(),
        findings: findings(&order),
        settings: settings(&order),
        tables: vec![table],
        charts: charts(&order, &tone),
        notes: vec![
            "a latency is one request's, with all its documents; p99 is each round's own, so with fewer than a hundred requests a round it is the slowest".to_owned(),
            "busy: cores of this machine that the process kept busy, or the busiest GPU by NVML; memory: resident, at most".to_owned(),
            "logits off: distance from those in fp32; same best: share of requests whose best document is the same".to_owned(),
            "other programs' times are their own, without the pipe to them; ours are a client's, over HTTP".to_owned(),
            format!(
                "a row is ranked when its logits are within {} (fp32), {} (fp16), {} (int8) of fp32 on average",
                tolerance(PrecisionName::Fp32),
                tolerance(PrecisionName::Fp16),
                tolerance(PrecisionName::Int8)
            ),
        ],
        measures: rows.iter().flat_map(measures).collect(),
        ..Section::default()
    }
}

fn measures(row: &Row<'_>) -> Vec<Measure> {
    let measure = |name: &str, (unit, better): (&str, Better), rounds: Vec<f64>| Measure {
        name: format!("{}/{name}", row.name()),
        unit: unit.to_owned(),
        better,
        rounds,
    };
    if row.arm_run.rounds.is_empty() {
        return Vec::new();
    }
    let latencies = |take: &dyn Fn(&Round) -> f64| row.arm_run.figures(take);
    vec![
        measure("throughput", ("pairs/s", Better::Higher), row.arm_run.figures(|round| round.outcome.rate())),
        measure("latency mean", ("ms", Better::Lower), latencies(&|round| round.outcome.latencies.mean_ms())),
        measure("latency p99", ("ms", Better::Lower), latencies(&|round| round.outcome.latencies.quantile_ms(0.99))),
    ]
}

fn charts(order: &[&Row<'_>], tone: &dyn Fn(&Row<'_>) -> Tone) -> Vec<Chart> {
    let bars = |take: &dyn Fn(&Round) -> f64| -> Vec<Series> {
        let bar = |row: &&Row<'_>| {
            let Spread { least, middle, most } = row.arm_run.spread(take)?;
            let points = vec![Point { x: middle, y: 0.0, least, most }];
            Some(Series { name: row.name(), tone: tone(row), points })
        };
        order.iter().filter_map(bar).collect()
    };
    let chart = |name: &str, title: &str, (x, series): (&str, Vec<Series>)| Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        x: x.to_owned(),
        y: "backend".to_owned(),
        kind: Kind::Bars,
        series,
    };
    let throughput = bars(&|round| round.outcome.rate());
    let latency = bars(&|round| round.outcome.latencies.mean_ms());
    vec![
        chart("backends-throughput", "Throughput (longer is better)", ("pairs/s: median, least to most", throughput)),
        chart("backends-latency", "Latency (shorter is better)", ("ms a request: median, least to most", latency)),
    ]
}

/// What to set for the fastest arrangement of ours whose scores agree.
fn settings(order: &[&Row<'_>]) -> Vec<Fact> {
    let best = order.iter().find(|row| row.candidate.is_ours() && row.is_ranked());
    let settings = best.and_then(|row| row.candidate.settings.as_ref());
    settings.into_iter().flatten().map(|(name, value)| Fact::new(*name, value.clone())).collect()
}

/// Sentences that follow from the figures.
fn findings(order: &[&Row<'_>]) -> Vec<String> {
    let ranked: Vec<&Row<'_>> = order.iter().copied().filter(|row| row.is_ranked()).collect();
    let Some(winner) = ranked.first() else { return vec!["Nothing ran that could be ranked.".to_owned()] };
    let mut reported = vec![won(winner, ranked.get(1).copied())];
    let ours = |provider: &str, arithmetic: PrecisionName| {
        let name = format!("rescored, {provider}");
        ranked.iter().copied().find(|row| row.candidate.name == name && row.candidate.arithmetic == arithmetic)
    };
    let peer = |name: &str, arithmetic: PrecisionName| {
        ranked.iter().copied().find(|row| row.candidate.name == name && row.candidate.arithmetic == arithmetic)
    };
    reported.extend(
        ranked
            .iter()
            .copied()
            .find(|row| row.candidate.is_ours())
            .zip(peer("PyTorch", PrecisionName::Fp32))
            .map(|(best, torch)| format!("{} does {} the pairs of PyTorch in fp32.", best.name(), times(best, torch))),
    );
    for arithmetic in [PrecisionName::Fp32, PrecisionName::Fp16, PrecisionName::Int8] {
        let of = |ours: bool| {
            ranked.iter().copied().find(|row| row.candidate.is_ours() == ours && row.candidate.arithmetic == arithmetic)
        };
        reported.extend(of(true).zip(of(false)).map(|(own, other)| {
            format!(
                "In {}, {} does {} the pairs of the best other program, {}.",
                arithmetic.word(),
                own.candidate.name,
                times(own, other),
                other.candidate.name
            )
        }));
    }
    let compiled = |arithmetic| ours("cpu, compiled graph", arithmetic);
    reported.extend(compiled(PrecisionName::Int8).zip(compiled(PrecisionName::Fp32)).map(|(int8, fp32)| {
        let distance = int8.agreement.map_or(f64::NAN, |agreement| agreement.mean);
        format!(
            "8-bit products alone bring {} (same graph, same scheduling) and move logits by {distance:.3} on average.",
            times(int8, fp32)
        )
    }));
    reported.extend(compiled(PrecisionName::Int8).zip(ours("cpu, source graph", PrecisionName::Int8)).map(
        |(compiled, source)| format!("The compiled graph brings {} over the model's own in int8: rows packed without padding, the last layer for the first token only, ranges observed beforehand.", times(compiled, source)),
    ));
    let padded = peer("ONNX Runtime in Python, padded", PrecisionName::Fp32);
    let sorted = peer("ONNX Runtime in Python, sorted by 8", PrecisionName::Fp32);
    reported.extend(padded.zip(sorted).map(|(padded, sorted)| {
        format!("Padding costs: the same runtime and graph in batches of near-equal length does {} what it does padded to the longest.", times(sorted, padded))
    }));
    reported.extend(compiled(PrecisionName::Fp32).zip(sorted).map(|(own, sorted)| {
        format!(
            "What is left between that and ours in fp32 ({}) is the graph, and a thread of its own for every worker.",
            times(own, sorted)
        )
    }));
    let wrong: Vec<String> = order.iter().filter(|row| !row.agrees()).map(|row| row.name()).collect();
    if !wrong.is_empty() {
        reported.push(format!("Not ranked, because their scores are not the model's: {}.", wrong.join("; ")));
    }
    reported
}

fn won(winner: &Row<'_>, second: Option<&Row<'_>>) -> String {
    let rates = |row: &Row<'_>| row.arm_run.figures(|round| round.outcome.rate());
    let rate = figure(winner.throughput().map_or(f64::NAN, |spread| spread.middle));
    let latency = winner.arm_run.spread(|round| round.outcome.latencies.mean_ms());
    let latency = figure(latency.map_or(f64::NAN, |spread| spread.middle));
    let won = format!("Winner: {}, {rate} pairs/s, {latency} ms a request on average", winner.name());
    match second {
        Some(second) if rank_test(&rates(winner), &rates(second)) > ALPHA => {
            format!("{won}; rounds this few or this uneven do not tell it from {}.", second.name())
        }
        Some(second) => format!("{won}; {} comes second ({} as many pairs).", second.name(), times(second, winner)),
        None => format!("{won}."),
    }
}

/// The median of the rounds' own ratios, which a busy neighbour disturbs less than rates.
fn times(a: &Row<'_>, b: &Row<'_>) -> String {
    let ratios: Vec<f64> =
        a.arm_run.rounds.iter().zip(&b.arm_run.rounds).map(|(a, b)| a.outcome.rate() / b.outcome.rate()).collect();
    format!("{} ×", figure(median(&ratios).unwrap_or(f64::NAN)))
}

#[cfg(test)]
mod tests;
