//! Names of the operators of our own that written graphs have, on NVIDIA GPUs and on CPUs, and what they take.
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

/// On CPUs: attention of packed pairs, as `rescored_kernels::attention` computes it. Inputs: queries, keys and values (rows of
/// 32-bit floats, one after the other), the tokens of each pair (64-bit integers); with relative positions the tables'
/// rows by distance (64-bit integers), the table that queries meet and the one that keys meet (floats, empty where there is
/// none). Output: context rows, one a query.
pub const ATTENTION: &str = "PackedAttention";

/// On CPUs: the mean of each pair's rows. Inputs: rows, and the tokens of each pair.
pub const MEAN: &str = "PackedMean";

/// Attributes of [`ATTENTION`].
pub mod attribute {
    /// Query heads.
    pub const HEADS: &str = "heads";
    /// What scores are multiplied with.
    pub const SCALE: &str = "scale";
    /// Tokens to each side that a token sees; absent where it sees all.
    pub const WINDOW: &str = "window";
    /// 1 where there is one query a pair, that of its first token.
    pub const FIRST: &str = "first";
    /// Radians a token of rotary positions; absent where there are none.
    pub const ROTARY: &str = "rotary";
    /// Slopes a head; absent where there are none.
    pub const SLOPES: &str = "slopes";
}
