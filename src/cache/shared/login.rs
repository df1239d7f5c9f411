//! Who asks the tier, and how such bytes are written in an address.
//!
//! Owns percent-decoding, and the error of whatever is no address. Pure. It must not know an address's form.

use std::fmt;

/// Who asks. Any bytes may be a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Option<Vec<u8>>,
    pub(super) password: Vec<u8>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(redacted)")
    }
}

/// Why an address is none. Its own text is not repeated: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(&'static str);

impl UrlError {
    pub(super) const fn new(sentence: &'static str) -> Self {
        Self(sentence)
    }
}

/// Bytes out of percent-encoding.
pub(super) fn decoded(text: &str) -> Result<Vec<u8>, UrlError> {
    let wrong = UrlError::new("has a `%` that two hexadecimal digits do not follow; write `%25` for the sign itself");
    let digit =
        |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).and_then(|it| u8::try_from(it).ok());
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => digit(bytes.next())
                .zip(digit(bytes.next()))
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(|| wrong.clone())?,
            byte => byte,
        });
    }
    Ok(out)
}
