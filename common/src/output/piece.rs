//! What a task has written and nobody sees yet, as rows that the task hands in.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Array, AsArray, BinaryArray, RecordBatch, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type},
};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A piece of an output: a file, or a part of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Rows in it.
    pub rows: u64,
    /// Bytes of it.
    pub bytes: u64,
    /// What the worker that commits or removes it needs to know. Nobody else reads it.
    pub token: Vec<u8>,
}

/// The columns of a task's rows: those of [`Piece`].
pub fn piece_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("rows", DataType::UInt64, false),
            Field::new("bytes", DataType::UInt64, false),
            Field::new("token", DataType::Binary, false),
        ]))
    });
    Arc::clone(&SCHEMA)
}

impl Piece {
    /// Rows that tell of pieces.
    ///
    /// # Errors
    /// Never, for fewer bytes than an array holds.
    pub fn batch(pieces: &[Self]) -> Result<RecordBatch> {
        let rows = UInt64Array::from_iter_values(pieces.iter().map(|piece| piece.rows));
        let bytes = UInt64Array::from_iter_values(pieces.iter().map(|piece| piece.bytes));
        let tokens = BinaryArray::from_iter_values(pieces.iter().map(|piece| &piece.token));
        let columns: Vec<Arc<dyn Array>> = vec![Arc::new(rows), Arc::new(bytes), Arc::new(tokens)];
        Ok(RecordBatch::try_new(piece_schema(), columns)?)
    }

    /// The pieces that rows tell of.
    ///
    /// # Errors
    /// `internal` if they are no such rows.
    pub fn read(batch: &RecordBatch) -> Result<Vec<Self>> {
        let bad = || Error::internal("bad pieces of an output from a peer");
        let [rows, bytes, tokens] = batch.columns() else { return Err(bad()) };
        let rows = rows.as_primitive_opt::<UInt64Type>().ok_or_else(bad)?;
        let bytes = bytes.as_primitive_opt::<UInt64Type>().ok_or_else(bad)?;
        let tokens = tokens.as_binary_opt::<i32>().ok_or_else(bad)?;
        let piece = |at| Self {
            rows: rows.value(at),
            bytes: bytes.value(at),
            token: tokens.value(at).to_vec(),
        };
        Ok((0..batch.num_rows()).map(piece).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_as_they_were_told() {
        let piece = |n: u64| Piece { rows: n, bytes: n * 10, token: vec![n as u8; n as usize] };
        let pieces = [piece(0), piece(3)];
        assert_eq!(Piece::read(&Piece::batch(&pieces).unwrap()).unwrap(), pieces);
        let others = RecordBatch::new_empty(Arc::new(Schema::empty()));
        assert!(Piece::read(&others).is_err());
    }
}
