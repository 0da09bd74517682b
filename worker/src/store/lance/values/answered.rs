//! What columns are answered as: blobs as their bytes, JSON as its text, all else as it is stored.
//!
//! Lance marks blobs and JSON in the metadata of fields, at any depth. Its hints on how to write a
//! field stand there, too, and say nothing about values.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait,
        StringArray, StructArray,
    },
    compute::cast,
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
};
use keyloom_common::{Error, Result};
use lance::{arrow::ARROW_EXT_NAME_KEY, datatypes};
use lance_arrow::{
    BLOB_META_KEY, BLOB_V2_EXT_NAME,
    json::{ARROW_JSON_EXT_NAME, JSON_EXT_NAME, decode_json},
};

/// What a field's metadata says of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marked {
    Blob,
    /// Text, or binary in Lance's encoding.
    Json,
    Plain,
}

impl Marked {
    fn of(field: &Field) -> Self {
        match field.metadata().get(ARROW_EXT_NAME_KEY).map(String::as_str) {
            Some(BLOB_V2_EXT_NAME) => Self::Blob,
            Some(JSON_EXT_NAME | ARROW_JSON_EXT_NAME) => Self::Json,
            _ if field.metadata().contains_key(BLOB_META_KEY) => Self::Blob,
            _ => Self::Plain,
        }
    }
}

/// The columns as lookups answer them.
pub(in crate::store::lance) fn schema(stored: &datatypes::Schema) -> SchemaRef {
    let fields = stored.fields.iter().map(|stored| field(&stored.into()));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A stored field as lookups answer it.
pub(in crate::store::lance) fn field(stored: &Field) -> Field {
    let marked = Marked::of(stored);
    let data_type = match (marked, stored.data_type()) {
        (Marked::Blob, DataType::Binary) => DataType::Binary,
        (Marked::Blob, _) => DataType::LargeBinary,
        (Marked::Json, DataType::LargeBinary) => DataType::Utf8,
        (Marked::Json, text) => text.clone(),
        (Marked::Plain, plain) => with_children(plain),
    };
    let mut metadata = stored.metadata().clone();
    metadata.retain(|key, _| {
        let of_decoded = marked != Marked::Plain && key.starts_with("ARROW:extension:");
        !key.starts_with("lance") && !of_decoded
    });
    stored.clone().with_data_type(data_type).with_metadata(metadata)
}

/// The type with the fields in it as they are answered.
fn with_children(stored: &DataType) -> DataType {
    let child = |stored: &FieldRef| Arc::new(field(stored));
    match stored {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(child).collect()),
        DataType::List(item) => DataType::List(child(item)),
        DataType::LargeList(item) => DataType::LargeList(child(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(child(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(child(entries), *sorted),
        other => other.clone(),
    }
}

/// Values that were read of a stored field, as they are answered. Blobs are read as bytes.
///
/// # Errors
/// `store` if the values are not of the field's type.
pub(in crate::store::lance) fn answer(
    stored: &Field,
    answered: &Field,
    values: &ArrayRef,
) -> Result<ArrayRef> {
    let marked = Marked::of(stored);
    if marked != Marked::Json && values.data_type() == answered.data_type() {
        return Ok(values.clone());
    }
    match (marked, stored.data_type(), answered.data_type()) {
        (Marked::Json, DataType::LargeBinary, _) => text(values).ok_or_else(|| unlike(values)),
        (Marked::Json, ..) => Ok(values.clone()),
        (Marked::Plain, DataType::Struct(stored), DataType::Struct(answered)) => {
            let parts = values.as_struct_opt().ok_or_else(|| unlike(values))?;
            let children = stored.iter().zip(answered).zip(parts.columns());
            let children = children.map(|((stored, field), part)| answer(stored, field, part));
            let children = children.collect::<Result<Vec<_>>>()?;
            let (length, nulls) = (parts.len(), parts.nulls().cloned());
            let parts =
                StructArray::try_new_with_length(answered.clone(), children, nulls, length)?;
            Ok(Arc::new(parts))
        }
        (Marked::Plain, DataType::List(stored), DataType::List(answered)) => {
            list::<i32>(stored, answered, values)
        }
        (Marked::Plain, DataType::LargeList(stored), DataType::LargeList(answered)) => {
            list::<i64>(stored, answered, values)
        }
        (
            Marked::Plain,
            DataType::FixedSizeList(stored, size),
            DataType::FixedSizeList(answered, _),
        ) => {
            let lists = values.as_fixed_size_list_opt().ok_or_else(|| unlike(values))?;
            let items = answer(stored, answered, lists.values())?;
            let nulls = lists.nulls().cloned();
            Ok(Arc::new(FixedSizeListArray::try_new(answered.clone(), *size, items, nulls)?))
        }
        (Marked::Plain, DataType::Map(stored, _), DataType::Map(answered, sorted)) => {
            let maps = values.as_map_opt().ok_or_else(|| unlike(values))?;
            let entries: ArrayRef = Arc::new(maps.entries().clone());
            let entries = answer(stored, answered, &entries)?.as_struct().clone();
            let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(answered.clone(), offsets, entries, nulls, *sorted)?))
        }
        (Marked::Blob, ..) if !values.data_type().is_binary() => Err(unlike(values)),
        (Marked::Blob | Marked::Plain, ..) => Ok(cast(values, answered.data_type())?),
    }
}

fn list<O: OffsetSizeTrait>(
    stored: &Field,
    answered: &FieldRef,
    values: &ArrayRef,
) -> Result<ArrayRef> {
    let lists = values.as_list_opt::<O>().ok_or_else(|| unlike(values))?;
    let items = answer(stored, answered, lists.values())?;
    let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
    Ok(Arc::new(GenericListArray::try_new(answered.clone(), offsets, items, nulls)?))
}

/// The text of JSON in Lance's encoding.
fn text(values: &ArrayRef) -> Option<ArrayRef> {
    let encoded = values.as_binary_opt::<i64>()?;
    let texts = encoded.iter().map(|json| json.map(decode_json));
    Some(Arc::new(texts.collect::<StringArray>()))
}

fn unlike(values: &ArrayRef) -> Error {
    Error::store(format!("Lance gave values of another type: {}", values.data_type()))
}
