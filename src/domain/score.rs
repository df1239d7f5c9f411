//! Logits and scores: finite numbers with a total order.
//!
//! Owns the finiteness check and the activation. It must not know how a number was computed or how it is printed.

use std::cmp::Ordering;

/// The raw output of the model for one pair: any finite `f32`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logit(f32);

impl Logit {
    /// What a document without text gets instead of a model's output: below whatever a model puts out, finite so that it
    /// can be printed and calculated with, and 0 through a sigmoid.
    pub const NO_TEXT: Self = Self(-3.0e38);

    /// Takes a model output; `None` when it is NaN or infinite, which is an error of that document and never an order.
    pub fn new(value: f32) -> Option<Self> {
        // Adding zero turns -0.0 into 0.0, so that equal numbers are equal under the total order too.
        value.is_finite().then_some(Self(value + 0.0))
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
    use super::*;

    #[test]
    fn non_finite_outputs_are_no_logits() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(Logit::new(bad).is_none(), "{bad} must not become a logit");
        }
    }

    // Case B2.
    #[test]
    fn no_text_is_below_every_output_and_none_of_it_is_left_by_a_sigmoid() {
        for output in [-1.0e30, -65_504.0, -11.0, 0.0] {
            assert!(Logit::NO_TEXT < Logit::new(output).unwrap(), "{output}");
        }
        assert_eq!(Activation::Sigmoid.apply(Logit::NO_TEXT).to_bits(), 0.0_f32.to_bits());
        assert_eq!(Logit::new(Logit::NO_TEXT.get()), Some(Logit::NO_TEXT));
    }

    #[test]
    fn sigmoid_is_half_at_zero_and_stays_within_bounds() {
        for (logit, score) in [(0.0, 0.5), (-200.0, 0.0), (200.0, 1.0)] {
            let got = Activation::Sigmoid.apply(Logit::new(logit).unwrap());
            assert!((got - score).abs() < 1e-7, "sigmoid({logit}) is {got}, not {score}");
        }
    }
}
