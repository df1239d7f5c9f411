//! Why a tokenizer cannot be used, and why a text cannot be encoded.
//!
//! Owns the sentences. It must not know how texts are read.

/// Why a text could not be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It does not fit and cutting was forbidden.
    #[error("{tokens} tokens do not fit into {limit}")]
    TooLong {
        /// Tokens of the whole pair; of a text that was not read to its end, those that were read, and one more at least.
        tokens: u32,
        /// The limit in force.
        limit: u32,
    },
    /// The prompt with this instruction leaves no room for query and document.
    #[error("an instruction of {tokens} tokens does not fit into {limit}")]
    InstructionTooLong {
        /// Its tokens, as far as they were read.
        tokens: u32,
        /// Tokens that it may have.
        limit: u32,
    },
    /// The tokenizer refused the text.
    #[error("the tokenizer refused the text")]
    Refused,
    /// The document makes no token, whatever characters it has.
    #[error("nothing of the document is a token")]
    NoToken {
        /// Whether some of it was not read.
        cut: bool,
    },
    /// The caller said so meanwhile.
    #[error("nobody waits for the text any more")]
    Stopped,
}

/// Why a tokenizer could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file is missing or is no tokenizer.
    #[error("tokenizer: `{path}` cannot be read; run `rescored fetch` or put the model's tokenizer.json there")]
    File {
        /// The file.
        path: String,
        /// What the library said.
        #[source]
        source: tokenizers::Error,
    },
    /// Its post-processor does more than put special tokens around two texts.
    #[error("tokenizer: `{path}` joins pairs in a way that is not known: {reason}")]
    Template {
        /// The file.
        path: String,
        /// What was found.
        reason: &'static str,
    },
    /// Its pairs are two texts one after the other: a model could not tell where the document begins.
    #[error(
        "tokenizer: `{path}` puts no special token between query and document, as a decoder's does not: they would be read as one text; write the model's prompt into `prompt.json` beside it (`body` with {{query}} and {{document}}, `yes`, `no`), or give its `post_processor` a template for pairs that parts them"
    )]
    NoSeparator {
        /// The file.
        path: String,
    },
    /// The model's prompt cannot be laid out for it.
    #[error("tokenizer: the prompt of `{path}`: {reason}")]
    Prompt {
        /// The prompt's file.
        path: String,
        /// What does not fit, and what to do.
        reason: &'static str,
    },
    /// The prompt leaves no room for texts.
    #[error(
        "tokenizer: the prompt of `{path}` has {tokens} tokens without its texts, of {limit} that enter the model; raise RESCORED_MAX_LENGTH or shorten the prompt"
    )]
    LongPrompt {
        /// The prompt's file.
        path: String,
        /// Its tokens.
        tokens: usize,
        /// Tokens of a pair.
        limit: u32,
    },
    /// A token of the verdict is none of the tokenizer's.
    #[error(
        "tokenizer: `{word}`, whose logit is the verdict of the prompt of `{path}`, is not one token: {found}; name a text that is, or its id"
    )]
    Verdict {
        /// The prompt's file.
        path: String,
        /// The word, or the id.
        word: String,
        /// What was found.
        found: String,
    },
}
