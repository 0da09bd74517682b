//! What a job did, beside its rows.

use anyhow::{Context, Result};
use keyloom_client::{Session, report::JobSummary};
use keyloom_common::report::counter;

use super::show_rows;

/// The rows of a query as [`show_rows`] shows them, and what it did.
pub(crate) async fn run(session: &Session, sql: &str) -> Result<(Vec<String>, JobSummary)> {
    let mut job = session.submit(session.sql(sql).await?).await?;
    let rows = show_rows(&job.collect().await?)?;
    Ok((rows, job.summary().cloned().context("the job is done")?))
}

/// How many keys of a store were read to find rows, by all lookups of a job's plan together.
pub(crate) fn keys_scanned(job: &JobSummary, alias: &str) -> Result<u64> {
    let (start, name) = (format!("{alias}: {{"), format!("{}=", counter::KEYS_SCANNED));
    let scanned = |counts: &str| -> Result<u64> {
        let (counts, _) = counts.split_once('}').context("a list ends")?;
        let count = counts.split(", ").find_map(|count| count.strip_prefix(name.as_str()));
        // What is 0 is not shown.
        count.map_or(Ok(0), |count| Ok(count.parse()?))
    };
    job.plan.split(start.as_str()).skip(1).map(scanned).sum()
}
