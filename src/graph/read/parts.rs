//! The parts that a transformer is made of, in every spelling that exporters use: products, norms, activations.
//!
//! Each function looks at the value a part would make and answers with the part and the value it reads, or with `None`.

use super::data_inputs;
use crate::{
    array::Data,
    cross_encoder::{Activation, Dense, Integers, Norm, NormKind, Table},
    proto,
    source::{Source, float, input, int},
};

/// The two inputs of an `Add`, in both orders.
pub(super) fn sides<'a>(source: &'a Source, value: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let node = source.maker(value).filter(|node| node.op_type == "Add");
    let pair = node.and_then(|node| Some((input(node, 0)?, input(node, 1)?)));
    pair.into_iter().flat_map(|(a, b)| [(a, b), (b, a)])
}

/// `x · weight + bias`, in floats or in integers quantised on the way.
pub(super) fn dense<'a>(source: &'a Source, value: &str) -> Option<(Dense, &'a str)> {
    let node = source.maker(value)?;
    if node.op_type == "Gemm" {
        return gemm(source, node);
    }
    sides(source, value).find_map(|(bias, product)| {
        let bias = source.constant(bias)?.to_floats()?;
        let (weight, x) = matmul(source, product).or_else(|| matmul_integer(source, product))?;
        (bias.len() == weight.columns).then_some((Dense { weight, bias }, x))
    })
}

fn gemm<'a>(source: &'a Source, node: &'a proto::Node) -> Option<(Dense, &'a str)> {
    let plain = float(node, "alpha").is_none_or(is_one) && float(node, "beta").is_none_or(is_one);
    if !plain || int(node, "transA").unwrap_or(0) != 0 {
        return None;
    }
    let weight = source.constant(input(node, 1)?)?;
    let weight = if int(node, "transB").unwrap_or(0) == 0 { weight.clone() } else { weight.transposed()? };
    let &[rows, columns] = weight.dims.as_slice() else { return None };
    let bias = source.constant(input(node, 2)?)?.to_floats()?;
    let weight = Table::floats(rows, columns, weight.to_floats()?);
    (bias.len() == columns).then_some((Dense { weight, bias }, input(node, 0)?))
}

fn matmul<'a>(source: &'a Source, value: &str) -> Option<(Table, &'a str)> {
    let node = source.maker(value).filter(|node| node.op_type == "MatMul")?;
    let weight = source.constant(input(node, 1)?)?;
    let &[rows, columns] = weight.dims.as_slice() else { return None };
    Some((Table::floats(rows, columns, weight.to_floats()?), input(node, 0)?))
}

/// `Cast(MatMulInteger(quantised x, weight)) * (scale of x * scale of the weight)`, as dynamic quantisation writes it.
pub(super) fn matmul_integer<'a>(source: &'a Source, value: &str) -> Option<(Table, &'a str)> {
    let node = source.maker(value).filter(|node| node.op_type == "Mul")?;
    let (a, b) = (input(node, 0)?, input(node, 1)?);
    [(a, b), (b, a)].into_iter().find_map(|(product, scales)| {
        let cast = source.maker(product).filter(|node| node.op_type == "Cast")?;
        let product = source.maker(input(cast, 0)?).filter(|node| node.op_type == "MatMulInteger")?;
        let quantise = source.maker(input(product, 0)?).filter(|node| node.op_type == "DynamicQuantizeLinear")?;
        let scales = source.maker(scales).filter(|node| node.op_type == "Mul")?;
        let scale = (0..2).find_map(|at| source.constant(input(scales, at)?)?.to_floats())?;
        let zero = input(product, 3).map(|name| source.constant(name)?.as_ints());
        let integers = integers(source, input(product, 1)?, scale, &zero.unwrap_or_else(|| Some(vec![0]))?)?;
        Some((integers, input(quantise, 0)?))
    })
}

/// A matrix of bytes, unsigned ones moved by 128 into signed ones, with one zero point.
pub(super) fn integers(source: &Source, name: &str, scales: Vec<f32>, zero: &[i64]) -> Option<Table> {
    let array = source.constant(name)?;
    let &[rows, columns] = array.dims.as_slice() else { return None };
    let one_zero = zero.iter().all(|&value| Some(&value) == zero.first());
    if !one_zero || !(scales.len() == 1 || scales.len() == columns) {
        return None;
    }
    let zero = zero.first().copied().unwrap_or(0);
    let (values, zero) = match &array.data {
        Data::I8(values) => (values.clone(), zero),
        Data::U8(values) => (values.iter().map(|&value| (value ^ 0x80).cast_signed()).collect(), zero - 128),
        Data::F32(_) | Data::F16(_) | Data::I32(_) | Data::I64(_) => return None,
    };
    Some(Table::quantised(rows, columns, Integers { values, zero: i8::try_from(zero).ok()?, scales }))
}

/// A layer norm, as one operator or spelled out.
pub(super) fn norm<'a>(source: &'a Source, value: &str) -> Option<(Norm, &'a str)> {
    let node = source.maker(value)?;
    if node.op_type == "LayerNormalization" {
        let scale = source.constant(input(node, 1)?)?.to_floats()?;
        let bias =
            input(node, 2).map_or_else(|| Some(vec![0.0; scale.len()]), |name| source.constant(name)?.to_floats())?;
        return Some((
            Norm { kind: NormKind::Layer, scale, bias, epsilon: float(node, "epsilon").unwrap_or(1e-5) },
            input(node, 0)?,
        ));
    }
    let (bias, scaled) = constant_side(source, node, "Add")?;
    let (scale, quotient) = constant_side(source, source.maker(scaled)?, "Mul")?;
    let quotient = source.maker(quotient).filter(|node| node.op_type == "Div")?;
    let centred = source.maker(input(quotient, 0)?).filter(|node| node.op_type == "Sub")?;
    let deviation = source.maker(input(quotient, 1)?).filter(|node| node.op_type == "Sqrt")?;
    let (epsilon, _) = constant_side(source, source.maker(input(deviation, 0)?)?, "Add")?;
    let norm = Norm { kind: NormKind::Layer, scale, bias, epsilon: *epsilon.first()? };
    (norm.scale.len() == norm.bias.len()).then_some((norm, input(centred, 0)?))
}

/// The constant side of a commutative operator, and its other side.
fn constant_side<'a>(source: &'a Source, node: &'a proto::Node, op: &str) -> Option<(Vec<f32>, &'a str)> {
    if node.op_type != op {
        return None;
    }
    let (a, b) = (input(node, 0)?, input(node, 1)?);
    [(a, b), (b, a)].into_iter().find_map(|(side, other)| Some((source.constant(side)?.to_floats()?, other)))
}

/// An activation between two products, known by the one transcendental function in it.
pub(super) fn activation<'a>(source: &'a Source, value: &'a str) -> Option<(Activation, &'a str)> {
    let mut functions = Vec::new();
    let mut steps = 0;
    let mut waiting = vec![value];
    let mut reads: Option<&str> = None;
    while let Some(value) = waiting.pop() {
        let value = source.origin(value);
        if source.constant(value).is_some() {
            continue;
        }
        if dense(source, value).is_some() {
            if reads.replace(value).is_some_and(|before| before != value) {
                return None;
            }
            continue;
        }
        let node = source.maker(value)?;
        steps += 1;
        match node.op_type.as_str() {
            "Erf" | "Tanh" | "Relu" | "Gelu" => functions.push(node),
            "Mul" | "Div" | "Add" | "Pow" | "Sqrt" => {}
            _ => return None,
        }
        if steps > 16 {
            return None;
        }
        waiting.extend(data_inputs(node));
    }
    // A spelled-out function reaches its input by several ways, so the one function may be met more than once.
    functions.dedup_by_key(|node| node.output.clone());
    let [function] = functions.as_slice() else { return None };
    let alone = steps == 1;
    let found = match function.op_type.as_str() {
        "Erf" if !alone => Activation::Gelu,
        "Gelu" if alone && is_approximate(function) => Activation::GeluTanh,
        "Gelu" if alone => Activation::Gelu,
        "Relu" if alone => Activation::Relu,
        "Tanh" if alone => Activation::Tanh,
        "Tanh" => Activation::GeluTanh,
        _ => return None,
    };
    Some((found, reads?))
}

fn is_approximate(gelu: &proto::Node) -> bool {
    gelu.attribute.iter().any(|attribute| attribute.name == "approximate" && attribute.s == b"tanh")
}

fn is_one(value: f32) -> bool {
    (value - 1.0).abs() < f32::EPSILON
}

/// The value whose first row along the sequence is taken: by `Gather`, or by `Slice` and `Squeeze`.
pub(super) fn first_row<'a>(source: &'a Source, value: &str) -> Option<&'a str> {
    let node = source.maker(value)?;
    match node.op_type.as_str() {
        "Gather" => {
            let first = source.constant(input(node, 1)?)?.as_ints()? == [0];
            (first && int(node, "axis") == Some(1)).then(|| input(node, 0))?
        }
        "Squeeze" | "Reshape" => first_row(source, input(node, 0)?),
        "Slice" => {
            let at = |at: usize| source.constant(input(node, at)?)?.as_ints();
            // Exporters slice the whole batch first, then the first row.
            let (starts, ends) = (at(1)?, at(2)?);
            let axes = at(3)?;
            if (starts.as_slice(), axes.as_slice()) == (&[0], &[0]) {
                return first_row(source, input(node, 0)?);
            }
            ((starts.as_slice(), ends.as_slice(), axes.as_slice()) == (&[0], &[1], &[1])).then(|| input(node, 0))?
        }
        _ => None,
    }
}
