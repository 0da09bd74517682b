//! Reads the keys of a whole snapshot, and nothing else, into a [`KeyMap`]: in ranges of rows,
//! several at once.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::UInt64Type,
};
use futures::{StreamExt, TryStreamExt};
use keyloom_common::{Error, Result};
use lance::{
    Dataset,
    dataset::{
        ROW_ID,
        fragment::{FileFragment, FragReadConfig},
    },
    datatypes::Schema,
};

use super::{
    column,
    error::from_lance,
    fetch::{ROW_ADDRESS, fragment, projection},
    key_map::{BYTES_A_ROW, Coder, Entry, KeyMap},
    layout::Layout,
    tasks,
};
use crate::store::StoreSettings;

/// Rows that one job scans, and rows that it decodes at a time.
const RANGE_ROWS: u32 = 256 * 1024;
const BATCH_ROWS: u32 = 8 * 1024;
/// Batches that one job reads ahead.
const READ_AHEAD: usize = 2;

/// What the keys are.
#[derive(Clone, Copy)]
pub(super) enum KeySource<'a> {
    /// The values of a column.
    Column(&'a str),
    /// Row ids that stay with their rows when these move, and so say nothing of addresses.
    StableRowId,
}

/// Maps the keys of all live rows.
///
/// # Errors
/// `resource_exhausted` if the map would take more than the settings allow, `store` if the dataset
/// cannot be read.
pub(super) async fn read_key_map(
    dataset: &Arc<Dataset>,
    source: KeySource<'_>,
    coder: Coder,
    settings: &StoreSettings,
) -> Result<KeyMap> {
    let in_flight = settings.take_chunks_in_flight;
    let layout = Layout::load(dataset, in_flight).await?;
    let rows = check_size(&layout, settings)?;
    let (schema, key) = match source {
        KeySource::Column(column) => (projection(dataset, &[column])?, column),
        KeySource::StableRowId => (projection(dataset, &[])?, ROW_ID),
    };
    let config = FragReadConfig::default()
        .with_row_address(true)
        .with_row_id(matches!(source, KeySource::StableRowId));

    let scan = Arc::new(Scan { schema, config, key: key.to_owned(), coder: coder.clone() });
    let jobs = layout.fragments().flat_map(|(id, rows)| {
        let scan = scan.clone();
        let starts = (0..rows).step_by(RANGE_ROWS as usize);
        starts.map(move |start| {
            let range = start..rows.min(start.saturating_add(RANGE_ROWS));
            let (scan, fragment) = (scan.clone(), fragment(dataset, id));
            async move { scan.range(fragment?, range).await }
        })
    });
    let jobs: Vec<_> = jobs.collect();
    let mut entries: Vec<Entry> = Vec::with_capacity(rows);
    tasks::run_each(jobs, in_flight, |_, scanned: Vec<Entry>| entries.extend(scanned)).await?;
    tasks::run_blocking(move || KeyMap::new(entries, coder)).await
}

struct Scan {
    schema: Schema,
    config: FragReadConfig,
    key: String,
    coder: Coder,
}

impl Scan {
    async fn range(&self, fragment: FileFragment, range: Range<u32>) -> Result<Vec<Entry>> {
        let reader = fragment.open(&self.schema, self.config.clone()).await.map_err(from_lance)?;
        let mut entries = Vec::with_capacity(range.len());
        let batches = reader.take_range(range, BATCH_ROWS).await.map_err(from_lance)?;
        let mut batches = batches.buffered(READ_AHEAD);
        while let Some(batch) = batches.try_next().await.map_err(from_lance)? {
            self.encode(&batch, &mut entries)?;
        }
        Ok(entries)
    }

    fn encode(&self, batch: &RecordBatch, into: &mut Vec<Entry>) -> Result<()> {
        let addresses = column(batch, ROW_ADDRESS)?.as_primitive::<UInt64Type>();
        self.coder.encode(column(batch, &self.key)?, addresses.values(), into)
    }
}

fn check_size(layout: &Layout, settings: &StoreSettings) -> Result<usize> {
    let rows = layout.live_rows();
    let (bytes, max) = (rows.saturating_mul(BYTES_A_ROW), settings.max_key_map_bytes);
    if bytes > max {
        return Err(Error::resource_exhausted(format!(
            "the map of its {rows} keys takes {bytes} bytes; max_key_map_bytes allows {max}"
        )));
    }
    usize::try_from(rows)
        .map_err(|_| Error::resource_exhausted("its keys exceed the address space"))
}
