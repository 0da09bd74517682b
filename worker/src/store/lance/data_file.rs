//! Reads columns of local data files without Lance's scheduler of reads, which sends every row
//! through two tasks and a thread.
//!
//! A data file never changes, so it is kept open under its path for all versions that have it.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, UInt32Array},
    compute::concat,
};
use futures::{StreamExt, TryStreamExt};
use keyloom_common::{Error, Result};
use lance_encoding::decoder::{DecoderConfig, DecoderPlugins, FilterExpression};
use lance_file::{
    reader::{FileReader, FileReaderOptions},
    version::ConcreteFileVersion,
    versions::reader_projection_from_field_ids,
};
use lance_io::{
    ReadBatchParams,
    local::to_local_path,
    scheduler::{ScanScheduler, SchedulerConfig},
};
use lance_table::format;

use super::{
    column::{Column, projection},
    error::from_lance,
    handle::LanceHandle,
    page_cache::PageCache,
    tasks,
};

/// An open data file.
#[derive(Debug)]
pub(super) struct DataFile {
    reader: FileReader,
    /// Where in the file each field is, by its id.
    columns: BTreeMap<u32, u32>,
}

/// Rows of a file.
#[derive(Clone, Debug)]
pub(super) enum Rows<'a> {
    Range(Range<u32>),
    /// Sorted and distinct.
    Some(&'a [u32]),
}

impl LanceHandle {
    /// The file that holds the column of a fragment, if it can be read without Lance's help: a
    /// local file of the current format that alone holds the column.
    pub(super) async fn data_file(
        &self,
        column: &Column,
        fragment: u32,
    ) -> Result<Option<Arc<DataFile>>> {
        let Some(file) = column.data_file(self, fragment) else { return Ok(None) };
        let version = file.file_version().map_err(from_lance)?;
        let store = self.dataset.object_store(None).await.map_err(from_lance)?;
        if file.base_id.is_some()
            || version == ConcreteFileVersion::V1
            || !store.has_direct_local_paths()
        {
            return Ok(None);
        }
        let path = self.dataset.data_dir().join(file.path.as_str());
        let key: Arc<str> = to_local_path(&path).into();
        let open = async {
            let scheduler =
                ScanScheduler::new(store.clone(), SchedulerConfig::max_bandwidth(&store));
            let scheduler = scheduler.open_file(&path, &file.file_size_bytes).await;
            let metadata = FileReader::read_all_metadata(&scheduler.map_err(from_lance)?).await;
            let local = key.clone();
            let opened = tasks::run_blocking(move || std::fs::File::open(&*local)).await?;
            let io = PageCache {
                file: Arc::new(opened.map_err(|error| from_lance(error.into()))?),
                in_flight: self.settings.reads_in_flight,
            };
            let decoder_config =
                DecoderConfig { inline_scheduling: Some(true), ..DecoderConfig::default() };
            let reader = FileReader::try_open_with_file_metadata(
                Arc::new(io),
                path.clone(),
                None,
                Arc::<DecoderPlugins>::default(),
                Arc::new(metadata.map_err(from_lance)?),
                &self.caches.pages,
                FileReaderOptions { decoder_config, ..FileReaderOptions::default() },
            );
            let reader = reader.await.map_err(from_lance)?;
            Ok::<_, Error>(Arc::new(DataFile { reader, columns: columns(file) }))
        };
        self.caches.files.get_or_insert_async(&key, open).await.map(Some)
    }
}

fn columns(file: &format::DataFile) -> BTreeMap<u32, u32> {
    let pairs = file.fields.iter().zip(file.column_indices.iter());
    pairs
        .filter_map(|(field, at)| Some(((*field).try_into().ok()?, (*at).try_into().ok()?)))
        .collect()
}

impl DataFile {
    /// The values of a column at these rows.
    pub(super) async fn read(&self, column: &Column, rows: Rows<'_>) -> Result<ArrayRef> {
        let (params, expected) = match rows {
            Rows::Range(rows) => {
                (ReadBatchParams::Range(rows.start as usize..rows.end as usize), rows.len())
            }
            Rows::Some(rows) => {
                (ReadBatchParams::Indices(UInt32Array::from(rows.to_vec())), rows.len())
            }
        };
        let schema = projection([column]);
        let projection =
            reader_projection_from_field_ids(self.reader.version(), &schema, &self.columns);
        let projection = projection.map_err(from_lance)?;
        let no_filter = FilterExpression::no_filter();
        let tasks = self.reader.read_tasks(params, u32::MAX, Some(projection), no_filter).await;
        let batches: Vec<RecordBatch> = tasks
            .map_err(from_lance)?
            .map(|task| task.task)
            .buffered(1)
            .try_collect()
            .await
            .map_err(from_lance)?;
        let values: Vec<&dyn Array> =
            batches.iter().map(|batch| batch.column(0).as_ref()).collect();
        let values = match values.as_slice() {
            [_] => batches[0].column(0).clone(),
            several => concat(several)?,
        };
        if values.len() != expected {
            let given = values.len();
            return Err(Error::store(format!("asked for {expected} rows, Lance gave {given}")));
        }
        Ok(values)
    }
}
