//! Products of quantised rows with packed weights, and what is done with each result while it is at hand.
//!
//! Owns the order of panels and blocks of rows, and the steps from integer sums to floats. The inner loops, one a path,
//! stand below. It must not know where rows come from.
//!
//! A result is `y = s · (row's scale · column's scale) + bias`, rounded once for the product of the scales, once for the
//! sum and once for the rest (fused); `s` is the integer sum as a float, or the sum of its blocks as floats, one after the
//! other. Integer sums are exact and the steps are the same everywhere, so a result has the same bits on every path and
//! whatever other rows are computed beside it.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod halves;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod tiles;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod vectors;

use crate::activation::gelu;
use crate::attention::Misfit;
use crate::isa::{Path, Work, compiled_for};
use crate::matrix::{PackedMatrix, fits};
use crate::quantise::{Format, Layout, Rows};

/// Rows that an inner loop takes at most.
const ROWS: usize = 6;

/// Columns whose results are finished together.
const LANES: usize = 16;

/// Bytes of panels that one block of rows after the other is multiplied with: they stay in a processor's second cache, and
/// what is written lies together.
const CHUNK: usize = 192 << 10;

/// What is done with results.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Then<'a> {
    /// They are stored.
    Store,
    /// They are added to these, `[rows, columns]`.
    Add(&'a [f32]),
    /// GELU of them is stored, see [`gelu`](crate::activation::gelu_rows).
    Gelu,
}

impl PackedMatrix {
    /// Multiplies rows with the matrix: `out` is `[rows, columns of the matrix]`.
    ///
    /// # Errors
    /// [`Misfit`] when the rows were quantised for another layout or a greater range than [`PackedMatrix::format`], or the
    /// slices are not as long as the shapes say.
    pub fn multiply(&self, rows: &Rows, then: Then<'_>, out: &mut [f32]) -> Result<(), Misfit> {
        let Format { layout, range } = self.format;
        if rows.format.layout != layout {
            let (got, wanted) = (rows.format.layout.group(), layout.group());
            return Err(Misfit { what: "a group of the rows' layout, which is another,", got, wanted });
        }
        if rows.format.range > range {
            return Err(Misfit { what: "the range of the rows", got: rows.format.range.into(), wanted: range.into() });
        }
        let results = rows.rows.saturating_mul(self.columns);
        if rows.rows > 0 {
            fits("a row", rows.width, self.rows)?;
        }
        fits("the output", out.len(), results)?;
        if let Then::Add(others) = then {
            fits("what is added", others.len(), results)?;
        }
        compiled_for(self.path, Call { matrix: self, rows, then, out });
        Ok(())
    }
}

/// A product.
struct Call<'a> {
    matrix: &'a PackedMatrix,
    rows: &'a Rows,
    then: Then<'a>,
    out: &'a mut [f32],
}

/// What an inner loop reads: some rows, and a block of a panel.
#[derive(Clone, Copy)]
struct Operands<'a, A, B> {
    /// The rows from the block's first group on, `stride` elements apart.
    rows: &'a [A],
    stride: usize,
    /// `[groups, columns, group]`.
    panel: &'a [B],
    groups: usize,
}

/// Integer sums of some rows and the columns of a panel.
type Sums<const C: usize> = [[i32; C]; ROWS];

/// An inner loop: how a path multiplies.
trait Tile<const C: usize> {
    /// An element of a row,
    type Row: Copy;
    /// and of a panel.
    type Weight: Copy;

    /// `out[r, c] = Σ_k rows[r, k] · panel[k, c]` for the first `R` rows, with wrapping.
    fn sums<const R: usize>(operands: Operands<'_, Self::Row, Self::Weight>, out: &mut Sums<C>);
}

impl Work for Call<'_> {
    #[inline(always)]
    fn run(self, path: Path) {
        let (matrix, rows) = (self.matrix, self.rows);
        match (path, matrix.format.layout) {
            (Path::Portable, _) => self.each::<16, portable::Words>(&rows.words, matrix.words()),
            #[cfg(target_arch = "x86_64")]
            (Path::Avx2, _) => self.each::<16, avx2::Words>(&rows.words, matrix.words()),
            #[cfg(target_arch = "x86_64")]
            (Path::AvxVnni, Layout::Words) => self.each::<16, avx2::VnniWords>(&rows.words, matrix.words()),
            #[cfg(target_arch = "x86_64")]
            (Path::AvxVnni, _) => self.each::<16, avx2::VnniBytes>(&rows.bytes, matrix.bytes()),
            #[cfg(target_arch = "x86_64")]
            (Path::AmxInt8, Layout::SignedBytes) => self.in_tiles(),
            #[cfg(target_arch = "x86_64")]
            (Path::AmxInt8, _) => self.in_halves(),
            #[cfg(target_arch = "x86_64")]
            (Path::Avx512Vnni, Layout::Words) => self.each::<64, avx512::Words>(&rows.words, matrix.words()),
            #[cfg(target_arch = "x86_64")]
            (Path::Avx512Vnni, _) => self.each::<64, avx512::Bytes>(&rows.bytes, matrix.bytes()),
            #[cfg(target_arch = "aarch64")]
            (Path::NeonDot, Layout::Words) => self.each::<16, portable::Words>(&rows.words, matrix.words()),
            #[cfg(target_arch = "aarch64")]
            (Path::NeonDot, _) => self.each::<16, neon::Bytes>(&rows.bytes, matrix.bytes()),
        }
    }
}

impl Call<'_> {
    /// Chunks of panels, of each chunk a block of rows after the other, of each block the panels.
    #[inline(always)]
    fn each<const C: usize, T: Tile<C>>(self, rows: &[T::Row], weights: &[T::Weight]) {
        let Self { matrix, rows: Rows { rows: count, stride, .. }, .. } = self;
        let panel = (matrix.groups * C * matrix.format.layout.group()).max(1);
        let panels = chunk_of(panel * size_of::<T::Weight>());
        let (mut sums, mut totals) = (Aligned([[0; C]; ROWS]), Aligned([[0.0; C]; ROWS]));
        // As if it were seen elsewhere, so that the compiler leaves it in memory, where it is added to block by block.
        std::hint::black_box(&mut totals);
        let block = Block { first: 0, rows: 0, column: 0 };
        let mut finish = Finish { call: self, sums: &mut sums.0, totals: &mut totals.0, block };
        let weights = &weights[..matrix.scales.len() / C * panel];
        for (chunk, weights) in weights.chunks(panels * panel).enumerate() {
            for (first, rows_of_block) in blocks(*count) {
                for (number, panel) in weights.chunks_exact(panel).enumerate() {
                    finish.block = Block { first, rows: rows_of_block, column: (chunk * panels + number) * C };
                    finish.of::<T>(&rows[first * stride..], panel);
                }
            }
        }
    }
}

/// Panels of a chunk, of panels of so many bytes.
#[inline(always)]
fn chunk_of(panel: usize) -> usize {
    (CHUNK / panel.max(1)).max(1)
}

/// Blocks of at most [`ROWS`] rows, as equal as may be: of a short one the inner loop would wait for its sums.
#[inline(always)]
fn blocks(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(ROWS);
    let (size, longer) = (rows / count.max(1), rows % count.max(1));
    (0..count).map(move |at| (at * size + at.min(longer), size + usize::from(at < longer)))
}

/// Results of a block of rows and a panel.
struct Finish<'a, const C: usize> {
    call: Call<'a>,
    /// Of one block of the matrix's rows, and of those so far.
    sums: &'a mut Sums<C>,
    totals: &'a mut [[f32; C]; ROWS],
    block: Block,
}

/// Some rows, and the first column of a panel.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    rows: usize,
    column: usize,
}

impl<const C: usize> Finish<'_, C> {
    #[inline(always)]
    fn of<T: Tile<C>>(&mut self, rows: &[T::Row], panel: &[T::Weight]) {
        let matrix = self.call.matrix;
        let (stride, group) = (self.call.rows.stride, matrix.format.layout.group());
        if matrix.block >= matrix.groups {
            sums_of::<C, T>(self.block.rows, Operands { rows, stride, panel, groups: matrix.groups }, self.sums);
            store(&mut self.call, self.block, self.sums);
            return;
        }
        for begin in (0..matrix.groups).step_by(matrix.block) {
            let groups = matrix.block.min(matrix.groups - begin);
            let (rows, panel) = (&rows[begin * group..], &panel[begin * group * C..]);
            sums_of::<C, T>(self.block.rows, Operands { rows, stride, panel, groups }, self.sums);
            for (totals, sums) in self.totals.iter_mut().zip(self.sums.iter()).take(self.block.rows) {
                for (total, &sum) in totals.iter_mut().zip(sums) {
                    *total = if begin == 0 { sum.float() } else { *total + sum.float() };
                }
            }
        }
        store(&mut self.call, self.block, self.totals);
    }
}

/// From sums, a row of them for each of the block's, to results.
#[inline(always)]
fn store<const C: usize, S: Sum>(call: &mut Call<'_>, block: Block, sums: &[[S; C]]) {
    match call.then {
        Then::Store => finish(call, block, sums, &Stored),
        Then::Gelu => finish(call, block, sums, &Activated),
        Then::Add(others) => finish(call, block, sums, &Added(others)),
    }
}

/// What becomes of results, which belong at a place of the output. No closure: one may be compiled as a function of its
/// own, for the program's instruction set instead of the path's.
trait End {
    fn of(&self, results: [f32; LANES], at: usize) -> [f32; LANES];
}

struct Stored;

struct Activated;

struct Added<'a>(&'a [f32]);

impl End for Stored {
    #[inline(always)]
    fn of(&self, results: [f32; LANES], _: usize) -> [f32; LANES] {
        results
    }
}

impl End for Activated {
    #[inline(always)]
    fn of(&self, mut results: [f32; LANES], _: usize) -> [f32; LANES] {
        for value in &mut results {
            *value = gelu(*value);
        }
        results
    }
}

impl End for Added<'_> {
    /// The others may be fewer than the lanes at the end of a row.
    #[inline(always)]
    fn of(&self, mut results: [f32; LANES], at: usize) -> [f32; LANES] {
        let others = &self.0[at..];
        if let Some(others) = others.first_chunk::<LANES>() {
            for at in 0..LANES {
                results[at] += others[at];
            }
        } else {
            results.iter_mut().zip(others).for_each(|(value, other)| *value += other);
        }
        results
    }
}

/// As [`store`]. What belongs to columns is read once for all rows.
#[inline(always)]
fn finish<const C: usize, S: Sum>(call: &mut Call<'_>, block: Block, sums: &[[S; C]], end: &impl End) {
    let Call { matrix, rows, .. } = *call;
    let panel = block.column..block.column + C;
    let columns = matrix.corrections[panel.clone()].as_chunks().0.iter();
    let columns = columns.zip(matrix.scales[panel.clone()].as_chunks().0).zip(matrix.bias[panel].as_chunks().0);
    let row_scales = &rows.scales[block.first..block.first + block.rows];
    for (lanes, ((corrections, scales), bias)) in columns.enumerate() {
        let column = block.column + lanes * LANES;
        let mut at = block.first * matrix.columns + column;
        // Whole lanes apart from the rest, whose length would make a call of each copy.
        if column + LANES <= matrix.columns {
            for (sums, &scale) in sums.iter().zip(row_scales) {
                if let (Some(sums), Some(out)) = (sums[lanes * LANES..].first_chunk(), call.out[at..].first_chunk_mut())
                {
                    *out = end.of(scaled(*sums, scale, *corrections, *scales, *bias), at);
                }
                at += matrix.columns;
            }
        } else if column < matrix.columns {
            for (sums, &scale) in sums.iter().zip(row_scales) {
                let out = &mut call.out[at..at + matrix.columns - column];
                if let Some(sums) = sums[lanes * LANES..].first_chunk() {
                    let results = end.of(scaled(*sums, scale, *corrections, *scales, *bias), at);
                    out.copy_from_slice(&results[..out.len()]);
                }
                at += matrix.columns;
            }
        }
    }
}

/// Sums begin at a cache line, so that vectors of them do not cross one.
#[repr(align(64))]
struct Aligned<T>(T);

/// What integer sums have become.
trait Sum: Copy {
    /// As a float, with the correction for the rows' offset.
    fn corrected(self, correction: i32) -> f32;
}

impl Sum for i32 {
    #[inline(always)]
    fn corrected(self, correction: i32) -> f32 {
        self.wrapping_add(correction).float()
    }
}

/// Blocks are of words alone, which have no offset.
impl Sum for f32 {
    #[inline(always)]
    fn corrected(self, _: i32) -> f32 {
        self
    }
}

/// Rounded to the nearest float.
trait AsFloat {
    fn float(self) -> f32;
}

impl AsFloat for i32 {
    #[inline(always)]
    fn float(self) -> f32 {
        self as f32
    }
}

#[inline(always)]
fn sums_of<const C: usize, T: Tile<C>>(rows: usize, operands: Operands<'_, T::Row, T::Weight>, out: &mut Sums<C>) {
    match rows {
        1 => T::sums::<1>(operands, out),
        2 => T::sums::<2>(operands, out),
        3 => T::sums::<3>(operands, out),
        4 => T::sums::<4>(operands, out),
        5 => T::sums::<5>(operands, out),
        _ => T::sums::<ROWS>(operands, out),
    }
}

#[inline(always)]
fn scaled<S: Sum>(
    sums: [S; LANES],
    row: f32,
    corrections: [i32; LANES],
    scales: [f32; LANES],
    bias: [f32; LANES],
) -> [f32; LANES] {
    let mut results = [0.0; LANES];
    for at in 0..LANES {
        results[at] = sums[at].corrected(corrections[at]).mul_add(row * scales[at], bias[at]);
    }
    results
}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
pub(crate) use amx::pace as tile_pace;

#[cfg(test)]
mod tests;
