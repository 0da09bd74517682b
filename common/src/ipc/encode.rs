//! Record batches to an Arrow IPC stream, handed out in chunks.

use std::{fmt, mem};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use arrow_ipc::writer::{
    CompressionContext, DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteOptions,
    StreamWriter, write_message,
};
use bytes::Bytes;

use super::{check::MAX_BARE_ROWS, compact::compact};
use crate::{error::Result, size::batch_bytes};

/// Messages with smaller bodies are put together in a chunk.
const SMALL_BODY_BYTES: usize = 64 * 1024;

/// What ends a stream.
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Writes one Arrow IPC stream and hands it out in chunks of at most `chunk_bytes`.
///
/// Batches are cut by rows so that the body of a message usually is a chunk: the reader can then
/// use the chunk's memory as it is, and here the body is not copied once more.
pub struct Encoder {
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    options: IpcWriteOptions,
    compression: CompressionContext,
    /// Messages, or what comes before the body of one, that are not handed out yet.
    pending: Vec<u8>,
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
        let mut encoder = Self {
            generator: IpcDataGenerator::default(),
            dictionaries: DictionaryTracker::new(false),
            options: IpcWriteOptions::default(),
            compression: CompressionContext::default(),
            pending: Vec::new(),
            chunk_bytes,
        };
        let schema = encoder.generator.schema_to_bytes_with_dictionary_tracker(
            schema,
            &mut encoder.dictionaries,
            &encoder.options,
        );
        encoder.message(schema, &mut Vec::new())?;
        Ok(encoder)
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
            let piece = compact(&batch.slice(start, length))?;
            let (dictionaries, rows) = self.generator.encode(
                &piece,
                &mut self.dictionaries,
                &self.options,
                &mut self.compression,
            )?;
            for message in dictionaries.into_iter().chain([rows]) {
                self.message(message, &mut chunks)?;
            }
            start += length;
        }
        Ok(chunks)
    }

    /// Ends the stream and returns the last chunks.
    ///
    /// # Errors
    /// If the end cannot be written.
    pub fn finish(mut self) -> Result<Vec<Bytes>> {
        self.pending.extend_from_slice(&END_OF_STREAM);
        let mut chunks = Vec::new();
        self.cut(&mut chunks);
        Ok(chunks)
    }

    fn message(&mut self, mut message: EncodedData, chunks: &mut Vec<Bytes>) -> Result<()> {
        let small = message.arrow_data.len() < SMALL_BODY_BYTES;
        let body = if small { Vec::new() } else { mem::take(&mut message.arrow_data) };
        write_message(&mut self.pending, message, &self.options)?;
        if !small || self.pending.len() >= self.chunk_bytes / 2 {
            self.cut(chunks);
        }
        self.split(body, chunks);
        Ok(())
    }

    /// Half of a chunk, since a batch may take more bytes in a stream than in memory.
    fn rows_a_piece(&self, batch: &RecordBatch) -> usize {
        // Buffers are somewhat larger than their rows; those of a slice may be a whole table's.
        let bytes = batch.get_array_memory_size().min(2 * batch_bytes(batch)).max(1);
        let rows = batch.num_rows().saturating_mul(self.chunk_bytes / 2) / bytes;
        rows.clamp(1, batch.num_rows().clamp(1, MAX_BARE_ROWS))
    }

    fn cut(&mut self, chunks: &mut Vec<Bytes>) {
        let pending = mem::take(&mut self.pending);
        self.split(pending, chunks);
    }

    fn split(&self, bytes: Vec<u8>, chunks: &mut Vec<Bytes>) {
        let mut rest = Bytes::from(bytes);
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
        let most = rows_a_message(batch);
        // A batch without rows is written, too.
        for start in (0..batch.num_rows().max(1)).step_by(most) {
            let rows = most.min(batch.num_rows() - start);
            writer.write(&compact(&batch.slice(start, rows))?)?;
        }
    }
    Ok(writer.into_inner()?.into())
}

/// The most rows that decoders take of bytes such as these.
fn rows_a_message(batch: &RecordBatch) -> usize {
    batch_bytes(batch).saturating_mul(8).max(MAX_BARE_ROWS)
}
