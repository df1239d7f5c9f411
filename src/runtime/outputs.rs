//! What a forward pass gives: which output is read, what it may look like, and how its values become logits.
//!
//! Owns the check of every output's type and shape: a graph's own declaration when it is loaded, and what really came back
//! after each pass, because exporters leave dimensions open that ONNX Runtime cannot infer. It must not know batches.

use ort::session::{Session, SessionOutputs};
use ort::value::{DynValue, TensorElementType, ValueType};
use rescored_graph as graph;

use super::session::runtime;
use super::{ScorerError, halves};

/// The output with one logit a pair.
#[derive(Debug)]
pub(super) struct Output {
    name: String,
}

impl Output {
    /// The one called `logits`, else the only one.
    ///
    /// # Errors
    /// [`ScorerError`] when there is none, or when it declares what no cross-encoder for ranking gives.
    pub(super) fn of(session: &Session) -> Result<Self, ScorerError> {
        let outputs = session.outputs();
        let output = outputs
            .iter()
            .find(|output| output.name() == "logits")
            .or_else(|| outputs.first().filter(|_| outputs.len() == 1))
            .ok_or_else(|| {
                let names: Vec<_> = outputs.iter().map(ort::value::Outlet::name).collect();
                ScorerError::Graph { message: format!("none of its outputs ({}) is called `logits`", names.join(", ")) }
            })?;
        let name = output.name().to_owned();
        declared(&name, output.dtype())?;
        Ok(Self { name })
    }

    /// The logits of so many rows.
    ///
    /// # Errors
    /// [`ScorerError`] when the output is not one number a row.
    pub(super) fn read(&self, outputs: &SessionOutputs<'_>, rows: usize) -> Result<Vec<f32>, ScorerError> {
        let missing = || ScorerError::Graph { message: format!("no output `{}` came back", self.name) };
        let (shape, values) = floats(outputs.get(&self.name).ok_or_else(missing)?).map_err(|error| runtime(&error))?;
        if is_one_a_row(&shape, rows) {
            return Ok(values);
        }
        Err(ScorerError::Graph { message: misshapen(&self.name, &shape, rows) })
    }
}

/// A tensor of floats of any width, as 32-bit ones, and its dimensions.
pub(super) fn floats(value: &DynValue) -> ort::Result<(Vec<i64>, Vec<f32>)> {
    let halves = |widen: fn(u16) -> f32| {
        let shape = value.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
        let elsewhere = || ort::Error::new("16-bit values do not lie in memory that can be read");
        Ok((shape, halves::bits(value).ok_or_else(elsewhere)?.into_iter().map(widen).collect()))
    };
    Ok(match value.dtype().tensor_type() {
        Some(TensorElementType::Float16) => return halves(graph::widen),
        // The upper half of a 32-bit float.
        Some(TensorElementType::Bfloat16) => return halves(|bits| f32::from_bits(u32::from(bits) << 16)),
        Some(TensorElementType::Float64) => {
            let (shape, values) = value.try_extract_tensor::<f64>()?;
            #[expect(clippy::cast_possible_truncation, reason = "a logit is a 32-bit float; one too large is infinite")]
            let narrow = values.iter().map(|&value| value as f32).collect();
            (shape.to_vec(), narrow)
        }
        _ => {
            let (shape, values) = value.try_extract_tensor::<f32>()?;
            (shape.to_vec(), values.to_vec())
        }
    })
}

/// Refuses an output that says of itself that it is not one float a pair.
fn declared(name: &str, kind: &ValueType) -> Result<(), ScorerError> {
    let refused = |message| Err(ScorerError::Graph { message });
    let floats = [
        TensorElementType::Float32,
        TensorElementType::Float16,
        TensorElementType::Bfloat16,
        TensorElementType::Float64,
    ];
    match kind.tensor_type() {
        None => {
            return refused(format!(
                "output `{name}` is no tensor; a cross-encoder for ranking gives one float a pair"
            ));
        }
        Some(kind) if !floats.contains(&kind) => {
            return refused(format!(
                "output `{name}` holds values of type {kind}; a cross-encoder for ranking gives one float a pair"
            ));
        }
        Some(_) => {}
    }
    // The first dimension counts pairs; one that is not known is looked at when it is.
    let shape: &[i64] = kind.tensor_shape().map_or(&[], |shape| shape);
    match shape {
        [_, labels] if *labels > 1 => refused(too_many(name, *labels)),
        [_, others @ ..] if others.iter().any(|&size| size > 1) => refused(format!(
            "output `{name}` has the shape {shape:?}; a cross-encoder for ranking gives one float a pair"
        )),
        _ => Ok(()),
    }
}

/// Whether a tensor of these dimensions holds one value for each of so many rows.
fn is_one_a_row(shape: &[i64], rows: usize) -> bool {
    let counts = |size: i64| usize::try_from(size).is_ok_and(|size| size == rows);
    match shape {
        // What `squeeze` leaves of one pair.
        [] => rows == 1,
        [first, others @ ..] => counts(*first) && others.iter().all(|&size| size == 1),
    }
}

fn misshapen(name: &str, shape: &[i64], rows: usize) -> String {
    match shape {
        [first, labels] if usize::try_from(*first).is_ok_and(|first| first == rows) => too_many(name, *labels),
        _ => format!(
            "output `{name}` has the shape {shape:?} for {rows} pairs; a cross-encoder for ranking gives one float a pair"
        ),
    }
}

fn too_many(name: &str, labels: i64) -> String {
    format!("output `{name}` has {labels} labels a pair; a cross-encoder for ranking has 1")
}

#[cfg(test)]
mod tests {
    use ort::value::{Shape, SymbolicDimensions};

    use super::*;

    // Case B13.
    #[test]
    fn one_value_a_pair_is_taken_and_nothing_else() {
        for (sentence, shape, rows, taken) in [
            ("one a pair", &[3][..], 3, true),
            ("one a pair, with an axis of labels", &[3, 1], 3, true),
            ("with two such axes", &[3, 1, 1], 3, true),
            ("one pair, squeezed", &[], 1, true),
            ("several pairs, squeezed to nothing", &[], 3, false),
            ("two labels", &[3, 2], 3, false),
            ("three labels of one pair", &[3], 1, false),
            ("three labels of three pairs", &[3, 3], 3, false),
            ("a batch of another size", &[1, 1], 3, false),
            ("labels and pairs exchanged", &[1, 3], 3, false),
            ("one value a token", &[3, 7, 1], 3, false),
            ("no labels", &[3, 0], 3, false),
        ] {
            assert_eq!(is_one_a_row(shape, rows), taken, "{sentence}");
        }
        assert!(misshapen("logits", &[3, 2], 3).contains("`logits` has 2 labels a pair"));
        assert!(misshapen("logits", &[1, 1], 3).contains("the shape [1, 1] for 3 pairs"));
    }

    #[test]
    fn a_declaration_that_cannot_be_meant_is_refused_and_an_open_one_is_not() {
        use TensorElementType::{Bfloat16, Float16, Float32, Float64, Int64};
        let tensor = |ty, shape: &[i64]| ValueType::Tensor {
            ty,
            shape: Shape::new(shape.iter().copied()),
            dimension_symbols: SymbolicDimensions::empty(shape.len()),
        };
        for (kind, fault) in [
            (tensor(Float32, &[-1, 1]), None),
            (tensor(Float16, &[-1, -1]), None),
            (tensor(Bfloat16, &[-1]), None),
            (tensor(Float64, &[]), None),
            (tensor(Float32, &[-1, 3]), Some("3 labels a pair")),
            (tensor(Float32, &[-1, -1, 384]), Some("[-1, -1, 384]")),
            (tensor(Int64, &[-1]), Some("values of type i64")),
        ] {
            let reported = declared("logits", &kind).map_err(|error| error.to_string());
            match fault {
                None => assert_eq!(reported, Ok(()), "{kind:?}"),
                Some(fault) => {
                    assert!(
                        reported.as_ref().is_err_and(|reported| reported.contains(fault)),
                        "{kind:?}: {reported:?}"
                    );
                }
            }
        }
    }
}
