//! From rows to values, in either of two ways: the wanted rows are taken, or all rows are scanned.

use std::{collections::HashMap, fmt, sync::Arc};

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt};
use lance::{
    Dataset,
    dataset::fragment::{FileFragment, FragReadConfig, FragmentReader},
    datatypes::Schema,
};
use serde::{Deserialize, Serialize};

use super::{BATCH_ROWS, READ_AHEAD, run_ordered};

/// Rows of one take.
const TAKE_ROWS: usize = 2048;

/// How the values of rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Strategy {
    /// The wanted rows, in sorted chunks that are taken on all cores with readers that are reused.
    Take,
    /// All rows of the wanted columns, fragment by fragment on all cores.
    Scan,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Take => "take",
            Self::Scan => "scan",
        })
    }
}

/// Values of wanted rows.
#[derive(Debug)]
pub(super) struct RowValues {
    pub(super) batches: Vec<RecordBatch>,
    /// For each wanted row its batch and its place in there.
    pub(super) places: Vec<(u32, u32)>,
}

/// Reads the values of rows, given by fragment and offset in storage order.
pub(super) async fn fetch(
    dataset: &Arc<Dataset>,
    columns: &[&str],
    rows: &[(u32, u32)],
    strategy: Strategy,
    in_flight: usize,
) -> Result<RowValues> {
    let schema = Arc::new(dataset.schema().project(columns)?);
    match strategy {
        Strategy::Take => take(dataset, &schema, rows, in_flight).await,
        Strategy::Scan => scan(dataset, &schema, rows, in_flight).await,
    }
}

async fn take(
    dataset: &Arc<Dataset>,
    schema: &Arc<Schema>,
    rows: &[(u32, u32)],
    in_flight: usize,
) -> Result<RowValues> {
    let fragments: Vec<_> = rows.chunk_by(|left, right| left.0 == right.0).collect();
    let opening = fragments.iter().map(|rows| {
        let (fragment, schema) = (fragment(dataset, rows[0].0), Arc::clone(schema));
        async move { open(&fragment?, &schema).await.map(Arc::new) }
    });
    let readers = run_ordered(opening, in_flight).await?;
    let futures = fragments.into_iter().zip(&readers).flat_map(|(rows, reader)| {
        rows.chunks(TAKE_ROWS).map(move |rows| {
            let reader = Arc::clone(reader);
            let offsets: Vec<_> = rows.iter().map(|(_, offset)| *offset).collect();
            async move { Ok(reader.take_as_batch(&offsets, None).await?) }
        })
    });
    let batches: Vec<RecordBatch> = run_ordered(futures, in_flight).await?;
    let mut places = Vec::with_capacity(rows.len());
    for (batch, rows) in batches.iter().enumerate() {
        let batch = u32::try_from(batch)?;
        places.extend((0..u32::try_from(rows.num_rows())?).map(|row| (batch, row)));
    }
    Ok(RowValues { batches, places })
}

async fn scan(
    dataset: &Arc<Dataset>,
    schema: &Arc<Schema>,
    rows: &[(u32, u32)],
    in_flight: usize,
) -> Result<RowValues> {
    let futures = dataset.get_fragments().into_iter().map(|fragment| {
        let schema = Arc::clone(schema);
        async move {
            let reader = open(&fragment, &schema).await?;
            let rows = u32::try_from(fragment.physical_rows().await?)?;
            let batches = reader.take_range(0..rows, BATCH_ROWS).await?.buffered(READ_AHEAD);
            let batches: Vec<RecordBatch> = batches.try_collect().await?;
            Ok((u32::try_from(fragment.id())?, batches))
        }
    });
    let mut batches = Vec::new();
    // For each fragment the offsets at which its batches start, and the number of the first.
    let mut starts: HashMap<u32, (Vec<u32>, usize)> = HashMap::new();
    for (fragment, scanned) in run_ordered(futures, in_flight).await? {
        let mut offset = 0;
        let mut offsets = Vec::with_capacity(scanned.len());
        for batch in &scanned {
            offsets.push(offset);
            offset += u32::try_from(batch.num_rows())?;
        }
        starts.insert(fragment, (offsets, batches.len()));
        batches.extend(scanned);
    }
    let mut places = Vec::with_capacity(rows.len());
    for rows in rows.chunk_by(|left, right| left.0 == right.0) {
        let (offsets, first) = starts.get(&rows[0].0).context("a fragment was not scanned")?;
        let mut batch = 0;
        for (_, offset) in rows {
            while offsets.get(batch + 1).is_some_and(|start| start <= offset) {
                batch += 1;
            }
            places.push((u32::try_from(first + batch)?, offset - offsets[batch]));
        }
    }
    Ok(RowValues { batches, places })
}

fn fragment(dataset: &Dataset, id: u32) -> Result<FileFragment> {
    dataset.get_fragment(id as usize).with_context(|| format!("no fragment {id}"))
}

async fn open(fragment: &FileFragment, schema: &Schema) -> Result<FragmentReader> {
    Ok(fragment.open(schema, FragReadConfig::default()).await?)
}
