//! What may be reported of a model that runs on something other than the CPU: plain data for `/info` and `/metrics`.
//!
//! It must not know what the thing is.

/// Something whose state changes while it serves.
pub trait Accelerator: Send + Sync + std::fmt::Debug {
    /// The state now; answers at once.
    fn state(&self) -> State;
}

/// What runs where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Programs of fixed shapes.
    pub programs: Vec<Program>,
    /// What is not used, and why.
    pub refused: Vec<Refused>,
    /// Batches that went another way than the best because it failed.
    pub detours: u64,
}

/// A program of one shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Its shape, in words.
    pub shape: String,
    /// Units and arithmetic; empty while it is being loaded.
    pub way: String,
    /// Measured time of one run; 0 when it was not measured.
    pub milliseconds: f64,
    /// Whether it is loaded.
    pub loaded: bool,
    /// Largest distance of its logits to the right ones, when it was checked.
    pub most: f32,
    /// Largest distance between a pair's logits alone and in a batch, when it was checked.
    pub company: f32,
}

/// Units that are not used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Units and arithmetic.
    pub way: String,
    /// The shape they are not used for; `None` means all.
    pub shape: Option<String>,
    /// What was found.
    pub reason: String,
}
