//! Values of types that Arrow's JSON reader does not read, or not without changing them.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, FieldRef},
    error::ArrowError,
};

/// The type that Arrow's reader is to give for a column of a type. It cuts fractions off where it
/// reads integers: unless it is known that there are none, they are read as text.
pub(super) fn decoded(data_type: &DataType, complete: bool) -> DataType {
    let inner = |field: &FieldRef| -> FieldRef {
        let data_type = decoded(field.data_type(), complete);
        Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
    };
    match data_type {
        DataType::Dictionary(_, values) => decoded(values, complete),
        integer if integer.is_integer() && !complete => DataType::Utf8View,
        DataType::List(field) => DataType::List(inner(field)),
        DataType::LargeList(field) => DataType::LargeList(inner(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(inner(field), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    }
}

/// Values as Arrow's reader gave them, as values of the column's type.
pub(super) fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(ArrayRef::clone(array));
    }
    let texts = array.as_string_view_opt().filter(|_| to.is_integer());
    if let Some(code) = texts.and_then(|texts| texts.iter().flatten().find(|text| is_code(text))) {
        return Err(ArrowError::CastError(format!("'{code}' is a text")));
    }
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })
}

/// Whether digits are more than the integer that they mean.
fn is_code(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text).as_bytes();
    matches!(unsigned, [b'0', b'0'..=b'9', ..] | [b'+', ..])
}
