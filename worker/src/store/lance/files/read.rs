//! Reads values: of a data file directly ([`super::direct`] says of which), of all else as Lance
//! does.
//!
//! Each read waits until the worker's budget has room for what it is expected to bring. Meanwhile
//! its storage owes nothing.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::{concat, concat_batches},
    datatypes::UInt64Type,
};
use futures::{
    StreamExt, TryStreamExt,
    future::{try_join, try_join_all},
};
use keyloom_common::{Error, Result};
use lance::dataset::{
    ROW_ID,
    fragment::{FragReadConfig, FragmentReader},
};

use super::data_file::{DataFile, FileRows};
use crate::store::lance::{
    column::{Column, projection},
    error::from_lance,
    handle::LanceHandle,
};

/// The name under which Lance gives a row's address.
pub(in crate::store::lance) const ROW_ADDRESS: &str = "_rowaddr";

/// A reader of some columns of a fragment, for one open dataset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::store::lance) struct ReaderKey {
    handle: u64,
    fragment: u32,
    fields: Vec<i32>,
}

impl LanceHandle {
    /// A reader of these columns of a fragment, which may have been used before.
    ///
    /// It reads deleted rows as if they were there, so that a row stands where its offset says;
    /// whoever asks it leaves them out.
    async fn reader(&self, columns: &[&Column], fragment: u32) -> Result<Arc<FragmentReader>> {
        let fields = columns.iter().map(|column| column.field_id()).collect();
        let key = ReaderKey { handle: self.id, fragment, fields };
        let open = async {
            let config =
                FragReadConfig::default().with_row_address(true).with_ignore_deletions(true);
            let projection = projection(columns.iter().copied());
            let fragment = self.fragment(fragment)?;
            let reader = fragment.open(&projection, config).await.map_err(from_lance)?;
            Ok::<_, Error>(Arc::new(reader))
        };
        self.caches.readers.get_or_insert_async(&key, open).await
    }

    /// The values of consecutive rows of a fragment, deleted ones among them, which have about so
    /// many bytes.
    pub(in crate::store::lance) async fn read_range(
        &self,
        column: &Column,
        fragment: u32,
        rows: Range<u32>,
        bytes: u64,
    ) -> Result<ArrayRef> {
        let _share = self.reads.take(bytes).await;
        let read = async {
            if column.has_bytes_apart() {
                self.read_blob_range(column, fragment, rows).await
            } else {
                self.read_stored_range(column, fragment, rows).await
            }
        };
        column.answer(&self.watch.read(read).await?)
    }

    /// The same of some columns whose bytes are all in data files: one read, where a file that is
    /// read directly has them all.
    pub(in crate::store::lance) async fn read_ranges(
        &self,
        columns: &[&Column],
        fragment: u32,
        rows: Range<u32>,
        bytes: u64,
    ) -> Result<Vec<ArrayRef>> {
        let _share = self.reads.take(bytes).await;
        let read = async {
            let files = columns.iter().map(|column| self.data_file(column, fragment));
            let files: Option<Vec<_>> = try_join_all(files).await?.into_iter().collect();
            if let Some(file) = files.and_then(DataFile::together) {
                return file.read_all(FileRows::Range(rows)).await;
            }
            let one = |column| self.read_stored_range(column, fragment, rows.clone());
            try_join_all(columns.iter().copied().map(one)).await
        };
        let values = self.watch.read(read).await?;
        columns.iter().zip(&values).map(|(column, values)| column.answer(values)).collect()
    }

    async fn read_stored_range(
        &self,
        column: &Column,
        fragment: u32,
        rows: Range<u32>,
    ) -> Result<ArrayRef> {
        if let Some(file) = self.data_file(column, fragment).await? {
            return file.read(FileRows::Range(rows)).await;
        }
        let reader = self.reader(&[column], fragment).await?;
        let batches = reader.take_range(rows.clone(), rows.len() as u32).await;
        let batches: Vec<_> =
            batches.map_err(from_lance)?.buffered(1).try_collect().await.map_err(from_lance)?;
        let batch = match batches.as_slice() {
            [batch] => batch.clone(),
            [first, ..] => concat_batches(&first.schema(), &batches)?,
            [] => return Err(Error::store("Lance gave no rows")),
        };
        let first = u64::from(fragment) << 32;
        check(&batch, rows.map(|row| first | u64::from(row)))?;
        Ok(given(&batch, column.name())?.clone())
    }

    /// The stable row ids of consecutive rows of a fragment, those of deleted rows among them.
    pub(in crate::store::lance) async fn read_row_ids(
        &self,
        fragment: u32,
        rows: Range<u32>,
    ) -> Result<ArrayRef> {
        let config = FragReadConfig::default().with_row_id(true).with_ignore_deletions(true);
        let fragment = self.fragment(fragment)?;
        let count = rows.len();
        let _share = self.reads.take((count * size_of::<u64>()) as u64).await;
        let read = async {
            let reader = fragment.open(&projection([]), config).await.map_err(from_lance)?;
            let batches = reader.take_range(rows, count as u32).await.map_err(from_lance)?;
            batches.buffered(1).try_collect::<Vec<_>>().await.map_err(from_lance)
        };
        let batches = self.watch.read(read).await?;
        let ids = batches.iter().map(|batch| given(batch, ROW_ID).map(AsRef::as_ref));
        let ids = concat(&ids.collect::<Result<Vec<_>>>()?)?;
        if ids.len() != count {
            return Err(Error::store(format!(
                "asked for {count} row ids, Lance gave {}",
                ids.len()
            )));
        }
        Ok(ids)
    }

    /// The values of some live rows of a fragment, by column, which have about so many bytes. Rows
    /// are sorted and distinct.
    pub(in crate::store::lance) async fn take_rows(
        &self,
        columns: &[&Column],
        fragment: u32,
        rows: &[u32],
        bytes: u64,
    ) -> Result<Vec<ArrayRef>> {
        let _share = self.reads.take(bytes).await;
        let (apart, stored): (Vec<&Column>, Vec<&Column>) =
            columns.iter().partition(|column| column.has_bytes_apart());
        let blobs = apart.iter().map(|column| self.take_blobs(column, fragment, rows));
        let stored = self.take_stored(&stored, fragment, rows);
        let both = try_join(try_join_all(blobs), stored);
        let (blobs, stored) = self.watch.read(both).await?;
        let (mut blobs, mut stored) = (blobs.into_iter(), stored.into_iter());
        let next = |column: &&Column| {
            let read = if column.has_bytes_apart() { blobs.next() } else { stored.next() };
            column.answer(&read.ok_or_else(|| Error::internal("a column was not read"))?)
        };
        columns.iter().map(next).collect()
    }

    async fn take_stored(
        &self,
        columns: &[&Column],
        fragment: u32,
        rows: &[u32],
    ) -> Result<Vec<ArrayRef>> {
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let files = columns.iter().map(|column| self.data_file(column, fragment));
        let files: Option<Vec<_>> = try_join_all(files).await?.into_iter().collect();
        if let Some(files) = files {
            let read = files.iter().map(|file| file.read(FileRows::Some(rows)));
            return try_join_all(read).await;
        }
        let reader = self.reader(columns, fragment).await?;
        let batch = reader.take_as_batch(rows, None).await.map_err(from_lance)?;
        let first = u64::from(fragment) << 32;
        check(&batch, rows.iter().map(|row| first | u64::from(*row)))?;
        columns.iter().map(|column| given(&batch, column.name()).cloned()).collect()
    }
}

/// Refuses rows that are not exactly those asked for.
pub(super) fn check(
    batch: &RecordBatch,
    expected: impl ExactSizeIterator<Item = u64>,
) -> Result<()> {
    let addresses = given(batch, ROW_ADDRESS)?.as_primitive::<UInt64Type>();
    let asked = expected.len();
    if asked == addresses.len() && addresses.values().iter().copied().eq(expected) {
        return Ok(());
    }
    Err(Error::store(format!("asked for {asked} rows, Lance gave {} others", batch.num_rows())))
}

pub(in crate::store::lance) fn given<'a>(
    rows: &'a RecordBatch,
    name: &str,
) -> Result<&'a ArrayRef> {
    rows.column_by_name(name)
        .ok_or_else(|| Error::internal(format!("column '{name}' was asked of Lance but not given")))
}
