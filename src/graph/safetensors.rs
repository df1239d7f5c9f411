//! Cross-encoders as the model hub keeps them: `model.safetensors` and `config.json`, under Hugging Face's names.
//!
//! Owns those names and their differences between families. Weights there are `[outputs, inputs]` and are turned.

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use self::config::{Config, Family, PRODUCTS};
use super::{
    array::{Array, Data},
    bert::{Activation, Bert, Dense, Embeddings, Head, Layer, Norm, Table},
};

mod config;

/// The files do not describe a cross-encoder that is read here.
#[derive(Debug, thiserror::Error)]
pub enum NotReadable {
    /// `config.json` is not one.
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
    /// A tensor is missing or of another shape.
    #[error("tensor `{name}`: expected {expected}")]
    Tensor {
        /// Its name.
        name: String,
        /// What the configuration promises.
        expected: String,
    },
}

/// A model that plain BERT's names cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: the names of a BERT classifier have no place for it")]
pub struct NotBert {
    what: &'static str,
}

/// Reads a model from its two files.
///
/// # Errors
/// [`NotReadable`].
pub fn read(weights: &[u8], config: &str) -> Result<Bert, NotReadable> {
    let config: Config = serde_json::from_str(config)?;
    let family = config.family()?;
    config.check()?;
    let reader = Reader { tensors: SafeTensors::deserialize(weights)?, config: &config, family };
    let layers = (0..config.num_hidden_layers).map(|at| reader.layer(at)).collect::<Result<_, _>>()?;
    Ok(Bert {
        hidden: config.hidden_size,
        heads: config.num_attention_heads,
        embeddings: reader.embeddings()?,
        layers,
        head: reader.head()?,
    })
}

/// Writes a model as a BERT classifier: the weights' bytes, and the text of `config.json`.
///
/// # Errors
/// [`NotBert`] when it has a part that BERT's names have no place for.
pub fn write(bert: &Bert) -> Result<(Vec<u8>, String), NotBert> {
    let Embeddings { words, positions, padding, types, norm, projection } = &bert.embeddings;
    // BERT's padding has a position as every token has; only a text that spells it out tells the two apart.
    let positions = &positions.clone().without_first_rows(usize::from(padding.is_some()));
    // BERT's types add to every token's row; zeros add nothing.
    let none = Table::floats(2, words.columns, vec![0.0; 2 * words.columns]);
    let types = types.as_ref().unwrap_or(&none);
    if projection.is_some() {
        return Err(NotBert { what: "a projection of the embeddings" });
    }
    if bert.head.activation != Activation::Tanh || bert.head.dense.weight.columns != bert.hidden {
        return Err(NotBert { what: "a head that is no tanh pooler" });
    }
    let mut arrays = Vec::new();
    for (name, table) in [("word", words), ("position", positions), ("token_type", types)] {
        let array = Array::floats(&[table.rows, table.columns], table.values.clone());
        arrays.push((format!("bert.embeddings.{name}_embeddings.weight"), array));
    }
    push_norm(&mut arrays, "bert.embeddings.LayerNorm", norm);
    for (at, layer) in bert.layers.iter().enumerate() {
        let name = |part: &str| format!("bert.encoder.layer.{at}.{part}");
        for (part, dense) in PRODUCTS.into_iter().zip(layer.products()) {
            push_dense(&mut arrays, &name(part), dense);
        }
        push_norm(&mut arrays, &name("attention.output.LayerNorm"), &layer.attention_norm);
        push_norm(&mut arrays, &name("output.LayerNorm"), &layer.norm);
    }
    push_dense(&mut arrays, "bert.pooler.dense", &bert.head.dense);
    push_dense(&mut arrays, "classifier", &bert.head.classifier);
    let tensors: Vec<Written> = arrays.into_iter().map(Written::new).collect();
    let unfit = |_| NotBert { what: "a weight whose shape does not fit its values" };
    let views = tensors.iter().map(Written::view).collect::<Result<Vec<_>, _>>().map_err(unfit)?;
    let format = [("format".to_owned(), "pt".to_owned())].into();
    let weights = safetensors::serialize(views, Some(format)).map_err(unfit)?;
    Ok((weights, config::write(bert)))
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

/// Finds tensors by the family's names.
struct Reader<'a> {
    tensors: SafeTensors<'a>,
    config: &'a Config,
    family: Family,
}

impl Reader<'_> {
    fn embeddings(&self) -> Result<Embeddings, NotReadable> {
        let (config, prefix) = (self.config, self.family.prefix);
        let width = config.embedding_size.unwrap_or(config.hidden_size);
        let table = |name: &str, rows| {
            let name = format!("{prefix}.embeddings.{name}_embeddings.weight");
            Ok::<_, NotReadable>(Table::floats(rows, width, self.floats(&name, &[rows, width])?))
        };
        // RoBERTa counts positions from behind its padding id, whose row is the padding's own.
        let padding = self.family.positions_follow_padding.then(|| config.pad_token_id.unwrap_or(1));
        let project = || self.dense(&format!("{prefix}.embeddings_project"), width, config.hidden_size);
        let mut positions = table("position", config.max_position_embeddings)?.without_first_rows(padding.unwrap_or(0));
        let types = match config.type_vocab_size {
            0 => None,
            // The only type is every token's: its row belongs to every position.
            1 => {
                positions = positions.plus_first_row_of(&table("token_type", 1)?);
                None
            }
            rows => Some(table("token_type", rows)?),
        };
        Ok(Embeddings {
            words: table("word", config.vocab_size)?,
            positions,
            padding,
            types,
            norm: self.norm(&format!("{prefix}.embeddings.LayerNorm"), width)?,
            projection: if width == config.hidden_size { None } else { Some(project()?) },
        })
    }

    fn layer(&self, at: usize) -> Result<Layer, NotReadable> {
        let (hidden, wide) = (self.config.hidden_size, self.config.intermediate_size);
        let Family { prefix, layers, products, norms, .. } = self.family;
        let name = |part: &str| format!("{prefix}.{layers}.{at}.{part}");
        let [query, key, value, output, up, down] = products.map(name);
        Ok(Layer {
            query: self.dense(&query, hidden, hidden)?,
            key: self.dense(&key, hidden, hidden)?,
            value: self.dense(&value, hidden, hidden)?,
            output: self.dense(&output, hidden, hidden)?,
            attention_norm: self.norm(&name(norms[0]), hidden)?,
            up: self.dense(&up, hidden, wide)?,
            activation: self.config.activation()?,
            down: self.dense(&down, wide, hidden)?,
            norm: self.norm(&name(norms[1]), hidden)?,
        })
    }

    fn head(&self) -> Result<Head, NotReadable> {
        let hidden = self.config.hidden_size;
        Ok(Head {
            dense: self.dense(self.family.pooler, hidden, hidden)?,
            activation: self.family.pooler_activation,
            classifier: self.dense(self.family.classifier, hidden, 1)?,
        })
    }

    fn dense(&self, name: &str, rows: usize, columns: usize) -> Result<Dense, NotReadable> {
        let weight = Array::floats(&[columns, rows], self.floats(&format!("{name}.weight"), &[columns, rows])?);
        let Some(Array { data: Data::F32(values), .. }) = weight.transposed() else {
            return Err(NotReadable::Tensor { name: name.into(), expected: "a matrix of floats".into() });
        };
        let bias = self.floats(&format!("{name}.bias"), &[columns])?;
        Ok(Dense { weight: Table::floats(rows, columns, values), bias })
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm, NotReadable> {
        Ok(Norm {
            scale: self.floats(&format!("{name}.weight"), &[width])?,
            bias: self.floats(&format!("{name}.bias"), &[width])?,
            epsilon: self.config.layer_norm_eps,
        })
    }

    fn floats(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>, NotReadable> {
        let tensor = self.tensors.tensor(name).ok().filter(|tensor| tensor.shape() == dims);
        let values = tensor.and_then(|tensor| floats(&tensor));
        values.ok_or_else(|| NotReadable::Tensor { name: name.into(), expected: format!("floats of shape {dims:?}") })
    }
}

fn floats(tensor: &TensorView<'_>) -> Option<Vec<f32>> {
    let words = || tensor.data().as_chunks::<2>().0.iter().map(|&bytes| u16::from_le_bytes(bytes));
    if tensor.dtype() == Dtype::F32 {
        return Some(tensor.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect());
    }
    if tensor.dtype() == Dtype::BF16 {
        return Some(words().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect());
    }
    (tensor.dtype() == Dtype::F16).then(|| words().map(super::half::widen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{tiny, tiny_projected, tiny_untyped};

    #[test]
    fn a_model_survives_the_way_through_its_files() {
        let bert = tiny(2);
        let (weights, config) = write(&bert).unwrap();
        assert_eq!(read(&weights, &config).unwrap(), bert);
    }

    #[test]
    fn weights_lie_turned_under_the_names_of_the_hub() {
        let bert = tiny(1);
        let (weights, _) = write(&bert).unwrap();
        let tensors = SafeTensors::deserialize(&weights).unwrap();
        let up = tensors.tensor("bert.encoder.layer.0.intermediate.dense.weight").unwrap();
        assert_eq!(up.shape(), [bert.intermediate(), bert.hidden]);
        let second = floats(&up).unwrap()[bert.hidden];
        assert!((second - bert.layers[0].up.weight.values[1]).abs() < f32::EPSILON, "row 1 is output 1");
        assert_eq!(tensors.names().len(), 3 + 2 + 16 + 2 + 2);
    }

    #[test]
    fn families_differ_in_names_and_in_their_first_positions() {
        let bert = tiny(1);
        let (weights, config) = write(&bert).unwrap();
        let tensors = SafeTensors::deserialize(&weights).unwrap();
        let rename = |name: &str| match name {
            "bert.pooler.dense.weight" => "classifier.dense.weight".to_owned(),
            "bert.pooler.dense.bias" => "classifier.dense.bias".to_owned(),
            "classifier.weight" => "classifier.out_proj.weight".to_owned(),
            "classifier.bias" => "classifier.out_proj.bias".to_owned(),
            other => other.replace("bert.", "roberta."),
        };
        let renamed = tensors.iter().map(|(name, view)| (rename(name), view));
        let weights = safetensors::serialize(renamed, None).unwrap();
        let config = config.replace("\"model_type\": \"bert\"", "\"model_type\": \"roberta\"");
        let config = config.replace("\"pad_token_id\": 0", "\"pad_token_id\": 1");
        let roberta = read(&weights, &config).unwrap();
        assert_eq!(roberta.max_length(), bert.max_length() - 2);
        assert_eq!((roberta.embeddings.padding, roberta.embeddings.positions.rows), (Some(1), bert.max_length() - 1));
        assert_eq!(roberta.layers, bert.layers);
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let (weights, config) = write(&tiny(1)).unwrap();
        let more = config.replace("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2");
        let error = read(&weights, &more).unwrap_err().to_string();
        assert!(error.contains("encoder.layer.1.attention.self.query.weight"), "{error}");
        let other = config.replace("\"bert\"", "\"t5\"");
        assert!(read(&weights, &other).unwrap_err().to_string().contains("`t5`"));
        assert!(write(&tiny_projected(1)).is_err(), "BERT has no projection");
    }

    #[test]
    fn a_model_without_types_is_written_with_types_that_add_nothing() {
        let (weights, config) = write(&tiny_untyped(1)).unwrap();
        let back = read(&weights, &config).unwrap();
        assert!(back.embeddings.types.as_ref().unwrap().values.iter().all(|value| value.abs() < f32::MIN_POSITIVE));
        assert_eq!(back.layers, tiny_untyped(1).layers);
    }

    #[test]
    fn one_type_is_added_to_every_position() {
        let bert = tiny(1);
        let (weights, config) = write(&bert).unwrap();
        let tensors = SafeTensors::deserialize(&weights).unwrap();
        let one = TensorView::new(Dtype::F32, vec![1, 8], &tensors.tensor(TYPES).unwrap().data()[..32]).unwrap();
        let others = tensors.iter().filter(|(name, _)| *name != TYPES);
        let weights = safetensors::serialize(others.chain([(TYPES, one)]), None).unwrap();
        let read = read(&weights, &config.replace("\"type_vocab_size\": 2", "\"type_vocab_size\": 1")).unwrap();
        assert_eq!(read.embeddings.types, None);
        let sum = bert.embeddings.positions.values[8] + bert.embeddings.types.unwrap().values[0];
        assert!((read.embeddings.positions.values[8] - sum).abs() < 1e-6);
    }

    const TYPES: &str = "bert.embeddings.token_type_embeddings.weight";
}
