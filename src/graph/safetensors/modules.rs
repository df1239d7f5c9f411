//! A head that sentence-transformers keeps beside a bare encoder: modules in folders of their own, listed by `modules.json`.
//!
//! Owns what those of its classes that a reranker has mean: Pooling, Dense, `LayerNorm`.

use serde::Deserialize;

use super::tensors::{Bias, Tensors};
use super::{Module, NotReadable};
use crate::cross_encoder::{Activation, Dense, Head, Norm, Pooling};

/// What PyTorch's `LayerNorm` adds to the variance unless told otherwise.
const EPSILON: f32 = 1e-5;

#[derive(Debug, Deserialize)]
struct PoolingConfig {
    /// Of release 5.
    #[serde(rename = "pooling_mode")]
    mode: Option<String>,
    /// Of releases before.
    #[serde(default, rename = "pooling_mode_cls_token")]
    is_cls: bool,
    #[serde(default, rename = "pooling_mode_mean_tokens")]
    is_mean: bool,
}

#[derive(Debug, Deserialize)]
struct DenseConfig {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    activation_function: String,
}

#[derive(Debug, Deserialize)]
struct NormConfig {
    dimension: usize,
}

const fn yes() -> bool {
    true
}

/// The pooling and the head of these modules, the transformer itself left out.
pub(super) fn read(modules: &[Module]) -> Result<(Pooling, Head), NotReadable> {
    let mut rest = modules.iter().filter(|module| module.class() != "Transformer");
    let unlike = |module: Option<&Module>| {
        NotReadable::Module {
        name: module.map_or_else(|| "modules.json".into(), |module| module.folder.clone()),
        reason: "after the transformer a reranker has Pooling, Dense with an activation, at most one LayerNorm, and Dense with one output"
            .into(),
    }
    };
    let pooling = rest.next();
    let Some(pooling) = pooling.filter(|module| module.class() == "Pooling") else { return Err(unlike(pooling)) };
    let pooling = mode(pooling)?;
    let first = rest.next();
    let Some(first) = first.filter(|module| module.class() == "Dense") else { return Err(unlike(first)) };
    let (dense, activation) = product(first)?;
    let Some(activation) = activation else { return Err(unlike(Some(first))) };
    let mut next = rest.next();
    let norm = match next {
        Some(module) if module.class() == "LayerNorm" => {
            next = rest.next();
            Some(norm(module)?)
        }
        _ => None,
    };
    let Some(last) = next.filter(|module| module.class() == "Dense") else { return Err(unlike(next)) };
    let (classifier, None) = product(last)? else { return Err(unlike(Some(last))) };
    if classifier.weight.columns != 1 || classifier.weight.rows != dense.weight.columns {
        return Err(unlike(Some(last)));
    }
    match rest.next() {
        Some(more) => Err(unlike(Some(more))),
        None => Ok((pooling, Head { dense, activation, norm, classifier })),
    }
}

fn mode(module: &Module) -> Result<Pooling, NotReadable> {
    let config: PoolingConfig = super::parse(&module.config)?;
    match (config.mode.as_deref(), config.is_cls, config.is_mean) {
        (Some("cls"), ..) | (None, true, false) => Ok(Pooling::First),
        (Some("mean"), ..) | (None, false, true) => Ok(Pooling::Mean),
        (other, ..) => Err(NotReadable::Field {
            field: "pooling_mode",
            value: other.unwrap_or("several, or none").into(),
            known: "cls, mean",
        }),
    }
}

fn product(module: &Module) -> Result<(Dense, Option<Activation>), NotReadable> {
    let config: DenseConfig = super::parse(&module.config)?;
    let activation = match config.activation_function.rsplit('.').next().unwrap_or_default() {
        "Identity" => None,
        "GELU" => Some(Activation::Gelu),
        "ReLU" => Some(Activation::Relu),
        "Tanh" => Some(Activation::Tanh),
        _ => {
            let value = config.activation_function.clone();
            let known = "Identity, GELU, ReLU, Tanh of torch.nn";
            return Err(NotReadable::Field { field: "activation_function", value, known });
        }
    };
    let weights = weights(module)?;
    let tensors = Tensors::open(weights)?;
    let bias = Bias::of(config.bias);
    let dense = tensors.dense("linear", config.in_features, config.out_features, bias)?;
    tensors.finish()?;
    Ok((dense, activation))
}

fn norm(module: &Module) -> Result<Norm, NotReadable> {
    let config: NormConfig = super::parse(&module.config)?;
    let tensors = Tensors::open(weights(module)?)?;
    let norm = tensors.norm("norm", config.dimension, EPSILON, Bias::Own)?;
    tensors.finish()?;
    Ok(norm)
}

fn weights(module: &Module) -> Result<&[super::Bytes], NotReadable> {
    match module.weights.as_slice() {
        [] => {
            Err(NotReadable::Module { name: module.folder.clone(), reason: "its model.safetensors is missing".into() })
        }
        weights => Ok(weights),
    }
}
