//! Names of the operators that graphs for NVIDIA GPUs have of our own, and what they take.
//!
//! Pure: who writes them and who runs them agree here.

/// Their domain.
pub const DOMAIN: &str = "rescored";

/// Rows and a bias, in half floats: the sums.
pub const BIAS: &str = "Bias";

/// Rows and a bias, in half floats: GELU of the sums, by the error function.
pub const BIAS_GELU: &str = "BiasGelu";

/// Columns of the widest row: a block has a thread for eight of them.
pub const MOST_COLUMNS: usize = 8192;

/// Whether rows of so many columns can be taken.
pub const fn takes(columns: usize) -> bool {
    columns > 0 && columns.is_multiple_of(8) && columns <= MOST_COLUMNS
}
