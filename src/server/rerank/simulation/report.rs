//! What a simulation came to: figures, or the invariant that did not hold. It must not know how worlds run.

use rescored_engine::simulated::Faults;

/// What a run came to.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) steps: u64,
    pub(super) worlds: u64,
    pub(super) clients: u64,
    pub(super) faults: Faults,
    /// What all worlds came to, in one number.
    pub(super) digest: u64,
}

/// An invariant that does not hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) seed: u64,
    /// Of the world with this seed.
    pub(super) step: u64,
    pub(super) what: String,
}
