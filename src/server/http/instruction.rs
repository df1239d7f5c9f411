//! A request's instruction, and whether the model takes one.
//!
//! Owns the rule: a model receives the instruction if its prompt has a slot for it; for any other model, the caller is
//! told that the instruction was not served. It must not know prompts.

use rescored_core::domain::ModelCard;

use super::dialect::RerankRequest;
use super::error::RequestError;

/// Maximum bytes of an instruction; the instructions that models are published with have about 80.
const LONGEST: usize = 16 << 10;

/// Keeps the instruction in the request if the model takes one and it differs from the model's default: the default
/// gives the same score under the same cache key. Notes it as not served if the model takes none.
///
/// # Errors
/// [`RequestError::TextTooLong`].
pub(super) fn settle(request: &mut RerankRequest<'_>, card: &ModelCard) -> Result<(), RequestError> {
    let Some(instruction) = request.texts.instruction.take() else { return Ok(()) };
    if instruction.len() > LONGEST {
        let field = request.instruction_key.to_owned();
        return Err(RequestError::TextTooLong { field, found: instruction.len(), limit: LONGEST });
    }
    match &card.prompt {
        Some(prompt) if prompt.takes_instruction => {
            let is_default = prompt.instruction.as_deref() == Some(&*instruction);
            request.texts.instruction = (!is_default).then_some(instruction);
        }
        Some(_) | None => request.unread.note(request.instruction_key),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rescored_core::domain::PromptCard;

    use super::super::dialect::fixture;
    use super::*;

    #[test]
    fn an_instruction_is_served_where_the_model_takes_one_and_noted_elsewhere() {
        let takes = |default: Option<&str>| PromptCard {
            tokens: 60,
            takes_instruction: true,
            instruction: default.map(str::to_owned),
        };
        let takes_none = PromptCard { tokens: 60, takes_instruction: false, instruction: None };
        let long = "x".repeat(LONGEST + 1);
        for (why, prompt, given, expected) in [
            ("served", Some(takes(Some("find"))), Some("rank"), Ok((Some("rank"), ""))),
            ("its default", Some(takes(Some("rank"))), Some("rank"), Ok((None, ""))),
            ("none is given", Some(takes(None)), None, Ok((None, ""))),
            ("a prompt without a place", Some(takes_none), Some("rank"), Ok((None, "instruct"))),
            ("no prompt", None, Some("rank"), Ok((None, "instruct"))),
            ("too long", Some(takes(None)), Some(long.as_str()), Err(())),
        ] {
            let body = format!(r#"{{"query":"q","documents":["d"],"instruct":"{}"}}"#, given.unwrap_or_default());
            let mut request = fixture::read(body.as_bytes());
            let card = ModelCard { prompt, ..fixture::card() };
            let settled = settle(&mut request, &card);
            assert_eq!(settled.is_err(), expected.is_err(), "{why}");
            if let Ok((instruction, noted)) = expected {
                assert_eq!(
                    (request.texts.instruction.as_deref(), &*request.unread.header()),
                    (instruction, noted),
                    "{why}"
                );
            }
        }
    }
}
