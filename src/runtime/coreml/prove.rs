//! Proofs of written graphs on the CPU: the same pairs through the shapes that they are made for.
//!
//! Owns the way from samples to logits without a pool. It must not know files.

use std::collections::HashMap;

use rescored_graph::coreml::Shape;

use super::check::{Sample, tokens};
use super::compute_units::ExecutionTarget;
use super::device::{Device, Program};
use super::feed::{Embed, Feed};
use super::plan::{Priced, plan};
use crate::ScorerError;

/// The logits of samples through a way, each in a run of the cheapest of these shapes.
///
/// # Errors
/// When a program does not load or run.
pub fn logits(
    (device, way): (&dyn Device, ExecutionTarget),
    samples: &[Sample],
    embed: &dyn Embed,
    shapes: &[Shape],
) -> Result<Vec<f32>, ScorerError> {
    let samples: Vec<&Sample> = samples.iter().collect();
    let tokens = tokens(&samples);
    let priced: Vec<Priced> = shapes.iter().map(|&shape| Priced { shape, price: shape.places() as f64 }).collect();
    let mut programs: HashMap<Shape, Box<dyn Program>> = HashMap::new();
    let mut logits = vec![f32::NAN; samples.len()];
    for run in plan(&tokens.lengths(), &priced) {
        let program = match programs.entry(run.shape) {
            std::collections::hash_map::Entry::Occupied(held) => held.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => free.insert(device.load(run.shape, way)?),
        };
        let mut feed = Feed::new(run.shape, embed.width());
        feed.fill(&run, &tokens, embed);
        let output = program.run(&feed)?;
        for (pair, logit) in Feed::answers(&run, &output) {
            logits[pair] = logit.ok_or(ScorerError::Shape { pairs: samples.len(), got: output.len() })?;
        }
    }
    Ok(logits)
}
