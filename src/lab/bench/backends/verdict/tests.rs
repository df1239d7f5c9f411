//! Winners, ranks and sentences, from figures made up.

use std::time::Duration;

use super::super::super::candidates::Who;
use super::super::super::load::{Latencies, Outcome};
use super::super::super::tei::Tei;
use super::*;

/// A candidate that nobody asks: `who` is an address for those that ran.
fn candidate(name: &str, arithmetic: Arithmetic, missing: Option<&str>) -> Candidate {
    let settings = name.starts_with("rescored").then(|| vec![("RESCORED_PRECISION", arithmetic.word().to_owned())]);
    let who = missing.map_or_else(|| Ok(Who::Url(Tei::nowhere())), |why| Err(why.to_owned()));
    Candidate { name: name.to_owned(), arithmetic, device: Device::Cpu, settings, version: "v 1".to_owned(), who }
}

/// Rounds of one request each.
fn arm_run(rates: &[f64], shift: f64) -> ArmRun {
    let round = |(first, rate): (usize, &f64)| {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_secs_f64(2.0 / rate));
        let outcome = Outcome {
            took: Duration::from_secs_f64(2.0 / rate),
            pairs: 2,
            latencies,
            failed: 0,
            failures: Vec::new(),
            logits: vec![vec![1.0 + shift, -3.0]],
        };
        Round { outcome, first, cores: Some(1.0), accelerator: None }
    };
    ArmRun { rounds: rates.iter().enumerate().map(round).collect(), resident: Some(1 << 20), ..ArmRun::default() }
}

const FAST: [f64; 5] = [100.0, 101.0, 99.0, 102.0, 98.0];
const SLOW: [f64; 5] = [50.0, 51.0, 49.0, 50.5, 49.5];

fn summarise(all: &[(&Candidate, ArmRun)]) -> Section {
    section(&rows(all.iter().map(|(candidate, arm_run)| (*candidate, arm_run.clone()))))
}

#[test]
fn the_fastest_whose_scores_agree_wins_and_its_settings_are_given() {
    let fp32 = candidate("rescored, cpu, compiled graph", Arithmetic::Fp32, None);
    let int8 = candidate("rescored, cpu, compiled graph", Arithmetic::Int8, None);
    let torch = candidate("PyTorch", Arithmetic::Fp32, None);
    let all = summarise(&[(&fp32, arm_run(&SLOW, 0.0)), (&int8, arm_run(&FAST, 0.03)), (&torch, arm_run(&SLOW, 0.0))]);
    assert_eq!(all.tables[0].rows[0].tone, Tone::Best);
    assert_eq!(all.tables[0].rows[0].cells[1], "int8");
    assert_eq!(all.settings, [Fact::new("RESCORED_PRECISION", "int8")]);
    assert!(
        all.findings[0].starts_with("Winner: rescored, cpu, compiled graph, int8, 100 pairs/s"),
        "{:?}",
        all.findings
    );
    assert!(all.findings.iter().any(|line| line.contains("does 2.00 × the pairs of PyTorch")), "{:?}", all.findings);
}

#[test]
fn other_scores_are_marked_and_not_ranked_however_fast() {
    let fp32 = candidate("rescored, cpu, compiled graph", Arithmetic::Fp32, None);
    let wrong = candidate("FlashRank", Arithmetic::Fp32, None);
    let all = summarise(&[(&fp32, arm_run(&SLOW, 0.0)), (&wrong, arm_run(&FAST, 1.0))]);
    let last = &all.tables[0].rows[1];
    assert_eq!((last.tone, last.cells[11].as_str()), (Tone::Aside, "not ranked: its scores are not the model's"));
    assert!(all.findings[0].starts_with("Winner: rescored"), "{:?}", all.findings);
    assert!(all.findings.iter().any(|line| line.contains("Not ranked") && line.contains("FlashRank")));
}

#[test]
fn what_cannot_run_has_a_row_with_the_reason() {
    let fp32 = candidate("rescored, cpu, compiled graph", Arithmetic::Fp32, None);
    let mps = candidate("MPS", Arithmetic::Fp16, Some("needs macOS"));
    let all = summarise(&[(&fp32, arm_run(&SLOW, 0.0)), (&mps, ArmRun::default())]);
    let row = &all.tables[0].rows[1];
    assert_eq!((row.tone, row.cells[11].as_str()), (Tone::Aside, "cannot run here: needs macOS"));
    assert!(all.measures.iter().all(|measure| !measure.name.starts_with("MPS")));
    assert_eq!(all.charts[0].series.len(), 1, "nothing is drawn of it");
}

#[test]
fn two_that_noise_cannot_tell_apart_are_said_to_be_so() {
    let fp32 = candidate("rescored, cpu, compiled graph", Arithmetic::Fp32, None);
    let torch = candidate("PyTorch", Arithmetic::Fp32, None);
    let close = [100.5, 99.0, 100.0, 101.0, 97.5];
    let all = summarise(&[(&fp32, arm_run(&FAST, 0.0)), (&torch, arm_run(&close, 0.0))]);
    assert!(all.findings[0].contains("do not tell it from PyTorch"), "{:?}", all.findings);
}

#[test]
fn a_score_that_is_no_number_agrees_with_nothing() {
    let fp32 = candidate("rescored, cpu, compiled graph", Arithmetic::Fp32, None);
    let broken = candidate("MLX", Arithmetic::Fp32, None);
    let all = summarise(&[(&fp32, arm_run(&SLOW, 0.0)), (&broken, arm_run(&FAST, f64::NAN))]);
    assert_eq!(all.tables[0].rows[1].cells[0], "MLX");
    assert_eq!(all.tables[0].rows[1].tone, Tone::Aside);
}

#[test]
fn nothing_that_ran_is_no_winner() {
    let mps = candidate("MPS", Arithmetic::Fp16, Some("needs macOS"));
    let all = summarise(&[(&mps, ArmRun::default())]);
    assert_eq!(all.findings, ["Nothing ran that could be ranked."]);
    assert!(all.settings.is_empty());
}
