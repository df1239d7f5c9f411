//! Weights of integer products, packed once for a path.
//!
//! Owns how weights lie, the blocks into which sums are cut, and the argument that no sum overflows. It must not know how
//! products are computed.
//!
//! # Sums of 32 bits
//!
//! For rows of 8 bits a sum is at most `127 · 128 · k`, below 2^31 for every `k` up to [`MOST_ROWS`]. Products of bytes
//! without a sign are 128 times a column's sum too large, which may wrap and is taken off with wrapping: what remains is
//! exact.
//!
//! For rows of 16 bits the magnitude of a sum is at most `range · Σ|w|`, the sum over a column's weights. The range is the
//! greatest, at most 32,767, for which no column's sum passes `2^31 - 1`. Where that would leave less than
//! [`LEAST_RANGE`], the rows of the matrix are cut into as few equal blocks of whole `TERMS` as it takes: blocks are summed
//! in 32-bit integers, their sums added as floats in their order. Both depend on the weights alone, not on the path.

use crate::attention::Misfit;
use crate::isa::Path;
use crate::lines::Lines;
use crate::quantise::{Format, Layout, Precision, TILE_ROWS};

/// Rows of a matrix at most.
pub const MOST_ROWS: usize = 65_536;

/// Rows of 16 bits keep at least this range, 13 bits and a sign, whatever the weights are.
pub const LEAST_RANGE: u16 = 8191;

/// Rows of a matrix that a block is a multiple of: those that a product of tiles takes at once. So many are always few enough:
/// `64 · 4095 · 8191` is below 2^31.
const TERMS: usize = 64;

/// The greatest weight of [`Precision::Int16`]: 12 bits and a sign. Larger ones would take bits from the rows.
pub const MOST_WEIGHT: i16 = 4095;

/// Weights as a model file has them.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a, T> {
    /// `[rows, columns]`, row by row, as in `y = x · W`.
    pub values: &'a [T],
    /// How many rows: elements of what is multiplied.
    pub rows: usize,
    /// How many columns: elements of the result.
    pub columns: usize,
    /// One a column; empty for none.
    pub bias: &'a [f32],
}

/// A matrix of integers, with a scale and a bias a column, in panels of columns as a path reads them.
#[derive(Debug)]
pub struct PackedMatrix {
    pub(crate) path: Path,
    pub(crate) format: Format,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Groups of rows in all, and in each block but the last, which may be shorter.
    pub(crate) groups: usize,
    pub(crate) block: usize,
    /// `[columns / panel, groups, panel, group]`, zeros beyond the matrix; of weights in halves those of the high bytes before
    /// those of the low ones, panel by panel.
    panels: Panels,
    /// Whether weights are in halves: bytes with a sign, which stand for 256 times as much, and bytes without.
    is_halved: bool,
    /// By column, as many as the panels have.
    pub(crate) scales: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    /// What is added to a sum for the offset of the rows.
    pub(crate) corrections: Vec<i32>,
}

#[derive(Debug)]
enum Panels {
    Bytes(Lines<i8>),
    Words(Lines<i16>),
}

impl PackedMatrix {
    /// Packs weights of 8 bits with their scales, one a column, for rows of either precision.
    ///
    /// # Errors
    /// [`Misfit`] when the slices are not as long as said, or there are no rows or more than [`MOST_ROWS`].
    pub fn from_integers(
        path: Path,
        precision: Precision,
        weights: &Weights<'_, i8>,
        scales: &[f32],
    ) -> Result<Self, Misfit> {
        weights.check()?;
        fits("the scales of the columns", scales.len(), weights.columns)?;
        Ok(Self::pack(path, precision, weights, |at| i16::from(weights.values[at]), scales.to_vec()))
    }

    /// Packs floats: each column symmetric with a scale of its own, in 8 bits for rows of 8 and in 13 for rows of 16.
    ///
    /// A column that has a weight which is not finite makes results that are none.
    ///
    /// # Errors
    /// As [`Self::from_integers`].
    pub fn from_floats(path: Path, precision: Precision, weights: &Weights<'_, f32>) -> Result<Self, Misfit> {
        weights.check()?;
        let most = match precision {
            Precision::Int8 => 127,
            Precision::Int16 => MOST_WEIGHT,
        };
        let (integers, scales) = quantised(weights, most);
        Ok(Self::pack(path, precision, weights, |at| integers[at], scales))
    }

    /// What rows have to be that are multiplied with it.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How many rows and columns it has.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// The path that it is packed for.
    pub fn path(&self) -> Path {
        self.path
    }

    /// Bytes of its weights.
    pub fn size(&self) -> usize {
        match &self.panels {
            Panels::Bytes(values) => values.len(),
            Panels::Words(values) => 2 * values.len(),
        }
    }

    /// Whether each panel is two, of high and of low bytes: that is so for rows of [`Layout::Halves`] where weights need more
    /// than 8 bits.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "other processors have no tiles"))]
    pub(crate) fn is_halved(&self) -> bool {
        self.is_halved
    }

    /// The panels of the layouts of bytes; empty for another.
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "other processors have words alone")
    )]
    pub(crate) fn bytes(&self) -> &[i8] {
        match &self.panels {
            Panels::Bytes(values) => values,
            Panels::Words(_) => &[],
        }
    }

    /// The panels of [`Layout::Words`]; empty for another.
    pub(crate) fn words(&self) -> &[i16] {
        match &self.panels {
            Panels::Words(values) => values,
            Panels::Bytes(_) => &[],
        }
    }

    fn pack<T>(
        path: Path,
        precision: Precision,
        weights: &Weights<'_, T>,
        value: impl Fn(usize) -> i16,
        mut scales: Vec<f32>,
    ) -> Self {
        let Weights { rows, columns, bias, .. } = *weights;
        let layout = Layout::of(path, precision);
        let is_halved = layout == Layout::Halves && (0..rows * columns).any(|at| i8::try_from(value(at)).is_err());
        let (group, Grid { panel, columns: multiple, groups: whole }) =
            (layout.group(), Grid::of(path, layout, is_halved));
        let (groups, padded) = (rows.div_ceil(group).next_multiple_of(whole), columns.next_multiple_of(multiple));
        let (range, block) = match precision {
            Precision::Int8 => (127, rows),
            Precision::Int16 => range_and_block(rows, columns, &value),
        };
        let block = if block >= rows { groups } else { block / group };
        let halves = if is_halved { 2 } else { 1 };
        // Where an element of the matrix lies in its panel; the low half of it lies `half` later.
        let half = panel * groups * group;
        let place = |row: usize, column: usize| {
            let in_panel = (row / group * panel + column % panel) * group + row % group;
            column / panel * half * halves + in_panel
        };
        let mut corrections = vec![0_i32; padded];
        let panels = match layout {
            Layout::Bytes | Layout::SignedBytes | Layout::Halves => {
                let mut values = Lines::default();
                values.sized(padded * groups * group * halves);
                for row in 0..rows {
                    for (column, correction) in corrections.iter_mut().enumerate().take(columns) {
                        let (weight, place) = (value(row * columns + column), place(row, column));
                        let [low, high] = weight.to_le_bytes().map(u8::cast_signed);
                        if is_halved {
                            (values[place], values[place + half]) = (high, low);
                        } else {
                            // Weights of this layout have 8 bits.
                            values[place] = low;
                            *correction -= layout.offset() * i32::from(low);
                        }
                    }
                }
                Panels::Bytes(values)
            }
            Layout::Words => {
                let mut values = Lines::default();
                values.sized(padded * groups * group);
                for row in 0..rows {
                    for column in 0..columns {
                        values[place(row, column)] = value(row * columns + column);
                    }
                }
                Panels::Words(values)
            }
        };
        let mut padded_bias = bias.to_vec();
        padded_bias.resize(padded, 0.0);
        scales.resize(padded, 0.0);
        let format = Format { layout, range };
        Self { path, format, rows, columns, groups, block, panels, is_halved, scales, bias: padded_bias, corrections }
    }
}

/// What a path's inner loop takes at once.
struct Grid {
    /// Columns of a panel.
    panel: usize,
    /// Columns of a matrix are a multiple of it,
    columns: usize,
    /// and groups of rows of this.
    groups: usize,
}

impl Grid {
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "other processors have no tiles"))]
    fn of(path: Path, layout: Layout, is_halved: bool) -> Self {
        let panels = |panel| Self { panel, columns: panel, groups: 1 };
        match (path, layout) {
            (Path::Portable, _) => panels(16),
            #[cfg(target_arch = "x86_64")]
            (Path::Avx2 | Path::AvxVnni, _) => panels(16),
            // A panel is tiles one below the other; two panels, or both halves of one, are multiplied at once.
            #[cfg(target_arch = "x86_64")]
            (Path::AmxInt8, _) => Self {
                panel: TILE_ROWS,
                columns: if is_halved { 1 } else { 2 } * TILE_ROWS,
                groups: TERMS / layout.group(),
            },
            #[cfg(target_arch = "x86_64")]
            (Path::Avx512Vnni, _) => panels(64),
            #[cfg(target_arch = "aarch64")]
            (Path::NeonDot, _) => panels(16),
        }
    }
}

/// The range of rows of 16 bits, and the rows of the matrix that a sum of 32 bits takes: see the module.
fn range_and_block(rows: usize, columns: usize, value: &impl Fn(usize) -> i16) -> (u16, usize) {
    let most = u64::from(i32::MAX.unsigned_abs());
    let allowed = most / u64::from(LEAST_RANGE);
    // No cut into fewer blocks can do.
    let mut blocks = usize::try_from(greatest_sum(rows, columns, rows, value) / allowed).unwrap_or(0).max(1);
    loop {
        let block = rows.div_ceil(blocks).next_multiple_of(TERMS);
        let greatest = greatest_sum(rows, columns, block, value).max(1);
        // A block of the least size is always small enough.
        if greatest <= allowed || block == TERMS {
            let range = (most / greatest).min(u64::from(i16::MAX.unsigned_abs()));
            return (u16::try_from(range).unwrap_or(u16::MAX), block);
        }
        blocks += 1;
    }
}

/// The greatest sum of a column's magnitudes over a block of so many rows.
fn greatest_sum(rows: usize, columns: usize, block: usize, value: &impl Fn(usize) -> i16) -> u64 {
    let mut greatest = 0;
    let mut sums = vec![0_u64; columns];
    for first in (0..rows).step_by(block) {
        sums.fill(0);
        for row in first..(first + block).min(rows) {
            for (column, sum) in sums.iter_mut().enumerate() {
                *sum += u64::from(value(row * columns + column).unsigned_abs());
            }
        }
        greatest = sums.iter().copied().fold(greatest, u64::max);
    }
    greatest
}

/// Integers up to `most` of each column, and their scales: the greatest magnitude becomes `most`, zeros stay zeros.
fn quantised(weights: &Weights<'_, f32>, most: i16) -> (Vec<i16>, Vec<f32>) {
    let columns = weights.columns;
    let mut scales = vec![0.0_f32; columns];
    for row in weights.values.chunks_exact(columns.max(1)) {
        for (scale, weight) in scales.iter_mut().zip(row) {
            // Not `max`, which would drop NaN.
            *scale = if scale.is_nan() || weight.abs() <= *scale { *scale } else { weight.abs() };
        }
    }
    for scale in &mut scales {
        *scale = if scale.is_finite() { *scale / f32::from(most) } else { f32::NAN };
    }
    let integer = |(at, weight): (usize, &f32)| {
        let scale = f64::from(scales[at % columns.max(1)]);
        let whole = (f64::from(*weight) / scale).round_ties_even();
        #[expect(clippy::cast_possible_truncation, reason = "clamped; 0 / 0 becomes 0")]
        let whole = whole.clamp(-f64::from(most), f64::from(most)) as i16;
        whole
    };
    let integers = weights.values.iter().enumerate().map(integer).collect();
    (integers, scales)
}

impl<T> Weights<'_, T> {
    fn check(&self) -> Result<(), Misfit> {
        let Self { values, rows, columns, bias } = *self;
        if rows == 0 || rows > MOST_ROWS {
            return Err(Misfit { what: "a column of weights", got: rows, wanted: rows.clamp(1, MOST_ROWS) });
        }
        fits("the weights", values.len(), rows.saturating_mul(columns))?;
        if bias.is_empty() { Ok(()) } else { fits("the bias", bias.len(), columns) }
    }
}

/// Whether something is as long as it has to be.
pub(crate) fn fits(what: &'static str, got: usize, wanted: usize) -> Result<(), Misfit> {
    if got == wanted { Ok(()) } else { Err(Misfit { what, got, wanted }) }
}

#[cfg(test)]
mod tests;
