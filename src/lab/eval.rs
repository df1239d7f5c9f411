//! `eval`: does reranking help here, which model, precision and window is best, and what does it cost?
//!
//! Owns the course of an evaluation: every system orders every query's candidates, query by query and system by system in
//! turn, so that a busy machine slows all of them alike; the orders become figures, and every system is compared with the
//! first stage and with the first system. One file a concern:
//!
//! - [`data`]: data sets on disk; [`bm25`]: a first stage where they bring none.
//! - [`system`]: ways to order candidates; [`local`]: scores of this process.
//! - [`metrics`], [`significance`]: pure figures.
//! - [`report`], [`chart`]: what is reported.
//!
//! It must not know flags, terminals or HTTP.

pub mod bm25;
pub mod chart;
pub mod data;
pub mod local;
pub mod metrics;
pub mod report;
pub mod significance;
pub mod system;

use std::time::Duration;

use data::{Dataset, Query};
use significance::{Comparison, Draws, compare, mean, quantile};
use system::{Judge, Ordered, System};

/// The rank at which measures are cut.
pub const CUT: usize = 10;

/// What came of one system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What people call it.
    pub name: String,
    /// One a query, in the data set's order.
    pub queries: Vec<Measured>,
}

/// One query under one system.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// nDCG at [`CUT`].
    pub ndcg: f64,
    /// Reciprocal rank at [`CUT`].
    pub reciprocal_rank: f64,
    /// Recall at [`CUT`].
    pub recall: f64,
    /// Time from the query to its order.
    pub took: Duration,
    /// Pairs scored.
    pub pairs: usize,
    /// Tokens of theirs.
    pub tokens: u64,
}

/// A system's figures over all queries.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Mean nDCG.
    pub ndcg: f64,
    /// Mean reciprocal rank.
    pub mrr: f64,
    /// Mean recall.
    pub recall: f64,
    /// Mean time of a query.
    pub mean: Duration,
    /// Half of the queries took no longer.
    pub p50: Duration,
    /// 95 % of the queries took no longer.
    pub p95: Duration,
    /// Pairs of a query, on average.
    pub pairs: f64,
    /// Pairs a second, one query at a time.
    pub pairs_per_second: f64,
}

/// Orders every query of the data set with every system, the first stage's order first among the outcomes. `progress` is
/// called after each query.
///
/// # Errors
/// The judge's first failure.
pub fn run<J: Judge>(
    data: &Dataset,
    systems: &[System],
    judge: &mut J,
    mut progress: impl FnMut(&Query),
) -> Result<Vec<Outcome>, J::Error> {
    let first_stage = System { name: data.first_stage.clone(), steps: Vec::new() };
    let systems: Vec<&System> = std::iter::once(&first_stage).chain(systems).collect();
    let mut outcomes: Vec<Outcome> = systems
        .iter()
        .map(|system| Outcome { name: system.name.clone(), queries: vec![Measured::default(); data.queries.len()] })
        .collect();
    if let Some(query) = data.queries.iter().find(|query| !query.candidates.is_empty()) {
        // Untimed: the first pass of each system pays for memory that later ones find ready.
        for system in &systems {
            order(data, query, system, judge)?;
        }
    }
    for (number, query) in data.queries.iter().enumerate() {
        for turn in 0..systems.len() {
            let at = (number + turn) % systems.len();
            let ordered = order(data, query, systems[at], judge)?;
            outcomes[at].queries[number] = measured(query, &ordered);
        }
        progress(query);
    }
    Ok(outcomes)
}

fn order<J: Judge>(data: &Dataset, query: &Query, system: &System, judge: &mut J) -> Result<Ordered, J::Error> {
    let texts: Vec<&str> = query.candidates.iter().map(|&document| &*data.documents[document]).collect();
    system.order(&query.text, &texts, judge)
}

fn measured(query: &Query, ordered: &Ordered) -> Measured {
    let gains: Vec<u32> = ordered.order.iter().filter_map(|&place| query.gains.get(place).copied()).collect();
    Measured {
        ndcg: metrics::ndcg(&gains, &query.judged, CUT),
        reciprocal_rank: metrics::reciprocal_rank(&gains, CUT),
        recall: metrics::recall(&gains, &query.judged, CUT),
        took: ordered.took,
        pairs: ordered.pairs,
        tokens: ordered.tokens,
    }
}

/// The share of relevant documents among all candidates: no order of them can find more.
pub fn ceiling(data: &Dataset) -> f64 {
    let recall = |query: &Query| metrics::recall(&query.gains, &query.judged, usize::MAX);
    mean(&data.queries.iter().map(recall).collect::<Vec<_>>())
}

impl Outcome {
    /// One figure of every query.
    pub fn values(&self, of: fn(&Measured) -> f64) -> Vec<f64> {
        self.queries.iter().map(of).collect()
    }

    /// Figures over all queries.
    pub fn summary(&self) -> Summary {
        let mut times = self.values(|query| query.took.as_secs_f64());
        times.sort_unstable_by(f64::total_cmp);
        let (total, pairs) = (times.iter().sum::<f64>(), self.queries.iter().map(|query| query.pairs).sum::<usize>());
        Summary {
            ndcg: mean(&self.values(|query| query.ndcg)),
            mrr: mean(&self.values(|query| query.reciprocal_rank)),
            recall: mean(&self.values(|query| query.recall)),
            mean: Duration::from_secs_f64(mean(&times)),
            p50: Duration::from_secs_f64(quantile(&times, 0.5)),
            p95: Duration::from_secs_f64(quantile(&times, 0.95)),
            pairs: pairs as f64 / self.queries.len().max(1) as f64,
            pairs_per_second: if total > 0.0 { pairs as f64 / total } else { 0.0 },
        }
    }

    /// nDCG against another system's.
    pub fn against(&self, other: &Self, draws: Draws) -> Comparison {
        compare(&self.values(|query| query.ndcg), &other.values(|query| query.ndcg), draws)
    }
}

#[cfg(test)]
mod tests {
    use super::system::Step;
    use super::*;
    use rescored_core::domain::{Logit, LongDocuments};

    /// Prefers what has fewer letters.
    struct Short;

    impl Judge for Short {
        type Error = ();

        fn score(&mut self, _: &str, documents: &[&str], _: Step) -> Result<(Vec<Logit>, u64), ()> {
            let logit = |text: &&str| Logit::new(-f32::from(u16::try_from(text.len()).unwrap())).unwrap();
            Ok((documents.iter().map(logit).collect(), 1))
        }
    }

    fn data() -> Dataset {
        let query = |gains: [u32; 3], candidates: [usize; 3]| Query {
            id: "q".into(),
            text: "q".into(),
            candidates: candidates.into(),
            gains: gains.into(),
            judged: vec![1],
        };
        Dataset {
            first_stage: "BM25".into(),
            queries: vec![
                query([0, 0, 1], [0, 1, 2]),
                query([1, 0, 0], [0, 1, 2]),
                Query { judged: vec![1], ..Query::default() },
            ],
            documents: ["long one", "middle", "s"].map(Into::into).into(),
            ..Dataset::default()
        }
    }

    #[test]
    fn figures_follow_from_the_orders() {
        let step = Step { model: 0, top: 3, long_documents: LongDocuments::Truncate };
        let systems = [System { name: "short".into(), steps: vec![step] }];
        let mut queries = 0;
        let outcomes = run(&data(), &systems, &mut Short, |_| queries += 1).unwrap();
        assert_eq!(queries, 3);
        let [first, short] = &outcomes[..] else { panic!("the first stage and one system") };
        let third = 1.0 / 4f64.log2();
        // Third, first, nothing found; and the other way round.
        assert_eq!(first.values(|query| query.ndcg), [third, 1.0, 0.0]);
        assert_eq!(short.values(|query| query.ndcg), [1.0, third, 0.0]);
        let summary = short.summary();
        assert!((summary.mrr - (1.0 + 1.0 / 3.0) / 3.0).abs() < 1e-12, "{summary:?}");
        assert!((summary.recall - 2.0 / 3.0).abs() < 1e-12 && (summary.pairs - 2.0).abs() < 1e-12, "{summary:?}");
        let compared = short.against(first, Draws { count: 1000, seed: 1 });
        assert_eq!((compared.wins, compared.losses, compared.ties), (1, 1, 1));
        assert!((ceiling(&data()) - 2.0 / 3.0).abs() < 1e-12);
    }
}
