//! `rescored bench all`: every experiment in one report.
//!
//! Owns the order and each experiment's share of the time. An experiment that cannot be made does not take the others
//! with it: the report says why it is missing.

use std::time::Duration;

use clap::{Args, Parser};

use super::Common;
use super::backends::{self, PeerFlags};
use super::cache;
use super::sweeps::{Batch, Batching, Concurrency, Models};
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
type Experiment<'f> = Box<dyn Fn(&Setup<'_>) -> Result<Vec<Section>, BenchError> + 'f>;

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
    pub(super) fn run(&self, setup: &Setup<'_>) -> Result<Vec<Section>, BenchError> {
        let peers = self.peers.clone();
        // Name, share of the time, what is done.
        let experiments: [(&str, u32, Experiment<'_>); 6] = [
            ("backends", 36, Box::new(move |setup| one(default::<backends::Flags>()?.with(peers.clone()).run(setup)))),
            ("batch", 16, Box::new(|setup| one(default::<Batch>()?.run(setup)))),
            ("concurrency", 16, Box::new(|setup| one(default::<Concurrency>()?.run(setup)))),
            ("batching", 12, Box::new(|setup| one(default::<Batching>()?.run(setup)))),
            ("models", 10, Box::new(|setup| one(default::<Models>()?.run(setup)))),
            ("cache", 10, Box::new(|setup| default::<cache::Flags>()?.run(setup))),
        ];
        let mut sections = Vec::new();
        let mut failed = None;
        for (name, percent, experiment) in &experiments {
            setup.watch.say(&format!("== {name}"));
            let mut own = setup.clone();
            own.effort.within = Some(setup.effort.within.unwrap_or(WITHIN) * *percent / 100);
            match experiment(&own) {
                Ok(own) => sections.extend(own),
                Err(error) => {
                    sections.push(missing(name, &error));
                    failed = failed.or(Some(error));
                }
            }
        }
        // A report of nothing is none.
        match failed {
            Some(error) if sections.iter().all(|section| section.tables.is_empty()) => Err(error),
            Some(_) | None => Ok(sections),
        }
    }
}

fn one(section: Result<Section, BenchError>) -> Result<Vec<Section>, BenchError> {
    section.map(|section| vec![section])
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
