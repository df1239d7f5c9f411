//! Rows of floats as integers of 8 or 16 bits, with a scale a row.
//!
//! Owns the rounding and how integers lie for each [`Path`]. It must not know matrices: what they ask of rows is a
//! [`Format`].
//!
//! A row `x` becomes `q = round(x · range / max |x|)` and the scale `max |x| / range`. A row that has an element which is
//! not finite gets the scale NaN, so that whatever is computed from it is NaN. A row without an element of at least
//! [`LEAST`] counts as zeros.

use crate::attention::Misfit;
use crate::isa::{Path, Work, compiled_for};
use crate::lines::{LINE, Lines};

/// Rows whose elements are all below it count as zeros: so the factor to integers is finite for every row.
pub const LEAST: f32 = 1e-30;

/// 1.5 · 2^23: added to a float below 2^22 it rounds it to the nearest integer, ties to even, which is then in the low bits.
const ROUND: f32 = 12_582_912.0;

/// Rows of a tile. Rows of layouts for tiles end with whole tiles, zeros after the last.
pub(crate) const TILE_ROWS: usize = 16;

/// Bits of an integer product's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 8 bits.
    Int8,
    /// 16 bits, or as many as sums of 32 bits leave room for, see [`PackedMatrix`](crate::matrix::PackedMatrix).
    Int16,
}

/// How the integers of a row lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Bytes without a sign, 128 for zero, as `vpdpbusd` wants them: four make a group.
    Bytes,
    /// Bytes with a sign, as `sdot` and `tdpbssd` want them: four make a group.
    SignedBytes,
    /// Words of 16 bits in bytes, for products of tiles: of a row first the high bytes, which have a sign, then the low ones,
    /// which have none; four make a group.
    Halves,
    /// Words of 16 bits with a sign: two make a group. Rows of 8 bits have it too where there are no dot products of bytes.
    Words,
}

impl Layout {
    /// The layout of rows of so many bits on a path.
    pub(crate) fn of(path: Path, precision: Precision) -> Self {
        match (path, precision) {
            #[cfg(target_arch = "x86_64")]
            (Path::AmxInt8, Precision::Int16) => Self::Halves,
            (_, Precision::Int16) => Self::Words,
            (Path::Portable, Precision::Int8) => Self::Words,
            #[cfg(target_arch = "x86_64")]
            (Path::Avx2, Precision::Int8) => Self::Words,
            #[cfg(target_arch = "x86_64")]
            (Path::AvxVnni | Path::Avx512Vnni, Precision::Int8) => Self::Bytes,
            #[cfg(target_arch = "x86_64")]
            (Path::AmxInt8, Precision::Int8) => Self::SignedBytes,
            #[cfg(target_arch = "aarch64")]
            (Path::NeonDot, Precision::Int8) => Self::SignedBytes,
        }
    }

    /// Elements of a group: those that one 32-bit sum takes at once.
    pub(crate) fn group(self) -> usize {
        match self {
            Self::Bytes | Self::SignedBytes | Self::Halves => 4,
            Self::Words => 2,
        }
    }

    /// What stands for zero.
    #[inline(always)]
    pub(crate) fn offset(self) -> i32 {
        match self {
            Self::Bytes => 128,
            Self::SignedBytes | Self::Halves | Self::Words => 0,
        }
    }
}

/// What a matrix wants the rows to be that it is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    pub(crate) layout: Layout,
    pub(crate) range: u16,
}

impl Format {
    /// How integers lie.
    pub fn layout(self) -> Layout {
        self.layout
    }

    /// The greatest magnitude of an integer: 127 for 8 bits, 32,767 or less for 16.
    pub fn range(self) -> u16 {
        self.range
    }

    /// The format of rows that are multiplied with two matrices; none when their layouts differ.
    pub fn for_both(self, other: Self) -> Option<Self> {
        (self.layout == other.layout).then_some(Self { range: self.range.min(other.range), ..self })
    }
}

/// Quantised rows, `[rows, width]`. The buffers are kept from use to use.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "how many rows there are")]
pub struct Rows {
    pub(crate) format: Format,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    /// Elements of `bytes` or `words` from one row to the next: whole groups, zeros after the width.
    pub(crate) stride: usize,
    /// Of the layouts of bytes and of [`Layout::Halves`], whose low bytes begin at [`Self::low`]; else empty.
    pub(crate) bytes: Lines<u8>,
    /// Of [`Layout::Words`], else empty.
    pub(crate) words: Lines<i16>,
    /// What an integer stands for, by row.
    pub(crate) scales: Vec<f32>,
}

impl Default for Rows {
    fn default() -> Self {
        Self::new()
    }
}

impl Rows {
    /// No rows.
    pub fn new() -> Self {
        let format = Format { layout: Layout::Words, range: 1 };
        Self {
            format,
            rows: 0,
            width: 0,
            stride: 0,
            bytes: Lines::default(),
            words: Lines::default(),
            scales: Vec::new(),
        }
    }

    /// Quantises rows of `width` floats, `[rows, width]`, in place of what was here.
    ///
    /// # Errors
    /// [`Misfit`] when the floats are no whole number of rows, or the width is zero.
    pub fn quantise(&mut self, path: Path, format: Format, from: &[f32], width: usize) -> Result<(), Misfit> {
        if width == 0 || !from.len().is_multiple_of(width) {
            let wanted = (from.len() / width.max(1)).max(1).saturating_mul(width.max(1));
            return Err(Misfit { what: "the rows to quantise", got: from.len(), wanted });
        }
        self.prepare(format, from.len() / width, width);
        compiled_for(path, All { rows: self, from });
        Ok(())
    }

    /// How many rows there are, and elements in each.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.width)
    }

    /// What an integer of each row stands for: NaN for a row that had an element which was not finite.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The integers of a row.
    pub fn integers(&self, row: usize) -> Vec<i32> {
        let own = row * self.stride..row * self.stride + self.width;
        match self.format.layout {
            Layout::Bytes => self.bytes[own].iter().map(|&byte| i32::from(byte) - Layout::Bytes.offset()).collect(),
            Layout::SignedBytes => self.bytes[own].iter().map(|&byte| i32::from(byte.cast_signed())).collect(),
            Layout::Halves => {
                let (high, low) = (&self.bytes[own.clone()], &self.bytes[own.start + self.low()..][..self.width]);
                high.iter().zip(low).map(|(&high, &low)| i32::from(high.cast_signed()) * 256 + i32::from(low)).collect()
            }
            Layout::Words => self.words[own].iter().map(|&word| i32::from(word)).collect(),
        }
    }

    /// Where the low bytes of a row of [`Layout::Halves`] begin.
    #[inline(always)]
    pub(crate) fn low(&self) -> usize {
        self.width.next_multiple_of(LINE)
    }

    /// Makes room; what is in it is written row by row.
    pub(crate) fn prepare(&mut self, format: Format, rows: usize, width: usize) {
        let (elements, halves) = match format.layout {
            Layout::Bytes | Layout::SignedBytes => (LINE, 1),
            Layout::Halves => (LINE, 2),
            Layout::Words => (LINE / 2, 1),
        };
        // Rows are whole lines and one more, so that rows of 4,096 bytes do not all need the same places of a cache.
        *self = Self {
            format,
            rows,
            width,
            stride: halves * width.next_multiple_of(elements) + elements,
            bytes: std::mem::take(&mut self.bytes),
            words: std::mem::take(&mut self.words),
            scales: std::mem::take(&mut self.scales),
        };
        let (bytes, words) = match format.layout {
            Layout::Bytes => (rows * self.stride, 0),
            Layout::SignedBytes | Layout::Halves => (rows.next_multiple_of(TILE_ROWS) * self.stride, 0),
            Layout::Words => (0, rows * self.stride),
        };
        let bytes = self.bytes.sized(bytes);
        if let Some(beyond) = bytes.get_mut(rows * self.stride..) {
            beyond.fill(0);
        }
        self.words.sized(words);
        self.scales.resize(rows, 0.0);
    }

    /// Quantises one row into its place.
    #[inline(always)]
    pub(crate) fn set(&mut self, row: usize, from: &[f32]) {
        let (scale, factor) = scale_of(from, self.format.range);
        self.scales[row] = scale;
        let own = row * self.stride..(row + 1) * self.stride;
        match self.format.layout {
            Layout::Bytes | Layout::SignedBytes => {
                let (into, rest) = self.bytes[own].split_at_mut(from.len());
                let offset = self.format.layout.offset();
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low byte is wanted")]
                into.iter_mut().zip(from).for_each(|(byte, &x)| *byte = (integer(x, factor) + offset) as u8);
                rest.fill(0);
            }
            Layout::Halves => {
                let (high, low) = self.bytes[own].split_at_mut(from.len().next_multiple_of(LINE));
                let ((high, rest), (low, end)) = (high.split_at_mut(from.len()), low.split_at_mut(from.len()));
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a byte of it is wanted")]
                for ((high, low), &x) in high.iter_mut().zip(low).zip(from) {
                    let word = integer(x, factor);
                    (*high, *low) = ((word >> 8) as u8, word as u8);
                }
                rest.fill(0);
                end.fill(0);
            }
            Layout::Words => {
                let (into, rest) = self.words[own].split_at_mut(from.len());
                #[expect(clippy::cast_possible_truncation, reason = "the range is 15 bits")]
                into.iter_mut().zip(from).for_each(|(word, &x)| *word = integer(x, factor) as i16);
                rest.fill(0);
            }
        }
    }
}

struct All<'a> {
    rows: &'a mut Rows,
    from: &'a [f32],
}

impl Work for All<'_> {
    #[inline(always)]
    fn run(self, _: Path) {
        for (row, from) in self.from.chunks_exact(self.rows.width).enumerate() {
            self.rows.set(row, from);
        }
    }
}

/// A row's scale and the factor that makes integers of its elements.
#[inline(always)]
fn scale_of(row: &[f32], range: u16) -> (f32, f32) {
    // Without their signs floats are ordered as their bits are, and what is not finite comes after all that is.
    let most = row.iter().fold(0, |most, x| (x.to_bits() & 0x7fff_ffff).max(most));
    let most = f32::from_bits(most);
    if !most.is_finite() {
        (f32::NAN, 0.0)
    } else if most < LEAST {
        (0.0, 0.0)
    } else {
        (most / f32::from(range), f32::from(range) / most)
    }
}

/// The nearest integer to `x · factor`, ties to even; zero where the factor is zero.
///
/// At most the range, as the rounding errors of the factor and the product are far below a half.
#[inline(always)]
fn integer(x: f32, factor: f32) -> i32 {
    // A row that is not finite has the factor 0, and 0 · inf would leave any integer.
    let x = if factor == 0.0 { 0.0 } else { x };
    x.mul_add(factor, ROUND).to_bits().wrapping_sub(ROUND.to_bits()).cast_signed()
}

#[cfg(test)]
mod tests;
