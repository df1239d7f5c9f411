//! Which way is the fastest for each shape, of those that give the right scores.
//!
//! Pure over whoever measures. Owns the order of trials, what a fault rules out, and the record that is kept, so that only
//! the first start of a model on a machine takes minutes. It must not know sessions or threads.

use std::collections::HashMap;
use std::path::Path;

use rescored_graph::coreml::Shape;
use rescored_process::files;
use serde::{Deserialize, Serialize};

use super::check::Agreement;
use super::compute_units::{ExecutionTarget, Place};
use crate::manifest::DESCRIPTION_BYTES;

/// A way this many times slower than the best of its shape is behind.
const BEHIND: f64 = 3.0;

/// A way that was behind in this many shapes, one after the other, is not measured any more.
const TRIALS: u32 = 2;

/// What was measured on a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Everything that the figures depend on: graphs, system, what was asked for.
    pub key: String,
    /// By shape.
    pub shapes: Vec<Measured>,
    /// Ways that are not used, and why.
    pub refused: Vec<RefusedTarget>,
}

/// The ways of one shape, the fastest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The shape.
    pub shape: Shape,
    /// What was measured.
    pub ways: Vec<Timed>,
}

/// One way's figures for one shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// The way.
    pub way: ExecutionTarget,
    /// Time of one run, the median of several.
    pub milliseconds: f64,
    /// Time that loading took, compilation included where it was not found.
    pub load_milliseconds: f64,
    /// How near its scores are.
    pub agreement: Agreement,
}

/// A way that is not used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedTarget {
    /// The way.
    pub way: ExecutionTarget,
    /// The shape at which it was found out.
    pub shape: Shape,
    /// Whether it is used for other shapes.
    pub everywhere: bool,
    /// What was found.
    pub reason: String,
}

/// What a trial found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Whether it speaks against the way altogether: wrong scores and stalls do, a program that does not load does not.
    pub everywhere: bool,
    /// Whether scores were wrong.
    pub wrong: bool,
    /// In words.
    pub reason: String,
}

impl Calibration {
    /// Tries every way for every shape: those of one tier against each other, and the next tier only where no way through
    /// CoreML of the tiers before gave the right scores.
    pub fn measure(
        key: String,
        (tiers, shapes): (&[Vec<ExecutionTarget>], &[Shape]),
        mut trial: impl FnMut(Shape, ExecutionTarget) -> Result<Timed, Flaw>,
    ) -> Self {
        let mut refused: Vec<RefusedTarget> = Vec::new();
        let mut behind: HashMap<ExecutionTarget, u32> = HashMap::new();
        let mut measured = Vec::with_capacity(shapes.len());
        for &shape in shapes {
            let mut ways: Vec<Timed> = Vec::new();
            for tier in tiers {
                for &way in tier {
                    let out = refused.iter().any(|refusal| refusal.everywhere && refusal.way == way);
                    if out || behind.get(&way).is_some_and(|&trials| trials >= TRIALS) {
                        continue;
                    }
                    match trial(shape, way) {
                        Ok(timed) => ways.push(timed),
                        Err(Flaw { everywhere, reason, .. }) => {
                            refused.push(RefusedTarget { way, shape, everywhere, reason });
                        }
                    }
                }
                if ways.iter().any(|timed| matches!(timed.way.place, Place::CoreMl(_))) {
                    break;
                }
            }
            ways.sort_by(|a, b| a.milliseconds.total_cmp(&b.milliseconds));
            note_behind(&mut behind, &ways);
            measured.push(Measured { shape, ways });
        }
        let mut calibration = Self { key, shapes: measured, refused };
        calibration.forget_refused();
        calibration
    }

    /// The record of a file, if it speaks of the same things.
    pub fn read(path: &Path, key: &str, shapes: &[Shape]) -> Option<Self> {
        let calibration: Self = serde_json::from_slice(&files::read(path, DESCRIPTION_BYTES).ok()?).ok()?;
        let same = calibration.key == key
            && calibration.shapes.len() == shapes.len()
            && calibration.shapes.iter().zip(shapes).all(|(measured, shape)| measured.shape == *shape);
        same.then_some(calibration)
    }

    /// Keeps the record; whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&unfinished, path)
    }

    /// A way that went wrong at one shape is taken from those where it had been measured before.
    fn forget_refused(&mut self) {
        let out: Vec<ExecutionTarget> =
            self.refused.iter().filter(|refusal| refusal.everywhere).map(|refusal| refusal.way).collect();
        self.shapes.iter_mut().for_each(|measured| measured.ways.retain(|timed| !out.contains(&timed.way)));
    }
}

fn note_behind(behind: &mut HashMap<ExecutionTarget, u32>, ways: &[Timed]) {
    let Some(best) = ways.first().map(|timed| timed.milliseconds) else { return };
    for timed in ways {
        let trials = behind.entry(timed.way).or_default();
        // The last resort is measured everywhere: what it would cost must be known.
        let slow = timed.way != ExecutionTarget::HOST && timed.milliseconds > best * BEHIND;
        *trials = if slow { *trials + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::compute_units::{ComputeUnits, tiers};
    use super::super::grid;
    use super::*;
    use crate::options::Precision;
    use rescored_graph::coreml::Arithmetic;

    fn timed(way: ExecutionTarget, milliseconds: f64) -> Timed {
        Timed { way, milliseconds, load_milliseconds: 1.0, agreement: Agreement::default() }
    }

    fn measured(trial: impl FnMut(Shape, ExecutionTarget) -> Result<Timed, Flaw>) -> Calibration {
        let shapes = grid::shapes(512);
        Calibration::measure("key".into(), (&tiers(ComputeUnits::All, Precision::Auto), &shapes), trial)
    }

    const ANE: ExecutionTarget = ExecutionTarget::coreml(ComputeUnits::Ane, Arithmetic::Fp16);
    const GPU: ExecutionTarget = ExecutionTarget::coreml(ComputeUnits::Gpu, Arithmetic::Fp16);
    const ALL: ExecutionTarget = ExecutionTarget::coreml(ComputeUnits::All, Arithmetic::Fp16);

    proptest! {
        #[test]
        fn the_fastest_way_of_each_shape_comes_first(times in prop::collection::vec(1.0_f64..2.9, 60)) {
            let mut next = times.iter().copied().cycle();
            let mut given: HashMap<(Shape, ExecutionTarget), f64> = HashMap::new();
            let calibration = measured(|shape, way| {
                let time = next.next().unwrap();
                given.insert((shape, way), time);
                Ok(timed(way, time))
            });
            for measured in &calibration.shapes {
                let least = given.iter().filter(|((shape, _), _)| *shape == measured.shape).map(|(_, time)| *time);
                let least = least.fold(f64::INFINITY, f64::min);
                prop_assert_eq!(measured.ways[0].milliseconds.to_bits(), least.to_bits());
                prop_assert_eq!(measured.ways.len(), 4, "all, ane, gpu and host are measured for every shape");
            }
        }
    }

    #[test]
    fn a_way_that_is_wrong_at_one_shape_is_used_at_none() {
        let wrong_at = grid::shapes(512)[5];
        let mut later = 0;
        let calibration = measured(|shape, way| {
            later += usize::from(way == ANE && shape.length > wrong_at.length);
            if (way, shape) == (ANE, wrong_at) {
                return Err(Flaw { everywhere: true, wrong: true, reason: "wrong scores".into() });
            }
            Ok(timed(way, if way == ANE { 1.0 } else { 2.0 }))
        });
        assert!(calibration.shapes.iter().all(|measured| measured.ways.iter().all(|timed| timed.way != ANE)));
        assert_eq!(later, 0, "it is not even tried any more");
        let [refusal] = calibration.refused.as_slice() else { panic!("{:?}", calibration.refused) };
        assert_eq!((refusal.way, refusal.shape, refusal.reason.as_str()), (ANE, wrong_at, "wrong scores"));
    }

    #[test]
    fn a_program_that_does_not_load_is_missed_at_its_shape_only() {
        let calibration = measured(|shape, way| {
            if way == ANE && shape.length == 512 {
                return Err(Flaw { everywhere: false, wrong: false, reason: "too large".into() });
            }
            Ok(timed(way, if way == ANE { 1.0 } else { 2.0 }))
        });
        for measured in &calibration.shapes {
            let first = measured.ways[0].way;
            assert_eq!(first == ANE, measured.shape.length < 512, "{}", measured.shape);
        }
    }

    #[test]
    fn where_16_bits_are_wrong_32_are_tried_and_the_cpu_is_left_at_the_end() {
        let half_is_wrong = |way: ExecutionTarget| way.arithmetic == Arithmetic::Fp16;
        let flaw = || Flaw { everywhere: true, wrong: true, reason: "wrong scores".into() };
        let calibration = measured(|_, way| if half_is_wrong(way) { Err(flaw()) } else { Ok(timed(way, 2.0)) });
        let ways: Vec<String> = calibration.shapes[0].ways.iter().map(|timed| timed.way.to_string()).collect();
        assert_eq!(ways, ["host.fp32", "all.fp32", "gpu.fp32"]);
        let calibration =
            measured(|_, way| if way == ExecutionTarget::HOST { Ok(timed(way, 2.0)) } else { Err(flaw()) });
        assert!(calibration.shapes.iter().all(|measured| measured.ways.len() == 1), "the CPU alone");
        assert_eq!(calibration.refused.len(), 5, "each is tried once");
    }

    #[test]
    fn a_way_far_behind_twice_is_measured_no_more_and_the_last_resort_always() {
        let mut counts: HashMap<ExecutionTarget, usize> = HashMap::new();
        measured(|_, way| {
            *counts.entry(way).or_default() += 1;
            Ok(timed(
                way,
                if way == GPU {
                    1.0
                } else if way == ALL {
                    2.0
                } else {
                    10.0
                },
            ))
        });
        let shapes = grid::shapes(512).len();
        assert_eq!(
            (counts[&GPU], counts[&ALL], counts[&ANE], counts[&ExecutionTarget::HOST]),
            (shapes, shapes, 2, shapes)
        );
    }

    #[test]
    fn a_record_is_found_again_for_the_same_things_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calibration.json");
        let calibration = measured(|_, way| Ok(timed(way, 1.5)));
        calibration.write(&path).unwrap();
        let shapes = grid::shapes(512);
        assert_eq!(Calibration::read(&path, "key", &shapes), Some(calibration));
        assert_eq!(Calibration::read(&path, "another system", &shapes), None);
        assert_eq!(Calibration::read(&path, "key", &shapes[1..]), None);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Calibration::read(&path, "key", &shapes), None, "a damaged record is measured anew");
    }
}
