//! Readers of values that come in several shapes: a string, a list, an object.
//!
//! Owns the one visitor of them all; a type says which shapes it takes, and the others are refused. Texts without escapes
//! are borrowed from the body. It must not know which field it reads.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

/// A type that is read from some of the shapes. `EXPECTED` completes the sentence "expected ...".
pub(super) trait Shaped<'de>: Sized {
    /// What is taken.
    const EXPECTED: &'static str;

    /// From a string.
    fn of_text<E: Error>(text: Cow<'de, str>) -> Result<Self, E> {
        // The text itself is left out of the error, though `misread` would not print it either.
        drop(text);
        Err(E::invalid_type(Unexpected::Other("a text"), &Self::EXPECTED))
    }

    /// From a list.
    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        drop(list);
        Err(A::Error::invalid_type(Unexpected::Seq, &Self::EXPECTED))
    }

    /// From an object.
    fn of_object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        drop(object);
        Err(A::Error::invalid_type(Unexpected::Map, &Self::EXPECTED))
    }
}

/// Reads a value in whatever shape it comes.
pub(super) fn read<'de, T: Shaped<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Reader<T>(PhantomData<T>);
    impl<'de, T: Shaped<'de>> Visitor<'de> for Reader<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(T::EXPECTED)
        }
        fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<T, E> {
            T::of_text(Cow::Borrowed(text))
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            T::of_text(Cow::Owned(text.to_owned()))
        }
        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
            T::of_list(list)
        }
        fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<T, A::Error> {
            T::of_object(object)
        }
    }
    deserializer.deserialize_any(Reader(PhantomData))
}

/// Reads types that borrow from the body by their shapes.
macro_rules! by_shape {
    ($($type:ident),*) => { $(
        impl<'de: 'a, 'a> serde::Deserialize<'de> for $type<'a> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                super::shape::read::<$type<'de>, D>(deserializer)
            }
        }
    )* };
}

pub(super) use by_shape;
