//! DataFusion without Keyloom: tables that it scans, and the rows of stores, which it joins by hash
//! tables.

use std::path::Path;

use anyhow::{Context, Result};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use lance::Dataset;

use super::Bench;
use crate::data::stores::KEY;

/// A session with a request table, and of the stores what the workload reads, in memory.
pub(super) async fn open(bench: &Bench, requests: &Path) -> Result<SessionContext> {
    let session = SessionContext::new();
    for store in bench.workload.stores() {
        let dataset = Dataset::open(&bench.storage.uri(store)?).await?;
        let mut scan = dataset.scan();
        scan.project(&columns(bench, store))?;
        session.register_batch(store, scan.try_into_batch().await?)?;
    }
    let requests = requests.to_str().context("the path of the data is not UTF-8")?;
    session.register_parquet("requests", requests, ParquetReadOptions::default()).await?;
    Ok(session)
}

/// The key of a store, and the columns of it that calls want, each once.
fn columns(bench: &Bench, store: &str) -> Vec<&'static str> {
    let calls = bench.workload.calls.iter().filter(|call| call.store == store);
    let mut columns: Vec<_> = calls.flat_map(|call| call.columns).copied().collect();
    columns.push(KEY);
    columns.sort_unstable();
    columns.dedup();
    columns
}
