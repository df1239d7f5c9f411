//! `config.json`: the sizes of a model and the family that it belongs to.

use serde::Deserialize;

use super::NotReadable;
use crate::bert::{Activation, Bert};

/// What is read of `config.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    pub(super) model_type: String,
    #[serde(alias = "dim")]
    pub(super) hidden_size: usize,
    #[serde(alias = "n_layers")]
    pub(super) num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    pub(super) num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    pub(super) intermediate_size: usize,
    pub(super) vocab_size: usize,
    pub(super) max_position_embeddings: usize,
    /// 0 where the model knows no types.
    #[serde(default)]
    pub(super) type_vocab_size: usize,
    #[serde(default = "usual_epsilon")]
    pub(super) layer_norm_eps: f32,
    #[serde(alias = "activation")]
    pub(super) hidden_act: String,
    pub(super) pad_token_id: Option<usize>,
    pub(super) embedding_size: Option<usize>,
    position_embedding_type: Option<String>,
}

/// What `DistilBERT` never says.
const fn usual_epsilon() -> f32 {
    1e-12
}

/// Names of a BERT layer's products, in the order of `Layer::products`.
pub(super) const PRODUCTS: [&str; 6] = [
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
            other => Err(NotReadable::Field {
                field: "model_type",
                value: other.into(),
                known: "bert, roberta, xlm-roberta, camembert, electra, distilbert",
            }),
        }
    }

    /// Whether sizes fit each other and positions are learnt ones.
    pub(super) fn check(&self) -> Result<(), NotReadable> {
        let heads = self.num_attention_heads;
        if heads == 0 || !self.hidden_size.is_multiple_of(heads) {
            let known = "a divisor of hidden_size";
            return Err(NotReadable::Field { field: "num_attention_heads", value: heads.to_string(), known });
        }
        match self.position_embedding_type.as_deref() {
            None | Some("absolute") => Ok(()),
            Some(other) => {
                Err(NotReadable::Field { field: "position_embedding_type", value: other.into(), known: "absolute" })
            }
        }
    }

    pub(super) fn activation(&self) -> Result<Activation, NotReadable> {
        match self.hidden_act.as_str() {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            other => Err(NotReadable::Field {
                field: "hidden_act",
                value: other.into(),
                known: "gelu, gelu_new, gelu_pytorch_tanh, relu",
            }),
        }
    }
}

/// The text of a BERT classifier's `config.json`.
pub(super) fn write(bert: &Bert) -> String {
    let first = bert.layers.first();
    let activation = first.map_or("gelu", |layer| match layer.activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_new",
        Activation::Relu => "relu",
        Activation::Tanh => "tanh",
    });
    let config = serde_json::json!({
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "hidden_size": bert.hidden,
        "num_hidden_layers": bert.layers.len(),
        "num_attention_heads": bert.heads,
        "intermediate_size": bert.intermediate(),
        "vocab_size": bert.embeddings.words.rows,
        "max_position_embeddings": bert.embeddings.positions.rows,
        "type_vocab_size": bert.embeddings.types.as_ref().map_or(2, |table| table.rows),
        "layer_norm_eps": f64::from(bert.embeddings.norm.epsilon),
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
