//! How long statements of many lookups take to be planned.

use std::{fmt::Write, sync::Arc};

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use keyloom_client::{MemoryOptions, Session, load_kv};

use super::{Measurement, tpch::planning_seconds};

const STORES: usize = 20;
const LOOKUPS: usize = 50;
/// How often each statement is planned; what counts is the median.
const TIMES: usize = 9;

/// `calls` are 50 calls of functions over 20 stores; `joins` are joins with all of these, and calls
/// beside them.
pub(super) async fn measure() -> Result<Measurement> {
    let session = Session::embedded().await?;
    session.register_batches("requests", &[requests()?])?;
    for store in 0..STORES {
        let alias = format!("s{store}");
        let store = load_kv(&alias, MemoryOptions::batch(store_rows()?, "key"))?;
        session.attach(store, alias.as_str()).await?;
    }
    let mut measured = Measurement::default();
    measured.add_seconds("calls", median(&session, &calls()).await?);
    measured.add_seconds("joins", median(&session, &joins()).await?);
    measured.add_own_peak()?;
    Ok(measured)
}

async fn median(session: &Session, sql: &str) -> Result<f64> {
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        times.push(planning_seconds(session, sql).await?);
    }
    times.sort_by(f64::total_cmp);
    times.get(TIMES / 2).copied().context("a statement was never planned")
}

/// A call; every other one needs the answer of another store for its key.
fn call(number: usize) -> String {
    let source = number % STORES;
    let key = match number % 2 {
        0 => "r.id".to_owned(),
        _ => format!(
            "kv_get(r.id, source => 's{}', on_error => 'null')['next']",
            (source + 1) % STORES
        ),
    };
    format!("kv_get({key}, source => 's{source}', on_error => 'null')['name'] AS c{number}")
}

fn calls() -> String {
    let calls: Vec<_> = (0..LOOKUPS).map(call).collect();
    format!("SELECT r.id, {} FROM requests AS r", calls.join(", "))
}

fn joins() -> String {
    let calls = (STORES..LOOKUPS).map(call);
    let fields = (0..STORES).map(|store| format!("j{store}.name AS n{store}"));
    let columns: Vec<_> = fields.chain(calls).collect();
    let mut sql = format!("SELECT r.id, {} FROM requests AS r", columns.join(", "));
    for store in 0..STORES {
        // Every other store is joined through the one before.
        let key = if store % 2 == 0 { "r.id".to_owned() } else { format!("j{}.next", store - 1) };
        let _ = write!(sql, " LEFT JOIN s{store} AS j{store} ON {key} = j{store}.key");
    }
    sql
}

fn requests() -> Result<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    Ok(RecordBatch::try_from_iter([("id", ids)])?)
}

fn store_rows() -> Result<RecordBatch> {
    let columns: [(&str, ArrayRef); 3] = [
        ("key", Arc::new(Int64Array::from_iter_values(0..100))),
        ("name", Arc::new(StringArray::from_iter_values((0..100).map(|n| format!("name {n}"))))),
        ("next", Arc::new(Int64Array::from_iter_values((0..100).rev()))),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}
