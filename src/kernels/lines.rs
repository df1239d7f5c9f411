//! Buffers that begin at a cache line, so that vectors and rows of tiles cross none.
//!
//! Owns where they begin, on which nothing but speed depends.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the largest vector.
pub(crate) const LINE: usize = 64;

/// So many elements, kept from use to use. A clone may begin anywhere until it is sized again.
#[derive(Clone)]
pub(crate) struct Lines<T> {
    values: Vec<T>,
    first: usize,
    count: usize,
}

impl<T: Copy + Default> Lines<T> {
    /// Makes it so many elements; what they are is left from an earlier use.
    pub(crate) fn sized(&mut self, count: usize) -> &mut [T] {
        let room = count + LINE / size_of::<T>();
        if self.values.len() < room {
            self.values.resize(room, T::default());
        }
        // No place is better than the first where none is aligned.
        let first = self.values.as_ptr().align_offset(LINE);
        (self.first, self.count) = (if first <= LINE / size_of::<T>() { first } else { 0 }, count);
        self
    }
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { values: Vec::new(), first: 0, count: 0 }
    }
}

impl<T> Deref for Lines<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.values[self.first..self.first + self.count]
    }
}

impl<T> DerefMut for Lines<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.first..self.first + self.count]
    }
}

impl<T: PartialEq> PartialEq for Lines<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: fmt::Debug> fmt::Debug for Lines<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_begin_at_a_line_whatever_their_size() {
        let mut lines = Lines::<f32>::default();
        assert!(lines.is_empty());
        for count in [1, 1000, 3, 0, 5000] {
            assert_eq!(lines.sized(count).len(), count);
            assert_eq!((lines.as_ptr() as usize % LINE, lines.len()), (0, count));
        }
        lines.sized(2).copy_from_slice(&[1.0, 2.0]);
        assert_eq!(*lines.clone(), [1.0, 2.0]);
    }
}
