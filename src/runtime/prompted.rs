//! A model's tokenizer with the model's prompt, if it has one, and what callers are told about the prompt.
//!
//! Owns the combination of manifest and tokenizer. It must not know what the weights contain.

use rescored_core::domain::PromptCard;
use rescored_graph::safetensors::Verdict;

use super::manifest::Manifest;
use super::options::Options;
use super::tokenizer::{PairTokenizer, TokenizerError};

/// Whether a model is a decoder whose score is computed from the logits of vocabulary tokens.
pub fn has_verdict(manifest: &Manifest) -> bool {
    manifest.prompt.as_ref().is_some_and(|prompt| prompt.verdict.is_some())
}

/// Opens a model's tokenizer, with the model's prompt if it has one.
///
/// # Errors
/// [`TokenizerError`] when the file cannot be read, or its tokenizer cannot encode pairs.
pub fn tokenizer(manifest: &Manifest, max_length: u32) -> Result<PairTokenizer, TokenizerError> {
    match &manifest.prompt {
        Some(prompt) => PairTokenizer::open_prompted(&manifest.tokenizer, max_length, prompt),
        None => PairTokenizer::open(&manifest.tokenizer, max_length),
    }
}

/// Maximum tokens of a pair, and the tokenizer that enforces it.
pub(super) fn bounded(manifest: &Manifest, options: &Options) -> Result<(u32, PairTokenizer), TokenizerError> {
    let max_length = manifest.max_length.min(options.max_length);
    Ok((max_length, tokenizer(manifest, max_length)?))
}

/// The token ids whose logits give the score of a decoder without a head of its own; `None` for any other model.
///
/// # Errors
/// [`TokenizerError::Verdict`] when the tokenizer has no such token.
pub fn verdict(manifest: &Manifest, tokenizer: &PairTokenizer) -> Result<Option<Verdict>, TokenizerError> {
    let Some(prompt) = &manifest.prompt else { return Ok(None) };
    let Some(verdict) = &prompt.verdict else { return Ok(None) };
    let no = verdict.no.as_ref().map(|no| tokenizer.verdict_id(no, prompt)).transpose()?;
    Ok(Some(Verdict { yes: tokenizer.verdict_id(&verdict.yes, prompt)?, no }))
}

/// What callers are told about a model's prompt.
pub(super) fn card(manifest: &Manifest, tokenizer: &PairTokenizer) -> Option<PromptCard> {
    manifest.prompt.as_ref().map(|prompt| PromptCard {
        tokens: u32::try_from(tokenizer.constant_tokens()).unwrap_or(u32::MAX),
        takes_instruction: prompt.takes_instruction(),
        instruction: prompt.default_instruction().map(str::to_owned),
    })
}
