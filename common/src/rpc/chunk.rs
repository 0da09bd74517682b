//! Rows on their way between parts of a cluster: as pieces of Arrow IPC streams, or, where both
//! parts are in one process, as the batches themselves, of which nothing is copied then.

use std::{result, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

use super::Body;
use crate::{
    error::Result,
    ipc::{Decoder, Encoder, decode_all},
    size::batch_bytes,
};

/// Rows, or a piece of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Chunk {
    /// A piece of an Arrow IPC stream.
    Stream(Body),
    /// Batches in memory, which do not leave the process.
    Batches(Arc<[RecordBatch]>),
}

impl Chunk {
    /// How many bytes its rows take.
    pub fn size(&self) -> usize {
        match self {
            Self::Stream(body) => body.bytes().len(),
            Self::Batches(batches) => batches.iter().map(batch_bytes).sum(),
        }
    }

    /// How many bytes of it travel between processes: none of batches in memory, whose rows are not
    /// looked at for that.
    pub fn sent_bytes(&self) -> u64 {
        match self {
            Self::Stream(body) => body.bytes().len() as u64,
            Self::Batches(_) => 0,
        }
    }

    /// The same rows, for whoever keeps them in room of its own.
    #[must_use]
    pub fn received(self) -> Self {
        match self {
            Self::Stream(body) => body.into_bytes().into(),
            Self::Batches(batches) => Self::Batches(batches),
        }
    }

    /// The batches that it completes, as the next chunk of a stream.
    ///
    /// # Errors
    /// `internal` if it is not Arrow IPC.
    pub fn decode(self, decoder: &mut Decoder) -> Result<Vec<RecordBatch>> {
        match self {
            Self::Stream(body) => decoder.push(body.into_bytes()),
            Self::Batches(batches) => Ok(batches.to_vec()),
        }
    }

    /// The batches of a chunk that is all there is.
    ///
    /// # Errors
    /// `internal` if it is no complete Arrow IPC stream.
    pub fn decode_all(self) -> Result<Vec<RecordBatch>> {
        match self {
            Self::Stream(body) => Ok(decode_all(body.into_bytes())?.1),
            Self::Batches(batches) => Ok(batches.to_vec()),
        }
    }
}

/// Makes chunks of a bounded size of batches.
#[derive(Debug)]
pub enum ChunkWriter {
    /// For another process.
    Stream(Box<Encoder>),
    /// For this process.
    Batches {
        /// The schema of all batches, as a stream would have it.
        schema: SchemaRef,
        /// The batches of the next chunk.
        pending: Vec<RecordBatch>,
        /// How many bytes their rows take.
        bytes: usize,
        /// About the most bytes of a chunk.
        chunk_bytes: usize,
    },
}

impl ChunkWriter {
    /// Chunks of rows that have this schema, of about so many bytes at most.
    ///
    /// # Errors
    /// `internal` if the schema cannot be encoded.
    pub fn try_new(schema: &SchemaRef, in_process: bool, chunk_bytes: usize) -> Result<Self> {
        Ok(match in_process {
            true => {
                let schema = Arc::clone(schema);
                Self::Batches { schema, pending: Vec::new(), bytes: 0, chunk_bytes }
            }
            false => Self::Stream(Box::new(Encoder::try_new(schema, chunk_bytes)?)),
        })
    }

    /// Takes a batch and returns the chunks that are full.
    ///
    /// # Errors
    /// `internal` if the rows cannot be encoded.
    pub fn write(&mut self, batch: RecordBatch) -> Result<Vec<Chunk>> {
        match self {
            Self::Stream(encoder) => {
                Ok(encoder.write(&batch)?.into_iter().map(Chunk::from).collect())
            }
            Self::Batches { .. } if batch.num_rows() == 0 => Ok(Vec::new()),
            Self::Batches { schema, pending, bytes, chunk_bytes } => {
                *bytes += batch_bytes(&batch);
                pending.push(under(schema, batch)?);
                if *bytes < *chunk_bytes {
                    return Ok(Vec::new());
                }
                *bytes = 0;
                Ok(vec![std::mem::take(pending).into()])
            }
        }
    }

    /// The last chunks.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn finish(self) -> Result<Vec<Chunk>> {
        match self {
            Self::Stream(encoder) => Ok(encoder.finish()?.into_iter().map(Chunk::from).collect()),
            Self::Batches { pending, .. } if pending.is_empty() => Ok(Vec::new()),
            Self::Batches { pending, .. } => Ok(vec![pending.into()]),
        }
    }
}

/// A batch under the schema of its plan: operators may pass on batches whose own schema differs in
/// names, nullability or metadata.
///
/// # Errors
/// `internal` if the columns do not fit it.
pub fn under(schema: &SchemaRef, batch: RecordBatch) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch);
    }
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &rows)?)
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self::Stream(bytes.into())
    }
}

impl From<Vec<RecordBatch>> for Chunk {
    fn from(batches: Vec<RecordBatch>) -> Self {
        Self::Batches(batches.into())
    }
}

impl Serialize for Chunk {
    fn serialize<S: Serializer>(&self, serializer: S) -> result::Result<S::Ok, S::Error> {
        match self {
            Self::Stream(body) => body.serialize(serializer),
            Self::Batches(_) => Err(ser::Error::custom("rows in memory do not leave the process")),
        }
    }
}

impl<'de> Deserialize<'de> for Chunk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> result::Result<Self, D::Error> {
        Body::deserialize(deserializer).map(Self::Stream)
    }
}
