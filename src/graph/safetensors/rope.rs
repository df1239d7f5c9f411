//! Rotary positions as decoders' configurations describe them, with the scalings that stretch them over longer texts.
//!
//! Owns what `rope_theta`, `rope_scaling` and `rope_parameters` mean: the formulas are those of transformers'
//! `modeling_rope_utils.py`. It must not know tensors.

use std::f32::consts::TAU;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{NotReadable, rotary};

/// What transformers takes for the base where nothing says it.
const USUAL_THETA: f32 = 10_000.0;

/// The fields of a configuration that are about places.
#[derive(Debug, Deserialize)]
pub(super) struct Places {
    max_position_embeddings: usize,
    rope_theta: Option<f32>,
    /// Before transformers 5.
    rope_scaling: Option<Rope>,
    /// Since then.
    rope_parameters: Option<Rope>,
    original_max_position_embeddings: Option<usize>,
    partial_rotary_factor: Option<f32>,
}

/// How places become angles.
#[derive(Debug, Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "names of config.json")]
struct Rope {
    rope_type: Option<String>,
    /// The name of `rope_type` in older files; some have both.
    #[serde(rename = "type")]
    kind: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    original_max_position_embeddings: Option<usize>,
    partial_rotary_factor: Option<f32>,
    attention_factor: Option<f32>,
    beta_fast: Option<f32>,
    beta_slow: Option<f32>,
    mscale: Option<f32>,
    mscale_all_dim: Option<f32>,
    truncate: Option<bool>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    /// Parameters of each kind of layer.
    full_attention: Option<IgnoredAny>,
    sliding_attention: Option<IgnoredAny>,
}

/// Rotary positions of a head.
#[derive(Debug, PartialEq)]
pub(super) struct Turns {
    /// Radians a token, one for each of the first half of a head's values.
    pub(super) frequencies: Vec<f32>,
    /// What turned queries are multiplied with, and turned keys too.
    pub(super) factor: f32,
}

impl Places {
    /// Tokens of a pair at most.
    pub(super) fn longest(&self) -> usize {
        self.max_position_embeddings
    }

    /// The rotary positions of heads of a width.
    pub(super) fn turns(&self, width: usize) -> Result<Turns, NotReadable> {
        super::longest(self.max_position_embeddings)?;
        let none = Rope::default();
        let rope = self.rope_scaling.as_ref().or(self.rope_parameters.as_ref()).unwrap_or(&none);
        if rope.full_attention.is_some() || rope.sliding_attention.is_some() {
            return Err(unread("parameters of each kind of layer", "one set for all layers"));
        }
        let part = rope.partial_rotary_factor.or(self.partial_rotary_factor).unwrap_or(1.0);
        if part < 1.0 {
            return Err(unread(&format!("partial_rotary_factor {part}"), "1: whole heads are turned"));
        }
        let theta = rope.rope_theta.or(self.rope_theta).unwrap_or(USUAL_THETA);
        let plain = rotary(theta, width);
        let turns = match rope.rope_type.as_deref().or(rope.kind.as_deref()).unwrap_or("default") {
            // `dynamic` scales beyond `max_position_embeddings`, where no pair reaches.
            "default" | "dynamic" => Turns { frequencies: plain, factor: 1.0 },
            "linear" => {
                let by = rope.number("factor", rope.factor)?;
                Turns { frequencies: plain.iter().map(|frequency| frequency / by).collect(), factor: 1.0 }
            }
            "llama3" => Turns { frequencies: self.llama3(rope, &plain)?, factor: 1.0 },
            "yarn" => self.yarn(rope, theta, width),
            other => return Err(unread(other, "default, linear, dynamic, llama3, yarn")),
        };
        let is_usable = |value: &f32| value.is_finite() && *value >= 0.0;
        if !turns.frequencies.iter().all(is_usable) || !is_usable(&turns.factor) {
            return Err(unread("numbers that give no angles", "a base and factors above zero"));
        }
        Ok(turns)
    }

    /// Places that the model was trained with before it was stretched.
    fn original(&self, rope: &Rope) -> f32 {
        let given = self.original_max_position_embeddings.or(rope.original_max_position_embeddings);
        given.unwrap_or(self.max_position_embeddings) as f32
    }

    /// Long waves are stretched, short ones stay, those between are blended (`_compute_llama3_parameters`).
    fn llama3(&self, rope: &Rope, plain: &[f32]) -> Result<Vec<f32>, NotReadable> {
        let by = rope.number("factor", rope.factor)?;
        let low = rope.number("low_freq_factor", rope.low_freq_factor)?;
        let high = rope.number("high_freq_factor", rope.high_freq_factor)?;
        let original = self.original(rope);
        let scaled = |&frequency: &f32| {
            let wave = TAU / frequency;
            if wave < original / high {
                frequency
            } else if wave > original / low {
                frequency / by
            } else {
                let smooth = (original / wave - low) / (high - low);
                (1.0 - smooth) * frequency / by + smooth * frequency
            }
        };
        Ok(plain.iter().map(scaled).collect())
    }

    /// Peng et al. 2023, as `_compute_yarn_parameters` has it.
    fn yarn(&self, rope: &Rope, theta: f32, width: usize) -> Turns {
        let original = self.original(rope);
        let by = rope.factor.unwrap_or(self.max_position_embeddings as f32 / original);
        let scaled = |scale: f32| if by <= 1.0 { 1.0 } else { 0.1 * scale * by.ln() + 1.0 };
        let factor = rope.attention_factor.unwrap_or(match (rope.mscale, rope.mscale_all_dim) {
            (Some(some), Some(all)) if some > 0.0 && all > 0.0 => scaled(some) / scaled(all),
            _ => scaled(1.0),
        });
        let given = |value: Option<f32>, usual: f32| value.filter(|&value| value > 0.0).unwrap_or(usual);
        let (fast, slow) = (given(rope.beta_fast, 32.0), given(rope.beta_slow, 1.0));
        // In 64 bits, as the library has it: a bound is rounded to a whole number.
        let at = |turns: f32| {
            let waves = f64::from(original) / (f64::from(turns) * std::f64::consts::TAU);
            width as f64 * waves.ln() / (2.0 * f64::from(theta).ln())
        };
        let (mut low, mut high) = (at(fast), at(slow));
        if rope.truncate.unwrap_or(true) {
            (low, high) = (low.floor(), high.ceil());
        }
        #[expect(clippy::cast_possible_truncation, reason = "angles are floats")]
        let (low, mut high) = (low.max(0.0) as f32, high.min(width as f64 - 1.0) as f32);
        if (high - low).abs() < f32::MIN_POSITIVE {
            high += 0.001;
        }
        let blended = |(at, frequency): (usize, f32)| {
            let stretched = ((at as f32 - low) / (high - low)).clamp(0.0, 1.0);
            frequency / by * stretched + frequency * (1.0 - stretched)
        };
        let frequencies = rotary(theta, width).into_iter().enumerate().map(blended).collect();
        Turns { frequencies, factor }
    }
}

impl Rope {
    /// A number that this kind of scaling needs.
    fn number(&self, field: &'static str, value: Option<f32>) -> Result<f32, NotReadable> {
        let kind = self.rope_type.as_deref().or(self.kind.as_deref()).unwrap_or_default();
        match value.filter(|value| value.is_finite() && *value > 0.0) {
            Some(value) => Ok(value),
            None => Err(unread(&format!("{kind} without {field}"), "a number above zero there")),
        }
    }
}

fn unread(value: &str, known: &'static str) -> NotReadable {
    NotReadable::Field { field: "rope_scaling", value: value.to_owned(), known }
}
