//! `ModernBERT` (Warner et al. 2024): norms before each part, rotary positions with two bases, local attention in most
//! layers, a gated feed-forward part. Names are those of transformers' `modeling_modernbert.py`.

use serde::Deserialize;

use super::tensors::{Bias, Tensors};
use super::{NotReadable, activation, parse, rotary};
use crate::cross_encoder::{
    Attention, CrossEncoder, Embeddings, Head, Layer, NormPlacement, Pooling, PositionTable, Positions, Transform,
};

/// What is read of `config.json`.
#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the file has these four")]
struct Config {
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "usual_epsilon")]
    norm_eps: f32,
    #[serde(default)]
    norm_bias: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default = "gelu")]
    hidden_activation: String,
    #[serde(default = "usual_period")]
    global_attn_every_n_layers: usize,
    #[serde(default = "usual_window")]
    local_attention: usize,
    #[serde(default = "usual_theta")]
    global_rope_theta: f32,
    /// `null` means the global one.
    #[serde(default = "usual_local_theta")]
    local_rope_theta: Option<f32>,
    rope_scaling: Option<serde_json::Value>,
    /// Written by transformers 5 in place of the period and the two bases.
    layer_types: Option<Vec<String>>,
    rope_parameters: Option<RopeParameters>,
    #[serde(default = "usual_pooling")]
    classifier_pooling: String,
    #[serde(default)]
    classifier_bias: bool,
    #[serde(default = "gelu")]
    classifier_activation: String,
}

#[derive(Debug, Deserialize)]
struct RopeParameters {
    full_attention: Option<Rope>,
    sliding_attention: Option<Rope>,
}

#[derive(Debug, Deserialize)]
struct Rope {
    rope_theta: Option<f32>,
    #[serde(default = "plain")]
    rope_type: String,
}

/// Defaults of transformers' `ModernBertConfig`.
const fn usual_epsilon() -> f32 {
    1e-5
}

const fn usual_period() -> usize {
    3
}

const fn usual_window() -> usize {
    128
}

const fn usual_theta() -> f32 {
    160_000.0
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
const fn usual_local_theta() -> Option<f32> {
    Some(10_000.0)
}

fn gelu() -> String {
    "gelu".into()
}

fn usual_pooling() -> String {
    "cls".into()
}

fn plain() -> String {
    "default".into()
}

impl Config {
    /// Whether a layer's attention is local, and the base of its rotary positions.
    fn kind(&self, at: usize) -> Result<(bool, f32), NotReadable> {
        let is_local = match &self.layer_types {
            None => !at.is_multiple_of(self.global_attn_every_n_layers.max(1)),
            Some(types) => match types.get(at).map(String::as_str) {
                Some("full_attention") => false,
                Some("sliding_attention") => true,
                other => {
                    let value = other.unwrap_or("fewer than num_hidden_layers").to_owned();
                    let known = "full_attention or sliding_attention for each layer";
                    return Err(NotReadable::Field { field: "layer_types", value, known });
                }
            },
        };
        let usual =
            if is_local { self.local_rope_theta.unwrap_or(self.global_rope_theta) } else { self.global_rope_theta };
        let rope = self.rope_parameters.as_ref().and_then(|parameters| {
            if is_local { parameters.sliding_attention.as_ref() } else { parameters.full_attention.as_ref() }
        });
        let theta = match rope {
            Some(rope) => {
                if rope.rope_type != "default" {
                    let value = rope.rope_type.clone();
                    return Err(NotReadable::Field { field: "rope_parameters, rope_type", value, known: "default" });
                }
                rope.rope_theta.unwrap_or(usual)
            }
            None => usual,
        };
        Ok((is_local, theta))
    }
}

/// The model; `head` is the one that sentence-transformers keeps beside it, where it does.
pub(super) fn read(
    tensors: &Tensors<'_>,
    config: &str,
    head: Option<(Pooling, Head)>,
) -> Result<CrossEncoder, NotReadable> {
    let config: Config = parse(config)?;
    super::heads(config.hidden_size, config.num_attention_heads)?;
    super::longest(config.max_position_embeddings)?;
    if let Some(scaling) = &config.rope_scaling {
        return Err(NotReadable::Field { field: "rope_scaling", value: scaling.to_string(), known: "null" });
    }
    let (hidden, epsilon, norm_bias) = (config.hidden_size, config.norm_eps, Bias::of(config.norm_bias));
    // A classifier keeps its encoder below `model`, a bare encoder does not.
    let below = if tensors.has("model.embeddings.tok_embeddings.weight") { "model." } else { "" };
    let norm = |name: &str| tensors.norm(&format!("{below}{name}"), hidden, epsilon, norm_bias);
    let embeddings = Embeddings {
        words: tensors.table(&format!("{below}embeddings.tok_embeddings.weight"), config.vocab_size, hidden)?,
        positions: PositionTable::Absent { longest: config.max_position_embeddings },
        padding: None,
        types: None,
        norm: Some(norm("embeddings.norm")?),
        projection: None,
    };
    let layers = (0..config.num_hidden_layers)
        .map(|at| layer(tensors, &config, (at, &format!("{below}layers.{at}"))))
        .collect::<Result<_, _>>()?;
    let final_norm = Some(norm("final_norm")?);
    let (pooling, head) = match head {
        Some(head) => head,
        None => (pooling(&config.classifier_pooling)?, classifier(tensors, &config)?),
    };
    let heads = config.num_attention_heads;
    Ok(CrossEncoder { hidden, heads, embeddings, layers, norms: NormPlacement::Before, final_norm, pooling, head })
}

fn pooling(word: &str) -> Result<Pooling, NotReadable> {
    match word {
        "cls" => Ok(Pooling::First),
        "mean" => Ok(Pooling::Mean),
        other => Err(NotReadable::Field { field: "classifier_pooling", value: other.into(), known: "cls, mean" }),
    }
}

fn layer(tensors: &Tensors<'_>, config: &Config, (at, name): (usize, &str)) -> Result<Layer, NotReadable> {
    let (hidden, wide) = (config.hidden_size, config.intermediate_size);
    let norm_bias = Bias::of(config.norm_bias);
    let norm = |part: &str| tensors.norm(&format!("{name}.{part}"), hidden, config.norm_eps, norm_bias);
    let product =
        |part: &str, inputs, outputs, bias| tensors.dense(&format!("{name}.{part}"), inputs, outputs, Bias::of(bias));
    let (is_local, theta) = config.kind(at)?;
    let all = product("attn.Wqkv", hidden, 3 * hidden, config.attention_bias)?;
    let feed = product("mlp.Wi", hidden, 2 * wide, config.mlp_bias)?;
    Ok(Layer {
        query: all.outputs(0, hidden),
        key: all.outputs(hidden, 2 * hidden),
        value: all.outputs(2 * hidden, 3 * hidden),
        attention: Attention {
            window: is_local.then_some(config.local_attention / 2),
            positions: Positions::Rotary(rotary(theta, hidden / config.num_attention_heads)),
            ..Attention::default()
        },
        output: product("attn.Wo", hidden, hidden, config.attention_bias)?,
        // The embeddings' norm comes right before.
        attention_norm: if at == 0 { None } else { Some(norm("attn_norm")?) },
        up: feed.outputs(0, wide),
        activation: activation("hidden_activation", &config.hidden_activation)?,
        gate: Some(feed.outputs(wide, 2 * wide)),
        down: product("mlp.Wo", wide, hidden, config.mlp_bias)?,
        norm: norm("mlp_norm")?,
    })
}

fn classifier(tensors: &Tensors<'_>, config: &Config) -> Result<Head, NotReadable> {
    let hidden = config.hidden_size;
    Ok(Head {
        transform: Some(Transform {
            dense: tensors.dense("head.dense", hidden, hidden, Bias::of(config.classifier_bias))?,
            activation: activation("classifier_activation", &config.classifier_activation)?,
            norm: Some(tensors.norm("head.norm", hidden, config.norm_eps, Bias::of(config.norm_bias))?),
        }),
        classifier: tensors.dense("classifier", hidden, 1, Bias::Own)?,
    })
}
