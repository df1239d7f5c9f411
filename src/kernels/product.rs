//! Products of a few rows and a matrix in floats: the inner loop of attention, and how its operands are laid out.
//!
//! Owns the layouts and the order of a sum's terms, one after the other in every path, so that a result does not depend
//! on the rows beside it. The inner loops, one an instruction set, stand below. It must not know what is multiplied.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
#[cfg(target_arch = "x86_64")]
mod vectors;

use crate::exp::exp;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// What a block of rows is multiplied with.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// Its elements from the first that is read: panel `p` has `C` columns, of which row `k` begins at `p · panel + k · stride`.
    pub(crate) values: &'a [f32],
    /// Rows, which are the terms of a sum.
    pub(crate) rows: usize,
    /// Elements from row to row.
    pub(crate) stride: usize,
    /// Panels, and elements from one to the next.
    pub(crate) panels: usize,
    pub(crate) panel: usize,
}

impl Matrix<'_> {
    /// Elements that are read, to the last.
    fn extent<const C: usize>(&self) -> usize {
        if self.rows == 0 || self.panels == 0 {
            return 0;
        }
        let (panels, rows) =
            ((self.panels - 1).saturating_mul(self.panel), (self.rows - 1).saturating_mul(self.stride));
        panels.saturating_add(rows).saturating_add(C)
    }
}

/// An inner loop for panels of `C` columns.
///
/// A block of `R` rows is `[columns / C, R, C]`, rounded up to whole panels: that of a product's results is that of the next
/// product's factors, and what is read one after the other lies together.
pub(crate) trait Tile<const C: usize> {
    /// Rows of a block at most.
    const ROWS: usize;
    /// Whether the path multiplies and adds in one instruction.
    const FMA: bool;

    /// `out[p, r, c] = Σ_k block[k / C, r, k % C] · matrix[p, k, c]` for a block of so many rows; of the block's last panel
    /// as many columns are read as the matrix has rows.
    fn multiply(rows: usize, block: &[f32], matrix: Matrix<'_>, out: &mut [f32]);

    /// Turns the scores of a block into weights that are not normalised yet; `sums`, one a row, become theirs.
    ///
    /// Scores are gathered lane by lane, a lane for each column of a panel, then the lanes by halves.
    #[inline(always)]
    fn softmax(block: &mut [f32], sums: &mut [f32]) {
        let rows = sums.len();
        for (row, sum) in sums.iter_mut().enumerate() {
            let mut most = [f32::NEG_INFINITY; C];
            for scores in row_of::<C>(block, rows, row) {
                for at in 0..C {
                    most[at] = greater(most[at], scores[at]);
                }
            }
            let most = folded(most, greater);
            let mut lanes = [0.0_f32; C];
            for scores in row_of_mut::<C>(block, rows, row) {
                *scores =
                    if Self::FMA { weights::<C, true>(*scores, most) } else { weights::<C, false>(*scores, most) };
                for at in 0..C {
                    lanes[at] += scores[at];
                }
            }
            *sum = folded(lanes, |a, b| a + b);
        }
    }

    /// Columns of a panel out of rows: `panel[k, first + r] = rows[r, k]` for eight rows, `stride` elements apart, of `width`
    /// values each.
    #[inline(always)]
    fn turn(rows: &[f32], stride: usize, width: usize, panel: &mut [f32], first: usize) {
        turn_from::<C>(rows, stride, 0..width, panel, (first, TURNED));
    }
}

/// Rows that [`Tile::turn`] takes.
pub(crate) const TURNED: usize = 8;

/// Some values of some rows as columns of a panel, one by one; the columns' first and their number.
#[inline(always)]
pub(crate) fn turn_from<const C: usize>(
    rows: &[f32],
    stride: usize,
    values: std::ops::Range<usize>,
    panel: &mut [f32],
    (first, count): (usize, usize),
) {
    for row in 0..count {
        for (at, &value) in rows[row * stride..][values.clone()].iter().enumerate() {
            panel[(values.start + at) * C + first + row] = value;
        }
    }
}

/// Stops where a block, a matrix and the room for results are too short for an inner loop of so many rows.
#[inline(always)]
fn check<const C: usize>(rows: usize, block: &[f32], matrix: &Matrix<'_>, out: &[f32]) {
    let factors = matrix.rows.div_ceil(C).saturating_mul(rows * C);
    assert!(
        block.len() >= factors
            && matrix.values.len() >= matrix.extent::<C>()
            && out.len() >= matrix.panels.saturating_mul(rows * C),
        "operands that are too short"
    );
}

/// Weights of some scores, of which this is the greatest.
#[inline(always)]
fn weights<const C: usize, const FMA: bool>(mut scores: [f32; C], most: f32) -> [f32; C] {
    for score in &mut scores {
        *score = exp::<FMA>(*score - most);
    }
    scores
}

/// The greater one; the first where the second is no number.
#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// One value out of all lanes, a power of two of them: the upper half joins the lower until one is left.
#[inline(always)]
fn folded<const C: usize>(mut lanes: [f32; C], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = C / 2;
    while half > 0 {
        for at in 0..half {
            lanes[at] = join(lanes[at], lanes[at + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// A row of a block of so many, from panel to panel.
#[inline(always)]
pub(crate) fn row_of<const C: usize>(block: &[f32], rows: usize, row: usize) -> impl Iterator<Item = &[f32; C]> {
    block.chunks_exact(rows * C).filter_map(move |panel| panel[row * C..].first_chunk())
}

/// As [`row_of`], to be changed.
#[inline(always)]
pub(crate) fn row_of_mut<const C: usize>(
    block: &mut [f32],
    rows: usize,
    row: usize,
) -> impl Iterator<Item = &mut [f32; C]> {
    block.chunks_exact_mut(rows * C).filter_map(move |panel| panel[row * C..].first_chunk_mut())
}

/// Writes a row of a block, times a factor.
#[inline(always)]
pub(crate) fn put_row<const C: usize>(values: &[f32], factor: f32, block: &mut [f32], rows: usize, row: usize) {
    let (whole, rest) = values.as_chunks::<C>();
    let mut into = row_of_mut::<C>(block, rows, row);
    // In this order: where the values end, no row of the block is taken for them.
    for (values, into) in whole.iter().zip(into.by_ref()) {
        *into = values.map(|value| value * factor);
    }
    if let Some(into) = into.next() {
        into.iter_mut().zip(rest).for_each(|(into, value)| *into = value * factor);
    }
}

#[cfg(test)]
mod tests;
