//! BERT and its near kin: `RoBERTa`, XLM-R, `CamemBERT`, ELECTRA, `DistilBERT`. One encoder under several names.

use self::config::{Config, Family};
use super::NotReadable;
use super::tensors::{Bias, Tensors};
use crate::cross_encoder::{
    Attention, CrossEncoder, Dense, Embeddings, Head, Layer, Norm, NormPlacement, Pooling, PositionTable, Transform,
};

pub(super) mod config;

/// The model.
pub(super) fn read(tensors: &Tensors<'_>, config: &str) -> Result<CrossEncoder, NotReadable> {
    let config: Config = super::parse(config)?;
    let family = config.family()?;
    config.check()?;
    let reader = Reader { tensors, config: &config, family };
    let layers = (0..config.num_hidden_layers).map(|at| reader.layer(at)).collect::<Result<_, _>>()?;
    Ok(CrossEncoder {
        hidden: config.hidden_size,
        heads: config.num_attention_heads,
        embeddings: reader.embeddings()?,
        layers,
        norms: NormPlacement::After,
        final_norm: None,
        pooling: Pooling::First,
        head: reader.head()?,
    })
}

/// Finds tensors by the family's names.
struct Reader<'a> {
    tensors: &'a Tensors<'a>,
    config: &'a Config,
    family: Family,
}

impl Reader<'_> {
    fn embeddings(&self) -> Result<Embeddings, NotReadable> {
        let (config, prefix) = (self.config, self.family.prefix);
        let width = config.embedding_size.unwrap_or(config.hidden_size);
        let table = |name: &str, rows| {
            let name = format!("{prefix}.embeddings.{name}_embeddings.weight");
            self.tensors.table(&name, rows, width)
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
            positions: PositionTable::Learnt(positions),
            padding,
            types,
            norm: Some(self.norm(&format!("{prefix}.embeddings.LayerNorm"), width)?),
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
            attention: Attention::default(),
            attention_norm: Some(self.norm(&name(norms[0]), hidden)?),
            up: self.dense(&up, hidden, wide)?,
            activation: self.config.activation()?,
            gate: None,
            down: self.dense(&down, wide, hidden)?,
            norm: self.norm(&name(norms[1]), hidden)?,
        })
    }

    fn head(&self) -> Result<Head, NotReadable> {
        let hidden = self.config.hidden_size;
        // Encoders that were saved with the pooler of another task keep it; a classifier of this family has its own.
        for part in ["weight", "bias"] {
            self.tensors.ignore(&format!("{}.pooler.dense.{part}", self.family.prefix));
        }
        Ok(Head {
            transform: Some(Transform {
                dense: self.dense(self.family.pooler, hidden, hidden)?,
                activation: self.family.pooler_activation,
                norm: None,
            }),
            classifier: self.dense(self.family.classifier, hidden, 1)?,
        })
    }

    fn dense(&self, name: &str, rows: usize, columns: usize) -> Result<Dense, NotReadable> {
        self.tensors.dense(name, rows, columns, Bias::Own)
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm, NotReadable> {
        self.tensors.norm(name, width, self.config.layer_norm_eps, Bias::Own)
    }
}
