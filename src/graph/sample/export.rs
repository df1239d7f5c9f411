//! What exporters make of a model, in the spellings that the reader must see through.

use crate::array::{Array, Data};
use crate::cross_encoder::{Activation, CrossEncoder, Dense, Layer, Norm, Table};
use crate::proto::{self, kind};

/// The spellings of two generations of exporters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Norms and activations spelled out, shapes computed, weights as products and sums.
    SpelledOut,
    /// Operators of their own for norms and activations, constant shapes, `Gemm` in the head, scaled queries and keys.
    Operators,
}

/// What indexes the tables of positions and types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Indices {
    /// BERT's: a buffer of positions, types from the caller.
    Counted,
    /// `RoBERTa`'s: positions from a running sum over the mask of padding (id 1), behind the padding's own row and one of no
    /// token, and a table of one type that a buffer of zeros indexes.
    AfterPadding,
    /// A shape filled with zeros indexes the types.
    Filled,
}

/// The model as an exporter writes it; products and tables of integers as dynamic quantisation leaves them.
pub(crate) fn export(model: &CrossEncoder, style: Style) -> proto::Model {
    export_with(model, style, Indices::Counted)
}

/// As [`export`], with indices of another kind. A model without types gets the row that the reader is to add.
pub(crate) fn export_with(model: &CrossEncoder, style: Style, indices: Indices) -> proto::Model {
    let mut exporter = Exporter { graph: proto::Graph::default(), style, indices, count: 0 };
    let logits = exporter.model(model);
    exporter.graph.output = vec![proto::ValueInfo { name: logits, ..Default::default() }];
    proto::Model { ir_version: 8, graph: Some(exporter.graph), ..Default::default() }
}

struct Exporter {
    graph: proto::Graph,
    style: Style,
    indices: Indices,
    count: usize,
}

impl Exporter {
    fn op(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, i64)]) -> String {
        self.many((op, 1), inputs, attributes).remove(0)
    }

    fn many(&mut self, (op, outputs): (&str, usize), inputs: &[&str], attributes: &[(&str, i64)]) -> Vec<String> {
        self.count += 1;
        let output: Vec<String> = (0..outputs).map(|at| format!("{op}_{}_{at}", self.count)).collect();
        let attribute = |&(name, i): &(&str, i64)| proto::Attribute {
            name: name.into(),
            i,
            kind: kind::ATTRIBUTE_INT,
            ..Default::default()
        };
        self.graph.node.push(proto::Node {
            op_type: op.into(),
            name: format!("{op}_{}", self.count),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: output.clone(),
            attribute: attributes.iter().map(attribute).collect(),
            ..Default::default()
        });
        output
    }

    fn constant(&mut self, array: &Array) -> String {
        self.count += 1;
        let name = format!("weight_{}", self.count);
        self.graph.initializer.push(array.to_tensor(&name));
        name
    }

    fn float(&mut self, value: f32) -> String {
        self.constant(&Array::float(value))
    }

    fn ints(&mut self, values: &[i64]) -> String {
        self.constant(&Array::ints(values))
    }

    fn model(&mut self, model: &CrossEncoder) -> String {
        let embeddings = &model.embeddings;
        let words = self.gather(&embeddings.words, "input_ids");
        let (positions, untold) = self.positions(embeddings.positions.table().unwrap());
        let mut sum = words;
        if let Some(types) = &embeddings.types {
            let types = self.gather(types, "token_type_ids");
            sum = self.op("Add", &[&sum, &types], &[]);
        }
        if let Some(untold) = untold {
            sum = self.op("Add", &[&sum, &untold], &[]);
        }
        let sum = self.op("Add", &[&sum, &positions], &[]);
        let mut rows = self.norm(&sum, embeddings.norm.as_ref().unwrap());
        rows = self.op("Dropout", &[&rows], &[]);
        if let Some(projection) = &embeddings.projection {
            rows = self.dense(&rows, projection);
        }
        for layer in &model.layers {
            rows = self.layer(&rows, layer, model.heads);
        }
        let zero = self.constant(&Array::int(0));
        let first = self.op("Gather", &[&rows, &zero], &[("axis", 1)]);
        let transform = model.head.transform.as_ref().unwrap();
        let pooled = self.head_dense(&first, &transform.dense);
        let pooled = match transform.activation {
            Activation::Relu => self.op("Relu", &[&pooled], &[]),
            Activation::Gelu => self.gelu(&pooled),
            Activation::Tanh | Activation::GeluTanh | Activation::Silu => self.op("Tanh", &[&pooled], &[]),
        };
        let pooled = self.op("Dropout", &[&pooled], &[]);
        self.head_dense(&pooled, &model.head.classifier)
    }

    /// The rows of positions, and those of the type that the model was never told.
    fn positions(&mut self, table: &Table) -> (String, Option<String>) {
        let shape = self.op("Shape", &["input_ids"], &[]);
        let (zeros, first) = match self.indices {
            Indices::Counted => {
                let all: Vec<i64> = (0..).take(table.rows).collect();
                let all = self.ints(&all);
                let positions = self.op("Slice", &[&all, &shape], &[]);
                return (self.gather(table, &positions), None);
            }
            Indices::AfterPadding => {
                let buffer = self.ints(&[0; 12]);
                let zeros = self.op("Slice", &[&buffer, &shape], &[]);
                (self.op("Expand", &[&zeros, &shape], &[]), 1)
            }
            Indices::Filled => (self.op("ConstantOfShape", &[&shape], &[]), 0),
        };
        // Halves are exact: the reader gets the very values back when it adds them.
        let rows = vec![9.0; first * table.columns].into_iter().chain(table.values.iter().map(|value| value - 0.5));
        let apart = Table::floats(table.rows + first, table.columns, rows.collect());
        let untold = self.gather(&Table::floats(1, table.columns, vec![0.5; table.columns]), &zeros);
        if first == 0 {
            let all: Vec<i64> = (0..).take(table.rows).collect();
            let all = self.ints(&all);
            let positions = self.op("Slice", &[&all, &shape], &[]);
            return (self.gather(&apart, &positions), Some(untold));
        }
        let (padding, one) = (self.constant(&Array::int(1)), self.constant(&Array::int(1)));
        let mask = self.op("Equal", &["input_ids", &padding], &[]);
        let mask = self.op("Not", &[&mask], &[]);
        let mask = self.op("Cast", &[&mask], &[("to", 6)]);
        let axis = self.constant(&Array::int(1));
        let sum = self.op("CumSum", &[&mask, &axis], &[]);
        let positions = self.op("Mul", &[&sum, &mask], &[]);
        let positions = self.op("Cast", &[&positions], &[("to", 7)]);
        let positions = self.op("Add", &[&positions, &one], &[]);
        (self.gather(&apart, &positions), Some(untold))
    }

    fn layer(&mut self, rows: &str, layer: &Layer, heads: usize) -> String {
        let context = self.attention(rows, layer, heads);
        let x = self.dense(&context, &layer.output);
        let sum = self.op("Add", &[&x, rows], &[]);
        let middle = self.norm(&sum, layer.attention_norm.as_ref().unwrap());
        let x = self.dense(&middle, &layer.up);
        let x = self.gelu(&x);
        let x = self.dense(&x, &layer.down);
        // Exporters put the residual on either side.
        let sum = self.op("Add", &[&middle, &x], &[]);
        self.norm(&sum, &layer.norm)
    }

    fn attention(&mut self, rows: &str, layer: &Layer, heads: usize) -> String {
        let size = layer.query.weight.columns / heads;
        let sides = [&layer.query, &layer.key, &layer.value].map(|dense| {
            let x = self.dense(rows, dense);
            let shape = self.heads_shape(rows, heads, size);
            let x = self.op("Reshape", &[&x, &shape], &[]);
            self.op("Transpose", &[&x], &[])
        });
        let [mut query, key, value] = sides;
        let mut key = self.op("Transpose", &[&key], &[]);
        if self.style == Style::Operators {
            let scale = self.float(0.7);
            query = self.op("Mul", &[&query, &scale], &[]);
            key = self.op("Mul", &[&key, &scale], &[]);
        }
        let mut scores = self.op("MatMul", &[&query, &key], &[]);
        if self.style == Style::SpelledOut {
            let scale = self.float(2.0);
            scores = self.op("Div", &[&scores, &scale], &[]);
        }
        let mask = self.op("Cast", &["attention_mask"], &[("to", 1)]);
        let scores = self.op("Add", &[&scores, &mask], &[]);
        let mut weights = self.op("Softmax", &[&scores], &[]);
        if self.style == Style::Operators {
            let empty = self.op("IsNaN", &[&weights], &[]);
            let zero = self.float(0.0);
            weights = self.op("Where", &[&empty, &zero, &weights], &[]);
        }
        let context = self.op("MatMul", &[&weights, &value], &[]);
        let context = self.op("Transpose", &[&context], &[]);
        let flat = self.ints(&[0, 0, -1]);
        self.op("Reshape", &[&context, &flat], &[])
    }

    fn heads_shape(&mut self, rows: &str, heads: usize, size: usize) -> String {
        let (heads, size) = (i64::try_from(heads).unwrap(), i64::try_from(size).unwrap());
        if self.style == Style::Operators {
            return self.ints(&[0, -1, heads, size]);
        }
        let shape = self.op("Shape", &[rows], &[]);
        let (zero, heads, size) = (self.ints(&[0]), self.ints(&[heads]), self.ints(&[size]));
        let batch = self.op("Gather", &[&shape, &zero], &[]);
        self.op("Concat", &[&batch, &batch, &heads, &size], &[("axis", 0)])
    }

    fn head_dense(&mut self, x: &str, dense: &Dense) -> String {
        if self.style == Style::SpelledOut || dense.weight.integers.is_some() {
            return self.dense(x, dense);
        }
        let Table { rows, columns, values, .. } = &dense.weight;
        let weight = Array::floats(&[*rows, *columns], values.clone()).transposed().unwrap();
        let (weight, bias) = (self.constant(&weight), self.bias(dense));
        self.op("Gemm", &[x, &weight, &bias], &[("transB", 1)])
    }

    fn bias(&mut self, dense: &Dense) -> String {
        self.constant(&Array::floats(&[dense.bias.len()], dense.bias.clone()))
    }

    fn dense(&mut self, x: &str, dense: &Dense) -> String {
        let Table { rows, columns, values, integers } = &dense.weight;
        let bias = self.bias(dense);
        let product = match integers {
            None => {
                let weight = self.constant(&Array::floats(&[*rows, *columns], values.clone()));
                self.op("MatMul", &[x, &weight], &[])
            }
            Some(integers) => {
                let data = Data::I8(integers.values.clone());
                let weight = self.constant(&Array { dims: vec![*rows, *columns], data });
                let (scale, zero) = (self.float(integers.scales[0]), self.zero());
                let quantised = self.many(("DynamicQuantizeLinear", 3), &[x], &[]);
                let scales = self.op("Mul", &[&quantised[1], &scale], &[]);
                let product = self.op("MatMulInteger", &[&quantised[0], &weight, &quantised[2], &zero], &[]);
                let product = self.op("Cast", &[&product], &[("to", 1)]);
                self.op("Mul", &[&product, &scales], &[])
            }
        };
        self.op("Add", &[&bias, &product], &[])
    }

    fn zero(&mut self) -> String {
        self.constant(&Array { dims: Vec::new(), data: Data::I8(vec![0]) })
    }

    fn gather(&mut self, table: &Table, indices: &str) -> String {
        let dims = vec![table.rows, table.columns];
        let Some(integers) = &table.integers else {
            let weights = self.constant(&Array::floats(&dims, table.values.clone()));
            return self.op("Gather", &[&weights, indices], &[]);
        };
        let weights = self.constant(&Array { dims, data: Data::I8(integers.values.clone()) });
        let (scale, zero) = (self.float(integers.scales[0]), self.zero());
        let rows = self.op("Gather", &[&weights, indices], &[]);
        self.op("DequantizeLinear", &[&rows, &scale, &zero], &[])
    }

    fn norm(&mut self, x: &str, norm: &Norm) -> String {
        let scale = self.constant(&Array::floats(&[norm.scale.len()], norm.scale.clone()));
        let bias = self.constant(&Array::floats(&[norm.bias.len()], norm.bias.clone()));
        if self.style == Style::Operators {
            let output = self.op("LayerNormalization", &[x, &scale, &bias], &[("axis", -1)]);
            let epsilon = proto::Attribute {
                name: "epsilon".into(),
                f: norm.epsilon,
                kind: kind::ATTRIBUTE_FLOAT,
                ..Default::default()
            };
            self.graph.node.last_mut().unwrap().attribute.push(epsilon);
            return output;
        }
        let (two, epsilon) = (self.float(2.0), self.float(norm.epsilon));
        let mean = self.op("ReduceMean", &[x], &[]);
        let centred = self.op("Sub", &[x, &mean], &[]);
        let square = self.op("Pow", &[&centred, &two], &[]);
        let variance = self.op("ReduceMean", &[&square], &[]);
        let variance = self.op("Add", &[&variance, &epsilon], &[]);
        let deviation = self.op("Sqrt", &[&variance], &[]);
        let x = self.op("Div", &[&centred, &deviation], &[]);
        let x = self.op("Mul", &[&x, &scale], &[]);
        self.op("Add", &[&x, &bias], &[])
    }

    fn gelu(&mut self, x: &str) -> String {
        if self.style == Style::Operators {
            return self.op("Gelu", &[x], &[]);
        }
        let (root, one, half) = (self.float(2.0_f32.sqrt()), self.float(1.0), self.float(0.5));
        let y = self.op("Div", &[x, &root], &[]);
        let y = self.op("Erf", &[&y], &[]);
        let y = self.op("Add", &[&y, &one], &[]);
        let y = self.op("Mul", &[x, &y], &[]);
        self.op("Mul", &[&y, &half], &[])
    }
}
