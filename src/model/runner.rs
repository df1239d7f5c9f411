//! Runs graphs that are not served yet, for the proofs of `compile`.
//!
//! The second use of `ort` beside `session`: a graph from memory, one thread, any of its outputs.

use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;

use super::ScorerError;
use super::session::Runtime;
use crate::graph::compile::{Feed, Runner};

/// Runs graphs on the CPU.
#[derive(Debug)]
pub struct SessionRunner(pub Runtime);

impl Runner for SessionRunner {
    type Error = ScorerError;

    fn run(&mut self, onnx: &[u8], runs: &[Vec<Feed>], output: &str) -> Result<Vec<Vec<f32>>, ScorerError> {
        let refused = |error: ort::Error| ScorerError::Runtime { message: error.to_string() };
        let mut session = self.session(onnx).map_err(refused)?;
        let known: Vec<String> = session.inputs().iter().map(|input| input.name().to_owned()).collect();
        let mut answers = Vec::with_capacity(runs.len());
        for feeds in runs {
            let wanted = feeds.iter().filter(|feed| known.iter().any(|name| name == feed.name));
            let inputs = wanted
                .map(|feed| {
                    let tensor = TensorRef::from_array_view((feed.dims.clone(), feed.values.as_slice()))?;
                    Ok((feed.name, SessionInputValue::from(tensor)))
                })
                .collect::<ort::Result<Vec<_>>>()
                .map_err(refused)?;
            let outputs = session.run(inputs).map_err(refused)?;
            let missing = || ScorerError::Graph { message: format!("no output is called `{output}`") };
            let (_, values) = outputs.get(output).ok_or_else(missing)?.try_extract_tensor::<f32>().map_err(refused)?;
            answers.push(values.to_vec());
        }
        Ok(answers)
    }
}

impl SessionRunner {
    fn session(&self, onnx: &[u8]) -> ort::Result<Session> {
        Session::builder(self.0.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .with_intra_op_spinning(false)?
            .commit_from_memory(onnx)
    }
}
