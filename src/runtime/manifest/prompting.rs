//! Which prompt a decoder has.
//!
//! Owns the order of the places where one may be. It must not know how prompts are written down.

use super::{Manifest, ManifestError, local};
use crate::prompt::{self, Prompt};

impl Manifest {
    /// Finds the prompt: that of `prompt.json`, of sentence-transformers' modules, or the one that the model's name is known
    /// for.
    ///
    /// # Errors
    /// [`ManifestError::Prompt`] of one that is not usable, [`ManifestError::NoPrompt`] of a decoder that has none.
    pub(super) fn with_prompt(mut self) -> Result<Self, ManifestError> {
        let fault = |source| ManifestError::Prompt { id: self.id.clone(), source };
        let mut prompt = Prompt::read(&self.dir).map_err(fault)?;
        if prompt.is_none() {
            prompt = Prompt::of_chat_template(&self.dir).map_err(fault)?;
        }
        for name in [&self.source, &self.id] {
            if prompt.is_none() {
                prompt = Prompt::known(name).map_err(fault)?;
            }
        }
        let Some(prompt) = prompt else {
            return match local::causal(&self.dir, &self.id)? {
                Some(architecture) => {
                    Err(ManifestError::NoPrompt { path: self.dir.join(prompt::FILE), id: self.id, architecture })
                }
                None => Ok(self),
            };
        };
        self.max_length = prompt.max_length.map_or(self.max_length, |most| most.min(self.max_length));
        self.activation = prompt.activation.unwrap_or(self.activation);
        self.prompt = Some(prompt);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::folder;
    use super::*;

    // Case B11.
    #[test]
    fn a_decoder_is_served_with_its_prompt_and_refused_without_one() {
        let decoder = r#"{"architectures":["Qwen3ForCausalLM"],"max_position_embeddings":40960}"#;
        let encoder = r#"{"architectures":["BertForSequenceClassification"],"max_position_embeddings":512}"#;
        let prompt = r#"{"body":"{query}\n{document}","yes":"yes","activation":"identity","max_length":99}"#;
        let modules =
            r#"[{"path":"1_LogitScore","type":"sentence_transformers.cross_encoder.modules.logit_score.LogitScore"}]"#;
        let template = "{{ messages[0].content }}\n{{ messages[1].content }}";
        let (score, default) = (r#"{"true_token_id":7}"#, r#"{"prompts":{"p":"Find"},"default_prompt_name":"p"}"#);
        for (why, id, files, expected) in [
            ("an encoder has none", "m", vec![("config.json", encoder)], Ok(None)),
            ("its file", "m", vec![("config.json", decoder), ("prompt.json", prompt)], Ok(Some((99, "prompt.json")))),
            (
                "sentence-transformers' modules",
                "m",
                vec![
                    ("config.json", decoder),
                    ("modules.json", modules),
                    ("1_LogitScore/config.json", score),
                    ("config_sentence_transformers.json", default),
                    ("chat_template.jinja", template),
                ],
                Ok(Some((40960, "chat_template.jinja"))),
            ),
            ("its name", "Qwen3-Reranker-0.6B", vec![("config.json", decoder)], Ok(Some((8192, "qwen3-reranker-")))),
            ("nothing is known of it", "m", vec![("config.json", decoder)], Err("Qwen3ForCausalLM, a decoder")),
            ("it is broken", "m", vec![("config.json", decoder), ("prompt.json", "{")], Err("prompt.json")),
        ] {
            let all = [("model.onnx", "x"), ("tokenizer.json", "{}")].into_iter().chain(files);
            let named: Vec<(String, &str)> = all.map(|(name, text)| (format!("{id}/{name}"), text)).collect();
            let named: Vec<(&str, &str)> = named.iter().map(|(name, text)| (name.as_str(), *text)).collect();
            let found = Manifest::open(folder(&named).path(), id).map(|manifest| {
                let file = |prompt: &Prompt| prompt.file.file_name().unwrap().to_string_lossy().into_owned();
                manifest.prompt.as_ref().map(|prompt| (manifest.max_length, file(prompt)))
            });
            match (found, expected) {
                (Ok(found), Ok(expected)) => {
                    let found = found.as_ref().map(|(length, file)| (*length, file.as_str()));
                    assert_eq!(found, expected, "{why}");
                }
                (Err(found), Err(expected)) => {
                    let found = format!("{found}");
                    assert!(found.contains(expected) && found.contains("prompt.json"), "{why}: {found}");
                }
                (found, _) => panic!("{why}: {found:?}"),
            }
        }
    }
}
