//! Rotary positions: pairs of a head's values turned by angles that grow with the token's place.

/// Cosines and sines by place.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    of: Vec<f32>,
    half: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Table {
    /// The table of these frequencies among those that are kept, for this many places at least; of more than `most` the
    /// oldest goes.
    pub(super) fn of<'t>(kept: &'t mut Vec<Self>, most: usize, frequencies: &[f32], places: usize) -> &'t Self {
        let at = kept.iter().position(|table| same(&table.of, frequencies)).unwrap_or_else(|| {
            if kept.len() >= most {
                kept.remove(0);
            }
            kept.push(Self { of: frequencies.to_vec(), half: frequencies.len(), ..Self::default() });
            kept.len() - 1
        });
        kept[at].reach(frequencies, places);
        &kept[at]
    }

    /// Makes the table reach this many places.
    fn reach(&mut self, frequencies: &[f32], places: usize) {
        let known = self.cosines.len() / self.half.max(1);
        for place in known..places {
            for &frequency in frequencies {
                // Rounded to 32 bits before the cosine, as the reference implementations do.
                let angle = f64::from(place as f32 * frequency);
                #[expect(clippy::cast_possible_truncation, reason = "a table of floats")]
                let (sine, cosine) = (angle.sin() as f32, angle.cos() as f32);
                self.cosines.push(cosine);
                self.sines.push(sine);
            }
        }
    }

    /// Turns a head's values at a place; the table of no frequencies turns nothing.
    #[inline(always)]
    pub(super) fn turn(&self, values: &mut [f32], place: usize) {
        let half = self.half;
        if half == 0 {
            return;
        }
        let (cosines, sines) = (&self.cosines[place * half..][..half], &self.sines[place * half..][..half]);
        let (first, second) = values.split_at_mut(half);
        for (((a, b), cosine), sine) in first.iter_mut().zip(&mut second[..half]).zip(cosines).zip(sines) {
            (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
        }
    }
}

/// Whether two lists have the same bits.
fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}
