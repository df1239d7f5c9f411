//! Runs graphs that are not served yet, for the proofs of `compile`.
//!
//! The second use of `ort` beside `session`: a graph from memory, one thread, any of its outputs.

use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{Tensor, TensorElementType, TensorRef};
use rescored_graph as graph;
use rescored_graph::compile::{Feed, Runner};

use super::ScorerError;
use super::options::{Kind, ProviderOptions};
use super::outputs;
use super::provider::register;
use super::session::Runtime;

/// Runs graphs: those that name a provider on the device of that provider, all others on the CPU.
#[derive(Debug)]
pub struct SessionRunner {
    /// The library.
    pub runtime: Runtime,
    /// The provider of graphs that name one, and its device.
    pub device: (Kind, u32),
}

impl Runner for SessionRunner {
    type Error = ScorerError;

    fn run(&mut self, onnx: &[u8], runs: &[Vec<Feed>], output: &str) -> Result<Vec<Vec<f32>>, ScorerError> {
        let refused = |error: ort::Error| ScorerError::Runtime { message: error.to_string() };
        let mut session = self.session(onnx).map_err(refused)?;
        let kinds = session.inputs().iter();
        let known: Vec<(String, Option<TensorElementType>)> =
            kinds.map(|input| (input.name().to_owned(), input.dtype().tensor_type())).collect();
        let mut answers = Vec::with_capacity(runs.len());
        for feeds in runs {
            let wanted =
                feeds.iter().filter_map(|feed| Some((feed, known.iter().find(|known| known.0 == feed.name)?.1)));
            let inputs = wanted
                .map(|(feed, kind)| Ok((feed.name, input(feed, kind)?)))
                .collect::<ort::Result<Vec<_>>>()
                .map_err(refused)?;
            let outputs = session.run(inputs).map_err(refused)?;
            let missing = || ScorerError::Graph { message: format!("no output is called `{output}`") };
            let (_, values) = outputs::floats(outputs.get(output).ok_or_else(missing)?).map_err(refused)?;
            answers.push(values);
        }
        Ok(answers)
    }
}

impl SessionRunner {
    fn session(&self, onnx: &[u8]) -> ort::Result<Session> {
        let builder = Session::builder(self.runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .with_intra_op_spinning(false)?;
        let named = graph::summary(onnx).is_ok_and(|summary| summary.provider().is_some());
        let device = if named { self.device } else { (Kind::Cpu, 0) };
        register::register(builder, device, &ProviderOptions::default())?.commit_from_memory(onnx)
    }
}

/// A feed in the width of integers that the graph declares.
fn input(feed: &Feed, kind: Option<TensorElementType>) -> ort::Result<SessionInputValue<'_>> {
    if kind != Some(TensorElementType::Int32) {
        return Ok(TensorRef::from_array_view((feed.dims.clone(), feed.values.as_slice()))?.into());
    }
    // Ids, lengths and offsets of samples are far below the limit.
    let values: Vec<i32> = feed.values.iter().map(|&value| i32::try_from(value).unwrap_or(i32::MAX)).collect();
    Ok(Tensor::from_array((feed.dims.clone(), values))?.into())
}
