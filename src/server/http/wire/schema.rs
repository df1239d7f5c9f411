//! What each reader of this folder accepts, as JSON Schema.
//!
//! Owns the schemas of the types whose readers are written by hand; those of the derived ones are derived. A schema
//! here must say all that its reader takes, lenient spellings included: tests send what it allows and what it forbids.

pub(in crate::http) mod documents;

use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Object, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::document::{Document, Documents};
use super::lenient::{Flag, Millis, Real, Side, Truncate, Whole};
use super::pairs::{Inputs, OneOrMany};
use super::property::{MOST_FIELDS, Property};
use super::tensor::{Strings, Tag};
use super::text::Text;
use documents::Named;

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
    Document<'_> => Named::Document.refer();
    Documents<'_> => Named::Documents.refer();
    OneOrMany<'_> => Named::OneOrMany.refer();
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
    Inputs<'_> => any_of([Named::Entry.refer(), two_strings(), non_empty(Named::Pair.refer()).into()]);
    Strings<'_> => cells();
    Tag<'_> => any_of([string().into(), kind(Type::Number).build().into()]);
}

/// A query.
pub(in crate::http) fn query() -> RefOr<Schema> {
    Named::Query.refer()
}

/// Names of fields, or nothing.
pub(in crate::http) fn names() -> Schema {
    let name = kind(Type::String).min_length(Some(1)).build();
    let names = ArrayBuilder::new().items(RefOr::T(Schema::Object(name))).max_items(Some(MOST_FIELDS));
    any_of([names.into(), kind(Type::Null).into()])
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

fn any_of<const N: usize>(schemas: [RefOr<Schema>; N]) -> Schema {
    schemas.into_iter().fold(AnyOfBuilder::new(), AnyOfBuilder::item).into()
}

/// A query and a document without a list around them.
fn two_strings() -> RefOr<Schema> {
    ArrayBuilder::new().items(RefOr::T(Schema::Object(string()))).min_items(Some(2)).max_items(Some(2)).into()
}

/// A tensor of texts: without rows, in rows of one, or in one row. Longer rows are read where they are equally long, which
/// no schema can say.
fn cells() -> Schema {
    let rows =
        |row: ArrayBuilder| ArrayBuilder::new().items(row.items(RefOr::T(Schema::Object(string()))).min_items(Some(1)));
    any_of([
        non_empty(string()).into(),
        rows(ArrayBuilder::new().max_items(Some(1))).min_items(Some(1)).into(),
        rows(ArrayBuilder::new()).min_items(Some(1)).max_items(Some(1)).into(),
    ])
}

fn non_empty(items: impl Into<RefOr<Schema>>) -> utoipa::openapi::schema::Array {
    ArrayBuilder::new().items(items.into()).min_items(Some(1)).build()
}
