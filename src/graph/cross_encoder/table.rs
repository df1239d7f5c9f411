//! Matrices of weights: floats, or integers and the floats that they stand for.
//!
//! Owns the rounding of floats to 8-bit integers. It must not know what a matrix is multiplied with.

/// A matrix of weights, row-major, and the integers it came from where the source is quantised.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// The values, dequantised where they were integers.
    pub values: Vec<f32>,
    /// The integers, where the source held integers.
    pub integers: Option<Integers>,
}

/// Signed 8-bit weights: a value is its integer less the zero point, times its column's scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Integers {
    /// As many as the table has values.
    pub values: Vec<i8>,
    /// The integer that stands for zero.
    pub zero: i8,
    /// One scale, or one a column.
    pub scales: Vec<f32>,
}

impl Table {
    /// A table of floats.
    pub fn floats(rows: usize, columns: usize, values: Vec<f32>) -> Self {
        debug_assert_eq!(rows * columns, values.len());
        Self { rows, columns, values, integers: None }
    }

    /// A table of integers and the floats that they stand for.
    pub fn quantised(rows: usize, columns: usize, integers: Integers) -> Self {
        let scale = |column: usize| integers.scales[column % integers.scales.len()];
        let values = integers
            .values
            .iter()
            .enumerate()
            .map(|(at, &value)| (f32::from(value) - f32::from(integers.zero)) * scale(at % columns))
            .collect();
        Self { rows, columns, values, integers: Some(integers) }
    }

    /// The table without its first rows.
    #[must_use]
    pub fn without_first_rows(mut self, count: usize) -> Self {
        let gone = count.min(self.rows);
        self.rows -= gone;
        self.values.drain(..gone * self.columns);
        if let Some(integers) = &mut self.integers {
            integers.values.drain(..gone * self.columns);
        }
        self
    }

    /// The table with the first row of another one, as wide, added to every row.
    #[must_use]
    pub fn plus_first_row_of(mut self, other: &Self) -> Self {
        let row = other.values.get(..other.columns).unwrap_or_default();
        for values in self.values.chunks_mut(self.columns.max(1)) {
            values.iter_mut().zip(row).for_each(|(value, added)| *value += added);
        }
        self.integers = None;
        self
    }

    /// The table's integers where they are symmetric about zero, or the nearest ones that are, with a scale a column.
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of a byte first")]
    pub fn to_integers(&self) -> Integers {
        if let Some(integers) = self.integers.as_ref().filter(|integers| integers.zero == 0) {
            return integers.clone();
        }
        let mut scales = vec![0.0_f32; self.columns];
        for row in self.values.chunks_exact(self.columns) {
            for (scale, value) in scales.iter_mut().zip(row) {
                *scale = scale.max(value.abs() / 127.0);
            }
        }
        // A column of zeros has no scale of its own; any positive one gives zeros again.
        scales.iter_mut().filter(|scale| **scale <= f32::MIN_POSITIVE).for_each(|scale| *scale = 1.0);
        let round = |(at, value): (usize, &f32)| (value / scales[at % self.columns]).round().clamp(-127.0, 127.0) as i8;
        let values = self.values.iter().enumerate().map(round).collect();
        Integers { values, zero: 0, scales }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn quantising_errs_by_half_a_step_at_most(values in prop::collection::vec(-3.0_f32..3.0, 12)) {
            let table = Table::floats(4, 3, values);
            let back = Table::quantised(4, 3, table.to_integers());
            let integers = back.integers.as_ref().unwrap();
            for (at, (a, b)) in table.values.iter().zip(&back.values).enumerate() {
                prop_assert!((a - b).abs() <= integers.scales[at % 3] * 0.5001, "{} against {}", a, b);
            }
        }
    }

    #[test]
    fn rows_that_are_given_up_leave_values_and_integers_alike() {
        let integers = Integers { values: vec![1, 2, 3, 4, 5, 6], zero: 0, scales: vec![0.5] };
        let table = Table::quantised(3, 2, integers).without_first_rows(1);
        assert_eq!((table.rows, table.values.as_slice()), (2, [1.5, 2.0, 2.5, 3.0].as_slice()));
        assert_eq!(table.integers.unwrap().values, [3, 4, 5, 6]);
    }
}
