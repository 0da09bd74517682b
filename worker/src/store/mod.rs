//! Stores as the lookup operator sees them: one small trait, and what opens its implementations.
//!
//! A handle is opened once per worker and shared by all tasks ([`OpenStores`]). Every handle reads
//! one snapshot for as long as it lives.

#[cfg(test)]
mod contract;
mod keys;
mod lance;
mod memory;
mod open;
mod open_stores;
mod settings;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array},
    datatypes::{Schema, SchemaRef},
};
use async_trait::async_trait;
use keyloom_common::{Error, Result};

pub(crate) use keys::Keys;
pub use open::{BlobSource, StoreEnv};
pub use open_stores::OpenStores;
pub use settings::StoreSettings;

/// An open store at one snapshot.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Finds the rows of the keys in one request.
    ///
    /// # Errors
    /// `store` if the store could not be read (another attempt may help), `invalid` if the answer
    /// is ambiguous (a key that stands in several rows). Never a partial answer.
    async fn lookup(&self, request: Request) -> Result<Found>;
}

/// Keys to find, and the columns wanted of their rows.
#[derive(Clone, Debug)]
pub struct Request {
    /// Distinct keys without nulls, of the store's key type.
    pub keys: ArrayRef,
    /// Indices into the store's schema, in the order wanted. Empty: only existence is asked, and
    /// no value column is read.
    pub columns: Vec<usize>,
}

/// The rows found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The requested columns, in the requested order. Rows stand in any order.
    pub rows: RecordBatch,
    /// For each key its row in `rows`; null if the store does not hold the key. When no columns
    /// were requested, only the validity means anything.
    pub positions: UInt32Array,
    /// What was read to find them.
    pub fetched: Fetched,
}

/// What a request read from the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Rows of values read.
    pub rows: u64,
    /// Bytes of values read, decoded.
    pub bytes: u64,
}

impl Fetched {
    /// Counts rows that were read. Only the values count, not the buffers around them, which may
    /// be larger and shared.
    fn of(rows: &RecordBatch) -> Self {
        let bytes = rows.columns().iter().map(|column| {
            let size = column.to_data().get_slice_memory_size();
            size.unwrap_or_else(|_| column.get_array_memory_size()) as u64
        });
        Self { rows: rows.num_rows() as u64, bytes: bytes.sum() }
    }
}

impl Found {
    /// The answer to a request for existence only: which of its keys the store holds.
    fn existence(held: impl IntoIterator<Item = bool>) -> Result<Self> {
        let mut rows = 0;
        let positions: UInt32Array = held
            .into_iter()
            .map(|held| {
                held.then(|| {
                    rows += 1;
                    rows - 1
                })
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows as usize));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
        Ok(Self { rows, positions, fetched: Fetched::default() })
    }
}

/// The columns of a request. Schema metadata is dropped: it is no column's.
fn requested_schema(schema: &SchemaRef, columns: &[usize]) -> Result<SchemaRef> {
    let fields = columns.iter().map(|column| schema.fields().get(*column).cloned());
    let fields: Vec<_> = fields.collect::<Option<_>>().ok_or_else(|| {
        Error::internal(format!("columns {columns:?} of a store with {}", schema.fields().len()))
    })?;
    Ok(Arc::new(Schema::new(fields)))
}
