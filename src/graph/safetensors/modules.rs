//! A head that sentence-transformers keeps beside a bare encoder: modules in folders of their own, listed by `modules.json`.
//!
//! Owns what those of its classes that a reranker has mean: Pooling, Dense, `LayerNorm`.

use serde::Deserialize;

use super::tensors::{Bias, Tensors};
use super::{Module, NotReadable};
use crate::cross_encoder::{Activation, Dense, Head, Norm, Pooling, Transform};

/// What PyTorch's `LayerNorm` adds to the variance unless told otherwise.
const EPSILON: f32 = 1e-5;

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the file has one a mode")]
struct PoolingConfig {
    /// Of release 5: a word, or a list of words.
    #[serde(rename = "pooling_mode")]
    mode: Option<serde_json::Value>,
    /// Of releases before.
    #[serde(default, rename = "pooling_mode_cls_token")]
    is_cls: bool,
    #[serde(default, rename = "pooling_mode_mean_tokens")]
    is_mean: bool,
    /// Other modes, whose rows would be put beside these.
    #[serde(default, rename = "pooling_mode_max_tokens")]
    is_max: bool,
    #[serde(default, rename = "pooling_mode_mean_sqrt_len_tokens")]
    is_mean_by_root: bool,
    #[serde(default, rename = "pooling_mode_weightedmean_tokens")]
    is_weighted: bool,
    #[serde(default, rename = "pooling_mode_lasttoken")]
    is_last: bool,
}

#[derive(Debug, Deserialize)]
struct DenseConfig {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    activation_function: String,
    #[serde(default)]
    use_residual: bool,
    module_input_name: Option<String>,
    module_output_name: Option<String>,
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
    // Dropout computes nothing once a model is trained.
    let mut rest = modules.iter().filter(|module| !matches!(module.class(), "Transformer" | "Dropout"));
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
    if norm.as_ref().is_some_and(|norm| norm.scale.len() != dense.weight.columns) {
        return Err(unlike(Some(last)));
    }
    if classifier.weight.columns != 1 || classifier.weight.rows != dense.weight.columns {
        return Err(unlike(Some(last)));
    }
    match rest.next() {
        Some(more) => Err(unlike(Some(more))),
        None => Ok((pooling, Head { transform: Some(Transform { dense, activation, norm }), classifier })),
    }
}

fn mode(module: &Module) -> Result<Pooling, NotReadable> {
    let config: PoolingConfig = super::parse(&module.config)?;
    let others = config.is_max || config.is_mean_by_root || config.is_weighted || config.is_last;
    let word = config.mode.as_ref().map(|mode| mode.as_str().map_or_else(|| mode.to_string(), str::to_owned));
    match (word.as_deref(), config.is_cls, config.is_mean) {
        (Some("cls"), ..) => Ok(Pooling::First),
        (Some("mean"), ..) => Ok(Pooling::Mean),
        (None, true, false) if !others => Ok(Pooling::First),
        // Without a word of any mode the library takes the mean.
        (None, false, _) if !others => Ok(Pooling::Mean),
        (other, ..) => Err(NotReadable::Field {
            field: "pooling_mode",
            value: other.unwrap_or("several").to_owned(),
            known: "cls, mean",
        }),
    }
}

fn product(module: &Module) -> Result<(Dense, Option<Activation>), NotReadable> {
    let config: DenseConfig = super::parse(&module.config)?;
    if config.use_residual {
        return Err(NotReadable::Field { field: "use_residual", value: "true".into(), known: "false" });
    }
    let named = [
        ("module_input_name", &config.module_input_name, &["sentence_embedding"][..]),
        ("module_output_name", &config.module_output_name, &["sentence_embedding", "scores"]),
    ];
    for (field, value, known) in named {
        if let Some(value) = value.as_deref().filter(|value| !known.contains(value)) {
            return Err(NotReadable::Field {
                field,
                value: value.into(),
                known: "sentence_embedding, scores at the end",
            });
        }
    }
    // A class of anybody else's is another function, whatever its name.
    let class = config.activation_function.strip_prefix("torch.nn.modules.").unwrap_or_default();
    let activation = match class.rsplit('.').next().unwrap_or_default() {
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
