//! `#[serde(with = "ipc::schema_serde")]`: a schema as an Arrow IPC stream without batches, which
//! needs no serde support from arrow.

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Deserializer, Serializer, de, ser};

use super::{decode_schema, encode_all};

/// Writes the schema.
///
/// # Errors
/// If the serializer fails.
pub fn serialize<S: Serializer>(schema: &SchemaRef, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes = encode_all(schema, &[]).map_err(ser::Error::custom)?;
    serializer.serialize_bytes(&bytes)
}

/// Reads the schema.
///
/// # Errors
/// If the bytes are not an Arrow IPC stream.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SchemaRef, D::Error> {
    let bytes = bytes::Bytes::deserialize(deserializer)?;
    decode_schema(bytes).map_err(de::Error::custom)
}
