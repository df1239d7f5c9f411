//! Notes which keys of a body no reader takes.
//!
//! A derived reader says which keys it knows when it asks for its struct, so nothing has to be listed by hand: what is
//! not among them is noted and passed over, unless its value is null. Texts stay borrowed. Owns that. It must not know
//! any key.

use rescored_core::json::unread::Unread;
use serde::de::value::StrDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::text::Text;

/// An object in a body, and its keys that nobody reads.
#[derive(Debug)]
pub(in crate::http) struct Seen<T> {
    pub(in crate::http) value: T,
    pub(in crate::http) unread: Unread,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Seen<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut unread = Unread::default();
        let value = T::deserialize(Watched { inner: deserializer, unread: &mut unread })?;
        Ok(Self { value, unread })
    }
}

/// A deserializer of one struct.
pub(super) struct Watched<'w, D> {
    pub(super) inner: D,
    pub(super) unread: &'w mut Unread,
}

/// The struct's own visitor, and what it knows.
struct Watching<'w, V> {
    visitor: V,
    known: &'static [&'static str],
    unread: &'w mut Unread,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Watched<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_struct(name, known, Watching { visitor, known, unread: self.unread })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watching<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Members { map, known: self.known, unread: self.unread })
    }
}

/// The members that are known, one after the other.
struct Members<'w, A> {
    map: A,
    known: &'static [&'static str],
    unread: &'w mut Unread,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(Text(key)) = self.map.next_key()? {
            if self.known.contains(&key.as_ref()) {
                let key: StrDeserializer<'_, A::Error> = key.as_ref().into_deserializer();
                return seed.deserialize(key).map(Some);
            }
            if self.map.next_value::<Option<IgnoredAny>>()?.is_some() {
                self.unread.note(&key);
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
