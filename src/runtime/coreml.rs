//! The way through CoreML: a program for each of a few fixed shapes, embeddings and masks made here.
//!
//! A batch's pairs are planned into runs (`plan`) of the shapes that there are (`grid`), their embeddings are summed out of a
//! mapped table into the inputs (`feed`, `table`), and the runs go to programs that live in threads of their own
//! (`program_thread`, `pool`). Which compute units run a shape is measured once (`calibrate`), and none runs before it
//! gave the right scores (`check`). What loads programs is a [`device::Device`]: ONNX Runtime, or a fake in tests. It
//! must not know queues or HTTP.

pub mod calibrate;
pub mod check;
pub mod compute_units;
pub mod device;
pub mod feed;
pub mod files;
pub mod grid;
pub mod open;
pub mod options;
pub mod plan;
pub mod pool;
mod program_thread;
pub mod prove;
pub mod scorer;
pub mod store;
pub mod table;
pub mod trial;

pub use options::Options;
