//! Faults that were fixed, put back one at a time by the simulator's own test, which has to find them.
//!
//! Outside of tests nothing is ever put back, and the compiler leaves all of this out.

/// What is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A request's virtual finish is where a plain estimate put it when it came, and stays there (case A5).
    EstimatesStand,
    /// A request that nobody waits for is forgotten while texts of it are being read (case A6).
    ForgottenWhileRead,
    /// A request ends with the deadline of the one who asked first, and its pairs count as lost (case A6).
    FirstDeadlineCounts,
    /// A tokenizer thread is given a whole request at once (case A4).
    WholeRequestsAreRead,
    /// A worker that does not come back is not replaced.
    NobodyWatches,
    /// A pair is scored though somebody scores it already.
    EverybodyLeads,
    /// What comes back from a tokenizer thread for somebody who has gone is scored.
    UnwantedIsScored,
}

/// Whether this is put back.
#[cfg(not(any(test, feature = "testing")))]
pub const fn is(_: Mutation) -> bool {
    false
}

#[cfg(any(test, feature = "testing"))]
pub use active::{is, with};

#[cfg(any(test, feature = "testing"))]
mod active {
    use std::cell::Cell;

    use super::Mutation;

    thread_local! {
        static ACTIVE: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// Whether this is put back on this thread.
    pub fn is(mutation: Mutation) -> bool {
        ACTIVE.get() == Some(mutation)
    }

    /// Does something on this thread while a fault is put back.
    pub fn with<T>(mutation: Option<Mutation>, what: impl FnOnce() -> T) -> T {
        ACTIVE.set(mutation);
        let done = what();
        ACTIVE.set(None);
        done
    }
}
