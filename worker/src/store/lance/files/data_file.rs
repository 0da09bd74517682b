//! Reads columns of local data files without Lance's scheduler of reads, which sends every row
//! through two tasks and a thread.
//!
//! A data file never changes, so it is kept open under its name for all versions that have it.
//! Which of its columns belong to which fields is each version's own ([`super::direct`]).

use std::{borrow::Cow, ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, UInt32Array},
    compute::concat,
};
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use keyloom_common::{Error, Result};
use lance::{
    Dataset,
    cache::{CacheKey, LanceCache},
    datatypes::Schema,
};
use lance_encoding::decoder::{DecoderConfig, DecoderPlugins, FilterExpression};
use lance_file::reader::{CachedFileMetadata, FileReader, FileReaderOptions, ReaderProjection};
use lance_io::{
    ReadBatchParams,
    local::to_local_path,
    scheduler::{ScanScheduler, SchedulerConfig},
};
use lance_table::format;

use super::{direct::directly_readable, local_end, local_reader::LocalReader};
use crate::store::lance::{
    column::Column, error::from_lance, handle::LanceHandle, identity::cache_name,
};

/// A column in an open data file.
#[derive(Debug)]
pub(in crate::store::lance) struct DataFile {
    reader: Arc<FileReader>,
    projection: ReaderProjection,
}

/// Rows of a file.
#[derive(Clone, Debug)]
pub(super) enum FileRows<'a> {
    Range(Range<u32>),
    /// Sorted and distinct.
    Some(&'a [u32]),
}

/// What stands at the end of a data file, as it is kept.
struct End;

impl CacheKey for End {
    type ValueType = CachedFileMetadata;

    fn key(&self) -> Cow<'_, str> {
        "end".into()
    }

    fn type_name() -> &'static str {
        "keyloom.CachedFileMetadata"
    }
}

impl LanceHandle {
    /// The column in a fragment's data file, if it is read directly.
    pub(in crate::store::lance) async fn data_file(
        &self,
        column: &Column,
        fragment: u32,
    ) -> Result<Option<DataFile>> {
        let Some(fragment) = self.stored_fragment(fragment) else { return Ok(None) };
        let store = self.dataset.object_store(None).await.map_err(from_lance)?;
        let local = store.has_direct_local_paths();
        let Some((file, projection)) = directly_readable(column, fragment, local)? else {
            return Ok(None);
        };
        let path = to_local_path(&self.dataset.data_dir().join(file.path.as_str()));
        let name = cache_name(&self.dataset.manifest, &path);
        let open = async {
            let reader = self.open_file(file, &name).await;
            reader.map(Arc::new).map_err(|error| error.context(&path))
        };
        let reader = self.caches.files.get_or_insert_async(&name, open).await?;
        Ok(Some(DataFile { reader, projection }))
    }

    async fn open_file(&self, file: &format::DataFile, name: &str) -> Result<FileReader> {
        let io = self.local_file(file).await?;
        let path = self.dataset.data_dir().join(file.path.as_str());
        let end = local_end::read(&self.dataset, Arc::clone(&io), path.clone());
        let pages = self.caches.pages.with_key_prefix(name);
        let metadata = end_of(&pages, end.map_err(from_lance)).await?;
        let decoder_config =
            DecoderConfig { inline_scheduling: Some(true), ..DecoderConfig::default() };
        let reader = FileReader::try_open_with_file_metadata(
            io,
            path,
            None,
            Arc::<DecoderPlugins>::default(),
            metadata,
            &pages,
            FileReaderOptions { decoder_config, ..FileReaderOptions::default() },
        );
        reader.await.map_err(from_lance)
    }

    async fn local_file(&self, file: &format::DataFile) -> Result<Arc<LocalReader>> {
        let path = to_local_path(&self.dataset.data_dir().join(file.path.as_str()));
        let opened = LocalReader::open(path, self.settings.reads_in_flight).await;
        opened.map(Arc::new).map_err(from_lance)
    }

    /// Reads the end of a data file that is not open.
    async fn read_end(&self, file: &format::DataFile) -> Result<CachedFileMetadata> {
        let store = self.dataset.object_store(None).await.map_err(from_lance)?;
        if !store.has_direct_local_paths() {
            return read_metadata(&self.dataset, file).await;
        }
        let io = self.local_file(file).await?;
        let path = self.dataset.data_dir().join(file.path.as_str());
        local_end::read(&self.dataset, io, path).await.map_err(from_lance)
    }

    /// Where the columns of a data file stand.
    pub(in crate::store::lance) async fn columns_of(
        &self,
        file: &format::DataFile,
    ) -> Result<Arc<CachedFileMetadata>> {
        let path = to_local_path(&self.dataset.data_dir().join(file.path.as_str()));
        let name = cache_name(&self.dataset.manifest, &path);
        if let Some(reader) = self.caches.files.get(&name) {
            return Ok(reader.metadata().clone());
        }
        let pages = self.caches.pages.with_key_prefix(&name);
        let end = end_of(&pages, self.read_end(file)).await;
        end.map_err(|error| error.context(&path))
    }
}

/// What stands at the end of a data file, by what is kept of its pages. It is kept for longer than
/// the file is open: reading it costs far more than opening does.
async fn end_of(
    pages: &LanceCache,
    read: impl Future<Output = Result<CachedFileMetadata>>,
) -> Result<Arc<CachedFileMetadata>> {
    if let Some(end) = pages.get_with_key(&End).await {
        return Ok(end);
    }
    let end = Arc::new(read.await?);
    pages.insert_with_key(&End, end.clone()).await;
    Ok(end)
}

/// What stands at the end of a data file.
pub(in crate::store::lance) async fn read_metadata(
    dataset: &Dataset,
    file: &format::DataFile,
) -> Result<CachedFileMetadata> {
    let store = dataset.object_store(None).await.map_err(from_lance)?;
    let path = dataset.data_dir().join(file.path.as_str());
    let scheduler = ScanScheduler::new(store.clone(), SchedulerConfig::max_bandwidth(&store));
    let file = scheduler.open_file(&path, &file.file_size_bytes).await.map_err(from_lance)?;
    FileReader::read_all_metadata(&file).await.map_err(from_lance)
}

impl DataFile {
    /// Columns of one file, to be read at once. None if they are in several.
    pub(super) fn together(files: Vec<Self>) -> Option<Self> {
        let mut files = files.into_iter();
        let Self { reader, projection } = files.next()?;
        let ReaderProjection { schema, mut column_indices } = projection;
        let mut schema = Schema::clone(&schema);
        for file in files {
            if !Arc::ptr_eq(&file.reader, &reader) {
                return None;
            }
            schema.fields.extend(file.projection.schema.fields.iter().cloned());
            column_indices.extend(file.projection.column_indices);
        }
        let projection = ReaderProjection { schema: Arc::new(schema), column_indices };
        Some(Self { reader, projection })
    }

    /// The values at these rows, of the one column.
    pub(super) async fn read(&self, rows: FileRows<'_>) -> Result<ArrayRef> {
        let mut columns = self.read_all(rows).await?;
        columns.pop().ok_or_else(|| Error::internal("a column was not read"))
    }

    /// The values at these rows, by column.
    pub(super) async fn read_all(&self, rows: FileRows<'_>) -> Result<Vec<ArrayRef>> {
        let (params, expected) = match rows {
            FileRows::Range(rows) => {
                (ReadBatchParams::Range(rows.start as usize..rows.end as usize), rows.len())
            }
            FileRows::Some(rows) => {
                (ReadBatchParams::Indices(UInt32Array::from(rows.to_vec())), rows.len())
            }
        };
        let projection = self.projection.clone();
        let no_filter = FilterExpression::no_filter();
        let tasks = self.reader.read_tasks(params, u32::MAX, Some(projection), no_filter).await;
        let batches: Vec<RecordBatch> = tasks
            .map_err(from_lance)?
            .map(|task| task.task)
            .buffered(1)
            .try_collect()
            .await
            .map_err(from_lance)?;
        let columns = 0..self.projection.schema.fields.len();
        columns.map(|column| whole(&batches, column, expected)).collect()
    }
}

/// The values of a column in one piece, of which there must be so many.
fn whole(batches: &[RecordBatch], column: usize, expected: usize) -> Result<ArrayRef> {
    let values = match batches {
        [only] => only.column(column).clone(),
        several => {
            let values = several.iter().map(|batch| batch.column(column).as_ref());
            concat(&values.collect::<Vec<&dyn Array>>())?
        }
    };
    if values.len() != expected {
        let given = values.len();
        return Err(Error::store(format!("asked for {expected} rows, Lance gave {given}")));
    }
    Ok(values)
}
