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
use keyloom_common::output::Committed;
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
    /// Rows that missed their keys and that the file of these has no room for.
    #[serde(skip_serializing_if = "is_none")]
    missed_left_out: u64,
    /// Whether it read what is new alone, and something was: then how many files.
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_files: Option<usize>,
    #[serde(flatten)]
    files: Files,
}

/// Where rows went, if they went to files.
#[derive(Debug, Serialize)]
pub(crate) struct Files {
    /// What holds the rows: a file, a folder or a dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<PathBuf>,
    /// The file that holds those that missed their keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) misses: Option<PathBuf>,
    /// What the workers wrote, if they did: then `output` is where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) written: Option<Committed>,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Report {
    pub(crate) fn new(id: JobId, took: Duration, summary: JobSummary, files: Files) -> Self {
        let JobSummary { rows, tasks, workers, stores, missed_left_out, .. } = summary;
        // The one row of a job that writes tells of those that are written.
        let rows = files.written.as_ref().map_or(rows, |written| written.rows);
        let (job_id, seconds) = (id.to_string(), took.as_secs_f64());
        let (new, new_files) = (None, None);
        Self {
            job_id,
            rows,
            seconds,
            workers,
            tasks,
            stores,
            missed_left_out,
            new,
            new_files,
            files,
        }
    }

    /// The same, of a job that read so many files, which no run before had read.
    pub(crate) fn of_new(self, new_files: Option<usize>) -> Self {
        Self { new: new_files.map(|_| true), new_files, ..self }
    }

    pub(crate) fn json(&self) -> String {
        // A tree of numbers and strings can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Where the rows went, if they went to a file, and the whole job in a line.
    pub(crate) fn text(&self) -> String {
        let written = |path: &Path| {
            let by_workers = self.files.written.as_ref().map(in_files).unwrap_or_default();
            format!("{} written to {}{by_workers}\n", self.counted_rows(), path.display())
        };
        let output = self.files.output.as_deref().map(written).unwrap_or_default();
        let misses = self.files.misses.as_deref().map(|path| self.missed(path));
        let new = |files: usize| format!("{} read\n", plural(files as u64, "new file"));
        let new = self.new_files.map(new).unwrap_or_default();
        new + &output + &misses.unwrap_or_default() + &self.line()
    }

    /// Where the rows that missed their keys went, as far as there was room for them.
    fn missed(&self, path: &Path) -> String {
        let missed: u64 = self.stores.values().map(|stats| stats.missed_rows).sum();
        let written = plural(missed - self.missed_left_out.min(missed), "missed row");
        let written = format!("{written} written to {}\n", path.display());
        match self.missed_left_out {
            0 => written,
            left_out => format!(
                "{written}{} more had no room there; see missed_row_bytes of the coordinator and \
                 lookup.key_report_bytes of workers\n",
                HumanCount(left_out)
            ),
        }
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
                "; {alias}: {} ({}), {}, {}",
                plural(stats.keys, "key"),
                distinct(stats),
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

/// In what workers wrote rows.
pub(crate) fn in_files(written: &Committed) -> String {
    let Committed { bytes, files, version, .. } = written;
    let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
    format!(": {}, {}{version}", plural(*files, "file"), HumanBytes(*bytes))
}

/// How many distinct keys there were in the whole job, and how many rows missed theirs.
fn distinct(stats: &StoreStats) -> String {
    let about = if stats.is_about { "about " } else { "" };
    let keys = format!("{about}{} distinct", HumanCount(stats.job_keys));
    match stats.missed_rows {
        0 => format!("{keys}, 0 missing"),
        rows => format!(
            "{keys}, {about}{} missing in {}",
            HumanCount(stats.missed_keys),
            plural(rows, "row")
        ),
    }
}

pub(crate) fn plural(count: u64, what: &str) -> String {
    format!("{} {what}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_wrote_is_told() {
        let written = Committed { rows: 1200, bytes: 2048, files: 1, version: Some(3) };
        let output = Some(PathBuf::from("/out.lance"));
        let files = Files { output, misses: None, written: Some(written) };
        let (took, id) = (Duration::from_millis(1500), JobId::from_u128(7));
        let summary = JobSummary { rows: 1, tasks: 2, workers: 1, ..JobSummary::default() };
        let report = Report::new(id, took, summary, files);
        let text = "1,200 rows written to /out.lance: 1 file, 2.00 KiB, version 3\n\
                    1,200 rows in 1.50 s; 2 tasks on 1 worker";
        assert_eq!(report.text(), text);
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["rows"], 1200);
        assert_eq!(json["output"], "/out.lance");
        let written = serde_json::json!({"rows": 1200, "bytes": 2048, "files": 1, "version": 3});
        assert_eq!(json["written"], written);
    }
}
