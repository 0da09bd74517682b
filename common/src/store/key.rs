//! Which types keys may have, and which of them may be compared.

use arrow::datatypes::DataType;

use crate::error::{Error, Result};

/// The classes of key types. Within a class, any width or layout can be compared with any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyClass {
    /// All integers, signed and unsigned.
    Integer,
    /// `Utf8`, `LargeUtf8`, `Utf8View`, and dictionaries of them.
    String,
    /// `Binary`, `LargeBinary`, `BinaryView`, `FixedSizeBinary`, and dictionaries of them.
    Binary,
}

impl KeyClass {
    /// The class of a type, if keys may have it.
    pub fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            data_type if data_type.is_integer() => Some(Self::Integer),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Self::String),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Some(Self::Binary),
            DataType::Dictionary(_, value) => Self::of(value),
            _ => None,
        }
    }
}

/// Refuses keys of another class than the store's.
///
/// # Errors
/// `invalid`, naming both types.
pub fn check_key_type(alias: &str, given: &DataType, store: &DataType) -> Result<()> {
    if given == &DataType::Null
        || KeyClass::of(given).is_some_and(|class| KeyClass::of(store) == Some(class))
    {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a key of type {given} cannot be looked up in KV store '{alias}', whose keys are of type {store}"
    )))
}
