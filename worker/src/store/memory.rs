//! Stores whose contents travel with the session: one Arrow IPC stream, indexed once by its keys.
//!
//! The bytes come from a peer, so they are decoded with validation and off the reactor, where even
//! a panic of the decoder is only an error.

use std::{hash::BuildHasher, io::Cursor};

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::{concat_batches, take},
    datatypes::SchemaRef,
    ipc::reader::StreamReader,
};
use async_trait::async_trait;
use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};
use keyloom_common::{BlobId, Error, Result};

use super::{Fetched, Found, Request, Store, keys::Keys, requested_schema};

/// All rows of a store, and where each key stands.
pub(crate) struct MemoryStore {
    rows: RecordBatch,
    keys: Keys,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl MemoryStore {
    /// Decodes the contents and indexes them by the key column.
    ///
    /// # Errors
    /// `invalid` if the contents are no Arrow IPC stream, lack the key column, or hold a key twice.
    pub(crate) async fn open(id: BlobId, content: Bytes, key: &str) -> Result<Self> {
        let key = key.to_owned();
        blocking(move || {
            if BlobId::of(&content) != id {
                return Err(Error::internal(format!("content {id} is not what its name says")));
            }
            Self::try_new(decode(content)?, &key)
        })
        .await
    }

    /// Reads the columns of the contents and nothing else.
    ///
    /// # Errors
    /// `invalid` if the contents are no Arrow IPC stream.
    pub(crate) async fn read_schema(content: Bytes) -> Result<SchemaRef> {
        blocking(move || {
            let reader = StreamReader::try_new(Cursor::new(content), None).map_err(not_ipc)?;
            Ok(reader.schema())
        })
        .await
    }

    fn try_new(rows: RecordBatch, key: &str) -> Result<Self> {
        let column = rows
            .column_by_name(key)
            .ok_or_else(|| Error::invalid(format!("its contents have no key column '{key}'")))?;
        let keys = Keys::try_new(column)?;
        let hasher = DefaultHashBuilder::default();
        let index = build_index(&keys, &hasher)?;
        Ok(Self { rows, keys, index, hasher })
    }

    fn find(&self, wanted: &Keys, key: usize) -> Option<u32> {
        if wanted.is_null(key) {
            return None;
        }
        let hash = hash(wanted, key, &self.hasher);
        self.index.find(hash, |row| self.keys.equal(*row as usize, wanted, key)).copied()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let wanted = Keys::try_new(&request.keys)?;
        let rows: Vec<_> = (0..wanted.len()).map(|key| self.find(&wanted, key)).collect();
        if request.columns.is_empty() {
            return Found::existence(rows.into_iter().map(|row| row.is_some()));
        }
        let mut next = 0..;
        let positions = rows.iter().map(|row| row.and_then(|_| next.next())).collect();
        let taken: UInt32Array = rows.into_iter().flatten().map(Some).collect();
        let schema = requested_schema(self.rows.schema_ref(), &request.columns)?;
        let columns =
            request.columns.iter().map(|column| take(self.rows.column(*column), &taken, None));
        let rows = RecordBatch::try_new(schema, columns.collect::<Result<_, _>>()?)?;
        let fetched = Fetched::of(&rows);
        Ok(Found { rows, positions, fetched })
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").field("rows", &self.rows.num_rows()).finish_non_exhaustive()
    }
}

fn build_index(keys: &Keys, hasher: &DefaultHashBuilder) -> Result<HashTable<u32>> {
    let rows = u32::try_from(keys.len())
        .map_err(|_| Error::resource_exhausted("a memory store holds at most 2^32 - 1 rows"))?;
    let mut index = HashTable::with_capacity(keys.len());
    for row in 0..rows {
        let key = row as usize;
        if keys.is_null(key) {
            continue;
        }
        let code = hash(keys, key, hasher);
        if index.find(code, |other: &u32| keys.equal(*other as usize, keys, key)).is_some() {
            let shown = keys.display(key);
            return Err(Error::invalid(format!(
                "its contents hold the key {shown} more than once"
            )));
        }
        index.insert_unique(code, row, |other| hash(keys, *other as usize, hasher));
    }
    Ok(index)
}

/// Spreads integers, too: a hash table over the keys themselves would have long runs.
fn hash(keys: &Keys, key: usize, hasher: &DefaultHashBuilder) -> u64 {
    let code = keys.code(key, hasher);
    if keys.is_exact() { hasher.hash_one(code) } else { code }
}

fn decode(content: Bytes) -> Result<RecordBatch> {
    let reader = StreamReader::try_new(Cursor::new(content), None).map_err(not_ipc)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(not_ipc)?;
    Ok(concat_batches(&schema, &batches)?)
}

fn not_ipc(error: arrow::error::ArrowError) -> Error {
    Error::invalid(format!("its contents cannot be read as an Arrow IPC stream: {error}"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Error::invalid("its contents cannot be read as an Arrow IPC stream"))
    })
}
