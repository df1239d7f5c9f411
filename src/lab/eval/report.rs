//! What an evaluation reports: figures, findings that follow from them, and the same as JSON.
//!
//! Owns the report's shape; `page` renders it for people. It must not know files or flags.

mod page;

use serde::Serialize;

use super::data::Dataset;
use super::significance::{Comparison, Draws};
use super::{CUT, Outcome, ceiling};

/// p below which a difference is called one.
const SIGNIFICANT: f64 = 0.05;

/// Everything that was found. Serialised, it is the JSON output.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of the program.
    pub version: &'static str,
    /// The command that made it.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// What it ran on.
    pub data: Data,
    /// Draws of the tests, and their seed.
    pub draws: u32,
    /// See `draws`.
    pub seed: u64,
    /// The first stage, then every system in the order asked for; the second one is what others are compared with.
    pub systems: Vec<Row>,
    /// Sentences that follow from the figures.
    pub findings: Vec<String>,
}

/// The machine, as far as times depend on it.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The operating system.
    pub os: &'static str,
    /// The processor's architecture.
    pub arch: &'static str,
    /// Cores that the process may use.
    pub cores: usize,
    /// Inference workers.
    pub workers: usize,
}

/// The data set.
#[derive(Clone, Debug, Serialize)]
pub struct Data {
    /// Its folder's name.
    pub name: String,
    /// Documents in the corpus.
    pub corpus: usize,
    /// Queries measured.
    pub queries: usize,
    /// Queries of the file that were not.
    pub left_out: usize,
    /// What found the candidates.
    pub first_stage: String,
    /// Candidates of a query, on average.
    pub candidates: f64,
    /// Recall of all candidates: what no order of them can pass.
    pub ceiling: f64,
}

/// One system.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What people call it.
    pub name: String,
    /// Mean nDCG at 10.
    pub ndcg_at_10: f64,
    /// Mean reciprocal rank at 10.
    pub mrr_at_10: f64,
    /// Mean recall at 10.
    pub recall_at_10: f64,
    /// Milliseconds of a query.
    pub milliseconds: Milliseconds,
    /// Pairs of a query, on average.
    pub pairs: f64,
    /// Pairs a second, one query at a time.
    pub pairs_per_second: f64,
    /// nDCG at 10 against the first stage's.
    pub against_first_stage: Option<Comparison>,
    /// nDCG at 10 against the first system's.
    pub against_reference: Option<Comparison>,
    /// Every query.
    pub queries: Vec<PerQuery>,
}

/// Times of a query.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Milliseconds {
    /// Their mean.
    pub mean: f64,
    /// Half took no longer.
    pub p50: f64,
    /// 95 % took no longer.
    pub p95: f64,
}

/// One query of one system.
#[derive(Clone, Debug, Serialize)]
pub struct PerQuery {
    /// Its id.
    pub id: String,
    /// Its nDCG at 10.
    pub ndcg_at_10: f64,
    /// Its reciprocal rank at 10.
    pub mrr_at_10: f64,
    /// Its recall at 10.
    pub recall_at_10: f64,
    /// Its time.
    pub milliseconds: f64,
}

impl Report {
    /// Puts the figures of an evaluation together; `outcomes` begin with the first stage.
    pub fn new(command: String, machine: Machine, data: &Dataset, outcomes: &[Outcome], draws: Draws) -> Self {
        let systems = rows(data, outcomes, draws);
        let findings = findings(&systems);
        let candidates: usize = data.queries.iter().map(|query| query.candidates.len()).sum();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            command,
            machine,
            data: Data {
                name: data.name.clone(),
                corpus: data.corpus,
                queries: data.queries.len(),
                left_out: data.left_out,
                first_stage: data.first_stage.clone(),
                candidates: candidates as f64 / data.queries.len().max(1) as f64,
                ceiling: ceiling(data),
            },
            draws: draws.count,
            seed: draws.seed,
            systems,
            findings,
        }
    }

    /// Systems that lost more than this share of the reference's nDCG, with the share that they lost.
    pub fn losses_above(&self, share: f64) -> Vec<(&str, f64)> {
        let reference = self.systems.get(1).map_or(0.0, |row| row.ndcg_at_10);
        let lost = |row: &Row| if reference > 0.0 { 1.0 - row.ndcg_at_10 / reference } else { 0.0 };
        let others = self.systems.iter().skip(2).map(|row| (row.name.as_str(), lost(row)));
        others.filter(|(_, lost)| *lost > share).collect()
    }
}

fn rows(data: &Dataset, outcomes: &[Outcome], draws: Draws) -> Vec<Row> {
    let row = |(place, outcome): (usize, &Outcome)| {
        let summary = outcome.summary();
        let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        let against =
            |other: usize| outcomes.get(other).filter(|_| place > other).map(|other| outcome.against(other, draws));
        let queries = data.queries.iter().zip(&outcome.queries).map(|(query, measured)| PerQuery {
            id: query.id.clone(),
            ndcg_at_10: measured.ndcg,
            mrr_at_10: measured.reciprocal_rank,
            recall_at_10: measured.recall,
            milliseconds: milliseconds(measured.took),
        });
        Row {
            name: outcome.name.clone(),
            ndcg_at_10: summary.ndcg,
            mrr_at_10: summary.mrr,
            recall_at_10: summary.recall,
            milliseconds: Milliseconds {
                mean: milliseconds(summary.mean),
                p50: milliseconds(summary.p50),
                p95: milliseconds(summary.p95),
            },
            pairs: summary.pairs,
            pairs_per_second: summary.pairs_per_second,
            against_first_stage: against(0),
            against_reference: against(1),
            queries: queries.collect(),
        }
    };
    outcomes.iter().enumerate().map(row).collect()
}

/// Whether reranking helps, what each system loses against the first one, and the cheapest that is as good as the best.
fn findings(systems: &[Row]) -> Vec<String> {
    let Some((first, others)) = systems.split_first() else { return Vec::new() };
    let Some(best) = others.iter().max_by(|a, b| a.ndcg_at_10.total_cmp(&b.ndcg_at_10)) else { return Vec::new() };
    let mut reported = Vec::new();
    if let Some(gain) = best.against_first_stage {
        let verdict = match gain {
            Comparison { p, .. } if p >= SIGNIFICANT => "makes no difference that these queries can show",
            Comparison { difference, .. } if difference > 0.0 => "helps",
            _ => "does harm",
        };
        reported.push(format!(
            "Reranking {verdict}: `{}` moves nDCG@{CUT} by {:+.4} against {} (p {:.4}).",
            best.name, gain.difference, first.name, gain.p
        ));
    }
    for row in others {
        let Some(compared) = row.against_reference else { continue };
        let reference = others.first().map_or(0.0, |reference| reference.ndcg_at_10);
        let share = if reference > 0.0 { 100.0 * compared.difference / reference } else { 0.0 };
        let verdict =
            if compared.p < SIGNIFICANT { "a difference" } else { "no difference that these queries can show" };
        reported.push(format!(
            "`{}` keeps {:.2} % of the nDCG@{CUT} of `{}` ({share:+.2} %, {verdict}: p {:.4}) at {:.2} times its time.",
            row.name,
            100.0 + share,
            others.first().map_or("", |reference| &reference.name),
            compared.p,
            ratio(row, &others[0]),
        ));
    }
    let as_good = |row: &&Row| best.ndcg_at_10 - row.ndcg_at_10 < 0.005 * best.ndcg_at_10;
    let cheapest = others.iter().filter(as_good).min_by(|a, b| a.milliseconds.mean.total_cmp(&b.milliseconds.mean));
    if let Some(cheapest) = cheapest.filter(|_| others.len() > 1) {
        reported.push(format!(
            "Cheapest within 0.5 % of the best nDCG@{CUT}: `{}`, {:.0} ms a query.",
            cheapest.name, cheapest.milliseconds.mean
        ));
    }
    reported
}

fn ratio(row: &Row, reference: &Row) -> f64 {
    if reference.milliseconds.mean > 0.0 { row.milliseconds.mean / reference.milliseconds.mean } else { 0.0 }
}

/// A report over made-up figures, for tests.
#[cfg(test)]
pub(super) fn fixture() -> Report {
    use super::Measured;
    use super::data::Query;

    let query = |id: &str| Query { id: id.into(), judged: vec![1], ..Query::default() };
    let queries: Vec<Query> = (0..20).map(|n| query(&format!("q{n}"))).collect();
    let data = Dataset { name: "set".into(), first_stage: "BM25".into(), corpus: 5, queries, ..Dataset::default() };
    let outcome = |name: &str, ndcg: f64, millis: u64| Outcome {
        name: name.into(),
        queries: vec![
            Measured {
                ndcg,
                took: std::time::Duration::from_millis(millis),
                pairs: 10,
                ..Measured::default()
            };
            20
        ],
    };
    let outcomes = [
        outcome("BM25", 0.5, 0),
        outcome("big@fp32", 0.8, 100),
        outcome("big@int8", 0.798, 50),
        outcome("small", 0.6, 5),
    ];
    let machine = Machine { os: "linux", arch: "x86_64", cores: 2, workers: 2 };
    Report::new("rescored eval".into(), machine, &data, &outcomes, Draws { count: 500, seed: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_follow_from_the_figures() {
        let reported = fixture().findings.join("\n");
        assert!(
            reported.contains("Reranking helps: `big@fp32` moves nDCG@10 by +0.3000 against BM25 (p 0.0020)."),
            "{reported}"
        );
        assert!(
            reported.contains("`big@int8` keeps 99.75 % of the nDCG@10 of `big@fp32` (-0.25 %, a difference"),
            "{reported}"
        );
        assert!(reported.contains("at 0.50 times its time"), "{reported}");
        assert!(
            reported.ends_with("Cheapest within 0.5 % of the best nDCG@10: `big@int8`, 50 ms a query."),
            "{reported}"
        );
    }

    #[test]
    fn losses_are_shares_of_the_reference() {
        let report = fixture();
        let names = |share: f64| report.losses_above(share).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(0.001), ["big@int8", "small"]);
        assert_eq!(names(0.005), ["small"]);
        assert_eq!(names(0.3), [""; 0]);
    }

    #[test]
    fn markdown_has_a_line_a_system_and_the_command() {
        let page = fixture().markdown();
        for line in [
            "| `big@int8` | 0.7980 | 0.0000 | 0.0000 | 50.0 | 50.0 | 50.0 | 10.0 | 200 |",
            "| `big@int8` | BM25 | +0.2980 | +0.2980 to +0.2980 | 0.0020 | 20 / 0 / 0 |",
            "    rescored eval",
        ] {
            let squeezed = page.lines().any(|found| found.split_whitespace().eq(line.split_whitespace()));
            assert!(squeezed, "`{line}` is missing in:\n{page}");
        }
        let json = serde_json::to_value(fixture()).unwrap();
        assert_eq!(json["systems"][2]["queries"].as_array().unwrap().len(), 20);
    }
}
