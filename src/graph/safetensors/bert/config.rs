//! `config.json`: the sizes of a model and the family that it belongs to.

use serde::Deserialize;

use super::super::NotReadable;
use crate::cross_encoder::{Activation, CrossEncoder};

/// What is read of `config.json`.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Config {
    pub(in super::super) model_type: String,
    #[serde(alias = "dim")]
    pub(in super::super) hidden_size: usize,
    #[serde(alias = "n_layers")]
    pub(in super::super) num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    pub(in super::super) num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    pub(in super::super) intermediate_size: usize,
    pub(in super::super) vocab_size: usize,
    pub(in super::super) max_position_embeddings: usize,
    /// 0 where the model knows no types.
    #[serde(default)]
    pub(in super::super) type_vocab_size: usize,
    #[serde(default = "usual_epsilon")]
    pub(in super::super) layer_norm_eps: f32,
    #[serde(alias = "activation")]
    pub(in super::super) hidden_act: String,
    pub(in super::super) pad_token_id: Option<usize>,
    pub(in super::super) embedding_size: Option<usize>,
    position_embedding_type: Option<String>,
}

/// What `DistilBERT` never says.
const fn usual_epsilon() -> f32 {
    1e-12
}

/// Names of a BERT layer's products, in the order of `Layer::products`.
pub(in super::super) const PRODUCTS: [&str; 6] = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
];

/// What differs between families of one encoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) prefix: &'static str,
    /// Where layers lie, below the prefix.
    pub(super) layers: &'static str,
    /// A layer's products, in the order of `Layer::products`.
    pub(super) products: [&'static str; 6],
    /// Its norms: after attention, after the feed-forward part.
    pub(super) norms: [&'static str; 2],
    pub(super) pooler: &'static str,
    pub(super) pooler_activation: Activation,
    pub(super) classifier: &'static str,
    pub(super) positions_follow_padding: bool,
}

impl Config {
    /// The names of the model's family.
    pub(super) fn family(&self) -> Result<Family, NotReadable> {
        let bert = Family {
            prefix: "bert",
            layers: "encoder.layer",
            products: PRODUCTS,
            norms: ["attention.output.LayerNorm", "output.LayerNorm"],
            pooler: "bert.pooler.dense",
            pooler_activation: Activation::Tanh,
            classifier: "classifier",
            positions_follow_padding: false,
        };
        let (pooler, classifier) = ("classifier.dense", "classifier.out_proj");
        match self.model_type.as_str() {
            "bert" => Ok(bert),
            "roberta" | "xlm-roberta" | "camembert" => {
                Ok(Family { prefix: "roberta", pooler, classifier, positions_follow_padding: true, ..bert })
            }
            "electra" => {
                Ok(Family { prefix: "electra", pooler, classifier, pooler_activation: Activation::Gelu, ..bert })
            }
            "distilbert" => Ok(Family {
                prefix: "distilbert",
                layers: "transformer.layer",
                products: [
                    "attention.q_lin",
                    "attention.k_lin",
                    "attention.v_lin",
                    "attention.out_lin",
                    "ffn.lin1",
                    "ffn.lin2",
                ],
                norms: ["sa_layer_norm", "output_layer_norm"],
                pooler: "pre_classifier",
                pooler_activation: Activation::Relu,
                ..bert
            }),
            other => {
                Err(NotReadable::Field { field: "model_type", value: other.into(), known: super::super::FAMILIES })
            }
        }
    }

    /// Whether sizes fit each other and positions are learnt ones.
    pub(in super::super) fn check(&self) -> Result<(), NotReadable> {
        super::super::heads(self.hidden_size, self.num_attention_heads)?;
        match self.position_embedding_type.as_deref() {
            None | Some("absolute") => Ok(()),
            Some(other) => {
                Err(NotReadable::Field { field: "position_embedding_type", value: other.into(), known: "absolute" })
            }
        }
    }

    pub(in super::super) fn activation(&self) -> Result<Activation, NotReadable> {
        super::super::activation("hidden_act", &self.hidden_act)
    }
}

/// The text of a BERT classifier's `config.json`.
pub(in super::super) fn write(model: &CrossEncoder) -> String {
    let first = model.layers.first();
    let activation = first.map_or("gelu", |layer| match layer.activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_new",
        Activation::Relu => "relu",
        Activation::Tanh => "tanh",
        Activation::Silu => "silu",
    });
    let config = serde_json::json!({
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "hidden_size": model.hidden,
        "num_hidden_layers": model.layers.len(),
        "num_attention_heads": model.heads,
        "intermediate_size": model.intermediate(),
        "vocab_size": model.embeddings.words.rows,
        "max_position_embeddings": model.max_length(),
        "type_vocab_size": model.embeddings.types.as_ref().map_or(2, |table| table.rows),
        "layer_norm_eps": f64::from(model.embeddings.norm.as_ref().map_or(0.0, |norm| norm.epsilon)),
        "hidden_act": activation,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": 0,
        "num_labels": 1,
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "torch_dtype": "float32",
    });
    format!("{config:#}\n")
}
