//! Finding rows through the dataset's own index on the key column.
//!
//! Lance answers which rows hold any of some keys, not which holds which: the keys come back with
//! the rows. It also sees to deleted rows, and to fragments that the index does not cover.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::UInt64Type,
};
use datafusion::{common::Column as ColumnName, prelude::Expr, scalar::ScalarValue};
use futures::TryStreamExt;
use keyloom_common::{Error, Result};

use super::sieve::{Matches, NO_LIMIT, Need, Sieve, Wanted};
use crate::store::{
    Keys, ReadStats,
    lance::{
        column::Column,
        error::from_lance,
        files::read::{ROW_ADDRESS, given},
        handle::LanceHandle,
        layout::Layout,
        tasks,
    },
    value_bytes,
};

/// Keys that one search asks for.
const KEYS_AT_ONCE: usize = 8192;

/// The rows of the wanted keys, what was read to find them, and the key from which on there are too
/// many.
pub(super) async fn search(
    handle: &Arc<LanceHandle>,
    layout: &Arc<Layout>,
    column: &Column,
    wanted: &ArrayRef,
    need: Need,
) -> Result<(Matches, ReadStats, u32)> {
    handle.check_indices().await?;
    let need = need.shared_by(wanted.len().div_ceil(KEYS_AT_ONCE));
    let futures = (0..wanted.len()).step_by(KEYS_AT_ONCE).map(|start| {
        let part = wanted.slice(start, KEYS_AT_ONCE.min(wanted.len() - start));
        let (handle, layout, name) = (handle.clone(), layout.clone(), column.name().to_owned());
        async move {
            let _share = handle.reads.take(value_bytes(&part)).await;
            let found = search_part(&handle, &layout, &name, &part, need);
            Ok((start, handle.watch.read(found).await?))
        }
    });
    let futures: Vec<_> = futures.collect();
    let (mut matches, mut stats) = (Matches::new(), ReadStats::default());
    let mut limit = NO_LIMIT;
    for (start, (found, read, of_part)) in
        tasks::run_all(futures, handle.settings.reads_in_flight).await?
    {
        stats.keys_scanned += read;
        limit = limit.min(of_part.saturating_add(start as u32));
        matches.extend(found.into_iter().map(|(key, row)| (key + start as u32, row)));
    }
    matches.sort_unstable();
    Ok((matches, stats, limit))
}

/// The rows of some of the keys, how many keys were read, and the key from which on there are too
/// many rows.
async fn search_part(
    handle: &LanceHandle,
    layout: &Layout,
    name: &str,
    wanted: &ArrayRef,
    need: Need,
) -> Result<(Matches, u64, u32)> {
    let literals = (0..wanted.len())
        .map(|key| Ok(Expr::Literal(ScalarValue::try_from_array(wanted, key)?, None)));
    let literals = literals.collect::<Result<Vec<_>>>()?;
    let mut scanner = handle.dataset.scan();
    scanner.project(&[name]).map_err(from_lance)?;
    scanner.with_row_address().use_scalar_index(true).scan_in_order(false);
    scanner.filter_expr(Expr::Column(ColumnName::from_name(name)).in_list(literals, false));
    let mut rows = scanner.try_into_stream().await.map_err(from_lance)?;

    let keys = Keys::try_new(wanted)?;
    let wanted = Arc::new(Wanted::new(&handle.coder.codes(&keys), keys.nulls(), need));
    let (mut found, mut read) = (Sieve::new(wanted.clone()), 0);
    while let Some(batch) = rows.try_next().await.map_err(from_lance)? {
        let held = Keys::try_new(given(&batch, name)?)?;
        read += held.len() as u64;
        let addresses = given(&batch, ROW_ADDRESS)?.as_primitive::<UInt64Type>();
        let codes = handle.coder.codes(&held);
        for (at, code) in codes.iter().enumerate() {
            let row = layout.row_at(addresses.value(at));
            let row = row.ok_or_else(|| Error::store("Lance gave a row that is deleted"))?;
            let same = |key: &u32| keys.equal(*key as usize, &held, at);
            wanted.codes.find(*code).filter(same).for_each(|key| found.push(key, row));
        }
    }
    let found = found.finish();
    Ok((found, read, wanted.limit()))
}
