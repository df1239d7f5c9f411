//! Attention over packed pairs: every token to the tokens of its own pair.
//!
//! Owns the arithmetic for all families that are served: plain, rotary, with slopes (`ALiBi`) or relative terms (`DeBERTa`),
//! over all tokens, a local window or the tokens before, with keys shared by several heads, and with norms of each head's
//! queries and keys. Memory grows with the tokens of
//! the longest pair, not with their square: a block of queries is finished before the next one begins. What a window
//! leaves out is not computed.

mod block;
mod head;
mod head_norm;
mod relative;
mod rotary;

use std::fmt;

use crate::isa::Isa;
use crate::product::Portable;

/// How tokens attend to each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention<'a> {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; a divisor of `heads`, each used by as many neighbouring query heads.
    pub key_heads: usize,
    /// Values a head.
    pub width: usize,
    /// What scores are multiplied with before the softmax.
    pub scale: f32,
    /// Which tokens a token sees.
    pub reach: Reach,
    /// Norms of each head's queries and keys, before their places enter.
    pub head_norms: Option<HeadNorms<'a>>,
    /// How places enter.
    pub positions: Positions<'a>,
}

/// Which tokens of its pair a token sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All.
    All,
    /// Itself and so many to each side.
    Window(usize),
    /// Itself and those before.
    Causal,
    /// Itself and so many before.
    CausalWindow(usize),
}

/// Root mean square norms of one head's values (Zhang and Sennrich 2019), the same for all heads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadNorms<'a> {
    /// What normalised queries are multiplied with, one a value of a head.
    pub query: &'a [f32],
    /// The same of keys.
    pub key: &'a [f32],
    /// Added to the mean of the squares.
    pub epsilon: f32,
}

/// How the places of two tokens enter their score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Positions<'a> {
    /// Not at all: places were added to the rows before.
    Absolute,
    /// Queries and keys are turned by their places: radians a token, one for each of a head's first values, whose partner
    /// stands as many values later (Su et al. 2021, `RoFormer`).
    Rotary(&'a [f32]),
    /// A head's slope times the distance is taken off (Press et al. 2022, `ALiBi`); one slope a query head.
    Slopes(&'a [f32]),
    /// Terms of the distance.
    Relative(Relative<'a>),
}

/// Terms of the distance of two tokens (He et al. 2021, `DeBERTa`): one of the query and one of the key, each a product with
/// the row of a table that belongs to the distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Relative<'a> {
    /// Rows of the tables by the query's place less the key's, from `-n` to `n`; beyond, the ends stand for all.
    pub rows: &'a [i64],
    /// What queries meet, `[rows, heads · width]`; empty where there is no such term.
    pub keys: &'a [f32],
    /// What keys meet, `[rows, heads · width]`; empty where there is no such term.
    pub queries: &'a [f32],
}

/// Which queries are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queries {
    /// One a token.
    All,
    /// One a pair: that of its first token.
    First,
    /// One a pair: that of its last token.
    Last,
}

/// Rows of one forward pass.
///
/// A beginning that several pairs share can stand once, as a pair of its own before them: places of a pair that begins with
/// it count from the beginning's first token, its queries are those of its own tokens, and sums run over keys in their order
/// wherever they lie, so results have the bits that they have where each pair is given whole.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[tokens or pairs, heads · width]`.
    pub query: &'a [f32],
    /// `[tokens, key_heads · width]`.
    pub key: &'a [f32],
    /// `[tokens, key_heads · width]`.
    pub value: &'a [f32],
    /// Tokens of each pair, its beginning's not counted; pairs follow one another.
    pub lengths: &'a [usize],
    /// For each pair the one whose tokens are its beginning, which has none itself; its own place where there is none. Empty
    /// where all pairs are whole.
    pub beginnings: &'a [usize],
    /// Which queries there are.
    pub queries: Queries,
}

/// Buffers that a thread keeps from pass to pass.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    block: block::Buffers,
    /// One a base: a model has two at most.
    rotary: Vec<rotary::Table>,
}

/// Rotary tables that a thread keeps: those of two models.
const TABLES: usize = 4;

/// Rows that do not fit each other or the attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    pub(crate) what: &'static str,
    pub(crate) got: usize,
    pub(crate) wanted: usize,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, got, wanted } = self;
        write!(f, "{what} has {got} values, expected {wanted}")
    }
}

impl std::error::Error for Misfit {}

impl Misfit {
    /// What has another number of values than it should.
    pub fn of(what: &'static str, got: usize, wanted: usize) -> Self {
        Self { what, got, wanted }
    }
}

impl Attention<'_> {
    /// Context of every query, `[tokens or pairs, heads · width]`, into `out`.
    ///
    /// # Errors
    /// [`Misfit`] when the slices are not as long as the lengths and sizes say.
    pub fn run(&self, isa: Isa, inputs: &Inputs<'_>, scratch: &mut Scratch, out: &mut [f32]) -> Result<(), Misfit> {
        self.check(inputs, out.len())?;
        let whole = |pair| inputs.lengths[pair] + inputs.beginning(pair).map_or(0, |other| inputs.lengths[other]);
        let longest = (0..inputs.lengths.len()).map(whole).max().unwrap_or(0);
        let none = rotary::Table::default();
        let rotary = match self.positions {
            Positions::Rotary(frequencies) => rotary::Table::of(&mut scratch.rotary, TABLES, frequencies, longest),
            Positions::Absolute | Positions::Slopes(_) | Positions::Relative(_) => &none,
        };
        let call = head::Call { attention: self, inputs, rotary };
        isa_dispatch(isa, &call, &mut scratch.block, out);
        Ok(())
    }

    fn check_beginnings(&self, inputs: &Inputs<'_>) -> Result<(), Misfit> {
        let (pairs, given) = (inputs.lengths.len(), inputs.beginnings.len());
        if given == 0 {
            return Ok(());
        }
        let is_causal = matches!(self.reach, Reach::Causal | Reach::CausalWindow(_));
        if !is_causal || matches!(self.positions, Positions::Relative(_)) {
            // A token of the beginning would see what follows, which is not the same for all.
            return Err(Misfit {
                what: "shared beginnings, without causal attention or with relative terms,",
                got: given,
                wanted: 0,
            });
        }
        if given != pairs {
            return Err(Misfit { what: "the list of beginnings", got: given, wanted: pairs });
        }
        let is_odd = |pair: &usize| {
            inputs.beginning(*pair).is_some_and(|other| other >= *pair || inputs.beginning(other).is_some())
        };
        match (0..pairs).find(is_odd) {
            Some(pair) => Err(Misfit { what: "the beginning of a pair", got: inputs.beginnings[pair], wanted: pair }),
            None => Ok(()),
        }
    }

    fn check(&self, inputs: &Inputs<'_>, out: usize) -> Result<(), Misfit> {
        let fits = |what, got, wanted| if got == wanted { Ok(()) } else { Err(Misfit { what, got, wanted }) };
        let (row, key_row) = (self.heads.saturating_mul(self.width), self.key_heads.saturating_mul(self.width));
        let tokens = total(inputs.lengths)?;
        let queries = if inputs.queries == Queries::All { tokens } else { inputs.lengths.len() };
        let shared = if self.key_heads == 0 { self.heads } else { self.heads % self.key_heads };
        fits("a group of heads", shared, 0)?;
        self.check_beginnings(inputs)?;
        fits("query", inputs.query.len(), queries.saturating_mul(row))?;
        fits("key", inputs.key.len(), tokens.saturating_mul(key_row))?;
        fits("value", inputs.value.len(), tokens.saturating_mul(key_row))?;
        fits("output", out, queries.saturating_mul(row))?;
        if let Some(HeadNorms { query, key, .. }) = self.head_norms {
            fits("the norm of queries", query.len(), self.width)?;
            fits("the norm of keys", key.len(), self.width)?;
        }
        match self.positions {
            Positions::Absolute => Ok(()),
            Positions::Rotary(frequencies) => {
                fits("a turned half", frequencies.len().min(self.width / 2), frequencies.len())
            }
            Positions::Slopes(slopes) => fits("slopes", slopes.len(), self.heads),
            Positions::Relative(relative) => {
                fits("key heads", self.key_heads, self.heads)?;
                // These terms are of keys as they are given.
                fits("norms of heads beside relative terms", usize::from(self.head_norms.is_some()), 0)?;
                relative.check(row)
            }
        }
    }
}

impl Inputs<'_> {
    /// The pair whose tokens a pair begins with.
    fn beginning(&self, pair: usize) -> Option<usize> {
        self.beginnings.get(pair).copied().filter(|&other| other != pair)
    }
}

/// Tokens of all pairs.
///
/// # Errors
/// [`Misfit`] for a pair without tokens, whose row would be nobody's, and for more tokens than can be counted.
pub(crate) fn total(lengths: &[usize]) -> Result<usize, Misfit> {
    if lengths.contains(&0) {
        return Err(Misfit { what: "a pair", got: 0, wanted: 1 });
    }
    let sum = lengths.iter().try_fold(0_usize, |sum, &length| sum.checked_add(length));
    sum.ok_or(Misfit { what: "the sum of lengths", got: usize::MAX, wanted: usize::MAX / 2 })
}

impl Relative<'_> {
    fn check(&self, width: usize) -> Result<(), Misfit> {
        let least = self.rows.iter().copied().min().unwrap_or(-1);
        let most = self.rows.iter().copied().max().unwrap_or(-1);
        if least < 0 || self.rows.len().is_multiple_of(2) {
            return Err(Misfit { what: "rows by distance, which", got: self.rows.len(), wanted: self.rows.len() | 1 });
        }
        if self.keys.is_empty() && self.queries.is_empty() {
            return Err(Misfit { what: "tables of relative terms, which", got: 0, wanted: 1 });
        }
        let tables = [("the table of relative keys", self.keys), ("the table of relative queries", self.queries)];
        for (what, table) in tables {
            let rows = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1);
            let has = table.len() / width.max(1);
            if !table.is_empty() && (has < rows || !table.len().is_multiple_of(width.max(1))) {
                return Err(Misfit { what, got: table.len(), wanted: rows.saturating_mul(width) });
            }
        }
        Ok(())
    }

    /// The tables' row for a distance, the query's place less the key's.
    fn row(&self, distance: isize) -> usize {
        let middle = (self.rows.len() / 2).cast_signed();
        let at = (distance + middle).clamp(0, 2 * middle).cast_unsigned();
        usize::try_from(self.rows[at]).unwrap_or(0)
    }
}

/// Runs the one implementation as compiled for an instruction set.
fn isa_dispatch(isa: Isa, call: &head::Call<'_>, buffers: &mut block::Buffers, out: &mut [f32]) {
    match isa {
        Isa::Portable => call.run::<8, Portable>(buffers, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::avx2(call, buffers, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::avx512(call, buffers, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "functions for processors that have an instruction set are called on such ones alone")]
mod x86 {
    use super::block::Buffers;
    use super::head::Call;
    use crate::product::{Avx2, Avx512};

    pub(super) fn avx2(call: &Call<'_>, buffers: &mut Buffers, out: &mut [f32]) {
        #[target_feature(enable = "avx2,fma")]
        fn inner(call: &Call<'_>, buffers: &mut Buffers, out: &mut [f32]) {
            call.run::<16, Avx2>(buffers, out);
        }
        assert!(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"), "a processor without AVX2");
        // SAFETY: the processor has both features, as was asked just now.
        unsafe { inner(call, buffers, out) }
    }

    pub(super) fn avx512(call: &Call<'_>, buffers: &mut Buffers, out: &mut [f32]) {
        #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
        fn inner(call: &Call<'_>, buffers: &mut Buffers, out: &mut [f32]) {
            call.run::<32, Avx512>(buffers, out);
        }
        assert!(
            is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl"),
            "a processor without AVX-512"
        );
        // SAFETY: the processor has the features, as was asked just now; AVX-512 contains the others.
        unsafe { inner(call, buffers, out) }
    }
}

#[cfg(test)]
mod tests;
