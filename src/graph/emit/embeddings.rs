//! The inputs of a graph, and its first rows.

use super::{Emitter, Layout, attention::Arrangement};
use crate::{
    array::Array,
    cross_encoder::{Pooling, PositionTable},
    emit::writer::{Attribute, Op},
    proto::kind,
};

impl Emitter<'_> {
    /// Declares the inputs; answers with the first layer's rows, `[tokens, hidden]`, and where pairs lie in them.
    pub(super) fn embeddings(&mut self) -> (String, Arrangement) {
        let embeddings = &self.model.embeddings;
        let (dims, packed): (&[&str], _) = match self.target.layout {
            Layout::Padded => (&["batch", "sequence"], false),
            Layout::Packed { .. } | Layout::Ragged => (&["tokens"], true),
        };
        let ids = self.writer.input("input_ids", dims);
        let words = self.gather("embeddings.words", &embeddings.words, &ids);
        let sum = match &embeddings.types {
            Some(table) => {
                let types = self.writer.input("token_type_ids", dims);
                let types = self.gather("embeddings.types", table, &types);
                self.writer.op("embeddings.words+types", &Op::plain("Add"), &[&words, &types])
            }
            None => words,
        };
        let sum = match &embeddings.positions {
            PositionTable::Learnt(table) => {
                let positions = if packed { self.writer.input("position_ids", dims) } else { self.positions(&ids) };
                let positions = self.passing_over_padding(&positions, &ids, packed);
                let positions = self.gather("embeddings.positions", table, &positions);
                self.writer.op("embeddings.sum", &Op::plain("Add"), &[&sum, &positions])
            }
            PositionTable::Absent { .. } => sum,
        };
        let width = i64::try_from(embeddings.words.columns).unwrap_or(i64::MAX);
        let sum = if packed {
            sum
        } else {
            let shape = self.writer.ints(&[-1, width]);
            self.writer.op("embeddings.rows", &Op::plain("Reshape"), &[&sum, &shape])
        };
        let mut rows = match &embeddings.norm {
            Some(norm) => self.norm("embeddings.norm", &sum, norm),
            None => sum,
        };
        if let Some(projection) = &embeddings.projection {
            rows = self.float_dense("embeddings.projection", projection, &rows);
        }
        (rows, self.arrangement(&ids))
    }

    /// 0 up to the sequence's length.
    pub(super) fn positions(&mut self, ids: &str) -> String {
        self.positions_of("sequence", ids, 1)
    }

    /// 0 up to the size of a dimension of the ids.
    fn positions_of(&mut self, name: &str, ids: &str, dimension: i64) -> String {
        let attributes = [("start", Attribute::Int(dimension)), ("end", Attribute::Int(dimension + 1))];
        let length = self.writer.op(name, &Op::plain("Shape").with(&attributes), &[ids]);
        let scalar = self.writer.op(&format!("{name}.scalar"), &Op::plain("Squeeze"), &[&length]);
        let (zero, one) = (self.writer.constant(&Array::int(0)), self.writer.constant(&Array::int(1)));
        self.writer.op("positions", &Op::plain("Range"), &[&zero, &scalar, &one])
    }

    /// Rows of the table of positions: places in the pair, unless padding has no place. A token of it has the first row then,
    /// and others the row of their place among those that are none.
    pub(super) fn passing_over_padding(&mut self, places: &str, ids: &str, packed: bool) -> String {
        let Some(padding) = self.model.embeddings.padding else { return places.to_owned() };
        let id = self.writer.constant(&Array::int(i64::try_from(padding).unwrap_or(i64::MAX)));
        let is_padding = self.writer.op("padding.is", &Op::plain("Equal"), &[ids, &id]);
        let to = [("to", Attribute::Int(i64::from(kind::INT64)))];
        let is_padding = self.writer.op("padding", &Op::plain("Cast").with(&to), &[&is_padding]);
        let axis = self.writer.constant(&Array::int(i64::from(!packed)));
        let exclusive = [("exclusive", Attribute::Int(1))];
        let before = Op::plain("CumSum").with(&exclusive);
        let mut before = self.writer.op("padding.before", &before, &[&is_padding, &axis]);
        if packed {
            // What was counted in the pairs before does not count.
            let all = self.positions_of("tokens", ids, 0);
            let starts = self.writer.op("padding.starts", &Op::plain("Sub"), &[&all, places]);
            let others = self.writer.op("padding.others", &Op::plain("Gather"), &[&before, &starts]);
            before = self.writer.op("padding.passed", &Op::plain("Sub"), &[&before, &others]);
        }
        let one = self.writer.constant(&Array::int(1));
        let place = self.writer.op("positions.others", &Op::plain("Sub"), &[places, &before]);
        let row = self.writer.op("positions.row", &Op::plain("Add"), &[&place, &one]);
        let is_other = self.writer.op("padding.not", &Op::plain("Sub"), &[&one, &is_padding]);
        self.writer.op("positions.rows", &Op::plain("Mul"), &[&row, &is_other])
    }

    /// Where pairs begin, and what separates their tokens from others.
    fn arrangement(&mut self, ids: &str) -> Arrangement {
        let hidden = i64::try_from(self.model.hidden).unwrap_or(i64::MAX);
        match self.target.layout {
            Layout::Packed { slots } => {
                // Attention of our own takes any number of pairs.
                let pairs = if self.model.is_causal() { "pairs".to_owned() } else { slots.to_string() };
                let lengths = self.writer.input("lengths", &[&pairs]);
                let beginnings = self.model.is_causal().then(|| self.writer.input("beginnings", &[&pairs]));
                let axis = self.writer.constant(&Array::int(0));
                let attributes = [("exclusive", Attribute::Int(1))];
                let pooled = if self.model.pooling == Pooling::Last {
                    let ends = self.writer.op("ends", &Op::plain("CumSum"), &[&lengths, &axis]);
                    let one = self.writer.constant(&Array::int(1));
                    self.writer.op("lasts", &Op::plain("Sub"), &[&ends, &one])
                } else {
                    self.writer.op("starts", &Op::plain("CumSum").with(&attributes), &[&lengths, &axis])
                };
                Arrangement::Packed { slots, lengths, beginnings, pooled }
            }
            // The ragged layout has a way of its own and does not come here.
            Layout::Padded | Layout::Ragged => {
                let mask = self.writer.input("attention_mask", &["batch", "sequence"]);
                let to = [("to", Attribute::Int(i64::from(kind::BOOL)))];
                let mask = self.writer.op("mask.real", &Op::plain("Cast").with(&to), &[&mask]);
                let inner = self.writer.ints(&[1, 2]);
                let first_mask = self.writer.op("mask.first", &Op::plain("Unsqueeze"), &[&mask, &inner]);
                let first = [("axis", Attribute::Int(0))];
                let concat = Op::plain("Concat").with(&first);
                let input = self.writer.op("input.shape", &Op::plain("Shape"), &[ids]);
                let hidden = self.writer.ints(&[hidden]);
                let shape = self.writer.op("deep.shape", &concat, &[&input, &hidden]);
                // ONNX Runtime's attention does not broadcast a mask over queries, so it is spread once.
                let (one, two) = (self.writer.ints(&[1]), self.writer.ints(&[2]));
                let sequence = self.writer.op("mask.sequence", &Op::plain("Slice"), &[&input, &one, &two]);
                let spread = self.writer.op("mask.shape", &concat, &[&one, &one, &sequence, &one]);
                let mask = self.writer.op("mask", &Op::plain("Expand"), &[&first_mask, &spread]);
                Arrangement::Padded { mask, first_mask, shape, ids: ids.to_owned() }
            }
        }
    }
}
