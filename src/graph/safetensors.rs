//! Rerankers as the model hub keeps them, cross-encoders and decoders: safetensors files and `config.json`, under Hugging
//! Face's names.
//!
//! Owns those names and the differences between families, one file a family, and the heads that sentence-transformers keeps
//! beside an encoder. Pure: bytes in. It must not know files.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use self::tensors::Tensors;
use super::bytes::Bytes;
use super::cross_encoder::{Activation, CrossEncoder};

mod bert;
mod deberta;
mod decoder;
mod flash;
mod gte;
mod jina;
mod modernbert;
mod modules;
mod rope;
mod tensors;
mod write;

pub use write::{NotBert, write};

/// Values of `model_type` that are read.
const FAMILIES: &str = "bert, roberta, xlm-roberta, camembert, electra, distilbert, modernbert, deberta-v2, new, qwen2, qwen3, llama, mistral, gemma";

/// A model's weights and what describes them.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// The container's bytes, or those of all of its parts.
    pub weights: Vec<Bytes>,
    /// The text of `config.json`.
    pub config: String,
    /// What `modules.json` lists; empty where there is none.
    pub modules: Vec<Module>,
    /// The words that a decoder's logit is made of; one with a classifier of its own, and an encoder, need none.
    pub verdict: Option<Verdict>,
}

/// The tokens by which a decoder that answers in words judges a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// The id of the token that stands for a match; its logit at the last token is the score, less that of `no`.
    pub yes: u32,
    /// The id of the token that stands for none; without it the score is the logit of `yes` alone.
    pub no: Option<u32>,
}

/// One of sentence-transformers' modules.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// Its class, as `sentence_transformers.models.Dense`.
    pub kind: String,
    /// Its folder below the model's.
    pub folder: String,
    /// The text of its `config.json`.
    pub config: String,
    /// Its weights, where it has some.
    pub weights: Vec<Bytes>,
}

/// The files do not describe a cross-encoder that is read here.
#[derive(Debug, thiserror::Error)]
pub enum NotReadable {
    /// A description is not one.
    #[error("config.json does not parse")]
    Config(#[from] serde_json::Error),
    /// The container is broken.
    #[error("not a safetensors file")]
    Container(#[from] safetensors::SafeTensorError),
    /// A field of `config.json` asks for what is not known here.
    #[error("config.json, {field}: `{value}` is not read here; known: {known}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would be read.
        known: &'static str,
    },
    /// A tensor is missing, or not what the configuration promises.
    #[error(
        "tensor `{name}`: expected {expected}, found {found}; config.json and the weights belong to different models, or the download is incomplete"
    )]
    Tensor {
        /// Its name.
        name: String,
        /// What the configuration promises.
        expected: String,
        /// What is there.
        found: String,
    },
    /// There are weights that the model as described does not compute with.
    #[error(
        "tensor `{name}`: nothing in a model as config.json describes it reads this ({count} such); config.json and the weights belong to different models"
    )]
    Extra {
        /// The first of them by name.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// Two of several files hold a tensor.
    #[error("tensor `{name}`: two files of the weights hold it; take them from the model's source again")]
    Twice {
        /// Its name.
        name: String,
    },
    /// The words of a decoder's answer are not known, or it has none.
    #[error("verdict: {reason}")]
    Verdict {
        /// What is wrong, and what to give.
        reason: String,
    },
    /// A module of sentence-transformers is not one that a reranker has.
    #[error("module `{name}`: {reason}")]
    Module {
        /// Its folder.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// Reads a model.
///
/// # Errors
/// [`NotReadable`].
pub fn read(checkpoint: &Checkpoint) -> Result<CrossEncoder, NotReadable> {
    let kind: Kind = parse(&checkpoint.config)?;
    kind.check()?;
    let tensors = Tensors::open(&checkpoint.weights)?;
    let head = if checkpoint.modules.iter().any(|module| module.class() != "Transformer") {
        Some(modules::read(&checkpoint.modules)?)
    } else {
        None
    };
    let model = match (kind.model_type.as_str(), head) {
        ("modernbert", head) => modernbert::read(&tensors, &checkpoint.config, head)?,
        (other, Some(_)) => {
            let known = "modernbert, where sentence-transformers' modules.json lists a head";
            return Err(NotReadable::Field { field: "model_type", value: other.into(), known });
        }
        ("deberta-v2", None) => deberta::read(&tensors, &checkpoint.config)?,
        ("new", None) => gte::read(&tensors, &checkpoint.config)?,
        (word, None) if let Some(family) = decoder::Family::of(word) => {
            decoder::read(&tensors, &checkpoint.config, family, checkpoint.verdict)?
        }
        ("bert", None) if kind.position_embedding_type.as_deref() == Some("alibi") => {
            jina::read(&tensors, &checkpoint.config)?
        }
        ("xlm-roberta", None) if flash::is_there(&tensors) => flash::read(&tensors, &checkpoint.config)?,
        ("bert" | "roberta" | "xlm-roberta" | "camembert" | "electra" | "distilbert", None) => {
            bert::read(&tensors, &checkpoint.config)?
        }
        (other, None) => {
            return Err(NotReadable::Field { field: "model_type", value: other.into(), known: FAMILIES });
        }
    };
    tensors.finish()?;
    Ok(model)
}

/// What every configuration says of itself.
#[derive(Debug, Deserialize)]
struct Kind {
    #[serde(default)]
    model_type: String,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

/// Ends of architectures that have a classifier's tensors and are none of pairs.
const OTHER_TASKS: [&str; 4] = ["ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice", "ForMaskedLM"];

/// Places of a pair at most: far beyond any model's, and what tables by place may take.
const MOST_PLACES: usize = 1 << 17;

impl Kind {
    fn check(&self) -> Result<(), NotReadable> {
        let is_other = |name: &&String| OTHER_TASKS.iter().any(|task| name.ends_with(task));
        match self.architectures.iter().flatten().find(is_other) {
            Some(other) => {
                let known = "a model for sequence classification with one label";
                Err(NotReadable::Field { field: "architectures", value: other.clone(), known })
            }
            None => Ok(()),
        }
    }
}

/// Refuses more places than tables are made for.
fn longest(places: usize) -> Result<(), NotReadable> {
    if (1..=MOST_PLACES).contains(&places) {
        return Ok(());
    }
    Err(NotReadable::Field { field: "max_position_embeddings", value: places.to_string(), known: "1 to 131072" })
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, NotReadable> {
    Ok(serde_json::from_str(text)?)
}

/// An activation by the name that configurations use.
fn activation(field: &'static str, word: &str) -> Result<Activation, NotReadable> {
    match word {
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        "tanh" => Ok(Activation::Tanh),
        "silu" | "swish" => Ok(Activation::Silu),
        other => Err(NotReadable::Field {
            field,
            value: other.into(),
            known: "gelu, gelu_new, gelu_pytorch_tanh, relu, silu, tanh",
        }),
    }
}

/// Refuses heads that do not divide a row.
fn heads(hidden: usize, heads: usize) -> Result<(), NotReadable> {
    if heads == 0 || !hidden.is_multiple_of(heads) {
        let known = "a divisor of hidden_size";
        return Err(NotReadable::Field { field: "num_attention_heads", value: heads.to_string(), known });
    }
    Ok(())
}

/// Radians a token of rotary positions: `base^(-2i / width)` (Su et al. 2021, `RoFormer`).
fn rotary(base: f32, width: usize) -> Vec<f32> {
    // In 32 bits, as the reference implementations compute them.
    let frequency = |at: usize| 1.0 / base.powf(2.0 * at as f32 / width as f32);
    (0..width / 2).map(frequency).collect()
}

impl Module {
    /// The last part of its class's name.
    pub fn class(&self) -> &str {
        self.kind.rsplit('.').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
