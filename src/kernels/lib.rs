//! Arithmetic of forward passes that ONNX Runtime has no operator for, on CPUs.
//!
//! Owns attention over packed pairs, products of integers with what comes before and after them, and their parts, each
//! written once in plain Rust and compiled for several instruction sets; the inner loops of products are written once for
//! each. It must not know ONNX Runtime, graphs or files; who registers operators is `rescored-runtime`.
//!
//! A pair's result depends on its own rows alone, bit for bit: sums run over a row's terms in their order, whatever
//! other rows are computed beside it.

#![expect(
    clippy::inline_always,
    reason = "code is compiled for an instruction set where it is part of a function that asks for it"
)]

/// Number of the rules by which these kernels round: raise it when a change moves a bit of a result.
pub const RULES: u32 = 3;

pub mod activation;
pub mod attention;
mod exp;
pub mod isa;
pub mod layer;
mod lines;
pub mod matmul;
pub mod matrix;
pub mod norm;
mod pool;
mod product;
pub mod quantise;
#[cfg(all(test, target_os = "linux"))]
mod speed;

pub use attention::{Attention, HeadNorms, Inputs, Misfit, Positions, Queries, Reach, Relative, Scratch};
pub use isa::Isa;
pub use pool::mean_rows;
