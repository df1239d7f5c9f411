//! The description of a cross-encoder: its sizes, its weights and how its parts work, free of any file format.
//!
//! Owns what the families have in common and where they differ: readers fill it, writers emit from it. A part that a family
//! lacks is `None`, an empty bias, or the plainest kind. It must not know ONNX or safetensors.

mod table;

pub use table::{Integers, Table};

/// A cross-encoder: embeddings, layers of an encoder or a decoder, one row a pair out of its tokens' rows, and a head that gives one logit.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEncoder {
    /// Width of a token's row.
    pub hidden: usize,
    /// Query heads a layer; [`CrossEncoder::head_width`] and [`CrossEncoder::key_heads`] follow from the products.
    pub heads: usize,
    /// Word, position and type tables and their norm.
    pub embeddings: Embeddings,
    /// Layers, the first one first.
    pub layers: Vec<Layer>,
    /// Where a layer's norms stand.
    pub norms: NormPlacement,
    /// Norm of the last layer's rows; only models that normalise before each part have one.
    pub final_norm: Option<Norm>,
    /// The row that stands for a pair.
    pub pooling: Pooling,
    /// From that row to the logit.
    pub head: Head,
}

/// The sum of the tables' rows, normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// A row a word piece.
    pub words: Table,
    /// How places enter here.
    pub positions: PositionTable,
    /// The id whose tokens have no position and count for none behind them, wherever it stands (`RoBERTa`'s padding).
    pub padding: Option<usize>,
    /// A row a segment; `None` where the model knows no segments.
    pub types: Option<Table>,
    /// Norm of the sum; decoders have none.
    pub norm: Option<Norm>,
    /// From the tables' width to the layers', where they differ (ELECTRA).
    pub projection: Option<Dense>,
}

/// Positions that are added to the words.
#[derive(Clone, Debug, PartialEq)]
pub enum PositionTable {
    /// A row a position; rows that no token can take are gone. Where padding has no position, its row comes first.
    Learnt(Table),
    /// None; attention sees places by itself. Tokens of a pair at most.
    Absent {
        /// What the configuration promises.
        longest: usize,
    },
}

/// Where a layer's norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormPlacement {
    /// After each part's sum with its input (BERT).
    After,
    /// Before each part; the sum stays as it is (`ModernBERT`).
    Before,
}

/// The row that stands for a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// That of its first token.
    First,
    /// That of its last token, which sees all others where attention is causal.
    Last,
    /// The mean of all its tokens' rows.
    Mean,
}

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Query projection.
    pub query: Dense,
    /// Key projection.
    pub key: Dense,
    /// Value projection.
    pub value: Dense,
    /// How tokens attend to each other.
    pub attention: Attention,
    /// Attention's output projection.
    pub output: Dense,
    /// Attention's norm; `ModernBERT`'s first layer has none.
    pub attention_norm: Option<Norm>,
    /// First product of the feed-forward part.
    pub up: Dense,
    /// Its activation.
    pub activation: Activation,
    /// What the activated values are multiplied with, in gated models: another product of the same rows.
    pub gate: Option<Dense>,
    /// Last product of the feed-forward part.
    pub down: Dense,
    /// The feed-forward part's norm.
    pub norm: Norm,
}

/// How tokens attend to each other, beyond what their rows say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attention {
    /// Tokens to each side that a token sees, itself not counted; `None` means all.
    pub window: Option<usize>,
    /// Whether a token sees no token behind it.
    pub is_causal: bool,
    /// Norms of each head's queries and keys, before their places enter (Qwen3).
    pub head_norms: Option<HeadNorms>,
    /// What scores are multiplied with; `None` means one over the root of a head's width, and of the terms of a score.
    pub scale: Option<f32>,
    /// How places enter.
    pub positions: Positions,
}

/// Norms of one head's values, the same for all heads; they have no bias.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadNorms {
    /// Of queries.
    pub query: Norm,
    /// Of keys, with the same epsilon.
    pub key: Norm,
}

/// How the places of two tokens enter their attention.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Positions {
    /// Not at all: they were added to the rows.
    #[default]
    Absolute,
    /// Queries and keys are turned by their places; radians a token, one for each of the first half of a head's values.
    Rotary(Vec<f32>),
    /// A head's slope times the distance is taken off the score (`ALiBi`); one slope a head.
    Slopes(Vec<f32>),
    /// Terms of a bucket of the distance (`DeBERTa`).
    Relative(Relative),
}

/// Terms of the distance of two tokens, both tables multiplied with the layer's weights already.
#[derive(Clone, Debug, PartialEq)]
pub struct Relative {
    /// The tables' rows by the query's place less the key's, from `-n` to `n`; beyond, the ends stand for all.
    pub rows: Vec<i64>,
    /// What queries meet, a row a bucket of distances, as wide as all heads.
    pub keys: Option<Table>,
    /// What keys meet.
    pub queries: Option<Table>,
}

/// From a pair's row to the logit.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// What stands before the classifier; decoders have nothing there.
    pub transform: Option<Transform>,
    /// To the one logit.
    pub classifier: Dense,
}

/// What a pair's row goes through before the classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// The pooler, or the classifier's own first product.
    pub dense: Dense,
    /// Its activation.
    pub activation: Activation,
    /// Norm behind it, where there is one.
    pub norm: Option<Norm>,
}

/// `y = x · weight + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// The weight, `[inputs, outputs]`.
    pub weight: Table,
    /// One value an output; empty where there is none.
    pub bias: Vec<f32>,
}

/// Normalisation over a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// What a row is normalised by.
    pub kind: NormKind,
    /// Multiplied to every normalised value.
    pub scale: Vec<f32>,
    /// Added after it; empty where nothing is.
    pub bias: Vec<f32>,
    /// Added to the variance, or to the mean of the squares.
    pub epsilon: f32,
}

/// What a row is normalised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// Its mean and its deviation (Ba et al. 2016).
    Layer,
    /// The root of the mean of its squares (Zhang and Sennrich 2019, `RMSNorm`).
    Rms,
}

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// The Gaussian error linear unit, by the error function.
    Gelu,
    /// Its approximation by the hyperbolic tangent.
    GeluTanh,
    /// Nothing below zero.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// `x` times its logistic function (Elfwing et al. 2018).
    Silu,
}

impl CrossEncoder {
    /// Tokens of a pair at most.
    pub fn max_length(&self) -> usize {
        match &self.embeddings.positions {
            PositionTable::Learnt(table) => table.rows - usize::from(self.embeddings.padding.is_some()),
            PositionTable::Absent { longest } => *longest,
        }
    }

    /// Whether no token sees one behind it, in any layer: rows of a sequence's beginning do not depend on what follows.
    pub fn is_causal(&self) -> bool {
        self.layers.iter().all(|layer| layer.attention.is_causal)
    }

    /// The first part that plain BERT has not, in the field's words; `None` for BERT and its near kin.
    pub fn beyond_bert(&self) -> Option<&'static str> {
        let in_layer = |layer: &Layer| match (&layer.attention, &layer.gate) {
            (Attention { is_causal: true, .. }, _) => Some("causal attention"),
            (Attention { window: Some(_), .. }, _) => Some("local attention"),
            (Attention { positions: Positions::Rotary(_), .. }, _) => Some("rotary positions"),
            (Attention { positions: Positions::Slopes(_), .. }, _) => Some("ALiBi"),
            (Attention { positions: Positions::Relative(_), .. }, _) => Some("relative positions"),
            (Attention { head_norms: Some(_), .. }, _) => Some("norms of queries and keys"),
            (Attention { scale: Some(_), .. }, _) => Some("a scale of attention's own"),
            (_, Some(_)) => Some("a gated feed-forward part"),
            _ if layer.attention_norm.is_none() => Some("attention without a norm"),
            _ if layer.norms().any(|norm| norm.kind == NormKind::Rms) => Some("RMS norms"),
            _ if layer.products().any(|dense| dense.bias.is_empty()) => Some("products without biases"),
            _ if layer.key.weight.columns != self.hidden => Some("keys that several heads share"),
            _ if layer.query.weight.columns != self.hidden => Some("heads of another width"),
            _ => None,
        };
        self.layers.iter().find_map(in_layer).or_else(|| match (self.norms, self.pooling, &self.head.transform) {
            (NormPlacement::Before, ..) => Some("norms before each part"),
            (_, Pooling::Mean, _) => Some("mean pooling"),
            (_, Pooling::Last, _) => Some("last-token pooling"),
            (_, _, None) => Some("a head without a pooler"),
            (_, _, Some(Transform { norm: Some(_), .. })) => Some("a norm in the head"),
            _ if self.final_norm.is_some() => Some("a norm after the last layer"),
            _ if self.embeddings.norm.is_none() => Some("embeddings without a norm"),
            _ if matches!(self.embeddings.positions, PositionTable::Absent { .. }) => Some("no table of positions"),
            _ => None,
        })
    }

    /// Values a head, of queries, keys and values alike.
    pub fn head_width(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.query.weight.columns / self.heads.max(1))
    }

    /// Key and value heads a layer: a divisor of [`CrossEncoder::heads`], each used by as many neighbouring query heads.
    pub fn key_heads(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.key.weight.columns / self.head_width().max(1))
    }

    /// Width of the feed-forward part.
    pub fn intermediate(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.up.weight.columns)
    }

    /// Whether the source held its products' weights as integers.
    pub fn is_quantised(&self) -> bool {
        self.layers.iter().all(|layer| layer.products().all(|dense| dense.weight.integers.is_some()))
    }

    /// The same model with its first layers only: a shape for benchmarks, whose scores mean nothing.
    #[must_use]
    pub fn with_first_layers(mut self, count: usize) -> Self {
        self.layers.truncate(count);
        self
    }
}

impl PositionTable {
    /// The table, where positions are learnt.
    pub fn table(&self) -> Option<&Table> {
        match self {
            Self::Learnt(table) => Some(table),
            Self::Absent { .. } => None,
        }
    }
}

impl Layer {
    /// Its products: six, or seven with a gate.
    pub fn products(&self) -> impl Iterator<Item = &Dense> {
        [&self.query, &self.key, &self.value, &self.output, &self.up, &self.down].into_iter().chain(&self.gate)
    }

    /// Its norms of whole rows.
    pub fn norms(&self) -> impl Iterator<Item = &Norm> {
        self.attention_norm.iter().chain([&self.norm])
    }
}

impl Dense {
    /// Columns `from..to` of the weight and the bias: one of several products that a checkpoint keeps as one.
    #[must_use]
    pub fn outputs(&self, from: usize, to: usize) -> Self {
        let Table { rows, columns, values, .. } = &self.weight;
        let part = values.chunks_exact((*columns).max(1)).flat_map(|row| row[from..to].iter().copied()).collect();
        let bias = if self.bias.is_empty() { Vec::new() } else { self.bias[from..to].to_vec() };
        Self { weight: Table::floats(*rows, to - from, part), bias }
    }

    /// The product with every row of a table, `[rows, outputs]`, in 64 bits inside.
    #[must_use]
    pub fn of_table(&self, table: &Table) -> Table {
        let columns = self.weight.columns;
        let mut values = Vec::with_capacity(table.rows * columns);
        for row in table.values.chunks_exact(table.columns.max(1)) {
            let mut sums: Vec<f64> = match self.bias.as_slice() {
                [] => vec![0.0; columns],
                bias => bias.iter().map(|&value| f64::from(value)).collect(),
            };
            for (&factor, weights) in row.iter().zip(self.weight.values.chunks_exact(columns.max(1))) {
                sums.iter_mut().zip(weights).for_each(|(sum, &weight)| *sum += f64::from(factor) * f64::from(weight));
            }
            #[expect(clippy::cast_possible_truncation, reason = "rounded to the table's floats")]
            values.extend(sums.into_iter().map(|sum| sum as f32));
        }
        Table::floats(table.rows, columns, values)
    }
}

impl Norm {
    /// Every row of a table normalised.
    #[must_use]
    pub fn of_table(&self, table: &Table) -> Table {
        let width = table.columns.max(1) as f64;
        let mut values = Vec::with_capacity(table.values.len());
        for row in table.values.chunks_exact(table.columns.max(1)) {
            let mean = match self.kind {
                NormKind::Layer => row.iter().map(|&value| f64::from(value)).sum::<f64>() / width,
                NormKind::Rms => 0.0,
            };
            let variance = row.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / width;
            let deviation = (variance + f64::from(self.epsilon)).sqrt();
            for (at, &value) in row.iter().enumerate() {
                let bias = self.bias.get(at).copied().unwrap_or(0.0);
                #[expect(clippy::cast_possible_truncation, reason = "rounded to the table's floats")]
                values.push(((f64::from(value) - mean) / deviation * f64::from(self.scale[at])) as f32 + bias);
            }
        }
        Table::floats(table.rows, table.columns, values)
    }
}
