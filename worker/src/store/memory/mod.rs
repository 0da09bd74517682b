//! Stores whose contents travel with the session: one Arrow IPC stream, indexed once by its keys.
//!
//! The bytes come from a peer, so they are decoded with validation and off the reactor, where even
//! a panic of the decoder is only an error.

mod factory;

use std::{hash::BuildHasher, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::concat_batches,
    datatypes::SchemaRef,
};
use async_trait::async_trait;
use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};
use keyloom_common::{
    BlobId, Error, Result,
    ipc::{decode_all, decode_schema},
    memory::Reserved,
    store::KeyColumns,
};

use super::{
    Found, Place, ReadStats, Request, Store, Values,
    keys::{Keys, key_column},
    requested_schema, value_bytes,
};
use crate::memory::resize;

pub(crate) use factory::MemoryFactory;

/// All rows of a store, and where each key stands.
pub(crate) struct MemoryStore {
    rows: RecordBatch,
    keys: Keys,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// About how many bytes a value of each column takes.
    widths: Vec<u64>,
    /// What all that takes.
    room: Reserved,
}

impl MemoryStore {
    /// Decodes the contents and indexes them by the key columns. They take of `room` what they turn
    /// out to be.
    ///
    /// # Errors
    /// `invalid` if the contents are no Arrow IPC stream, lack a key column, or hold a key twice.
    pub(crate) async fn open(
        id: BlobId,
        content: Bytes,
        key: &KeyColumns,
        room: Reserved,
    ) -> Result<Self> {
        let key = key.clone();
        blocking(move || {
            if BlobId::of(&content) != id {
                return Err(Error::internal(format!("content {id} is not what its name says")));
            }
            Self::try_new(decode(content, &room)?, &key, room)
        })
        .await
    }

    /// Reads the columns of the contents and nothing else.
    ///
    /// # Errors
    /// `invalid` if the contents are no Arrow IPC stream.
    pub(crate) async fn read_schema(content: Bytes) -> Result<SchemaRef> {
        blocking(move || decode_schema(content).map_err(|error| not_ipc(&error))).await
    }

    /// Indexes rows by the key columns. They take of `room` what they turn out to be.
    ///
    /// # Errors
    /// `invalid` if they lack a key column, or hold a key twice.
    pub(super) fn try_new(rows: RecordBatch, key: &KeyColumns, room: Reserved) -> Result<Self> {
        let column = |name| {
            let column = rows.column_by_name(name).map(|column| (name, column.clone()));
            column
                .ok_or_else(|| Error::invalid(format!("its contents have no key column '{name}'")))
        };
        let columns = key.names().iter().map(|name| column(name.as_str()));
        let keys = Keys::try_new(&key_column(&columns.collect::<Result<Vec<_>>>()?)?)?;
        let hasher = DefaultHashBuilder::default();
        let index = build_index(&keys, &hasher)?;
        let width = |column: &ArrayRef| value_bytes(column).div_ceil(rows.num_rows().max(1) as u64);
        let widths = rows.columns().iter().map(width).collect();
        let values: u64 = rows.columns().iter().map(value_bytes).sum();
        let indexed = index.allocation_size() + keys.len() * size_of::<u64>();
        resize(&room, values + indexed as u64);
        Ok(Self { rows, keys, index, hasher, widths, room })
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.room.bytes()
    }

    fn bytes_a_row(&self, columns: &[usize]) -> u64 {
        columns.iter().filter_map(|column| self.widths.get(*column)).sum()
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
        let held = rows.iter().map(Option::is_some).collect();
        let places: Arc<[_]> =
            rows.iter().map(|row| row.map_or(Place::NONE, |row| Place { piece: 0, row })).collect();
        let fields = requested_schema(self.rows.schema_ref(), &request.columns)?;
        debug_assert_eq!(fields.fields().len(), request.columns.len());
        let values = |column: &usize| Values {
            pieces: vec![self.rows.column(*column).clone()],
            places: Arc::clone(&places),
        };
        let columns: Vec<_> = request.columns.iter().map(values).collect();
        let found = rows.iter().flatten().count() as u64;
        let bytes = found * self.bytes_a_row(&request.columns);
        let rows_taken = if columns.is_empty() { 0 } else { found };
        let stats = ReadStats { rows_taken, bytes, ..ReadStats::default() };
        // No key stands in several rows.
        Ok(Found { held, columns, stats, ..Found::default() })
    }

    async fn row_bytes(&self, columns: &[usize]) -> Result<u64> {
        Ok(self.bytes_a_row(columns))
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

fn decode(content: Bytes, room: &Reserved) -> Result<RecordBatch> {
    let bytes = content.len() as u64;
    let (schema, batches) = decode_all(content).map_err(|error| not_ipc(&error))?;
    if batches.len() > 1 {
        // For as long as they are put together, they are there twice.
        room.grow(bytes);
    }
    Ok(concat_batches(&schema, &batches)?)
}

fn not_ipc(error: &Error) -> Error {
    Error::invalid(format!("its contents cannot be read as an Arrow IPC stream: {error}"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Error::invalid("its contents cannot be read as an Arrow IPC stream"))
    })
}
