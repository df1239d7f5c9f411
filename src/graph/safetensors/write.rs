//! Writes a model under the names of Hugging Face's BERT classifier.

use safetensors::{Dtype, tensor::TensorView};

use super::bert::config;
use super::bert::config::PRODUCTS;
use crate::array::Array;
use crate::cross_encoder::{Activation, CrossEncoder, Dense, Embeddings, Norm, PositionTable, Table, Transform};

/// A model that plain BERT's names cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: the names of a BERT classifier have no place for it")]
pub struct NotBert {
    what: &'static str,
}

/// Writes a model as a BERT classifier: the weights' bytes, and the text of `config.json`.
///
/// # Errors
/// [`NotBert`] when it has a part that BERT's names have no place for.
pub fn write(model: &CrossEncoder) -> Result<(Vec<u8>, String), NotBert> {
    let Embeddings { words, positions, padding, types, norm, projection } = &model.embeddings;
    if let Some(what) = model.beyond_bert() {
        return Err(NotBert { what });
    }
    let PositionTable::Learnt(positions) = positions else { return Err(NotBert { what: "no table of positions" }) };
    // BERT's padding has a position as every token has; only a text that spells it out tells the two apart.
    let positions = &positions.clone().without_first_rows(usize::from(padding.is_some()));
    // BERT's types add to every token's row; zeros add nothing.
    let none = Table::floats(2, words.columns, vec![0.0; 2 * words.columns]);
    let types = types.as_ref().unwrap_or(&none);
    if projection.is_some() {
        return Err(NotBert { what: "a projection of the embeddings" });
    }
    let is_pooler =
        |head: &&Transform| head.activation == Activation::Tanh && head.dense.weight.columns == model.hidden;
    let Some(pooler) = model.head.transform.as_ref().filter(is_pooler) else {
        return Err(NotBert { what: "a head that is no tanh pooler" });
    };
    let Some(norm) = norm else { return Err(NotBert { what: "embeddings without a norm" }) };
    let mut arrays = Vec::new();
    for (name, table) in [("word", words), ("position", positions), ("token_type", types)] {
        let array = Array::floats(&[table.rows, table.columns], table.values.clone());
        arrays.push((format!("bert.embeddings.{name}_embeddings.weight"), array));
    }
    push_norm(&mut arrays, "bert.embeddings.LayerNorm", norm);
    for (at, layer) in model.layers.iter().enumerate() {
        let name = |part: &str| format!("bert.encoder.layer.{at}.{part}");
        for (part, dense) in PRODUCTS.into_iter().zip(layer.products()) {
            push_dense(&mut arrays, &name(part), dense);
        }
        if let Some(norm) = &layer.attention_norm {
            push_norm(&mut arrays, &name("attention.output.LayerNorm"), norm);
        }
        push_norm(&mut arrays, &name("output.LayerNorm"), &layer.norm);
    }
    push_dense(&mut arrays, "bert.pooler.dense", &pooler.dense);
    push_dense(&mut arrays, "classifier", &model.head.classifier);
    let tensors: Vec<Written> = arrays.into_iter().map(Written::new).collect();
    let unfit = |_| NotBert { what: "a weight whose shape does not fit its values" };
    let views = tensors.iter().map(Written::view).collect::<Result<Vec<_>, _>>().map_err(unfit)?;
    let format = [("format".to_owned(), "pt".to_owned())].into();
    let weights = safetensors::serialize(views, Some(format)).map_err(unfit)?;
    Ok((weights, config::write(model)))
}

fn push_norm(arrays: &mut Vec<(String, Array)>, name: &str, norm: &Norm) {
    for (part, values) in [("weight", &norm.scale), ("bias", &norm.bias)] {
        arrays.push((format!("{name}.{part}"), Array::floats(&[values.len()], values.clone())));
    }
}

fn push_dense(arrays: &mut Vec<(String, Array)>, name: &str, dense: &Dense) {
    let Table { rows, columns, values, .. } = &dense.weight;
    let weight = Array::floats(&[*rows, *columns], values.clone());
    arrays.extend(weight.transposed().map(|weight| (format!("{name}.weight"), weight)));
    arrays.push((format!("{name}.bias"), Array::floats(&[*columns], dense.bias.clone())));
}

/// A tensor on its way out.
struct Written {
    name: String,
    dims: Vec<usize>,
    bytes: Vec<u8>,
}

impl Written {
    fn new((name, array): (String, Array)) -> Self {
        let bytes = array.to_tensor(&name).raw_data;
        Self { name, dims: array.dims, bytes }
    }

    fn view(&self) -> Result<(&str, TensorView<'_>), safetensors::SafeTensorError> {
        Ok((&self.name, TensorView::new(Dtype::F32, self.dims.clone(), &self.bytes)?))
    }
}
