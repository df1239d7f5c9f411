//! `bench`: measures this program on this host, and other programs beside it.
//!
//! - `texts`: what is scored.
//! - `load`: who sends when, and how long answers took.
//! - `served`: this program, serving; `host`: what it runs on.
//! - `stats`, `random`: the arithmetic; pure.
//! - `report`: what was found, and the ways to print it; pure.
//! - `compare`: two reports against each other; pure.
//!
//! Owns experiments. It must not know the server's insides: this program is measured as everybody uses it, as a process
//! that is told settings and asked over HTTP.

pub mod compare;
pub mod host;
pub mod load;
pub mod random;
pub mod report;
pub mod served;
pub mod stats;
pub mod texts;
