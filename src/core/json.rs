//! JSON text, read in place: what requests of every kind share below the names of their keys.
//!
//! - `scan`: a cursor over checked text that yields spans instead of values.
//! - `repair`: bodies that nearly are JSON, made so: a byte order mark, halves of surrogate pairs.
//! - `unread`: names of keys that nobody read, to be reported.
//! - `values`: the text values below a place, and the one text that they make.
//!
//! Owns the grammar and its tolerance. It must not know which keys there are or what they mean.

pub mod repair;
pub mod scan;
pub mod unread;
pub mod values;
