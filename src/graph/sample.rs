//! A tiny model for tests, and the graph that an exporter would write of it.

use super::cross_encoder::{
    Activation, Attention, CrossEncoder, Dense, Embeddings, Head, Integers, Layer, Norm, NormKind, NormPlacement,
    Pooling, PositionTable, Table, Transform,
};

mod export;

pub(super) use export::{Indices, Style, export, export_with};

/// A model of some layers with weights that repeat from run to run: 2 heads of 4, 20 words, 12 positions, 2 types.
pub(super) fn tiny(layers: usize) -> CrossEncoder {
    let mut dice = Dice(0x9e37_79b9);
    let layer = |dice: &mut Dice| Layer {
        query: dice.dense(8, 8),
        key: dice.dense(8, 8),
        value: dice.dense(8, 8),
        output: dice.dense(8, 8),
        attention: Attention::default(),
        attention_norm: Some(dice.norm(8)),
        up: dice.dense(8, 16),
        activation: Activation::Gelu,
        gate: None,
        down: dice.dense(16, 8),
        norm: dice.norm(8),
    };
    CrossEncoder {
        hidden: 8,
        heads: 2,
        embeddings: Embeddings {
            words: dice.table(20, 8),
            positions: PositionTable::Learnt(dice.table(12, 8)),
            padding: None,
            types: Some(dice.table(2, 8)),
            norm: Some(dice.norm(8)),
            projection: None,
        },
        layers: (0..layers).map(|_| layer(&mut dice)).collect(),
        norms: NormPlacement::After,
        final_norm: None,
        pooling: Pooling::First,
        head: Head {
            transform: Some(Transform { dense: dice.dense(8, 8), activation: Activation::Tanh, norm: None }),
            classifier: dice.dense(8, 1),
        },
    }
}

/// A model without types, as `RoBERTa` is once its one type is added to its positions.
pub(super) fn tiny_untyped(layers: usize) -> CrossEncoder {
    let mut model = tiny(layers);
    model.embeddings.types = None;
    model
}

/// A model whose padding, id 1, has a row of positions of its own and counts for none, as `RoBERTa`'s.
pub(super) fn tiny_after_padding(layers: usize) -> CrossEncoder {
    let mut model = tiny_untyped(layers);
    model.embeddings.padding = Some(1);
    model
}

/// A model with `DistilBERT`'s parts: no types, Relu between the head's products.
pub(super) fn tiny_distilled(layers: usize) -> CrossEncoder {
    with_activation(tiny_untyped(layers), Activation::Relu)
}

/// A model with ELECTRA's parts: narrow tables that are projected, Gelu between the head's products.
pub(super) fn tiny_projected(layers: usize) -> CrossEncoder {
    let mut dice = Dice(0x1234_5678);
    let mut model = tiny(layers);
    model.embeddings = Embeddings {
        words: dice.table(20, 4),
        positions: PositionTable::Learnt(dice.table(12, 4)),
        padding: None,
        types: Some(dice.table(2, 4)),
        norm: Some(dice.norm(4)),
        projection: Some(dice.dense(4, 8)),
    };
    with_activation(model, Activation::Gelu)
}

fn with_activation(mut model: CrossEncoder, activation: Activation) -> CrossEncoder {
    model.head.transform.iter_mut().for_each(|transform| transform.activation = activation);
    model
}

/// The same model with the products of its layers and head, and its tables, in integers.
pub(super) fn tiny_quantised(layers: usize) -> CrossEncoder {
    let mut model = tiny(layers);
    let whole = |table: &mut Table| {
        let scale = table.values.iter().fold(0.0_f32, |most, value| most.max(value.abs())) / 127.0;
        #[expect(clippy::cast_possible_truncation, reason = "at most 127 by the choice of the scale")]
        let values = table.values.iter().map(|value| (value / scale).round() as i8).collect();
        *table = Table::quantised(table.rows, table.columns, Integers { values, zero: 0, scales: vec![scale] });
    };
    for layer in &mut model.layers {
        let Layer { query, key, value, output, up, down, .. } = layer;
        for dense in [query, key, value, output, up, down] {
            whole(&mut dense.weight);
        }
    }
    model.head.transform.iter_mut().for_each(|transform| whole(&mut transform.dense.weight));
    whole(&mut model.head.classifier.weight);
    whole(&mut model.embeddings.words);
    if let PositionTable::Learnt(table) = &mut model.embeddings.positions {
        whole(table);
    }
    model.embeddings.types.iter_mut().for_each(whole);
    model
}

/// A small linear congruential generator.
struct Dice(u32);

impl Dice {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(self.0 >> 16).unwrap()) / 65536.0 - 0.5
    }

    fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }

    fn table(&mut self, rows: usize, columns: usize) -> Table {
        Table::floats(rows, columns, self.values(rows * columns))
    }

    fn dense(&mut self, rows: usize, columns: usize) -> Dense {
        Dense { weight: self.table(rows, columns), bias: self.values(columns) }
    }

    fn norm(&mut self, width: usize) -> Norm {
        Norm { kind: NormKind::Layer, scale: self.values(width), bias: self.values(width), epsilon: 1e-12 }
    }
}
