//! The server from outside: bytes in over a socket, bytes out. Everything behind the socket is real but the model, whose
//! arithmetic is a function of the text that the tests can predict.

#[cfg(test)]
mod access;
#[cfg(test)]
mod aliases;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod device;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod exposure;
#[cfg(test)]
mod instructions;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod models;
#[cfg(test)]
mod observability;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod repository;
#[cfg(test)]
mod rerank;
#[cfg(test)]
mod rescore;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod support;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod transport;
#[cfg(test)]
mod ui;
