//! DeBERTa-v2, and v3, which has its shape (He et al. 2021 and 2023): attention with terms of the distance's bucket. Names
//! are those of transformers' `modeling_deberta_v2.py`.

use serde::Deserialize;

use super::tensors::{Bias, Tensors};
use super::{NotReadable, activation, parse};
use crate::cross_encoder::{
    Attention, CrossEncoder, Embeddings, Head, Layer, NormPlacement, Pooling, PositionTable, Positions, Relative,
    Table, Transform,
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
    hidden_act: String,
    #[serde(default = "usual_pooler")]
    pooler_hidden_act: String,
    #[serde(default)]
    relative_attention: bool,
    /// 0 or less: the number of positions.
    #[serde(default = "none")]
    max_relative_positions: i64,
    /// 0 or less: each distance has a row of its own.
    #[serde(default = "none")]
    position_buckets: i64,
    #[serde(default)]
    pos_att_type: PosAttType,
    #[serde(default)]
    share_att_key: bool,
    #[serde(default)]
    norm_rel_ebd: Option<String>,
    #[serde(default = "yes")]
    position_biased_input: bool,
    #[serde(default)]
    conv_kernel_size: usize,
    embedding_size: Option<usize>,
    attention_head_size: Option<usize>,
}

/// Terms by name, in a list or joined by bars.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum PosAttType {
    #[default]
    None,
    Listed(Vec<String>),
    Joined(String),
}

const fn usual_epsilon() -> f32 {
    1e-7
}

fn usual_pooler() -> String {
    "gelu".into()
}

const fn none() -> i64 {
    -1
}

const fn yes() -> bool {
    true
}

impl PosAttType {
    fn has(&self, term: &str) -> bool {
        match self {
            Self::None => false,
            Self::Listed(terms) => terms.iter().any(|word| word.trim().eq_ignore_ascii_case(term)),
            Self::Joined(terms) => terms.split('|').any(|word| word.trim().eq_ignore_ascii_case(term)),
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), NotReadable> {
        let refused = |field, value: String, known| Err(NotReadable::Field { field, value, known });
        if self.conv_kernel_size > 0 {
            return refused("conv_kernel_size", self.conv_kernel_size.to_string(), "0");
        }
        match self.embedding_size {
            Some(width) if width != self.hidden_size => {
                return refused("embedding_size", width.to_string(), "hidden_size");
            }
            _ => {}
        }
        match self.attention_head_size {
            Some(width) if width * self.num_attention_heads != self.hidden_size => {
                return refused("attention_head_size", width.to_string(), "hidden_size / num_attention_heads");
            }
            _ => {}
        }
        if !self.relative_attention && (self.pos_att_type.has("c2p") || self.pos_att_type.has("p2c")) {
            return refused("relative_attention", "false".into(), "true, where pos_att_type names terms");
        }
        let (farthest, buckets, _) = self.distances();
        // The logarithm of their ratio parts the distances beyond half of the buckets.
        if buckets > 0 && (buckets < 4 || farthest < buckets / 2 + 2) {
            return refused(
                "position_buckets",
                buckets.to_string(),
                "4 or more, and half of it below max_relative_positions",
            );
        }
        super::longest(self.max_position_embeddings.max(farthest))?;
        super::heads(self.hidden_size, self.num_attention_heads)
    }

    /// Distances, buckets to each side and rows of the table to each side.
    fn distances(&self) -> (usize, usize, usize) {
        let positive = |value: i64| usize::try_from(value).ok().filter(|&value| value > 0);
        let farthest = positive(self.max_relative_positions).unwrap_or(self.max_position_embeddings);
        let buckets = positive(self.position_buckets);
        (farthest, buckets.unwrap_or(0), buckets.unwrap_or(farthest))
    }
}

/// The model.
pub(super) fn read(tensors: &Tensors<'_>, config: &str) -> Result<CrossEncoder, NotReadable> {
    let config: Config = parse(config)?;
    config.check()?;
    let (hidden, epsilon) = (config.hidden_size, config.layer_norm_eps);
    let table = |name: &str, rows| tensors.table(&format!("deberta.embeddings.{name}_embeddings.weight"), rows, hidden);
    let positions = if config.position_biased_input {
        PositionTable::Learnt(table("position", config.max_position_embeddings)?)
    } else {
        PositionTable::Absent { longest: config.max_position_embeddings }
    };
    if !config.position_biased_input {
        // Published checkpoints carry it all the same.
        tensors.ignore("deberta.embeddings.position_embeddings.weight");
    }
    let mut words = table("word", config.vocab_size)?;
    if config.type_vocab_size == 1 {
        // The only type is every token's: its row belongs to every word.
        words = words.plus_first_row_of(&table("token_type", 1)?);
    }
    let embeddings = Embeddings {
        words,
        positions,
        padding: None,
        types: if config.type_vocab_size > 1 { Some(table("token_type", config.type_vocab_size)?) } else { None },
        norm: Some(tensors.norm("deberta.embeddings.LayerNorm", hidden, epsilon, Bias::Own)?),
        projection: None,
    };
    let distances = relative(tensors, &config)?;
    let layers = (0..config.num_hidden_layers)
        .map(|at| layer(tensors, &config, (&format!("deberta.encoder.layer.{at}"), distances.as_ref())))
        .collect::<Result<_, _>>()?;
    let head = Head {
        transform: Some(Transform {
            dense: tensors.dense("pooler.dense", hidden, hidden, Bias::Own)?,
            activation: activation("pooler_hidden_act", &config.pooler_hidden_act)?,
            norm: None,
        }),
        classifier: tensors.dense("classifier", hidden, 1, Bias::Own)?,
    };
    let heads = config.num_attention_heads;
    let (norms, pooling) = (NormPlacement::After, Pooling::First);
    Ok(CrossEncoder { hidden, heads, embeddings, layers, norms, final_norm: None, pooling, head })
}

/// The table of distances' buckets, normalised where it is to be, and its rows by distance.
fn relative(tensors: &Tensors<'_>, config: &Config) -> Result<Option<(Table, Vec<i64>)>, NotReadable> {
    if !config.relative_attention {
        return Ok(None);
    }
    let (farthest, buckets, span) = config.distances();
    let mut table = tensors.table("deberta.encoder.rel_embeddings.weight", 2 * span, config.hidden_size)?;
    if config.norm_rel_ebd.as_deref().is_some_and(|words| words.contains("layer_norm")) {
        let norm = tensors.norm("deberta.encoder.LayerNorm", config.hidden_size, config.layer_norm_eps, Bias::Own)?;
        table = norm.of_table(&table);
    }
    let most = as_int(config.max_position_embeddings.max(2)) - 1;
    let row =
        |distance: i64| (bucket(distance, as_int(buckets), farthest) + as_int(span)).clamp(0, 2 * as_int(span) - 1);
    Ok(Some((table, (-most..=most).map(row).collect())))
}

/// The bucket of a distance (`make_log_bucket_position`): near ones have one each, those beyond half of the buckets share
/// one by their logarithm.
fn bucket(distance: i64, buckets: i64, farthest: usize) -> i64 {
    let middle = buckets / 2;
    let size = distance.abs();
    if size <= middle || buckets == 0 {
        return distance;
    }
    // In 32 bits, as the reference computes it: a border between buckets must not fall elsewhere.
    let middle_f = middle as f32;
    let whole = (size as f32 / middle_f).ln() / ((farthest as f32 - 1.0) / middle_f).ln() * (middle_f - 1.0);
    #[expect(clippy::cast_possible_truncation, reason = "a number of buckets")]
    let bucket = whole.ceil() as i64 + middle;
    bucket * distance.signum()
}

fn layer(
    tensors: &Tensors<'_>,
    config: &Config,
    (name, distances): (&str, Option<&(Table, Vec<i64>)>),
) -> Result<Layer, NotReadable> {
    let (hidden, wide, epsilon) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
    let product = |part: &str, inputs, outputs| tensors.dense(&format!("{name}.{part}"), inputs, outputs, Bias::Own);
    let query = product("attention.self.query_proj", hidden, hidden)?;
    let key = product("attention.self.key_proj", hidden, hidden)?;
    let positions = match distances {
        None => Positions::Absolute,
        Some((table, rows)) => {
            let term = |has: bool, shared: &crate::cross_encoder::Dense, own: &str| {
                if !has {
                    return Ok::<_, NotReadable>(None);
                }
                if config.share_att_key {
                    return Ok(Some(shared.of_table(table)));
                }
                Ok(Some(product(own, hidden, hidden)?.of_table(table)))
            };
            Positions::Relative(Relative {
                rows: rows.clone(),
                keys: term(config.pos_att_type.has("c2p"), &key, "attention.self.pos_key_proj")?,
                queries: term(config.pos_att_type.has("p2c"), &query, "attention.self.pos_query_proj")?,
            })
        }
    };
    Ok(Layer {
        query,
        key,
        value: product("attention.self.value_proj", hidden, hidden)?,
        attention: Attention { positions, ..Attention::default() },
        output: product("attention.output.dense", hidden, hidden)?,
        attention_norm: Some(tensors.norm(
            &format!("{name}.attention.output.LayerNorm"),
            hidden,
            epsilon,
            Bias::Own,
        )?),
        up: product("intermediate.dense", hidden, wide)?,
        activation: activation("hidden_act", &config.hidden_act)?,
        gate: None,
        down: product("output.dense", wide, hidden)?,
        norm: tensors.norm(&format!("{name}.output.LayerNorm"), hidden, epsilon, Bias::Own)?,
    })
}

fn as_int(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Buckets of transformers' `make_log_bucket_position` for 64 buckets and 512 places.
    #[test]
    fn distances_fall_into_the_reference_s_buckets() {
        for (distance, wanted) in [(0, 0), (31, 31), (-31, -31), (32, 32), (33, 33), (-33, -33), (511, 63), (-511, -63)]
        {
            assert_eq!(bucket(distance, 64, 512), wanted, "{distance}");
        }
        assert_eq!(bucket(-400, 0, 512), -400, "without buckets a distance is its own");
    }

    #[test]
    fn terms_are_named_in_a_list_or_by_bars() {
        let listed = PosAttType::Listed(vec!["p2c".into(), "C2P".into()]);
        assert!(listed.has("c2p") && listed.has("p2c"));
        let joined = PosAttType::Joined("p2c|c2p".into());
        assert!(joined.has("c2p") && !joined.has("p2p") && !PosAttType::None.has("c2p"));
    }
}
