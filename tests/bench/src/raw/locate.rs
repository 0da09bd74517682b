//! From keys to rows: the key column alone is scanned, fragment by fragment on all cores, and the
//! wanted keys are probed while scanning.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use lance::{
    Dataset,
    dataset::fragment::{FileFragment, FragReadConfig},
};

use super::{
    BATCH_ROWS, READ_AHEAD, run_ordered,
    wanted::{Keys, Wanted},
};

/// Stands for a slot whose key the store does not hold.
pub(super) const ABSENT: u32 = u32::MAX;

/// Where the wanted rows of a store are.
#[derive(Debug)]
pub(super) struct Located {
    /// Fragment and offset of each, in storage order.
    pub(super) rows: Vec<(u32, u32)>,
    /// For each slot its place in `rows`, or [`ABSENT`].
    pub(super) places: Vec<u32>,
}

/// Finds the wanted rows. No row of the benchmark's stores is deleted.
pub(super) async fn locate(
    dataset: &Arc<Dataset>,
    key: &str,
    wanted: &Arc<Wanted>,
    in_flight: usize,
) -> Result<Located> {
    let schema = Arc::new(dataset.schema().project(&[key])?);
    let futures = dataset.get_fragments().into_iter().map(|fragment| {
        let (wanted, schema) = (Arc::clone(wanted), Arc::clone(&schema));
        async move { scan(&fragment, &schema, &wanted).await }
    });
    let scanned = run_ordered(futures, in_flight).await?;
    let found = scanned.iter().map(|(_, found)| found.len()).sum();
    let mut rows = Vec::with_capacity(found);
    let mut places = vec![ABSENT; wanted.distinct()];
    for (fragment, found) in scanned {
        for (slot, offset) in found {
            places[slot as usize] = u32::try_from(rows.len())?;
            rows.push((fragment, offset));
        }
    }
    Ok(Located { rows, places })
}

/// The slots and offsets of the wanted rows of a fragment, in storage order.
async fn scan(
    fragment: &FileFragment,
    schema: &lance::datatypes::Schema,
    wanted: &Wanted,
) -> Result<(u32, Vec<(u32, u32)>)> {
    let rows = u32::try_from(fragment.physical_rows().await?)?;
    let reader = fragment.open(schema, FragReadConfig::default()).await?;
    let mut batches = reader.take_range(0..rows, BATCH_ROWS).await?.buffered(READ_AHEAD);
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(batch) = batches.try_next().await? {
        let keys = Keys::new(batch.columns().first().context("a scan without its column")?)?;
        for row in 0..keys.len() {
            if let Some(slot) = wanted.slot(&keys, row) {
                found.push((slot, offset + u32::try_from(row)?));
            }
        }
        offset += u32::try_from(keys.len())?;
    }
    Ok((u32::try_from(fragment.id())?, found))
}
