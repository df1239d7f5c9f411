//! What a graph is written for: the arrangement of its inputs and its arithmetic.
//!
//! Owns these choices and their words in a written graph's metadata. It must not know how a graph is written.

use std::fmt;

/// What to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The arrangement of the inputs.
    pub layout: Layout,
    /// The arithmetic.
    pub precision: Precision,
    /// Keep the first layers only: a shape for benchmarks, whose scores mean nothing. `None` keeps all.
    pub layers: Option<usize>,
}

/// How pairs enter a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `input_ids`, `attention_mask` and `token_type_ids`, each `[batch, sequence]`, as exporters write it.
    Padded,
    /// Pairs one after the other, without padding: `input_ids`, `token_type_ids` and `position_ids`, each `[tokens]`, and
    /// `lengths`, `[slots]`, whose sum is the tokens. Products run over all tokens at once, attention over one pair at a
    /// time, so a pair's logit does not depend on its neighbours. A free slot holds one padding token.
    Packed {
        /// Pairs of one forward pass, at least 1.
        slots: usize,
    },
    /// Pairs one after the other, any number of them, for NVIDIA GPUs: 32-bit integers, with the bounds and offsets that
    /// ONNX Runtime's packed operators read. Kernels differ with the number of tokens, so a pair's logit depends on its
    /// neighbours by rounding.
    Ragged,
}

/// The arithmetic of a graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Precision {
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats; logits leave as 32-bit ones.
    Fp16,
    /// 8-bit integers in the encoder's products, 32-bit floats elsewhere.
    Int8 {
        /// How weights are stored.
        weights: Weights,
        /// How the rows that meet them are quantised.
        activations: Activations,
    },
}

/// The storage of 8-bit weights. The integers are the same, and so are the products where they do not saturate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weights {
    /// Signed: the fast kernels of CPUs with VNNI or AMX, exact there; on x86 without VNNI products saturate.
    Signed,
    /// Moved by 128 into unsigned bytes: exact everywhere, and slower where VNNI is at hand.
    Unsigned,
}

/// The quantisation of the rows that enter an 8-bit product.
#[derive(Clone, Debug, PartialEq)]
pub enum Activations {
    /// One range for all tokens, found in each forward pass: exact for one pair a forward only.
    PerPair,
    /// One symmetric range a token: a token's row depends on nothing else, so pairs may share a forward.
    PerToken,
    /// Ranges observed beforehand on real pairs: pairs may share a forward.
    Static(Ranges),
    /// One symmetric range a token, by operators of our own that compute a whole layer: exact integers on every processor,
    /// however weights are stored.
    Fused,
}

/// Observed ranges of everything that enters a product, a layer an entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranges {
    /// The first layer first.
    pub layers: Vec<LayerRanges>,
}

/// Observed ranges of one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerRanges {
    /// Rows that enter the query, key and value products.
    pub attention: Range,
    /// Rows that enter attention's output product.
    pub context: Range,
    /// Rows that enter the feed-forward part's first product.
    pub up: Range,
    /// Rows that enter its second product.
    pub down: Range,
}

/// The least and the largest value seen; zero always lies within.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    /// At most zero.
    pub low: f32,
    /// At least zero.
    pub high: f32,
}

/// Where a written graph comes from; it is kept in the graph's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// SHA-256 of the source's bytes, in hexadecimal.
    pub source_sha256: String,
    /// The tool and its version.
    pub tool: String,
}

impl Range {
    /// The range with a value in it; what is not finite is left out.
    #[must_use]
    pub fn with(self, value: f32) -> Self {
        if value.is_finite() { Self { low: self.low.min(value), high: self.high.max(value) } } else { self }
    }

    /// The scale and zero point that map the range onto an unsigned byte.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte first")]
    pub fn quantisation(self) -> (f32, u8) {
        let scale = ((self.high - self.low) / 255.0).max(f32::MIN_POSITIVE);
        (scale, (-self.low / scale).round().clamp(0.0, 255.0) as u8)
    }
}

impl Ranges {
    /// Takes in what one run of an observing graph answered: a least and a largest value for each product's input, in the
    /// order in which they are computed.
    pub fn widen(&mut self, extremes: &[f32]) {
        let layers = extremes.as_chunks::<8>().0;
        if self.layers.len() < layers.len() {
            self.layers.resize_with(layers.len(), LayerRanges::default);
        }
        for (ranges, extremes) in self.layers.iter_mut().zip(layers) {
            let LayerRanges { attention, context, up, down } = ranges;
            for (range, ends) in [attention, context, up, down].into_iter().zip(extremes.as_chunks::<2>().0) {
                *range = range.with(ends[0]).with(ends[1]);
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.precision {
            Precision::Fp32 => write!(f, "fp32")?,
            Precision::Fp16 => write!(f, "fp16")?,
            Precision::Int8 { weights, activations } => {
                let weights = if *weights == Weights::Signed { "s8" } else { "u8" };
                match activations {
                    Activations::PerPair => write!(f, "int8-{weights}-per-pair")?,
                    Activations::PerToken => write!(f, "int8-{weights}-per-token")?,
                    Activations::Static(_) => write!(f, "int8-{weights}-static")?,
                    // Weights are laid out when they are loaded.
                    Activations::Fused => write!(f, "int8-fused")?,
                }
            }
        }
        match self.layout {
            Layout::Padded => write!(f, ".padded")?,
            // What earlier releases wrote under the plain name computes the last layer's keys and values as well.
            Layout::Packed { slots } if self.precision == Precision::Fp32 => write!(f, ".packed{slots}-absorbed")?,
            Layout::Packed { slots } => write!(f, ".packed{slots}")?,
            // With operators of our own: what earlier releases wrote under the other name is slower.
            Layout::Ragged if self.precision == Precision::Fp16 => write!(f, ".ragged-own")?,
            Layout::Ragged => write!(f, ".ragged")?,
        }
        self.layers.map_or(Ok(()), |layers| write!(f, ".layers{layers}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn quantisation_covers_the_whole_range_and_holds_zero_exactly(low in -50.0_f32..0.0, high in 0.001_f32..50.0) {
            let range = Range::default().with(low).with(high);
            let (scale, zero) = range.quantisation();
            let least = -f32::from(zero) * scale;
            let most = (255.0 - f32::from(zero)) * scale;
            prop_assert!(least <= low + scale * 0.51 && most >= high - scale * 0.51, "{least} {most}");
        }
    }

    #[test]
    fn values_that_are_not_finite_leave_a_range_as_it_is() {
        let range = Range::default().with(1.0);
        assert_eq!(range.with(f32::NAN).with(f32::INFINITY), range);
    }

    #[test]
    fn ranges_grow_with_every_run_and_never_shrink() {
        let mut ranges = Ranges::default();
        ranges.widen(&[-1.0, 1.0, -2.0, 2.0, -3.0, 3.0, -4.0, 4.0]);
        ranges.widen(&[-0.5, 5.0, 0.0, 0.0, 0.0, 0.0, -9.0, 0.0]);
        let [layer] = ranges.layers.as_slice() else { panic!("one layer was observed") };
        assert_eq!((layer.attention, layer.down), (Range { low: -1.0, high: 5.0 }, Range { low: -9.0, high: 4.0 }));
        assert_eq!(layer.up, Range { low: -3.0, high: 3.0 });
    }

    #[test]
    fn targets_have_names_that_tell_them_apart() {
        let int8 = Precision::Int8 { weights: Weights::Signed, activations: Activations::PerToken };
        let target = Target { layout: Layout::Packed { slots: 4 }, precision: int8, layers: Some(6) };
        assert_eq!(target.to_string(), "int8-s8-per-token.packed4.layers6");
        let target = Target { layout: Layout::Padded, precision: Precision::Fp32, layers: None };
        assert_eq!(target.to_string(), "fp32.padded");
        let target = Target { layout: Layout::Packed { slots: 4 }, precision: Precision::Fp32, layers: None };
        assert_eq!(target.to_string(), "fp32.packed4-absorbed");
    }
}
