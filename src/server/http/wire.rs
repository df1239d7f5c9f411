//! Request bodies: what is read, and what is said when it cannot be read.
//!
//! Owns the lenient readers that all dialects share and the sentence of a misread. It must not know what is done with a
//! request. Texts are borrowed from the body wherever they hold no escapes.

pub(super) mod document;
pub(super) mod lenient;
pub(super) mod pairs;
pub(super) mod property;
pub(super) mod reading;
pub(super) mod rerank;
pub(super) mod schema;
mod shape;
pub(super) mod tensor;
pub(super) mod terms;
pub(super) mod text;
pub(super) mod watched;

use rescored_core::json::repair;
use rescored_core::json::unread::Unread;
use serde::Deserialize;
use serde_json::error::Category;

use super::error::RequestError;
use watched::Watched;

/// Reads a body by `read`, and where the parser refuses it for what can be repaired, what `spare` then holds of it:
/// without a byte order mark, and with U+FFFD for halves of surrogate pairs. Others pay nothing for that.
pub(super) fn forgiving<'a, T>(
    body: &'a [u8],
    spare: &'a mut Vec<u8>,
    read: impl Fn(&'a [u8]) -> Result<T, RequestError>,
) -> Result<T, RequestError> {
    match read(body) {
        Err(fault) if is_mendable(&fault, body) => match repair::repaired(body) {
            Some(mended) => {
                *spare = mended;
                read(spare)
            }
            None => Err(fault),
        },
        other => other,
    }
}

/// Whether a body may have been refused for what can be repaired; others are not worth a second look.
fn is_mendable(fault: &RequestError, body: &[u8]) -> bool {
    matches!(fault, RequestError::Syntax { problem, .. } if problem.ends_with("hex escape"))
        || repair::mark_len(body) > 0
}

/// Reads a body, which must be one JSON object, into a request type, and notes its keys that the type does not know.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<(T, Unread), RequestError> {
    // A derived reader would also take an array of the values in the order of the fields.
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => watched(body).map_err(|error| misread::<T>(body, &error)),
        Some(_) => Err(RequestError::Syntax { problem: "expected a json object".into(), line: 1, column: 1 }),
        None => Err(RequestError::Syntax { problem: "empty".into(), line: 1, column: 1 }),
    }
}

fn watched<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<(T, Unread), serde_json::Error> {
    let mut unread = Unread::default();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = T::deserialize(Watched { inner: &mut deserializer, unread: &mut unread })?;
    deserializer.end()?;
    Ok((read, unread))
}

/// Says what is wrong with a body that could not be read, without quoting it.
fn misread<'a, T: Deserialize<'a>>(body: &'a [u8], error: &serde_json::Error) -> RequestError {
    let (line, column) = (error.line(), error.column());
    let position = format!(" at line {line} column {column}");
    let message = error.to_string();
    let message = message.strip_suffix(&position).unwrap_or(&message);
    match error.classify() {
        // The parser's own sentences are fixed ones; those of the types (`Data`) quote values.
        Category::Syntax | Category::Eof | Category::Io => {
            RequestError::Syntax { problem: message.into(), line, column }
        }
        Category::Data => {
            let problem = match message.rsplit_once(", expected ") {
                // What is expected is written by our readers, so it cannot hold the separator: the quoted value ends
                // before it.
                Some((_, expected)) => format!("expected {expected} (line {line} column {column})"),
                // No value is quoted: `duplicate field ...`, or a sentence of our readers.
                None => format!("{message} (line {line} column {column})"),
            };
            RequestError::Field { field: path::<T>(body), problem }
        }
    }
}

/// The path of the value that could not be read. Reads the body once more, keeping track; only failures pay for that.
fn path<'a, T: Deserialize<'a>>(body: &'a [u8]) -> String {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) if error.path().iter().len() > 0 => error.path().to_string(),
        Err(_) | Ok(_) => "body".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::rerank::RerankBody;
    use super::*;

    fn refused(body: &str) -> String {
        read::<RerankBody<'_>>(body.as_bytes()).expect_err("must be refused").to_string()
    }

    #[test]
    fn misreads_name_field_and_place_and_quote_nothing() {
        let cases = [
            (r#"{"query":"q","documents":["a",7]}"#, "documents[1]: expected a string or an object (line 1 column 31)"),
            (r#"{"query":"q","documents":"secret, expected b"}"#, "documents: expected a list (line 1 column 45)"),
            (r#"{"query":["secret"]}"#, "query: expected a string or an object (line 1 column 10)"),
            (r#"{"query":"q","top_n":"secret"}"#, "top_n: expected a whole number (line 1 column 29)"),
            (r#"{"query":"q","top_n":4.5}"#, "top_n: expected a whole number (line 1 column 24)"),
            (
                r#"{"query":"q","return_documents":"secret"}"#,
                "return_documents: expected true or false (line 1 column 40)",
            ),
            (
                r#"{"query":"q","timeout_ms":-1}"#,
                "timeout_ms: expected a positive number of milliseconds (line 1 column 28)",
            ),
            (r#"{"query":"q","query":"secret"}"#, "body: duplicate field `query` (line 1 column 20)"),
            (r#"{"query":"q""#, "body: EOF while parsing an object (line 1 column 12); send one json object"),
            ("", "body: empty (line 1 column 1); send one json object"),
            ("[1]", "body: expected a json object (line 1 column 1); send one json object"),
        ];
        for (body, sentence) in cases {
            assert_eq!(refused(body), sentence, "for {body}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{{\"model\":{}1{}}}", open.repeat(100_000), close.repeat(100_000));
            refused(&deep);
            let unclosed = format!("{{\"unknown\":{}", open.repeat(100_000));
            refused(&unclosed);
        }
    }

    proptest! {
        #[test]
        fn no_sentence_quotes_a_value(secret in "[a-z]{12}", field in 0usize..8) {
            let key = ["query", "documents", "texts", "model", "top_n", "rank_fields", "truncate", "timeout_ms"][field];
            let values = [
                format!("\"{secret}\""), format!("[\"{secret}\"]"), format!("[[\"{secret}\"]]"), format!("{{\"x\":[\"{secret}\"]}}"),
                format!("\"{secret}"), format!("[\"{secret}\" 1]"), format!("[{secret}]"),
            ];
            for value in values {
                let body = format!("{{\"{key}\":{value}}}");
                if let Err(reject) = read::<RerankBody<'_>>(body.as_bytes()) {
                    prop_assert!(!reject.to_string().contains(&secret), "{}", reject);
                }
            }
        }
    }
}
