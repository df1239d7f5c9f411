//! XLM-R under the names of jinaai's `xlm-roberta-flash-implementation` (`jina-reranker-v2-base-multilingual`): the arithmetic
//! of `RoBERTa`, with the three products of attention in one tensor.

use super::bert::config::Config;
use super::tensors::{Bias, Tensors};
use super::{NotReadable, parse};
use crate::cross_encoder::{
    Activation, Attention, CrossEncoder, Embeddings, Head, Layer, NormPlacement, Pooling, PositionTable, Transform,
};

/// Whether a checkpoint has these names.
pub(super) fn is_there(tensors: &Tensors<'_>) -> bool {
    tensors.has("roberta.encoder.layers.0.mixer.Wqkv.weight")
}

/// The model.
pub(super) fn read(tensors: &Tensors<'_>, config: &str) -> Result<CrossEncoder, NotReadable> {
    let config: Config = parse(config)?;
    config.check()?;
    let (hidden, epsilon) = (config.hidden_size, config.layer_norm_eps);
    let table = |name: &str, rows| tensors.table(&format!("roberta.embeddings.{name}_embeddings.weight"), rows, hidden);
    let padding = config.pad_token_id.unwrap_or(1);
    let mut positions = table("position", config.max_position_embeddings)?.without_first_rows(padding);
    if config.type_vocab_size > 0 {
        // The model is given no types: the first one's row is every token's.
        positions = positions.plus_first_row_of(&table("token_type", config.type_vocab_size)?);
    }
    let embeddings = Embeddings {
        words: table("word", config.vocab_size)?,
        positions: PositionTable::Learnt(positions),
        padding: Some(padding),
        types: None,
        norm: Some(tensors.norm("roberta.emb_ln", hidden, epsilon, Bias::Own)?),
        projection: None,
    };
    let layers = (0..config.num_hidden_layers).map(|at| layer(tensors, &config, at)).collect::<Result<_, _>>()?;
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
                dense: tensors.dense("classifier.dense", hidden, hidden, Bias::Own)?,
                activation: Activation::Tanh,
                norm: None,
            }),
            classifier: tensors.dense("classifier.out_proj", hidden, 1, Bias::Own)?,
        },
    })
}

fn layer(tensors: &Tensors<'_>, config: &Config, at: usize) -> Result<Layer, NotReadable> {
    let (hidden, wide, epsilon) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
    let name = |part: &str| format!("roberta.encoder.layers.{at}.{part}");
    let product = |part: &str, inputs, outputs| tensors.dense(&name(part), inputs, outputs, Bias::Own);
    let all = product("mixer.Wqkv", hidden, 3 * hidden)?;
    Ok(Layer {
        query: all.outputs(0, hidden),
        key: all.outputs(hidden, 2 * hidden),
        value: all.outputs(2 * hidden, 3 * hidden),
        attention: Attention::default(),
        output: product("mixer.out_proj", hidden, hidden)?,
        attention_norm: Some(tensors.norm(&name("norm1"), hidden, epsilon, Bias::Own)?),
        up: product("mlp.fc1", hidden, wide)?,
        activation: config.activation()?,
        gate: None,
        down: product("mlp.fc2", wide, hidden)?,
        norm: tensors.norm(&name("norm2"), hidden, epsilon, Bias::Own)?,
    })
}
