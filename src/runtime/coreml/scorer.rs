//! The pool as the engine sees it.

use std::sync::Arc;

use super::feed::Tokens;
use super::pool::ProgramPool;
use crate::{Batch, Scorer, ScorerError, ScorerFactory};

/// Hands every worker the same pool: programs are shared, and a worker prepares its next batch while the device runs the
/// last one of another.
#[derive(Clone, Debug)]
pub struct PoolFactory(pub Arc<ProgramPool>);

impl ScorerFactory for PoolFactory {
    fn build(&self) -> Result<Box<dyn Scorer>, ScorerError> {
        self.0.prepare();
        Ok(Box::new(self.clone()))
    }
}

impl Scorer for PoolFactory {
    fn score(&mut self, batch: &Batch) -> Result<Vec<f32>, ScorerError> {
        self.0.score(&Tokens::of(batch))
    }
}
