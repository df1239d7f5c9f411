//! What a cross-encoder is read from: an ONNX graph, or weights as the model hub keeps them.
//!
//! Owns the difference between the two, which nothing that writes graphs has to know: how the model is read, and the
//! float graph that a written one is held against. Pure: bytes in, bytes out. It must not know files.

use std::borrow::Cow;

use super::safetensors::{self, Checkpoint, NotReadable};
use super::{CrossEncoder, Layout, Precision, Provenance, Target, Unfit, Unrecognised, dequantise};

/// See the module.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A graph as exporters write it, in floats or dynamically quantised.
    Onnx(Vec<u8>),
    /// Weights without a graph.
    Safetensors(Checkpoint),
}

/// Why a model is not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// Its graph is not of a kind that can be read.
    #[error("the model is not recognised and runs as it is")]
    Unrecognised(#[from] Unrecognised),
    /// Its weights are not.
    #[error("the model's weights are not read")]
    Weights(#[from] NotReadable),
    /// It has nothing to compute.
    #[error("the model cannot be written as a graph")]
    Unfit(#[from] Unfit),
}

impl Origin {
    /// Reads the model.
    ///
    /// # Errors
    /// [`Unread`], which names the part that is not as expected.
    pub fn cross_encoder(&self) -> Result<CrossEncoder, Unread> {
        Ok(match self {
            Self::Onnx(onnx) => super::read(onnx)?,
            Self::Safetensors(checkpoint) => safetensors::read(checkpoint)?,
        })
    }

    /// A graph that computes `bert`, which was read from here, in floats and as it came, for pairs in a padded batch: the
    /// source itself, its float twin, or for weights without a graph the plainest one that can be written.
    ///
    /// # Errors
    /// [`Unread`].
    pub fn floats(&self, model: &CrossEncoder) -> Result<Cow<'_, [u8]>, Unread> {
        match self {
            Self::Onnx(onnx) => Ok(dequantise::float_twin(onnx)?.map_or(Cow::Borrowed(onnx), Cow::Owned)),
            Self::Safetensors(_) => {
                let target = Target { layout: Layout::Padded, precision: Precision::Fp32, layers: None };
                let provenance = Provenance { source_sha256: String::new(), tool: String::new() };
                Ok(Cow::Owned(super::emit(model, &target, &provenance)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tiny;
    use crate::{Operator, operators};

    fn weights_of(weights: Vec<u8>, config: String) -> Origin {
        Origin::Safetensors(Checkpoint { weights: vec![weights.into()], config, modules: Vec::new() })
    }

    #[test]
    fn weights_without_a_graph_are_read_and_written_plainly() {
        let (weights, config) = safetensors::write(&tiny(2)).unwrap();
        let origin = weights_of(weights, config);
        let model = origin.cross_encoder().unwrap();
        assert_eq!(model, tiny(2));
        let floats = origin.floats(&model).unwrap();
        let found = operators(&floats).unwrap();
        let has = |name: &str| found.contains(&Operator { domain: String::new(), name: name.into() });
        assert!(has("Attention") && !has("Split"), "a padded batch: {found:?}");
        assert!(found.iter().all(|operator| operator.domain.is_empty()), "nothing but ONNX's own: {found:?}");
    }

    #[test]
    fn what_cannot_be_read_says_which_of_the_two_it_is() {
        let chain = |origin: &Origin| {
            let error = origin.cross_encoder().unwrap_err();
            format!("{error}: {}", std::error::Error::source(&error).unwrap())
        };
        let onnx = chain(&Origin::Onnx(b"<html>".to_vec()));
        assert!(onnx.starts_with("the model is not recognised and runs as it is: "), "{onnx}");
        let (weights, config) = safetensors::write(&tiny(1)).unwrap();
        let cut = weights_of(weights[..weights.len() / 2].to_vec(), config.clone());
        assert_eq!(chain(&cut), "the model's weights are not read: not a safetensors file");
        let other = weights_of(weights, config.replace("\"bert\"", "\"t5\""));
        assert!(chain(&other).contains("`t5`"), "{}", chain(&other));
    }
}
