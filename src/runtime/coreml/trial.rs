//! Loading a program, holding it against the samples, and timing it.
//!
//! Owns how long is waited for what. It must not know which way is preferred.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rescored_graph::coreml::Shape;

use super::calibrate::{Flaw, Timed};
use super::check::{Agreement, Sample, Wrong, check};
use super::compute_units::{ExecutionTarget, Place};
use super::device::Device;
use super::feed::{Embed, Feed};
use super::program_thread::{ProgramThread, ProgramThreadError};

/// Runs before the clock is looked at: the first ones of a program are slower.
const WARM_UP: usize = 2;
/// Runs that are timed, at most.
const TIMED: usize = 5;
/// Time after which no more runs are timed: a way this slow is not decided by a few percent.
const ENOUGH: Duration = Duration::from_secs(2);

/// How long is waited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// For a program to load: Apple's compiler takes up to 20 s for one that it has not seen.
    pub load: Duration,
    /// For a compiled program to load while a batch waits for it.
    pub serving_load: Duration,
    /// For a run whose time is not known.
    pub run: Duration,
    /// For a run, at least.
    pub least: Duration,
    /// For a run, in multiples of its measured time.
    pub factor: f64,
}

/// Why a trial ended.
#[derive(Debug)]
enum End {
    ProgramThread(ProgramThreadError),
    Wrong(Wrong),
}

impl Patience {
    /// What is waited on a machine.
    pub const USUAL: Self = Self {
        load: Duration::from_mins(3),
        serving_load: Duration::from_secs(4),
        run: Duration::from_mins(1),
        // Less than the engine waits before it takes the worker itself for stuck (`RESCORED_STUCK_AFTER`).
        least: Duration::from_secs(3),
        factor: 50.0,
    };

    /// What is waited for a program that a batch waits for: it was compiled before.
    pub(super) fn while_serving(&self, milliseconds: f64) -> Self {
        Self { load: self.serving_load, run: self.of(milliseconds), ..*self }
    }

    /// How long a run of this measured time may take.
    pub fn of(&self, milliseconds: f64) -> Duration {
        if milliseconds <= 0.0 {
            return self.run;
        }
        Duration::try_from_secs_f64(milliseconds / 1000.0 * self.factor).unwrap_or(self.run).max(self.least)
    }
}

/// Loads a program and holds it against the samples; the time that loading took.
pub(super) fn load(
    device: &Arc<dyn Device>,
    (shape, way): (Shape, ExecutionTarget),
    (samples, embed): (&[Sample], &dyn Embed),
    patience: &Patience,
) -> Result<(ProgramThread, Duration, Agreement), Flaw> {
    let (program_thread, took) =
        ProgramThread::start(Arc::clone(device), (shape, way), patience.load).map_err(End::ProgramThread)?;
    // What the others are held against needs no check of its own.
    if way.place == Place::Host {
        return Ok((program_thread, took, Agreement::default()));
    }
    let run = |feed: Feed| program_thread.run(&Arc::new(feed), patience.run).map_err(End::ProgramThread);
    let agreement = check(shape, way.arithmetic, (samples, embed), run)?;
    Ok((program_thread, took, agreement))
}

/// As [`load`], and the time of a run: the median of several, each in full batches.
pub(super) fn measure(
    device: &Arc<dyn Device>,
    (shape, way): (Shape, ExecutionTarget),
    (samples, embed): (&[Sample], &dyn Embed),
    patience: &Patience,
) -> Result<Timed, Flaw> {
    let (program_thread, took, agreement) = load(device, (shape, way), (samples, embed), patience)?;
    let mut feed = Feed::new(shape, embed.width());
    // Any numbers of the usual size; zeros could be quicker than life.
    feed.rows.iter_mut().enumerate().for_each(|(at, value)| *value = (at % 7) as f32 * 0.1 - 0.3);
    let feed = Arc::new(feed);
    let begun = Instant::now();
    let mut times = Vec::with_capacity(WARM_UP + TIMED);
    while times.is_empty() || (times.len() < WARM_UP + TIMED && begun.elapsed() < ENOUGH) {
        let started = Instant::now();
        program_thread.run(&feed, patience.run).map_err(End::ProgramThread)?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    let warm = if times.len() > WARM_UP { WARM_UP } else { times.len() - 1 };
    let settled = times.get_mut(warm..).unwrap_or_default();
    settled.sort_by(f64::total_cmp);
    let milliseconds = settled.get(settled.len() / 2).copied().unwrap_or_default();
    Ok(Timed { way, milliseconds, load_milliseconds: took.as_secs_f64() * 1000.0, agreement })
}

impl From<Wrong> for End {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<End> for Flaw {
    fn from(end: End) -> Self {
        match end {
            End::Wrong(wrong) => Self { everywhere: true, wrong: true, reason: wrong.to_string() },
            End::ProgramThread(fault @ ProgramThreadError::Stalled(_)) => {
                Self { everywhere: true, wrong: false, reason: fault.to_string() }
            }
            End::ProgramThread(fault @ (ProgramThreadError::Failed(_) | ProgramThreadError::Died)) => {
                Self { everywhere: false, wrong: false, reason: fault.to_string() }
            }
        }
    }
}
