//! Joins with stores, as lookups and as scans, and the same rows by functions.

use std::time::Instant;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use keyloom_client::{JoinPath, Session};

use super::{Bench, Measurement, digest};
use crate::workloads::Variant;

/// How joins go in a variant.
pub(super) fn path(variant: Variant) -> JoinPath {
    match variant {
        Variant::Lookup => JoinPath::Lookup,
        Variant::Scan => JoinPath::Scan,
        _ => JoinPath::Auto,
    }
}

/// `cold` begins before there is a session, and ends when all rows are in memory; `warm` is the
/// same statement again.
pub(super) async fn measure(bench: &Bench) -> Result<Measurement> {
    let requests = bench.data.read_requests(&bench.workload)?;
    let mut settings = bench.storage.settings();
    settings.session.join_path = path(bench.variant);
    let sql = match bench.variant {
        Variant::KvGet => bench.workload.fields_sql(),
        _ => bench.workload.joins_sql(),
    };
    let mut measured = Measurement::default();

    let clock = Instant::now();
    let session = Session::embedded_with(settings).await?;
    session.register_batches("requests", &[requests])?;
    for store in bench.workload.stores() {
        session.attach(bench.storage.kv_store(store)?, store).await?;
    }
    drop(rows(&session, &sql).await?);
    measured.add_seconds("cold", clock.elapsed().as_secs_f64());

    let clock = Instant::now();
    let result = rows(&session, &sql).await?;
    measured.add_seconds("warm", clock.elapsed().as_secs_f64());
    measured.add_own_peak()?;
    measured.add_result(&result, false)?;
    if bench.digest {
        measured.digest = Some(digest::of_any_order(&result)?);
    }
    Ok(measured)
}

/// The rows of a statement.
pub(super) async fn rows(session: &Session, sql: &str) -> Result<Vec<RecordBatch>> {
    let query = session.sql(sql).await.with_context(|| sql.to_owned())?;
    let mut job = session.submit(query).await?;
    job.collect().await.with_context(|| sql.to_owned())
}
