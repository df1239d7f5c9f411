//! The real model behind the real server: golden token ids and logits, exactness under company and load, the process
//! from start to drain, and every command of the README.
//!
//! Needs what `make fetch` brings; golden files lie in `tests/golden`, texts in `tests/data`.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod compiled;
#[cfg(test)]
mod coreml;
#[cfg(test)]
mod eval;
#[cfg(test)]
mod exactness;
#[cfg(test)]
#[path = "../graph/external.rs"]
mod external;
#[cfg(test)]
mod golden;
#[cfg(test)]
#[path = "../handover/lab.rs"]
mod lab;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod peculiar;
#[cfg(test)]
mod process;
#[cfg(test)]
mod program;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod shallow;
#[cfg(test)]
mod support;
#[cfg(test)]
mod swap;
#[cfg(test)]
mod tiny;
#[cfg(test)]
mod weights;
#[cfg(test)]
#[path = "../data/xquad.rs"]
mod xquad;
