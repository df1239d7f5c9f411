//! Decoders that judge pairs: Llama's layout (Touvron et al. 2023) and what its kin differ in. Rotary positions, keys that
//! several heads share, RMS norms before each part, a gated feed-forward part; the last token's row is the pair's.
//!
//! Owns the names of transformers' `modeling_llama.py`, which the kin share, and what becomes of the vocabulary: of its
//! product one row is kept, that of `yes` less that of `no`. What a family does otherwise is its [`Family`]. It must not know
//! prompts: who asks for a verdict knows which text comes before it.

use serde::Deserialize;

use super::rope::{Places, Turns};
use super::tensors::{Bias, Tensors};
use super::{NotReadable, Verdict, activation, parse};
use crate::cross_encoder::{
    Activation, Attention, CrossEncoder, Dense, Embeddings, Head, HeadNorms, Layer, Norm, NormKind, NormPlacement,
    Pooling, PositionTable, Positions, Table,
};

mod family;

pub(super) use family::Family;

/// What is read of `config.json`.
#[derive(Debug, Deserialize)]
struct Config {
    architectures: Option<Vec<String>>,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: usize,
    vocab_size: usize,
    #[serde(default = "usual_epsilon")]
    rms_norm_eps: f32,
    #[serde(default = "silu")]
    hidden_act: String,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    tie_word_embeddings: Option<bool>,
    /// False makes a decoder an encoder: every token sees all.
    is_causal: Option<bool>,
    use_bidirectional_attention: Option<bool>,
    #[serde(default)]
    use_sliding_window: bool,
    /// Absent is not null: Mistral has one unless told otherwise.
    #[serde(default, deserialize_with = "given")]
    #[expect(clippy::option_option, reason = "what is absent, what is null and what is a number are three things")]
    sliding_window: Option<Option<usize>>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
}

/// Defaults of transformers' configurations.
const fn usual_epsilon() -> f32 {
    1e-6
}

fn silu() -> String {
    "silu".into()
}

#[expect(clippy::option_option, reason = "what is absent, what is null and what is a number are three things")]
fn given<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<usize>>, D::Error> {
    Option::<usize>::deserialize(value).map(Some)
}

/// A configuration and what follows from it for every layer.
struct Reader<'a> {
    tensors: &'a Tensors<'a>,
    config: &'a Config,
    family: Family,
    /// Where the transformer's names begin.
    below: &'static str,
    /// Values a head.
    width: usize,
    key_heads: usize,
    turns: Turns,
}

/// The model; `verdict` is what the logit is made of where the checkpoint has no classifier.
pub(super) fn read(
    tensors: &Tensors<'_>,
    text: &str,
    family: Family,
    verdict: Option<Verdict>,
) -> Result<CrossEncoder, NotReadable> {
    let config: Config = parse(text)?;
    let places: Places = parse(text)?;
    let (width, key_heads) = config.heads(family)?;
    // A bare transformer has its names without a beginning.
    let below = if tensors.has("model.embed_tokens.weight") { "model." } else { "" };
    let turns = places.turns(width)?;
    let reader = Reader { tensors, config: &config, family, below, width, key_heads, turns };
    let layers = (0..config.num_hidden_layers).map(|at| reader.layer(at)).collect::<Result<_, _>>()?;
    let mut words = tensors.table(&format!("{below}embed_tokens.weight"), config.vocab_size, config.hidden_size)?;
    let head = Head { transform: None, classifier: reader.classifier(&words, verdict)? };
    if family.scales_embeddings {
        let scale = (config.hidden_size as f32).sqrt();
        words.values.iter_mut().for_each(|value| *value *= scale);
    }
    Ok(CrossEncoder {
        hidden: config.hidden_size,
        heads: config.num_attention_heads,
        embeddings: Embeddings {
            words,
            positions: PositionTable::Absent { longest: places.longest() },
            padding: None,
            types: None,
            norm: None,
            projection: None,
        },
        layers,
        norms: NormPlacement::Before,
        final_norm: Some(reader.norm(&format!("{below}norm"), config.hidden_size)?),
        pooling: Pooling::Last,
        head,
    })
}

impl Reader<'_> {
    fn layer(&self, at: usize) -> Result<Layer, NotReadable> {
        let (config, family) = (self.config, self.family);
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let (row, key_row) = (config.num_attention_heads * self.width, self.key_heads * self.width);
        let name = |part: &str| format!("{}layers.{at}.{part}", self.below);
        let product = |part: &str, inputs, outputs, bias| self.tensors.dense(&name(part), inputs, outputs, bias);
        let own = Bias::of(config.attention_bias && family.may_have_biases);
        let read = Bias::of(own == Bias::Own || family.has_query_biases);
        let wide_bias = Bias::of(config.mlp_bias && family.may_have_biases);
        Ok(Layer {
            query: product("self_attn.q_proj", hidden, row, read)?,
            key: product("self_attn.k_proj", hidden, key_row, read)?,
            value: product("self_attn.v_proj", hidden, key_row, read)?,
            attention: self.attention(at)?,
            output: product("self_attn.o_proj", row, hidden, own)?,
            attention_norm: Some(self.norm(&name("input_layernorm"), hidden)?),
            up: product("mlp.gate_proj", hidden, wide, wide_bias)?,
            activation: self.activation()?,
            gate: Some(product("mlp.up_proj", hidden, wide, wide_bias)?),
            down: product("mlp.down_proj", wide, hidden, wide_bias)?,
            norm: self.norm(&name("post_attention_layernorm"), hidden)?,
        })
    }

    fn attention(&self, at: usize) -> Result<Attention, NotReadable> {
        let Turns { frequencies, factor } = &self.turns;
        let head_norms = if self.family.has_head_norms {
            let norm = |part: &str| self.norm(&format!("{}layers.{at}.self_attn.{part}", self.below), self.width);
            Some(HeadNorms { query: norm("q_norm")?, key: norm("k_norm")? })
        } else {
            None
        };
        // Both sides of a score are multiplied with the factor.
        let scale = factor * factor / (self.width as f32).sqrt();
        Ok(Attention {
            window: self.family.window(self.config, at)?,
            is_causal: self.config.is_causal.unwrap_or(true),
            head_norms,
            scale: ((factor - 1.0).abs() > 0.0).then_some(scale),
            positions: Positions::Rotary(frequencies.clone()),
        })
    }

    fn activation(&self) -> Result<Activation, NotReadable> {
        match self.config.hidden_act.as_str() {
            // Gemma's first configurations say so and mean the approximation.
            "gelu" if self.family.scales_embeddings => Ok(Activation::GeluTanh),
            word => activation("hidden_act", word),
        }
    }

    /// From the last token's row to the logit: the classifier's own product, or what the words of the verdict are.
    fn classifier(&self, words: &Table, verdict: Option<Verdict>) -> Result<Dense, NotReadable> {
        let hidden = self.config.hidden_size;
        let architectures = self.config.architectures.as_deref().unwrap_or_default();
        if architectures.iter().any(|name| name.ends_with("ForSequenceClassification")) {
            let name = if self.tensors.has("classifier.weight") { "classifier" } else { "score" };
            let bias = Bias::of(self.tensors.has(&format!("{name}.bias")));
            return self.tensors.dense(name, hidden, 1, bias);
        }
        let Some(Verdict { yes, no }) = verdict else {
            let kind = architectures.first().map_or("a decoder", String::as_str);
            let reason = format!("{kind} answers in words; give the id of the token for yes, and of that for no");
            return Err(NotReadable::Verdict { reason });
        };
        let mut ids = Vec::new();
        for id in [Some(yes), no].into_iter().flatten() {
            let most = self.config.vocab_size;
            let Some(id) = usize::try_from(id).ok().filter(|&id| id < most) else {
                let reason = format!("token {id} is none of the model's {most}; take it from its tokenizer");
                return Err(NotReadable::Verdict { reason });
            };
            ids.push(id);
        }
        let is_tied = self.config.tie_word_embeddings.unwrap_or(self.family.ties_words);
        let rows: Vec<Vec<f32>> = if is_tied {
            ids.iter().map(|&id| words.values[id * hidden..(id + 1) * hidden].to_vec()).collect()
        } else {
            self.tensors.some_rows("lm_head.weight", [self.config.vocab_size, hidden], &ids)?
        };
        let mut rows = rows.into_iter();
        let mut values = rows.next().unwrap_or_default();
        if let Some(no) = rows.next() {
            values.iter_mut().zip(no).for_each(|(yes, no)| *yes -= no);
        }
        Ok(Dense { weight: Table::floats(hidden, 1, values), bias: Vec::new() })
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm, NotReadable> {
        let mut norm = self.tensors.norm(name, width, self.config.rms_norm_eps, Bias::None)?;
        norm.kind = NormKind::Rms;
        if self.family.adds_one_to_norms {
            norm.scale.iter_mut().for_each(|scale| *scale += 1.0);
        }
        Ok(norm)
    }
}

impl Config {
    /// Values a head and heads of keys.
    fn heads(&self, family: Family) -> Result<(usize, usize), NotReadable> {
        let field = |field, value: usize, known| Err(NotReadable::Field { field, value: value.to_string(), known });
        let heads = self.num_attention_heads;
        if heads == 0 {
            return field("num_attention_heads", heads, "at least 1");
        }
        let width = self.head_dim.or(family.head_width).unwrap_or(self.hidden_size / heads);
        if width == 0 || !width.is_multiple_of(2) {
            return field("head_dim", width, "an even number, as halves of a head are turned");
        }
        let key_heads = self.num_key_value_heads.unwrap_or(heads);
        if key_heads == 0 || !heads.is_multiple_of(key_heads) {
            return field("num_key_value_heads", key_heads, "a divisor of num_attention_heads");
        }
        if self.use_bidirectional_attention == Some(true) {
            let (field, value) = ("use_bidirectional_attention", "true".to_owned());
            return Err(NotReadable::Field {
                field,
                value,
                known: "false; `is_causal` false for attention to both sides",
            });
        }
        Ok((width, key_heads))
    }
}
