//! Encoder layers as one operator of our own each, for CPUs: products of integers with a scale a token.
//!
//! Owns what such a layer takes and the order of its inputs. What it computes is `rescored_kernels::layer`'s.

use std::borrow::Cow;

use super::{Emitter, attention::Arrangement, attention::Pairs};
use crate::{
    array::Array,
    cross_encoder::{
        Activation, Attention, CrossEncoder, Dense, Integers, Layer, Norm, NormKind, NormPlacement, Pooling, Positions,
    },
    emit::writer::{Attribute, Op},
    own::{self, attribute},
    written::Values,
};

/// The first part of a model that such a layer does not have, in the field's words.
pub(super) fn beyond(model: &CrossEncoder) -> Option<&'static str> {
    let part = |layer: &Layer| match layer {
        Layer { attention: Attention { is_causal: true, .. }, .. } => Some("causal attention"),
        Layer { attention: Attention { head_norms: Some(_), .. }, .. } => Some("norms of queries and keys"),
        Layer { activation, .. } if *activation != Activation::Gelu => Some("an activation that is not GELU"),
        Layer { key, .. } if key.weight.columns != model.hidden => Some("keys that several heads share"),
        Layer { query, .. } if query.weight.columns != model.hidden => Some("heads of another width"),
        layer if layer.norms().any(|norm| norm.kind == NormKind::Rms) => Some("RMS norms"),
        Layer { attention_norm: None, .. } if model.norms == NormPlacement::After => Some("attention without a norm"),
        _ => None,
    };
    let pooling = (model.pooling == Pooling::Last).then_some("last-token pooling");
    model.layers.iter().find_map(part).or(pooling)
}

impl<'a> Emitter<'a> {
    /// One encoder layer of packed rows.
    pub(super) fn fused_layer(&mut self, at: usize, rows: &str, pairs: &Pairs<'_>) -> String {
        let layer = &self.model.layers[at];
        let name = format!("layer.{at}");
        let Arrangement::Packed { lengths, .. } = pairs.arrangement() else { return String::new() };
        let is_before = self.model.norms == NormPlacement::Before;
        let as_int = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let mut attributes = vec![
            (attribute::HEADS, Attribute::Int(as_int(self.model.heads))),
            (attribute::SCALE, Attribute::Float(self.scale(layer))),
            (attribute::EPSILON, Attribute::Float(layer.norm.epsilon)),
        ];
        let flags = [
            (attribute::FIRST, pairs.is_pooled()),
            (attribute::NORMS_BEFORE, is_before),
            (attribute::GATED, layer.gate.is_some()),
        ];
        attributes.extend(flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (name, Attribute::Int(1))));
        if let Some(window) = layer.attention.window {
            attributes.push((attribute::WINDOW, Attribute::Int(as_int(window))));
        }
        match &layer.attention.positions {
            Positions::Rotary(frequencies) => attributes.push((attribute::ROTARY, Attribute::Floats(frequencies))),
            Positions::Slopes(slopes) => attributes.push((attribute::SLOPES, Attribute::Floats(slopes))),
            Positions::Absolute | Positions::Relative(_) => {}
        }
        if let Some(norm) = &layer.attention_norm {
            attributes.push((attribute::ATTENTION_EPSILON, Attribute::Float(norm.epsilon)));
        }
        let mut inputs = vec![rows.to_owned(), lengths.clone()];
        for (part, dense) in [
            ("attention.query", &layer.query),
            ("attention.key", &layer.key),
            ("attention.value", &layer.value),
            ("attention.output", &layer.output),
        ] {
            inputs.extend(self.integer_dense(&format!("{name}.{part}"), dense));
        }
        inputs.extend(match &layer.gate {
            None => self.integer_dense(&format!("{name}.up"), &layer.up),
            Some(gate) => self.gated_dense(&format!("{name}.up"), [&layer.up, gate]),
        });
        inputs.extend(self.integer_dense(&format!("{name}.down"), &layer.down));
        inputs.extend(self.norm_values(&format!("{name}.attention.norm"), layer.attention_norm.as_ref()));
        inputs.extend(self.norm_values(&format!("{name}.norm"), Some(&layer.norm)));
        if let Positions::Relative(relative) = &layer.attention.positions {
            inputs.push(self.writer.weight("relative.rows", &Array::ints(&relative.rows)));
            for (part, table) in [("keys", &relative.keys), ("queries", &relative.queries)] {
                let (dims, values): (_, Cow<'a, [f32]>) = match table {
                    Some(table) => ([table.rows, table.columns], (&table.values).into()),
                    None => ([0, 0], Cow::Borrowed(&[])),
                };
                inputs.push(self.floats(&format!("{name}.relative.{part}"), &dims, values));
            }
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.writer.op(&name, &Op::own(own::LAYER).with(&attributes), &inputs)
    }

    /// A product's integers, their scales, one a column, and its bias.
    fn integer_dense(&mut self, name: &str, dense: &'a Dense) -> [String; 3] {
        let Integers { values, scales, .. } = dense.weight.to_integers();
        let columns = dense.weight.columns;
        let scales = if scales.len() == 1 { vec![scales[0]; columns] } else { scales };
        let bias = (&dense.bias).into();
        self.integers(name, [dense.weight.rows, columns], (values, scales), bias)
    }

    /// A gated part's two products as one, what is activated first.
    fn gated_dense(&mut self, name: &str, parts: [&'a Dense; 2]) -> [String; 3] {
        let [first, second] = parts.map(|dense| dense.weight.to_integers());
        let (rows, columns) = (parts[0].weight.rows, parts[0].weight.columns);
        let rows_of = |integers: &Integers, row: usize| integers.values[row * columns..(row + 1) * columns].to_vec();
        let values = (0..rows).flat_map(|row| [rows_of(&first, row), rows_of(&second, row)].concat()).collect();
        let spread = |integers: &Integers| {
            if integers.scales.len() == 1 { vec![integers.scales[0]; columns] } else { integers.scales.clone() }
        };
        let scales = [spread(&first), spread(&second)].concat();
        let bias = parts.map(|dense| if dense.bias.is_empty() { vec![0.0; columns] } else { dense.bias.clone() });
        let bias = if parts.iter().all(|dense| dense.bias.is_empty()) { Vec::new() } else { bias.concat() };
        self.integers(name, [rows, 2 * columns], (values, scales), bias.into())
    }

    fn integers(
        &mut self,
        name: &str,
        dims: [usize; 2],
        (values, scales): (Vec<i8>, Vec<f32>),
        bias: Cow<'a, [f32]>,
    ) -> [String; 3] {
        let values = self.writer.values(&format!("{name}.weight"), &dims, Values::I8(values.into()));
        let scales = self.floats(&format!("{name}.weight.scale"), &[dims[1]], scales);
        let bias = if bias.is_empty() { String::new() } else { self.floats(&format!("{name}.bias"), &[dims[1]], bias) };
        [values, scales, bias]
    }

    /// A norm's gain and bias; empty names where there is none.
    fn norm_values(&mut self, name: &str, norm: Option<&'a Norm>) -> [String; 2] {
        let Some(norm) = norm else { return [String::new(), String::new()] };
        let gain = self.floats(&format!("{name}.scale"), &[norm.scale.len()], &norm.scale);
        if norm.bias.is_empty() {
            return [gain, String::new()];
        }
        [gain, self.floats(&format!("{name}.bias"), &[norm.bias.len()], &norm.bias)]
    }
}
