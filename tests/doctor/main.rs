//! `rescored doctor` on set-ups that work and on broken ones, as a user runs it: each fault is named, with its remedy.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests, which clippy does not take for tests")]

mod broken;
mod probe;
mod shell;
mod support;
