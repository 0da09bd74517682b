//! What a task costs the coordinator: many tasks that do nothing but read a line.

use std::{fmt::Write, time::Instant};

use anyhow::{Context, Result};
use keyloom_client::Settings;

use super::Measurement;
use crate::cluster::Cluster;

const TASKS: u32 = 4000;
/// Bytes of a line, which is a task.
const LINE: u64 = 64;

/// `wall` is the time from the submission to the end; `coordinator` is processor time. Both are of
/// all tasks.
pub(super) async fn measure() -> Result<Measurement> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("lines.json");
    let mut lines = String::new();
    for task in 0..TASKS {
        let width = LINE as usize - r#"{"id": }"#.len() - 1;
        writeln!(lines, r#"{{"id": {task:width$}}}"#)?;
    }
    std::fs::write(&path, lines)?;
    let cluster = Cluster::start(1, 2).await?;
    let settings = Settings { task_bytes: LINE, ..Settings::default() };
    let session = cluster.session(settings).await?;
    let path = path.to_str().context("the path of the temporary folder is not UTF-8")?;
    session.register("lines", path).await?;

    let before = cluster.coordinator_seconds()?;
    let clock = Instant::now();
    let query = session.sql("SELECT id FROM lines").await?;
    let summary = session.submit_discarding(query).await?.finish().await?;
    let mut measured = Measurement::default();
    measured.add_seconds("wall", clock.elapsed().as_secs_f64());
    measured.add_seconds("coordinator", cluster.coordinator_seconds()? - before);
    measured.counts.insert("tasks".to_owned(), f64::from(summary.tasks));
    measured.peaks.insert("coordinator".to_owned(), cluster.coordinator_peak_bytes()?);
    measured.add_own_peak()?;
    Ok(measured)
}
