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
/// none); of causal attention the pair that holds each one's beginning, or its own place (64-bit integers). Output: context
/// rows, one a query.
pub const ATTENTION: &str = "PackedAttention";

/// Which input of [`ATTENTION`] has the beginnings.
pub const BEGINNINGS: usize = 7;

/// On CPUs: an encoder layer in integers, as `rescored_kernels::layer` computes it, with GELU. Inputs: rows (32-bit floats)
/// and the tokens of each pair (64-bit integers); of the products for queries, keys, values and attention's output, and of the
/// two of the feed-forward part, each the weight (`[inputs, outputs]`, 8-bit integers), its scales, one an output, and its
/// bias; gain and bias of attention's norm and of the other; with relative positions as in [`ATTENTION`]. What a layer lacks
/// is left out. Output: its rows.
pub const LAYER: &str = "EncoderLayer";

/// On CPUs: the mean of each pair's rows. Inputs: rows, and the tokens of each pair.
pub const MEAN: &str = "PackedMean";

/// Attributes of [`ATTENTION`] and of [`LAYER`].
pub mod attribute {
    /// Query heads.
    pub const HEADS: &str = "heads";
    /// Key and value heads, a divisor of the query heads; absent where there are as many.
    pub const KEY_HEADS: &str = "key_heads";
    /// What scores are multiplied with.
    pub const SCALE: &str = "scale";
    /// Tokens to each side that a token sees; absent where it sees all.
    pub const WINDOW: &str = "window";
    /// 1 where there is one query a pair, that of its first token.
    pub const FIRST: &str = "first";
    /// Of attention: 1 where there is one query a pair, that of its last token.
    pub const LAST: &str = "last";
    /// Of attention: 1 where a token sees no token behind it, of a window too.
    pub const CAUSAL: &str = "causal";
    /// Of attention: what each head's queries are multiplied with once the root of the mean of their squares is 1; absent
    /// where they stay as they are.
    pub const QUERY_NORM: &str = "query_norm";
    /// Of attention: the same of keys.
    pub const KEY_NORM: &str = "key_norm";
    /// Radians a token of rotary positions; absent where there are none.
    pub const ROTARY: &str = "rotary";
    /// Slopes a head; absent where there are none.
    pub const SLOPES: &str = "slopes";
    /// Of a layer: added to the variance by its feed-forward part's norm. Of attention: to the mean of squares by the norms of
    /// queries and keys.
    pub const EPSILON: &str = "epsilon";
    /// Of a layer: the same of attention's norm.
    pub const ATTENTION_EPSILON: &str = "attention_epsilon";
    /// Of a layer: 1 where norms stand before each part.
    pub const NORMS_BEFORE: &str = "norms_before";
    /// Of a layer: 1 where the feed-forward part's first product makes what is activated and then its gate.
    pub const GATED: &str = "gated";
}
