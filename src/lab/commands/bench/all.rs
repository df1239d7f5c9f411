//! `rescored bench all`: every experiment in one report.
//!
//! Owns the order and each experiment's share of the time. An experiment that cannot be made does not take the others
//! with it: the report says why it is missing. What was measured is handed on at once, so that a run that is cut short leaves
//! a report.

use std::time::Duration;

use clap::{Args, Parser};

use super::backends::{self, PeerFlags};
use super::cache;
use super::sweeps::{Batch, Batching, Concurrency, Models};
use super::{Common, Found, one};
use crate::bench::report::Section;
use crate::bench::{BenchError, Setup};

/// The time of all rounds unless another is given: with starts and warm-ups a CPU of two cores is done in 20 minutes.
const WITHIN: Duration = Duration::from_mins(12);

/// The flags of `bench all`.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    peers: PeerFlags,
}

/// One experiment.
type Experiment<'f> = Box<dyn Fn(&Setup<'_>, Found<'_>) -> Result<(), BenchError> + 'f>;

/// An experiment's flags at their defaults.
#[derive(Debug, Parser)]
struct Default<F: Args> {
    #[command(flatten)]
    flags: F,
}

fn default<F: Args>() -> Result<F, BenchError> {
    let flags = Default::<F>::try_parse_from(["bench"]).map_err(|error| BenchError::Start(error.to_string()))?;
    Ok(flags.flags)
}

impl Flags {
    pub(super) fn run(&self, setup: &Setup<'_>, found: Found<'_>) -> Result<(), BenchError> {
        let peers = self.peers.clone();
        // Name, share of the time in percent, what is done.
        let experiments: [(&str, u32, Experiment<'_>); 6] = [
            ("backends", 36, Box::new(one(move |setup| default::<backends::Flags>()?.with(peers.clone()).run(setup)))),
            ("batch", 16, Box::new(one(|setup| default::<Batch>()?.run(setup)))),
            ("concurrency", 16, Box::new(one(|setup| default::<Concurrency>()?.run(setup)))),
            ("batching", 12, Box::new(one(|setup| default::<Batching>()?.run(setup)))),
            ("models", 10, Box::new(one(|setup| default::<Models>()?.run(setup)))),
            ("cache", 10, Box::new(|setup, found| default::<cache::Flags>()?.run(setup, found))),
        ];
        let (mut measured, mut failed, mut before) = (0, None, 0);
        for (name, percent, experiment) in &experiments {
            setup.watch.say(&format!("== {name}"));
            setup.watch.part(f64::from(before) / 100.0, f64::from(before + percent) / 100.0);
            before += percent;
            let mut own = setup.clone();
            own.effort.within = Some(setup.effort.within.unwrap_or(WITHIN) * *percent / 100);
            let done = experiment(&own, &mut |section| {
                measured += 1;
                found(section);
            });
            if let Err(error) = done {
                found(missing(name, &error));
                failed = failed.or(Some(error));
            }
        }
        // A report of nothing is none.
        failed.filter(|_| measured == 0).map_or(Ok(()), Err)
    }
}

fn missing(name: &str, error: &BenchError) -> Section {
    let mut why = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        why = format!("{why}: {inner}");
        cause = inner.source();
    }
    Section {
        id: name.to_owned(),
        title: format!("{name}: not measured"),
        question: "This experiment could not be made here.".to_owned(),
        findings: vec![why],
        ..Section::default()
    }
}
