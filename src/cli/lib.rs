//! The command line of `rescored`, and what its sub-commands do.
//!
//! - [`commands`]: the sub-commands, their flags, exit codes.
//! - [`doctor`]: names what is wrong with a set-up, and says what to do.
//! - [`fetch`]: brings the runtime library and models here.
//! - [`compile`]: writes a faster graph of a model and proves it.
//! - [`warm`]: the warm-up client.
//! - [`companion`]: finds a program that is installed beside this one.
//!
//! Measuring is a program of its own, `rescored-lab`, to which [`commands`] hand over.

pub mod commands;
pub mod companion;
pub mod compile;
pub mod doctor;
pub mod fetch;
pub mod warm;
