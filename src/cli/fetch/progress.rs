//! How a fetch reports its progress.
//!
//! Owns the trait only. It must not know terminals: the command line brings the bars.

/// Watches a fetch. One step runs at a time.
pub trait Progress {
    /// A line that stays.
    fn say(&mut self, line: &str);

    /// Whether what the question says is wanted; yes, where nobody can be asked.
    fn confirm(&mut self, question: &str) -> bool;

    /// A step begins; `bytes` is its length where it is known and counted.
    fn begin(&mut self, what: &str, bytes: Option<u64>);

    /// The running step has come this far.
    fn advance_to(&mut self, bytes: u64);

    /// The running step is over, well or not.
    fn end(&mut self);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn say(&mut self, _: &str) {}
    fn confirm(&mut self, _: &str) -> bool {
        true
    }
    fn begin(&mut self, _: &str, _: Option<u64>) {}
    fn advance_to(&mut self, _: u64) {}
    fn end(&mut self) {}
}
