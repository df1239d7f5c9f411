//! Readers of numbers, switches and choices as clients really send them.
//!
//! Template engines and form builders turn `4` into `4.0` or `"4"` and `true` into `"true"`; all of these are read.
//! Owns those rules. It must not know which field it reads.

use std::fmt;
use std::time::Duration;

use rescored_core::domain::CutSide;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A whole number: `4`, `4.0`, `"4"`, possibly negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Whole(pub(in crate::http) i64);

/// A number: `0.5`, `"0.5"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::http) struct Real(pub(in crate::http) f64);

/// A switch: `true`, `"true"`, `"False"`, `1`, `"0"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Flag(pub(in crate::http) bool);

/// A positive number of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Millis(pub(in crate::http) Duration);

/// An end of a text, in any letter case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Side(pub(in crate::http) CutSide);

/// What to do with an over-long text: a switch (TEI, Voyage) or a word (NIM, Cohere).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Truncate {
    /// `false` or `NONE`.
    Refuse,
    /// `true`, or `AUTO`: the server's way.
    Allow,
    /// `END`, `RIGHT`, `START` or `LEFT`: the end that is given up.
    At(CutSide),
}

/// The scalar values of JSON, as far as the readers of this file look at them.
enum Scalar<'s> {
    Bool(bool),
    Number(f64),
    Text(&'s str),
}

/// A type that is read from a scalar. `EXPECTED` completes the sentence "expected ...".
trait FromScalar: Sized {
    const EXPECTED: &'static str;
    fn from_scalar(scalar: &Scalar<'_>) -> Option<Self>;
}

struct Reader<T>(std::marker::PhantomData<T>);

impl<T: FromScalar> Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        T::from_scalar(&Scalar::Bool(value)).ok_or_else(|| E::invalid_value(Unexpected::Bool(value), &self))
    }

    #[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 are beyond every limit anyway")]
    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        self.visit_f64(value as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 are beyond every limit anyway")]
    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        T::from_scalar(&Scalar::Number(value)).ok_or_else(|| E::invalid_value(Unexpected::Float(value), &self))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        // The text itself is left out of the error, though `misread` would not print it either.
        T::from_scalar(&Scalar::Text(value.trim())).ok_or_else(|| E::invalid_value(Unexpected::Other("a text"), &self))
    }
}

macro_rules! deserialize_from_scalar {
    ($($type:ty),*) => { $(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Reader(std::marker::PhantomData))
            }
        }
    )* };
}

deserialize_from_scalar!(Whole, Real, Flag, Millis, Side, Truncate);

impl FromScalar for Whole {
    const EXPECTED: &'static str = "a whole number";

    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and beyond 2^63 all counts mean `all`")]
    fn from_scalar(scalar: &Scalar<'_>) -> Option<Self> {
        let number = scalar.number()?;
        (number.fract() == 0.0).then_some(Self(number as i64))
    }
}

impl FromScalar for Real {
    const EXPECTED: &'static str = "a number";

    fn from_scalar(scalar: &Scalar<'_>) -> Option<Self> {
        scalar.number().map(Self)
    }
}

impl FromScalar for Flag {
    const EXPECTED: &'static str = "true or false";

    fn from_scalar(scalar: &Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Bool(value) => Some(Self(*value)),
            Scalar::Text(text) if text.eq_ignore_ascii_case("true") => Some(Self(true)),
            Scalar::Text(text) if text.eq_ignore_ascii_case("false") => Some(Self(false)),
            Scalar::Text(_) | Scalar::Number(_) => match Whole::from_scalar(scalar) {
                Some(Whole(0)) => Some(Self(false)),
                Some(Whole(1)) => Some(Self(true)),
                Some(Whole(_)) | None => None,
            },
        }
    }
}

impl FromScalar for Millis {
    const EXPECTED: &'static str = "a positive number of milliseconds";

    fn from_scalar(scalar: &Scalar<'_>) -> Option<Self> {
        let millis = scalar.number().filter(|&number| number > 0.0)?;
        Duration::try_from_secs_f64(millis / 1000.0).ok().filter(|duration| !duration.is_zero()).map(Self)
    }
}

impl Millis {
    /// Reads a header's value.
    pub(in crate::http) fn parse(text: &str) -> Option<Self> {
        Self::from_scalar(&Scalar::Text(text.trim()))
    }

    /// What completes the sentence "expected ...".
    pub(in crate::http) const EXPECTED: &'static str = <Self as FromScalar>::EXPECTED;
}

impl FromScalar for Side {
    const EXPECTED: &'static str = "`left` or `right`";

    fn from_scalar(scalar: &Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Text(text) if text.eq_ignore_ascii_case("left") => Some(Self(CutSide::Left)),
            Scalar::Text(text) if text.eq_ignore_ascii_case("right") => Some(Self(CutSide::Right)),
            Scalar::Text(_) | Scalar::Bool(_) | Scalar::Number(_) => None,
        }
    }
}

impl FromScalar for Truncate {
    const EXPECTED: &'static str = "true, false, `NONE`, `START` or `END`";

    fn from_scalar(scalar: &Scalar<'_>) -> Option<Self> {
        if let Some(Flag(allowed)) = Flag::from_scalar(scalar) {
            return Some(if allowed { Self::Allow } else { Self::Refuse });
        }
        let Scalar::Text(word) = scalar else { return None };
        let is = |known: &str| word.eq_ignore_ascii_case(known);
        match () {
            () if is("none") => Some(Self::Refuse),
            () if is("auto") => Some(Self::Allow),
            () if is("end") || is("right") => Some(Self::At(CutSide::Right)),
            () if is("start") || is("left") => Some(Self::At(CutSide::Left)),
            () => None,
        }
    }
}

impl Scalar<'_> {
    fn number(&self) -> Option<f64> {
        match self {
            Self::Bool(_) => None,
            Self::Number(number) => Some(*number).filter(|number| number.is_finite()),
            Self::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: for<'de> Deserialize<'de>>(json: &str) -> Option<T> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn whole_numbers_are_read_in_every_spelling() {
        for (json, number) in [
            ("4", 4),
            ("4.0", 4),
            ("\"4\"", 4),
            ("\"4.0\"", 4),
            ("0", 0),
            ("-1", -1),
            ("1e3", 1000),
            ("1e300", i64::MAX),
        ] {
            assert_eq!(read(json), Some(Whole(number)), "{json}");
        }
        for json in ["4.5", "\"four\"", "\"\"", "true", "[]", "\"NaN\"", "\"inf\""] {
            assert_eq!(read::<Whole>(json), None, "{json}");
        }
    }

    #[test]
    fn switches_are_read_in_every_spelling() {
        for (json, value) in [("true", true), ("\"True\"", true), ("1", true), ("\"false\"", false), ("0", false)] {
            assert_eq!(read(json), Some(Flag(value)), "{json}");
        }
        for json in ["2", "\"yes\"", "{}"] {
            assert_eq!(read::<Flag>(json), None, "{json}");
        }
    }

    #[test]
    fn durations_are_positive() {
        assert_eq!(read("250"), Some(Millis(Duration::from_millis(250))));
        assert_eq!(read("\"0.5\""), Some(Millis(Duration::from_micros(500))));
        for json in ["0", "-3", "\"soon\"", "1e300", "1e-30"] {
            assert_eq!(read::<Millis>(json), None, "{json}");
        }
    }

    #[test]
    fn truncation_is_a_switch_or_a_word() {
        let cases = [
            ("true", Truncate::Allow),
            ("\"false\"", Truncate::Refuse),
            ("\"NONE\"", Truncate::Refuse),
            ("\"end\"", Truncate::At(CutSide::Right)),
            ("\"Left\"", Truncate::At(CutSide::Left)),
        ];
        for (json, value) in cases {
            assert_eq!(read(json), Some(value), "{json}");
        }
    }
}
