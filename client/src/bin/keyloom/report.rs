//! What a job did, for people and for programs.

use std::{collections::BTreeMap, fmt::Write, path::Path, time::Duration};

use indicatif::{HumanBytes, HumanCount};
use keyloom_client::{
    JobId,
    report::{JobSummary, StoreStats},
};
use serde::Serialize;

/// What `-o json` shows.
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
}

impl Report {
    pub(crate) fn new(id: JobId, took: Duration, summary: JobSummary) -> Self {
        let JobSummary { rows, tasks, workers, stores, .. } = summary;
        Self { job_id: id.to_string(), rows, seconds: took.as_secs_f64(), workers, tasks, stores }
    }

    pub(crate) fn json(&self) -> String {
        // A tree of numbers and strings can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Where the rows went.
    pub(crate) fn written(&self, path: &Path) -> String {
        format!("{} written to {}", self.counted_rows(), path.display())
    }

    /// The whole job in a line.
    pub(crate) fn line(&self) -> String {
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
