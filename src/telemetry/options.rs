//! What the logs can be told.

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// Readable text.
    Text,
}

/// Settings of the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A filter in the `tracing` syntax (`info`, `rescored=debug,actix_web=warn`).
    pub filter: String,
    /// The shape of a line.
    pub format: Format,
}
