//! Record batches to an Arrow IPC stream, handed out in chunks.

use std::fmt;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;

use crate::error::Result;

/// Writes one Arrow IPC stream and hands it out in chunks of at most `chunk_bytes`.
///
/// Batches are cut by rows so that a chunk usually ends where a message ends: the reader can then
/// use the chunk's memory as it is.
pub struct Encoder {
    writer: StreamWriter<Vec<u8>>,
    chunk_bytes: usize,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("chunk_bytes", &self.chunk_bytes).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Starts a stream.
    ///
    /// # Errors
    /// If the schema cannot be written.
    pub fn try_new(schema: &SchemaRef, chunk_bytes: usize) -> Result<Self> {
        Ok(Self { writer: StreamWriter::try_new(Vec::new(), schema)?, chunk_bytes })
    }

    /// Appends a batch and returns the chunks that are full.
    ///
    /// # Errors
    /// If the batch cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>> {
        let mut chunks = Vec::new();
        let rows_a_piece = self.rows_a_piece(batch);
        let mut start = 0;
        while start < batch.num_rows() {
            let length = rows_a_piece.min(batch.num_rows() - start);
            self.writer.write(&batch.slice(start, length))?;
            start += length;
            if self.writer.get_ref().len() >= self.chunk_bytes / 2 {
                self.cut(&mut chunks);
            }
        }
        Ok(chunks)
    }

    /// Ends the stream and returns its last chunks.
    ///
    /// # Errors
    /// If the end marker cannot be written.
    pub fn finish(mut self) -> Result<Vec<Bytes>> {
        self.writer.finish()?;
        let mut chunks = Vec::new();
        self.cut(&mut chunks);
        Ok(chunks)
    }

    fn rows_a_piece(&self, batch: &RecordBatch) -> usize {
        let bytes = batch.get_array_memory_size().max(1);
        let rows = batch.num_rows().saturating_mul(self.chunk_bytes / 2) / bytes;
        rows.clamp(1, batch.num_rows().max(1))
    }

    fn cut(&mut self, chunks: &mut Vec<Bytes>) {
        let capacity = self.chunk_bytes.min(self.writer.get_ref().len());
        let written = std::mem::replace(self.writer.get_mut(), Vec::with_capacity(capacity));
        let mut rest = Bytes::from(written);
        while !rest.is_empty() {
            chunks.push(rest.split_to(self.chunk_bytes.min(rest.len())));
        }
    }
}

/// A whole stream in one piece.
///
/// # Errors
/// If a batch cannot be written.
pub fn encode_all(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Bytes> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?.into())
}
