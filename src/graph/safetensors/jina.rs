//! jina's BERT (Günther et al. 2023): `ALiBi` in place of positions, and a gated feed-forward part; else BERT. Names are those
//! of jinaai's `modeling_bert.py` (`jina-bert-implementation`).

use serde::Deserialize;

use super::tensors::{Bias, Tensors};
use super::{NotReadable, parse};
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
    #[serde(default)]
    feed_forward_type: String,
}

const fn usual_epsilon() -> f32 {
    1e-12
}

/// The model.
pub(super) fn read(tensors: &Tensors<'_>, config: &str) -> Result<CrossEncoder, NotReadable> {
    let config: Config = parse(config)?;
    super::heads(config.hidden_size, config.num_attention_heads)?;
    super::longest(config.max_position_embeddings)?;
    let (hidden, epsilon) = (config.hidden_size, config.layer_norm_eps);
    let mut words = tensors.table("bert.embeddings.word_embeddings.weight", config.vocab_size, hidden)?;
    let types = match config.type_vocab_size {
        0 => None,
        rows => Some(tensors.table("bert.embeddings.token_type_embeddings.weight", rows, hidden)?),
    };
    let types = match types {
        Some(table) if table.rows == 1 => {
            words = words.plus_first_row_of(&table);
            None
        }
        types => types,
    };
    let embeddings = Embeddings {
        words,
        positions: PositionTable::Absent { longest: config.max_position_embeddings },
        padding: None,
        types,
        norm: Some(tensors.norm("bert.embeddings.LayerNorm", hidden, epsilon, Bias::Own)?),
        projection: None,
    };
    let slopes = slopes(config.num_attention_heads);
    let layers =
        (0..config.num_hidden_layers).map(|at| layer(tensors, &config, &slopes, at)).collect::<Result<_, _>>()?;
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
                dense: tensors.dense("bert.pooler.dense", hidden, hidden, Bias::Own)?,
                activation: Activation::Tanh,
                norm: None,
            }),
            classifier: tensors.dense("classifier", hidden, 1, Bias::Own)?,
        },
    })
}

fn layer(tensors: &Tensors<'_>, config: &Config, slopes: &[f32], at: usize) -> Result<Layer, NotReadable> {
    let (hidden, wide, epsilon) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
    let name = |part: &str| format!("bert.encoder.layer.{at}.{part}");
    let product = |part: &str, inputs, outputs, bias| tensors.dense(&name(part), inputs, outputs, bias);
    let activation = match config.feed_forward_type.as_str() {
        "geglu" => Activation::Gelu,
        "reglu" => Activation::Relu,
        other => {
            let field = "feed_forward_type";
            return Err(NotReadable::Field { field, value: other.to_owned(), known: "geglu, reglu" });
        }
    };
    if tensors.has(&name("attention.self.layer_norm_q.weight")) {
        let value = "norms of queries and keys".to_owned();
        return Err(NotReadable::Field { field: "auto_map", value, known: "jina-bert-implementation, without them" });
    }
    let feed = product("mlp.gated_layers", hidden, 2 * wide, Bias::None)?;
    Ok(Layer {
        query: product("attention.self.query", hidden, hidden, Bias::Own)?,
        key: product("attention.self.key", hidden, hidden, Bias::Own)?,
        value: product("attention.self.value", hidden, hidden, Bias::Own)?,
        attention: Attention { positions: Positions::Slopes(slopes.to_vec()), ..Attention::default() },
        output: product("attention.output.dense", hidden, hidden, Bias::Own)?,
        attention_norm: Some(tensors.norm(&name("attention.output.LayerNorm"), hidden, epsilon, Bias::Own)?),
        up: feed.outputs(0, wide),
        activation,
        gate: Some(feed.outputs(wide, 2 * wide)),
        down: product("mlp.wo", wide, hidden, Bias::Own)?,
        norm: tensors.norm(&name("mlp.layernorm"), hidden, epsilon, Bias::Own)?,
    })
}

/// A slope a head (Press et al. 2022): a geometric series from `2^(-8/n)` for a power of two; for other numbers that of the
/// next smaller power, then every second one of the next larger.
fn slopes(heads: usize) -> Vec<f32> {
    let series = |count: usize| (1..=count).map(move |at| (-8.0 * at as f64 / count as f64).exp2());
    let whole = if heads.is_power_of_two() { heads } else { (heads / 2 + 1).next_power_of_two() };
    let between = series(2 * whole).step_by(2);
    #[expect(clippy::cast_possible_truncation, reason = "rounded as the reference implementation rounds")]
    series(whole).chain(between).take(heads).map(|slope| slope as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_paper() {
        let near = |found: Vec<f32>, wanted: &[f64]| {
            assert_eq!(found.len(), wanted.len());
            for (found, wanted) in found.iter().zip(wanted) {
                assert!((f64::from(*found) - wanted).abs() < 1e-7, "{found} for {wanted}");
            }
        };
        near(slopes(8), &[0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015_625, 0.007_812_5, 0.003_906_25]);
        // 12 heads: eight as above, then every second one of sixteen.
        let sixteenth = |at: f64| 2.0_f64.powf(-8.0 * at / 16.0);
        let twelve = slopes(12);
        near(twelve[8..].to_vec(), &[sixteenth(1.0), sixteenth(3.0), sixteenth(5.0), sixteenth(7.0)]);
        assert_eq!(twelve[..8], slopes(8));
        assert_eq!(slopes(1), [0.003_906_25]);
        near(slopes(3)[2..].to_vec(), &[0.25]);
    }
}
