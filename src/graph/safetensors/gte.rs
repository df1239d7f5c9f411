//! GTE's "new" encoder (Zhang et al. 2024, mGTE): rotary positions, whose base may be scaled for long inputs, and a gated
//! feed-forward part; else BERT. Names are those of Alibaba-NLP's `modeling.py`, which the hub calls `new-impl`.

use serde::Deserialize;

use super::tensors::{Bias, Tensors};
use super::{NotReadable, activation, parse, rotary};
use crate::cross_encoder::{
    Activation, Attention, CrossEncoder, Embeddings, Head, Layer, NormPlacement, Pooling, PositionTable, Positions,
    Transform,
};

/// What is read of `config.json`.
#[derive(Debug, Deserialize)]
struct Config {
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    #[serde(default)]
    type_vocab_size: usize,
    #[serde(default = "usual_epsilon")]
    layer_norm_eps: f32,
    #[serde(default = "layer_norm")]
    layer_norm_type: String,
    hidden_act: String,
    #[serde(default = "rope")]
    position_embedding_type: String,
    #[serde(default = "usual_base")]
    rope_theta: f32,
    rope_scaling: Option<Scaling>,
    #[serde(default)]
    logn_attention_scale: bool,
    /// Whether the three products of attention lie in one tensor.
    #[serde(default = "packed")]
    pack_qkv: bool,
}

/// How the base of rotary positions is scaled.
#[derive(Debug, Deserialize)]
struct Scaling {
    #[serde(rename = "type")]
    kind: String,
    factor: f32,
    mixed_b: Option<f32>,
}

/// Defaults of `NewConfig`.
const fn usual_epsilon() -> f32 {
    1e-12
}

const fn usual_base() -> f32 {
    10_000.0
}

const fn packed() -> bool {
    true
}

fn rope() -> String {
    "rope".into()
}

fn layer_norm() -> String {
    "layer_norm".into()
}

/// The model.
pub(super) fn read(tensors: &Tensors<'_>, config: &str) -> Result<CrossEncoder, NotReadable> {
    let config: Config = parse(config)?;
    config.check()?;
    let (hidden, epsilon) = (config.hidden_size, config.layer_norm_eps);
    let mut words = tensors.table("new.embeddings.word_embeddings.weight", config.vocab_size, hidden)?;
    let mut types = None;
    if config.type_vocab_size > 0 {
        let table = tensors.table("new.embeddings.token_type_embeddings.weight", config.type_vocab_size, hidden)?;
        if config.type_vocab_size == 1 {
            // The only type is every token's.
            words = words.plus_first_row_of(&table);
        } else {
            types = Some(table);
        }
    }
    let embeddings = Embeddings {
        words,
        positions: PositionTable::Absent { longest: config.max_position_embeddings },
        padding: None,
        types,
        norm: Some(tensors.norm("new.embeddings.LayerNorm", hidden, epsilon, Bias::Own)?),
        projection: None,
    };
    let frequencies = config.frequencies()?;
    let layers =
        (0..config.num_hidden_layers).map(|at| layer(tensors, &config, &frequencies, at)).collect::<Result<_, _>>()?;
    Ok(CrossEncoder {
        hidden,
        heads: config.num_attention_heads,
        embeddings,
        layers,
        norms: NormPlacement::After,
        final_norm: None,
        pooling: Pooling::First,
        head: Head {
            transform: Some(Transform {
                dense: tensors.dense("new.pooler.dense", hidden, hidden, Bias::Own)?,
                activation: Activation::Tanh,
                norm: None,
            }),
            classifier: tensors.dense("classifier", hidden, 1, Bias::Own)?,
        },
    })
}

fn layer(tensors: &Tensors<'_>, config: &Config, frequencies: &[f32], at: usize) -> Result<Layer, NotReadable> {
    let (hidden, wide, epsilon) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
    let name = |part: &str| format!("new.encoder.layer.{at}.{part}");
    let product = |part: &str, inputs, outputs, bias| tensors.dense(&name(part), inputs, outputs, bias);
    let [query, key, value] = if config.pack_qkv {
        let all = product("attention.qkv_proj", hidden, 3 * hidden, Bias::Own)?;
        [0, 1, 2].map(|part| all.outputs(part * hidden, (part + 1) * hidden))
    } else {
        let one = |part| product(part, hidden, hidden, Bias::Own);
        [one("attention.q_proj")?, one("attention.k_proj")?, one("attention.v_proj")?]
    };
    // The second half is activated, as against other gated models.
    let feed = product("mlp.up_gate_proj", hidden, 2 * wide, Bias::None)?;
    Ok(Layer {
        query,
        key,
        value,
        attention: Attention { positions: Positions::Rotary(frequencies.to_vec()), ..Attention::default() },
        output: product("attention.o_proj", hidden, hidden, Bias::Own)?,
        attention_norm: Some(tensors.norm(&name("attn_ln"), hidden, epsilon, Bias::Own)?),
        up: feed.outputs(wide, 2 * wide),
        activation: activation("hidden_act", &config.hidden_act)?,
        gate: Some(feed.outputs(0, wide)),
        down: product("mlp.down_proj", wide, hidden, Bias::Own)?,
        norm: tensors.norm(&name("mlp_ln"), hidden, epsilon, Bias::Own)?,
    })
}

impl Config {
    fn check(&self) -> Result<(), NotReadable> {
        super::heads(self.hidden_size, self.num_attention_heads)?;
        super::longest(self.max_position_embeddings)?;
        let only = |field, value: &str, known: &'static str| {
            if value == known { Ok(()) } else { Err(NotReadable::Field { field, value: value.to_owned(), known }) }
        };
        only("position_embedding_type", &self.position_embedding_type, "rope")?;
        only("layer_norm_type", &self.layer_norm_type, "layer_norm")?;
        only("logn_attention_scale", if self.logn_attention_scale { "true" } else { "false" }, "false")
    }

    /// Radians a token. With a scaling of kind `ntk`, fixed or mixed (<https://kexue.fm/archives/9706>), as
    /// `NTKScalingRotaryEmbedding` of `modeling.py` has them.
    fn frequencies(&self) -> Result<Vec<f32>, NotReadable> {
        let width = self.hidden_size / self.num_attention_heads;
        let Some(Scaling { kind, factor, mixed_b }) = &self.rope_scaling else {
            return Ok(rotary(self.rope_theta, width));
        };
        if kind != "ntk" || !(1.0..=1024.0).contains(factor) {
            let value = format!("{kind}, {factor}");
            return Err(NotReadable::Field { field: "rope_scaling", value, known: "ntk, by a factor of 1 to 1024" });
        }
        // A factor of 1 gives the model no place more, and the scaling is for places beyond the trained ones.
        if *factor <= 1.0 {
            return Ok(rotary(self.rope_theta, width));
        }
        let half = width as f32 / 2.0;
        Ok(match mixed_b {
            None => {
                let all = factor.powf(1.0 / half);
                rotary(self.rope_theta * factor, width).into_iter().map(|frequency| frequency / all).collect()
            }
            Some(power) => {
                let a = factor.ln() / half.powf(*power);
                let by = |at: usize| (a * ((at + 1) as f32).powf(*power)).exp();
                rotary(self.rope_theta, width).into_iter().enumerate().map(|(at, value)| value / by(at)).collect()
            }
        })
    }
}
