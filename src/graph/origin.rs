//! What a cross-encoder is read from: an ONNX graph, or weights as the model hub keeps them.
//!
//! Owns the difference between the two, which nothing that writes graphs has to know: how the model is read, and the
//! float graph that a written one is held against. Pure: bytes in, bytes out. It must not know files.

use super::safetensors::{self, Checkpoint, NotReadable};
use super::{CrossEncoder, Exported, Layout, Precision, Provenance, Target, Unfit, Unrecognised, Written, dequantise};

/// See the module.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A graph as exporters write it, in floats or dynamically quantised.
    Onnx(Exported),
    /// Weights without a graph.
    Safetensors(Checkpoint),
}

/// A graph that a runtime can load.
#[derive(Clone, Debug)]
pub enum Runnable<'m> {
    /// A source's own.
    Source(&'m Exported),
    /// One that was written.
    Written(Written<'m>),
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
            Self::Onnx(exported) => super::read(exported)?,
            Self::Safetensors(checkpoint) => safetensors::read(checkpoint)?,
        })
    }

    /// Lets go of what a judge of the model does not need once it was read: weights that came without a graph.
    #[must_use]
    pub fn without_weights(self) -> Self {
        match self {
            Self::Onnx(exported) => Self::Onnx(exported),
            Self::Safetensors(checkpoint) => Self::Safetensors(Checkpoint { weights: Vec::new(), ..checkpoint }),
        }
    }

    /// A graph that computes `model`, which was read from here, in floats and as it came, for pairs in a padded batch: the
    /// source itself, its float twin, or for weights without a graph the plainest one that can be written.
    ///
    /// # Errors
    /// [`Unread`].
    pub fn floats<'m>(&'m self, model: &'m CrossEncoder) -> Result<Runnable<'m>, Unread> {
        match self {
            Self::Onnx(exported) => {
                Ok(dequantise::float_twin(exported)?.map_or(Runnable::Source(exported), Runnable::Written))
            }
            Self::Safetensors(_) => {
                let target = Target { layout: Layout::Padded, precision: Precision::Fp32, layers: None };
                let provenance = Provenance { source_sha256: String::new(), tool: String::new() };
                Ok(Runnable::Written(super::emit(model, &target, &provenance)?))
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
        Origin::Safetensors(Checkpoint { weights: vec![weights.into()], config, ..Checkpoint::default() })
    }

    #[test]
    fn weights_without_a_graph_are_read_and_written_plainly() {
        let (weights, config) = safetensors::write(&tiny(2)).unwrap();
        let origin = weights_of(weights, config);
        let model = origin.cross_encoder().unwrap();
        assert_eq!(model, tiny(2));
        let Runnable::Written(floats) = origin.floats(&model).unwrap() else { panic!("there is no graph") };
        let found = operators(&floats.to_bytes()).unwrap();
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
        let onnx = chain(&Origin::Onnx(b"<html>".to_vec().into()));
        assert!(onnx.starts_with("the model is not recognised and runs as it is: "), "{onnx}");
        let (weights, config) = safetensors::write(&tiny(1)).unwrap();
        let cut = weights_of(weights[..weights.len() / 2].to_vec(), config.clone());
        assert_eq!(chain(&cut), "the model's weights are not read: not a safetensors file");
        let other = weights_of(weights, config.replace("\"bert\"", "\"t5\""));
        assert!(chain(&other).contains("`t5`"), "{}", chain(&other));
    }
}
