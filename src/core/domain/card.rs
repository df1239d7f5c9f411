//! What a caller may know of a loaded model: plain data for `/info` and `/v1/models`.
//!
//! It must not know files, sessions or providers beyond their names.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::Activation;
use super::accelerator::Accelerator;

/// The facts of one loaded model.
#[derive(Clone, Debug)]
pub struct ModelCard {
    /// The id that a request's `model` names.
    pub id: String,
    /// Where the weights come from, in words (`"cross-encoder/ms-marco-MiniLM-L-12-v2"`); empty when unknown.
    pub source: String,
    /// SPDX licence of the weights; empty when unknown.
    pub licence: String,
    /// Hash over everything that decides a score: graph, tokenizer, precision. Hexadecimal.
    pub fingerprint: String,
    /// `fp32`, `fp16` or `int8`.
    pub precision: String,
    /// The execution provider that runs it.
    pub provider: String,
    /// The build of the library that does the arithmetic: another one may round otherwise.
    pub runtime: String,
    /// Tokens of a pair at most, specials included.
    pub max_length: u32,
    /// What turns logits into scores by default.
    pub activation: Activation,
    /// What stands around its texts; `None` of a model that takes pairs with a few special tokens.
    pub prompt: Option<PromptCard>,
    /// Where it runs, and why not elsewhere.
    pub execution: Execution,
}

/// The prompt of a decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptCard {
    /// Tokens of a prompt without its texts, the default instruction's included.
    pub tokens: u32,
    /// Whether requests may bring an instruction.
    pub takes_instruction: bool,
    /// The instruction of requests that bring none.
    pub instruction: Option<String>,
}

/// Nodes of a graph by what runs them, in the runtime's names; filled once it is known.
pub type Nodes = Arc<OnceLock<Vec<(String, usize)>>>;

/// Where a model runs.
#[derive(Clone, Debug, Default)]
pub struct Execution {
    /// Numbers of the devices, where the provider distinguishes them.
    pub devices: Vec<u32>,
    /// Providers that would have come first and were not taken.
    pub passed_over: Vec<PassedOver>,
    /// The provider that ran it before its devices were lost.
    pub moved_from: Option<&'static str>,
    /// Which graph runs.
    pub graph: Graph,
    /// What runs its graph; known after the first forward pass.
    pub nodes: Nodes,
    /// Says what runs where while it serves, when that may change.
    pub accelerator: Option<Arc<dyn Accelerator>>,
    /// How large and how many its forward passes are.
    pub sizing: Sizing,
}

/// Which graph of a model runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// Its file; empty when the model is no file.
    pub file: String,
    /// What is to be done so that it runs faster, with the command; empty when there is nothing to do.
    pub advice: String,
}

/// How a model is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizing {
    /// Inference workers.
    pub workers: usize,
    /// Threads of one worker's forward pass.
    pub threads: usize,
    /// Tokens of one forward pass at most.
    pub batch_tokens: usize,
    /// How long one that is not full waits for more pairs.
    pub batch_wait: Duration,
    /// Where these come from where they were left to us, in words.
    pub tuning: String,
}

/// A provider that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Its word.
    pub provider: &'static str,
    /// Why, in words.
    pub reason: String,
}
