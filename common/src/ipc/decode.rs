//! An Arrow IPC stream from its chunks, with nothing allocated that the chunks do not hold.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::{array::RecordBatch, buffer::Buffer, datatypes::SchemaRef};
use arrow_ipc::reader::StreamDecoder;
use bytes::Bytes;

use crate::error::{Error, Result};

/// Reads one Arrow IPC stream from chunks. Bad bytes are an error, never a panic.
#[derive(Debug, Default)]
pub struct Decoder {
    decoder: StreamDecoder,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk and returns the batches that it completes.
    ///
    /// # Errors
    /// `internal` if the bytes are not Arrow IPC.
    pub fn push(&mut self, chunk: Bytes) -> Result<Vec<RecordBatch>> {
        let mut buffer = Buffer::from(chunk);
        let decoder = &mut self.decoder;
        // The decoder unwraps fields of the message, which a peer may have left out.
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            let mut batches = Vec::new();
            while let Some(batch) = decoder.decode(&mut buffer)? {
                batches.push(batch);
            }
            Ok::<_, arrow::error::ArrowError>(batches)
        }));
        match decoded {
            Ok(Ok(batches)) => Ok(batches),
            Ok(Err(error)) => Err(Error::internal(format!("bad Arrow IPC from a peer: {error}"))),
            Err(_) => Err(Error::internal("bad Arrow IPC from a peer: malformed message")),
        }
    }

    /// The schema, once its message has come.
    pub fn schema(&self) -> Option<SchemaRef> {
        self.decoder.schema()
    }
}

/// Reads a whole stream that is in one piece.
///
/// # Errors
/// `internal` if the bytes are not a complete Arrow IPC stream.
pub fn decode_all(stream: Bytes) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let mut decoder = Decoder::new();
    let batches = decoder.push(stream)?;
    decoder.decoder.finish().map_err(|error| {
        Error::internal(format!("an Arrow IPC stream that breaks off: {error}"))
    })?;
    let schema =
        decoder.schema().ok_or_else(|| Error::internal("an Arrow IPC stream without a schema"))?;
    Ok((schema, batches))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;
    use crate::ipc::{Encoder, encode_all};

    fn sample(rows: i64) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let names: ArrayRef =
            Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("name {i}"))));
        RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()
    }

    #[test]
    fn chunks_are_bounded_and_decode_to_the_same_rows() {
        let batch = sample(10_000);
        let mut encoder = Encoder::try_new(&batch.schema(), 4096).unwrap();
        let mut chunks = encoder.write(&batch).unwrap();
        chunks.extend(encoder.finish().unwrap());
        assert!(chunks.len() > 10);
        assert!(chunks.iter().all(|chunk| chunk.len() <= 4096));
        let mut decoder = Decoder::new();
        let batches: Vec<_> =
            chunks.into_iter().flat_map(|chunk| decoder.push(chunk).unwrap()).collect();
        let whole = arrow::compute::concat_batches(&batch.schema(), &batches).unwrap();
        assert_eq!(whole, batch);
    }

    #[test]
    fn a_row_larger_than_a_chunk_passes() {
        let big: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(100_000)]));
        let batch = RecordBatch::try_from_iter([("big", big)]).unwrap();
        let mut encoder = Encoder::try_new(&batch.schema(), 4096).unwrap();
        let mut chunks = encoder.write(&batch).unwrap();
        chunks.extend(encoder.finish().unwrap());
        assert!(chunks.iter().all(|chunk| chunk.len() <= 4096));
        let mut decoder = Decoder::new();
        let batches: Vec<_> =
            chunks.into_iter().flat_map(|chunk| decoder.push(chunk).unwrap()).collect();
        assert_eq!(batches, [batch]);
    }

    #[test]
    fn flipped_bytes_never_panic() {
        let batch = sample(50);
        let bytes = encode_all(&batch.schema(), &[batch]).unwrap();
        for position in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[position] ^= 0x55;
            // Any outcome but a panic: a flipped value is still a value.
            let _ = decode_all(bad.into());
        }
    }
}
