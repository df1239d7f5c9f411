//! Labels of figures: bounded sets of short words, never texts.
//!
//! It must not know what is counted under them.

use prometheus_client::encoding::EncodeLabelSet;

/// Labels of an answered request.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Answered {
    /// The wire dialect, from the table of dialects.
    pub dialect: &'static str,
    /// The same, by the label's former name: queries that were written for it go on working.
    pub face: &'static str,
    /// HTTP status code.
    pub status: u16,
}

impl Answered {
    /// The labels of an answer of this dialect with this status.
    pub const fn new(dialect: &'static str, status: u16) -> Self {
        Self { dialect, face: dialect, status }
    }
}

/// Label of a figure kept per dialect.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Dialect {
    /// The wire dialect, from the table of dialects.
    pub dialect: &'static str,
    /// The same, by the label's former name.
    pub face: &'static str,
}

impl Dialect {
    /// The label of this dialect.
    pub const fn new(dialect: &'static str) -> Self {
        Self { dialect, face: dialect }
    }
}

/// Label of a figure kept per worker.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Worker {
    /// Number of the worker, from 0.
    pub worker: u32,
}

/// Label of a figure kept per model: one of those that the process was configured with.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Served {
    /// The model's id.
    pub model: String,
}

/// Label of a refusal or failure.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Reason {
    /// A short fixed word.
    pub reason: &'static str,
}

/// Labels of a refusal that is kept per model.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Refused {
    /// The model's id.
    pub model: String,
    /// A short fixed word.
    pub reason: &'static str,
}

/// Label of spans on their way out.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Outcome {
    /// `sent`, `failed` or `dropped`.
    pub outcome: &'static str,
}

/// What an exemplar of a latency names.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Traced {
    /// The trace, in hexadecimal digits.
    pub trace_id: String,
}
