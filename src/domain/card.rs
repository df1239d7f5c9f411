//! What a caller may know of a loaded model: plain data for `/info` and `/v1/models`.
//!
//! It must not know files, sessions or providers beyond their names.

use super::Activation;

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
    /// Tokens of a pair at most, specials included.
    pub max_length: u32,
    /// What turns logits into scores by default.
    pub activation: Activation,
}
