//! `bench backends`: every way to score pairs that this host has, on the same texts, in one interleaved run.
//!
//! Owns the run; what is reported about it is in `verdict`. It must not know how a candidate is started.

mod verdict;

use std::path::PathBuf;

use super::Setup;
use super::arms::{Arm, Effort, race};
use super::candidates::{Candidate, ours};
use super::load::Load;
use super::peers::{Ground, start, tei};
use super::python::Python;
use super::report::{Fact, Section};

/// Requests on their way at once, at most, when they come at times of their own.
const OPEN_CLIENTS: usize = 64;

/// What is measured.
#[derive(Debug)]
pub struct Options {
    /// Documents of a request.
    pub batch: usize,
    /// Clients that wait for each other's turn.
    pub concurrency: usize,
    /// Requests of each candidate, in all rounds together.
    pub requests: usize,
    /// Requests a second that come whatever happens, instead of clients that wait.
    pub rate: Option<f64>,
    /// Other programs.
    pub peers: Option<Peers>,
}

/// Which other programs are measured.
#[derive(Debug)]
pub struct Peers {
    /// Their Python.
    pub python: Python,
    /// Where the weights are written for them.
    pub folder: PathBuf,
    /// A text-embeddings-inference server.
    pub tei: Option<String>,
}

/// Measures.
///
/// # Errors
/// When there are no texts.
pub fn run(setup: &Setup<'_>, options: &Options) -> Result<Section, super::BenchError> {
    let mut candidates = ours(&setup.program, &setup.model, setup.watch);
    if let Some(peers) = &options.peers {
        candidates.extend(others(setup, peers));
    }
    let rounds = setup.effort.rounds.max(1);
    let each = options.requests.div_ceil(rounds).max(1);
    let requests = setup.texts.requests(each * (rounds + 1), options.batch)?;
    let load = options.rate.map_or(Load::Closed { clients: options.concurrency }, |rate| Load::Open {
        rate,
        clients: options.concurrency.max(OPEN_CLIENTS),
    });
    let running: Vec<usize> = (0..candidates.len()).filter(|&at| candidates[at].target().is_some()).collect();
    let arms: Vec<Arm<'_>> = running
        .iter()
        .filter_map(|&at| {
            let candidate = &candidates[at];
            let (name, process) = (candidate.full_name(), candidate.process());
            Some(Arm { name, target: candidate.target()?, process, load, requests: &requests, each })
        })
        .collect();
    if arms.is_empty() {
        let why = candidates.iter().find_map(|candidate| candidate.who.as_ref().err().cloned());
        return Err(super::BenchError::Start(why.unwrap_or_default()));
    }
    let result = race(&arms, Effort { rounds, ..setup.effort }, setup.watch);
    let (done, share) = (result.rounds, result.share);
    let mut arm_runs = result.arm_runs.into_iter();
    let rows = candidates.iter().map(|candidate| match candidate.target() {
        Some(_) => arm_runs.next().unwrap_or_default(),
        None => super::arms::ArmRun::default(),
    });
    let rows: Vec<verdict::Row<'_>> = verdict::rows(candidates.iter().zip(rows));
    let mut section = verdict::section(&rows);
    section.setup = facts(setup, options, done, each, share);
    Ok(section)
}

fn others(setup: &Setup<'_>, peers: &Peers) -> Vec<Candidate> {
    let ground = Ground {
        python: &peers.python,
        program: &setup.program,
        model: &setup.model,
        model_dir: &setup.model_dir,
        folder: peers.folder.clone(),
        layers: None,
    };
    let mut candidates = start(&ground, setup.watch);
    candidates.push(tei(peers.tei.as_deref()));
    candidates
}

fn facts(setup: &Setup<'_>, options: &Options, rounds: usize, each: usize, share: f64) -> Vec<Fact> {
    let load = match options.rate {
        Some(rate) => format!("open: {rate} requests/s at random times; latencies count from when a request was due"),
        None => format!("closed: {} client(s), each sends when it was answered", options.concurrency),
    };
    setup.setup_facts(&[
        ("documents a request", options.batch.to_string()),
        ("load", load),
        ("requests a round", format!("{each}{}", super::shortened(share))),
        ("rounds", format!("{rounds}, interleaved in random order, after one that warms up")),
    ])
}
