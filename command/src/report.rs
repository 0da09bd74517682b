//! What a job did, for people and for programs.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{HumanBytes, HumanCount};
use keyloom_client::{
    JobId,
    report::{JobSummary, StoreStats},
};
use serde::Serialize;

/// What `--summary` shows.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    job_id: String,
    rows: u64,
    /// From the submission to the last row.
    seconds: f64,
    /// Workers that finished tasks of the job.
    workers: u32,
    tasks: u32,
    stores: BTreeMap<String, StoreStats>,
    /// The file that holds the rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<PathBuf>,
}

impl Report {
    pub(crate) fn new(
        id: JobId,
        took: Duration,
        summary: JobSummary,
        output: Option<PathBuf>,
    ) -> Self {
        let JobSummary { rows, tasks, workers, stores, .. } = summary;
        let (job_id, seconds) = (id.to_string(), took.as_secs_f64());
        Self { job_id, rows, seconds, workers, tasks, stores, output }
    }

    pub(crate) fn json(&self) -> String {
        // A tree of numbers and strings can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Where the rows went, if they went to a file, and the whole job in a line.
    pub(crate) fn text(&self) -> String {
        let written =
            |path: &Path| format!("{} written to {}\n", self.counted_rows(), path.display());
        self.output.as_deref().map(written).unwrap_or_default() + &self.line()
    }

    fn line(&self) -> String {
        let mut line = format!(
            "{} in {:.2} s; {} on {}",
            self.counted_rows(),
            self.seconds,
            plural(self.tasks.into(), "task"),
            plural(self.workers.into(), "worker"),
        );
        for (alias, stats) in &self.stores {
            let _ = write!(
                line,
                "; {alias}: {} ({} distinct, {} missing), {}, {}",
                plural(stats.keys, "key"),
                HumanCount(stats.distinct),
                HumanCount(stats.misses),
                plural(stats.requests, "request"),
                HumanBytes(stats.bytes)
            );
        }
        line
    }

    fn counted_rows(&self) -> String {
        plural(self.rows, "row")
    }
}

fn plural(count: u64, what: &str) -> String {
    format!("{} {what}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}
