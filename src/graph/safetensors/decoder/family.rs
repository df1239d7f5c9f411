//! What families of decoders differ in, as transformers' `modeling_*.py` and `configuration_*.py` of each have it.

use super::{Config, NotReadable};

/// A family of decoders.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "families differ in these")]
pub(in super::super) struct Family {
    /// Values a head where the configuration does not say; else the heads share the row.
    pub(super) head_width: Option<usize>,
    /// Whether products of queries, keys and values always have biases, attention's output none (Qwen2).
    pub(super) has_query_biases: bool,
    /// Whether the configuration may ask for biases.
    pub(super) may_have_biases: bool,
    /// Whether each head's queries and keys are normalised (Qwen3).
    pub(super) has_head_norms: bool,
    /// Whether words are multiplied with the root of their width (Gemma).
    pub(super) scales_embeddings: bool,
    /// Whether a norm's weights are what its gain exceeds one by (Gemma).
    pub(super) adds_one_to_norms: bool,
    /// Whether the vocabulary's product is the table of words, where the configuration does not say.
    pub(super) ties_words: bool,
    /// Which layers see a window alone.
    windows: Windows,
}

/// Which layers see a window alone.
#[derive(Clone, Copy, Debug)]
enum Windows {
    /// None.
    None,
    /// Where `use_sliding_window` asks for it, those that `layer_types` names, else those from `max_window_layers` on.
    Asked,
    /// All of them, unless `sliding_window` is null; of this many tokens where it is absent.
    All(usize),
}

/// Llama itself.
const LLAMA: Family = Family {
    head_width: None,
    has_query_biases: false,
    may_have_biases: true,
    has_head_norms: false,
    scales_embeddings: false,
    adds_one_to_norms: false,
    ties_words: false,
    windows: Windows::None,
};

impl Family {
    /// That of a `model_type`.
    pub(in super::super) fn of(model_type: &str) -> Option<Self> {
        Some(match model_type {
            "llama" => LLAMA,
            "mistral" => Self { may_have_biases: false, windows: Windows::All(4096), ..LLAMA },
            "qwen2" => Self { has_query_biases: true, may_have_biases: false, windows: Windows::Asked, ..LLAMA },
            "qwen3" => Self { head_width: Some(128), has_head_norms: true, windows: Windows::Asked, ..LLAMA },
            "gemma" => Self {
                head_width: Some(256),
                scales_embeddings: true,
                adds_one_to_norms: true,
                ties_words: true,
                ..LLAMA
            },
            _ => return None,
        })
    }

    /// Tokens before it that a token of a layer sees; `None` means all.
    pub(super) fn window(self, config: &Config, at: usize) -> Result<Option<usize>, NotReadable> {
        let given = |usual| config.sliding_window.unwrap_or(usual);
        let window = match self.windows {
            Windows::None => None,
            Windows::All(usual) => given(Some(usual)),
            Windows::Asked if !config.use_sliding_window => None,
            Windows::Asked => {
                // The library's defaults of `Qwen2Config` and `Qwen3Config`.
                let (window, first) = (given(Some(4096)), config.max_window_layers.unwrap_or(28));
                let is_local = match &config.layer_types {
                    None => at >= first,
                    Some(types) => match types.get(at).map(String::as_str) {
                        Some("full_attention") => false,
                        Some("sliding_attention") => true,
                        other => {
                            let value = other.unwrap_or("fewer than num_hidden_layers").to_owned();
                            let known = "full_attention or sliding_attention for each layer";
                            return Err(NotReadable::Field { field: "layer_types", value, known });
                        }
                    },
                };
                window.filter(|_| is_local)
            }
        };
        match window {
            Some(0) => {
                let (field, value) = ("sliding_window", "0".to_owned());
                Err(NotReadable::Field { field, value, known: "at least 1, or null" })
            }
            // The library counts the token itself.
            window => Ok(window.map(|window| window - 1)),
        }
    }
}
