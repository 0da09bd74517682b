//! What a job that writes has written, once all of it can be seen.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Array, RecordBatch, StringArray, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// What a commit made visible.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Rows written.
    pub rows: u64,
    /// Bytes of files written.
    pub bytes: u64,
    /// Files written.
    pub files: u64,
    /// The version of the Lance dataset that it made.
    pub version: Option<u64>,
}

/// The columns of the one row that is the result of a job that writes: where, and then those of
/// [`Committed`].
pub fn committed_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("output", DataType::Utf8, false),
            Field::new("rows", DataType::UInt64, false),
            Field::new("bytes", DataType::UInt64, false),
            Field::new("files", DataType::UInt64, false),
            Field::new("version", DataType::UInt64, true),
        ]))
    });
    Arc::clone(&SCHEMA)
}

impl Committed {
    /// The result of a job that wrote this there.
    ///
    /// # Errors
    /// Never.
    pub fn batch(&self, output: &str) -> Result<RecordBatch> {
        let number = |number: u64| -> Arc<dyn Array> { Arc::new(UInt64Array::from(vec![number])) };
        let columns = vec![
            Arc::new(StringArray::from(vec![output])) as Arc<dyn Array>,
            number(self.rows),
            number(self.bytes),
            number(self.files),
            Arc::new(UInt64Array::from(vec![self.version])),
        ];
        Ok(RecordBatch::try_new(committed_schema(), columns)?)
    }
}
