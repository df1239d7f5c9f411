//! Logits and scores: finite numbers with a total order.
//!
//! Owns the finiteness check and the activation. It must not know how a number was computed or how it is printed.

use std::cmp::Ordering;

/// The raw output of the model for one pair: a finite `f32`, above that of a document without text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logit(f32);

impl Logit {
    /// What a document without text gets instead of a model's output: below every other logit, 0 through a sigmoid, and
    /// small enough for callers who apply one of their own (`exp(500)` is a finite double; a half float holds it exactly).
    pub const NO_TEXT: Self = Self(-500.0);

    /// The lowest of all others.
    const LOWEST: f32 = Self::NO_TEXT.0.next_up();

    /// Outputs below are drawn up towards it, so that the lowest is still above a document without text.
    const DRAWN_UP_BELOW: f32 = -400.0;

    /// Takes a logit as it was given out before; `None` when it is NaN or infinite.
    pub fn new(value: f32) -> Option<Self> {
        // Adding zero turns -0.0 into 0.0, so that equal numbers are equal under the total order too.
        value.is_finite().then_some(Self(value.max(Self::LOWEST) + 0.0))
    }

    /// Takes a model's output; `None` when it is NaN or infinite, which is an error of that document and never an order.
    ///
    /// Trained cross-encoders stay within some tens of zero. A model that goes below -400 keeps its order: what is below
    /// is squeezed into the hundred that is left above a document without text.
    #[expect(clippy::cast_possible_truncation, reason = "the number lies between -500 and -400")]
    pub fn of_output(output: f32) -> Option<Self> {
        if output >= Self::DRAWN_UP_BELOW || !output.is_finite() {
            return Self::new(output);
        }
        let (bound, least) = (f64::from(Self::DRAWN_UP_BELOW), f64::from(Self::NO_TEXT.0));
        Self::new((least + (bound - least) * (bound / f64::from(output))) as f32)
    }

    /// The number itself.
    pub const fn get(self) -> f32 {
        self.0
    }
}

impl Eq for Logit {}

impl PartialOrd for Logit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Logit {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// What turns a logit into the score that a caller sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `1 / (1 + exp(-x))`, into \[0, 1\].
    #[default]
    Sigmoid,
    /// The logit as it is.
    Identity,
}

impl Activation {
    /// How far two scores can be apart at most; `None` where there is no bound.
    pub const fn spread(self) -> Option<f32> {
        match self {
            Self::Sigmoid => Some(1.0),
            Self::Identity => None,
        }
    }

    /// Applies the activation. Monotonic: it never changes an order, though far from zero it can make equal scores out
    /// of different logits, which is why ranking compares logits.
    pub fn apply(self, logit: Logit) -> f32 {
        match self {
            Self::Sigmoid => sigmoid(logit.get()),
            Self::Identity => logit.get(),
        }
    }
}

/// The logistic function, computed in 64 bits and rounded once.
#[expect(clippy::cast_possible_truncation, reason = "the one rounding to f32 is the point")]
fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(x)).exp())) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn non_finite_outputs_are_no_logits() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(Logit::new(bad).is_none(), "{bad} must not become a logit");
            assert!(Logit::of_output(bad).is_none(), "{bad} must not become a logit");
        }
    }

    // Case B2.
    #[test]
    fn no_text_is_below_every_output_and_none_of_it_is_left_by_a_sigmoid() {
        for output in [f32::MIN, -1.0e30, -65_504.0, -500.0, -499.0, -11.0, 0.0] {
            for read in [Logit::of_output, Logit::new] {
                assert!(Logit::NO_TEXT < read(output).unwrap(), "{output}");
            }
        }
        assert_eq!(Activation::Sigmoid.apply(Logit::NO_TEXT).to_bits(), 0.0_f32.to_bits());
        let none = f64::from(Logit::NO_TEXT.get());
        assert!((-none).exp().is_finite() && 1.0 / (1.0 + (-none).exp()) < 1e-200, "a caller's own sigmoid");
    }

    // Case B2.
    #[test]
    fn outputs_of_any_size_keep_their_order() {
        let outputs = [f32::MIN, -1e7, -65_504.0, -65_000.0, -501.0, -500.0, -400.1, -400.0, -399.9, 0.0, f32::MAX];
        let logits = outputs.map(|output| Logit::of_output(output).unwrap());
        assert!(logits.is_sorted_by(|a, b| a < b), "{logits:?}");
        for logit in logits {
            assert_eq!(Logit::new(logit.get()), Some(logit), "what was given out is read back as it is");
        }
        assert_eq!(Logit::of_output(-400.0).unwrap().get().to_bits(), (-400.0_f32).to_bits(), "these are as they are");
    }

    proptest! {
        #[test]
        fn no_output_overtakes_a_higher_one(a in any::<f32>(), b in any::<f32>()) {
            let (Some(low), Some(high)) = (Logit::of_output(a.min(b)), Logit::of_output(a.max(b))) else { return Ok(()) };
            prop_assert!(Logit::NO_TEXT < low && low <= high, "{:?} {:?}", low, high);
        }
    }

    #[test]
    fn sigmoid_is_half_at_zero_and_stays_within_bounds() {
        for (logit, score) in [(0.0, 0.5), (-200.0, 0.0), (200.0, 1.0)] {
            let got = Activation::Sigmoid.apply(Logit::new(logit).unwrap());
            assert!((got - score).abs() < 1e-7, "sigmoid({logit}) is {got}, not {score}");
        }
    }
}
