//! The names of types, as users write them.

use arrow::datatypes::DataType;

use crate::error::{Error, Result};

/// Reads the name of a type.
///
/// # Errors
/// `invalid` if there is no such type.
pub fn parse_type(name: &str) -> Result<DataType> {
    name.parse().map_err(|_| Error::invalid(format!("'{name}' is no type")))
}
