//! What each reader of this folder accepts, as JSON Schema.
//!
//! Owns the schemas of the types whose readers are written by hand; those of the derived ones are derived. A schema
//! here must say all that its reader takes, lenient spellings included: tests send what it allows and what it forbids.

use utoipa::openapi::schema::{AdditionalProperties, AnyOfBuilder, ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Object, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::document::{Document, Documents};
use super::lenient::{Flag, Millis, Real, Side, Truncate, Whole};
use super::pairs::{Entry, Inputs, Item, OneOrMany};
use super::rerank::Property;
use super::tensor::{Strings, Tag};
use super::text::Text;

macro_rules! schemas {
    ($($type:ty => $schema:expr;)*) => { $(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }
        impl ToSchema for $type {}
    )* };
}

schemas! {
    Text<'_> => string();
    Document<'_> => any_of([string().into(), object_with_text().into()]);
    Documents<'_> => non_empty(Document::schema());
    OneOrMany<'_> => any_of([Document::schema(), non_empty(Document::schema()).into()]);
    Whole => any_of([kind(Type::Integer).into(), pattern(r"^-?[0-9]{1,9}(\.0{1,3})?$").into()]);
    Real => any_of([kind(Type::Number).into(), pattern(r"^-?[0-9]{1,9}(\.[0-9]{1,9})?$").into()]);
    Flag => any_of([
        kind(Type::Boolean).into(),
        kind(Type::Integer).enum_values(Some([0, 1])).build().into(),
        pattern("^([Tt]rue|TRUE|[Ff]alse|FALSE|0|1)$").into(),
    ]);
    Millis => kind(Type::Number).exclusive_minimum(Some(0.0));
    Side => pattern("^([Ll]eft|LEFT|[Rr]ight|RIGHT)$");
    Truncate => any_of([
        Flag::schema(),
        pattern("^(NONE|none|AUTO|auto|END|end|RIGHT|[Rr]ight|START|start|LEFT|[Ll]eft)$").into(),
    ]);
    Property<'_> => any_of([string().into(), kind(Type::Null).into()]);
    Inputs<'_> => any_of([Entry::schema(), pair().into(), non_empty(any_of([Entry::schema(), pair().into()])).into()]);
    Item<'_> => any_of([Entry::schema(), pair().into()]);
    Strings<'_> => non_empty(any_of([string().into(), non_empty(string()).into()]));
    Tag<'_> => any_of([string().into(), kind(Type::Number).build().into()]);
}

impl PartialSchema for Entry<'_> {
    fn schema() -> RefOr<Schema> {
        let object = kind(Type::Object).property("text", string()).property("text_pair", string());
        object.required("text").required("text_pair").into()
    }
}

/// A query: a text, or an object that holds one as `text`.
pub(in crate::http) fn query() -> Schema {
    let object = kind(Type::Object).property("text", string()).required("text").build();
    any_of([string().into(), object.into()])
}

/// The one datatype of texts in KServe's protocol, or nothing.
pub(in crate::http) fn bytes() -> Schema {
    any_of([kind(Type::String).enum_values(Some(["BYTES"])).build().into(), kind(Type::Null).into()])
}

fn kind(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

fn string() -> Object {
    kind(Type::String).build()
}

fn pattern(pattern: &str) -> Object {
    kind(Type::String).pattern(Some(pattern)).build()
}

/// An object with a text; others are read by their strings, which no schema can say.
fn object_with_text() -> Object {
    let object = kind(Type::Object).property("text", string()).required("text");
    object.additional_properties(Some(AdditionalProperties::FreeForm(true))).build()
}

fn any_of<const N: usize>(schemas: [RefOr<Schema>; N]) -> Schema {
    schemas.into_iter().fold(AnyOfBuilder::new(), AnyOfBuilder::item).into()
}

fn non_empty(items: impl Into<RefOr<Schema>>) -> utoipa::openapi::schema::Array {
    ArrayBuilder::new().items(items.into()).min_items(Some(1)).build()
}

/// A list of exactly two texts.
fn pair() -> Schema {
    ArrayBuilder::new().items(RefOr::T(Schema::Object(string()))).min_items(Some(2)).max_items(Some(2)).into()
}
