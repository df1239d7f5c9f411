//! The description of a cross-encoder of the BERT family: its sizes and its weights, free of any file format.
//!
//! Owns what the formats have in common. It must not know ONNX or safetensors.

/// A cross-encoder: embeddings, encoder layers and a head on the first token's row that gives one logit.
#[derive(Clone, Debug, PartialEq)]
pub struct Bert {
    /// Width of a token's row.
    pub hidden: usize,
    /// Attention heads a layer.
    pub heads: usize,
    /// Word, position and type tables and their norm.
    pub embeddings: Embeddings,
    /// Encoder layers, the first one first.
    pub layers: Vec<Layer>,
    /// From the `[CLS]` row to the logit.
    pub head: Head,
}

/// The sum of three tables' rows, normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// A row a word piece.
    pub words: Table,
    /// A row a position; rows that no token can take are gone. Where padding has no position, its row comes first.
    pub positions: Table,
    /// The id whose tokens have no position and count for none behind them, wherever it stands (`RoBERTa`'s padding).
    pub padding: Option<usize>,
    /// A row a segment; `None` where the model knows no segments.
    pub types: Option<Table>,
    /// Norm of the sum.
    pub norm: Norm,
    /// From the tables' width to the layers', where they differ (ELECTRA).
    pub projection: Option<Dense>,
}

/// One encoder layer (post-norm, as in BERT).
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Query projection.
    pub query: Dense,
    /// Key projection.
    pub key: Dense,
    /// Value projection.
    pub value: Dense,
    /// Attention's output projection.
    pub output: Dense,
    /// Norm after attention.
    pub attention_norm: Norm,
    /// First product of the feed-forward part.
    pub up: Dense,
    /// Its activation.
    pub activation: Activation,
    /// Second product of the feed-forward part.
    pub down: Dense,
    /// Norm after the feed-forward part.
    pub norm: Norm,
}

/// Two products with an activation between, on the `[CLS]` row.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The pooler, or the classifier's own first product.
    pub dense: Dense,
    /// Its activation.
    pub activation: Activation,
    /// To the one logit.
    pub classifier: Dense,
}

/// `y = x · weight + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// The weight, `[inputs, outputs]`.
    pub weight: Table,
    /// One value an output.
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
    /// Added after it.
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

impl Bert {
    /// Tokens of a pair at most.
    pub fn max_length(&self) -> usize {
        self.embeddings.positions.rows - usize::from(self.embeddings.padding.is_some())
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

impl Layer {
    /// Its six products.
    pub fn products(&self) -> impl Iterator<Item = &Dense> {
        [&self.query, &self.key, &self.value, &self.output, &self.up, &self.down].into_iter()
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
