//! The description of a cross-encoder: its sizes, its weights and how its parts work, free of any file format.
//!
//! Owns what the families have in common and where they differ: readers fill it, writers emit from it. A part that a family
//! lacks is `None`, an empty bias, or the plainest kind. It must not know ONNX or safetensors.

/// A cross-encoder: embeddings, encoder layers, one row a pair out of its tokens' rows, and a head that gives one logit.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEncoder {
    /// Width of a token's row.
    pub hidden: usize,
    /// Attention heads a layer.
    pub heads: usize,
    /// Word, position and type tables and their norm.
    pub embeddings: Embeddings,
    /// Encoder layers, the first one first.
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
    /// Norm of the sum.
    pub norm: Norm,
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
    /// The mean of all its tokens' rows.
    Mean,
}

/// One encoder layer.
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
    /// How places enter.
    pub positions: Positions,
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
    /// The pooler, or the classifier's own first product.
    pub dense: Dense,
    /// Its activation.
    pub activation: Activation,
    /// Norm behind it, where there is one.
    pub norm: Option<Norm>,
    /// To the one logit.
    pub classifier: Dense,
}

/// `y = x · weight + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// The weight, `[inputs, outputs]`.
    pub weight: Table,
    /// One value an output; empty where there is none.
    pub bias: Vec<f32>,
}

/// A matrix of weights, row-major, and the integers it came from where the source is quantised.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// The values, dequantised where they were integers.
    pub values: Vec<f32>,
    /// The integers, where the source held integers.
    pub integers: Option<Integers>,
}

/// Signed 8-bit weights: a value is its integer less the zero point, times its column's scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Integers {
    /// As many as the table has values.
    pub values: Vec<i8>,
    /// The integer that stands for zero.
    pub zero: i8,
    /// One scale, or one a column.
    pub scales: Vec<f32>,
}

/// Layer normalisation over a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Multiplied to every normalised value.
    pub scale: Vec<f32>,
    /// Added after it; empty where nothing is.
    pub bias: Vec<f32>,
    /// Added to the variance.
    pub epsilon: f32,
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
}

impl CrossEncoder {
    /// Tokens of a pair at most.
    pub fn max_length(&self) -> usize {
        match &self.embeddings.positions {
            PositionTable::Learnt(table) => table.rows - usize::from(self.embeddings.padding.is_some()),
            PositionTable::Absent { longest } => *longest,
        }
    }

    /// The first part that plain BERT has not, in the field's words; `None` for BERT and its near kin.
    pub fn beyond_bert(&self) -> Option<&'static str> {
        let in_layer = |layer: &Layer| match (&layer.attention, &layer.gate) {
            (Attention { window: Some(_), .. }, _) => Some("local attention"),
            (Attention { positions: Positions::Rotary(_), .. }, _) => Some("rotary positions"),
            (Attention { positions: Positions::Slopes(_), .. }, _) => Some("ALiBi"),
            (Attention { positions: Positions::Relative(_), .. }, _) => Some("relative positions"),
            (_, Some(_)) => Some("a gated feed-forward part"),
            _ if layer.attention_norm.is_none() => Some("attention without a norm"),
            _ if layer.products().any(|dense| dense.bias.is_empty()) => Some("products without biases"),
            _ => None,
        };
        self.layers.iter().find_map(in_layer).or_else(|| match (self.norms, self.pooling, &self.head.norm) {
            (NormPlacement::Before, ..) => Some("norms before each part"),
            (_, Pooling::Mean, _) => Some("mean pooling"),
            (_, _, Some(_)) => Some("a norm in the head"),
            _ if self.final_norm.is_some() => Some("a norm after the last layer"),
            _ if matches!(self.embeddings.positions, PositionTable::Absent { .. }) => Some("no table of positions"),
            _ => None,
        })
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
            let mean = row.iter().map(|&value| f64::from(value)).sum::<f64>() / width;
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

impl Table {
    /// A table of floats.
    pub fn floats(rows: usize, columns: usize, values: Vec<f32>) -> Self {
        debug_assert_eq!(rows * columns, values.len());
        Self { rows, columns, values, integers: None }
    }

    /// A table of integers and the floats that they stand for.
    pub fn quantised(rows: usize, columns: usize, integers: Integers) -> Self {
        let scale = |column: usize| integers.scales[column % integers.scales.len()];
        let values = integers
            .values
            .iter()
            .enumerate()
            .map(|(at, &value)| (f32::from(value) - f32::from(integers.zero)) * scale(at % columns))
            .collect();
        Self { rows, columns, values, integers: Some(integers) }
    }

    /// The table without its first rows.
    #[must_use]
    pub fn without_first_rows(mut self, count: usize) -> Self {
        let gone = count.min(self.rows);
        self.rows -= gone;
        self.values.drain(..gone * self.columns);
        if let Some(integers) = &mut self.integers {
            integers.values.drain(..gone * self.columns);
        }
        self
    }

    /// The table with the first row of another one, as wide, added to every row.
    #[must_use]
    pub fn plus_first_row_of(mut self, other: &Self) -> Self {
        let row = other.values.get(..other.columns).unwrap_or_default();
        for values in self.values.chunks_mut(self.columns.max(1)) {
            values.iter_mut().zip(row).for_each(|(value, added)| *value += added);
        }
        self.integers = None;
        self
    }

    /// The table's integers where they are symmetric about zero, or the nearest ones that are, with a scale a column.
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of a byte first")]
    pub fn to_integers(&self) -> Integers {
        if let Some(integers) = self.integers.as_ref().filter(|integers| integers.zero == 0) {
            return integers.clone();
        }
        let mut scales = vec![0.0_f32; self.columns];
        for row in self.values.chunks_exact(self.columns) {
            for (scale, value) in scales.iter_mut().zip(row) {
                *scale = scale.max(value.abs() / 127.0);
            }
        }
        // A column of zeros has no scale of its own; any positive one gives zeros again.
        scales.iter_mut().filter(|scale| **scale <= f32::MIN_POSITIVE).for_each(|scale| *scale = 1.0);
        let round = |(at, value): (usize, &f32)| (value / scales[at % self.columns]).round().clamp(-127.0, 127.0) as i8;
        let values = self.values.iter().enumerate().map(round).collect();
        Integers { values, zero: 0, scales }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn quantising_errs_by_half_a_step_at_most(values in prop::collection::vec(-3.0_f32..3.0, 12)) {
            let table = Table::floats(4, 3, values);
            let back = Table::quantised(4, 3, table.to_integers());
            let integers = back.integers.as_ref().unwrap();
            for (at, (a, b)) in table.values.iter().zip(&back.values).enumerate() {
                prop_assert!((a - b).abs() <= integers.scales[at % 3] * 0.5001, "{} against {}", a, b);
            }
        }
    }

    #[test]
    fn rows_that_are_given_up_leave_values_and_integers_alike() {
        let integers = Integers { values: vec![1, 2, 3, 4, 5, 6], zero: 0, scales: vec![0.5] };
        let table = Table::quantised(3, 2, integers).without_first_rows(1);
        assert_eq!((table.rows, table.values.as_slice()), (2, [1.5, 2.0, 2.5, 3.0].as_slice()));
        assert_eq!(table.integers.unwrap().values, [3, 4, 5, 6]);
    }
}
