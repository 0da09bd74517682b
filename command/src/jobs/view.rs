//! What is told of a job: as a line of a list, as text, as JSON whose names stay.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use indicatif::HumanDuration;
use keyloom_client::report::{JobInfo, JobProgress, JobSummary, StageProgress, StoreStats};
use keyloom_common::output::Committed;
use serde::Serialize;

use crate::{
    columns::columns,
    report::{Files, Report, in_files, plural},
};

/// Now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A job as `--format json` shows it. All fields are always there.
#[derive(Debug, Serialize)]
pub(super) struct Viewed<'a> {
    id: String,
    name: Option<&'a str>,
    statement: Option<&'a str>,
    owner: &'a str,
    state: &'static str,
    output: Option<&'a str>,
    submitted_ms: u64,
    started_ms: Option<u64>,
    ended_ms: Option<u64>,
    tasks: Option<u32>,
    tasks_done: Option<u32>,
    workers: u32,
    progress: &'a JobProgress,
    error: Option<Why<'a>>,
    written: Option<&'a Committed>,
    summary: Option<Did<'a>>,
}

/// Why it failed.
#[derive(Debug, Serialize)]
struct Why<'a> {
    kind: &'static str,
    message: &'a str,
}

/// What it did.
#[derive(Debug, Serialize)]
struct Did<'a> {
    rows: u64,
    tasks: u32,
    workers: u32,
    stores: &'a BTreeMap<String, StoreStats>,
    missed_left_out: u64,
}

impl<'a> Viewed<'a> {
    pub(super) fn of(job: &'a JobInfo) -> Self {
        let why = |error: &'a keyloom_client::Error| Why {
            kind: error.kind().name(),
            message: error.message(),
        };
        let status = job.known_status();
        Self {
            id: job.id.to_string(),
            name: job.name.as_deref(),
            statement: job.statement.as_deref(),
            owner: &job.owner,
            state: job.state.name(),
            output: job.output.as_deref(),
            submitted_ms: job.submitted_ms,
            started_ms: job.started_ms,
            ended_ms: job.ended_ms,
            tasks: status.map(|status| status.tasks),
            tasks_done: status.map(|status| status.tasks_done),
            workers: job.status.workers,
            progress: &job.progress,
            error: job.error.as_ref().map(why),
            written: job.committed.as_ref(),
            summary: job.summary.as_ref().map(Did::of),
        }
    }
}

impl<'a> Did<'a> {
    fn of(summary: &'a JobSummary) -> Self {
        let JobSummary { rows, tasks, workers, stores, missed_left_out, .. } = summary;
        let (rows, tasks, workers) = (*rows, *tasks, *workers);
        Self { rows, tasks, workers, stores, missed_left_out: *missed_left_out }
    }
}

/// Jobs as a list for people.
pub(crate) fn in_columns(jobs: &[JobInfo], now_ms: u64) -> String {
    let head = ["ID", "NAME", "STATE", "TASKS", "TOOK", "SUBMITTED", "OWNER", "OUTPUT"];
    let or_none = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
    let row = |job: &JobInfo| {
        [
            job.id.to_string(),
            or_none(&job.name),
            job.state.name().to_owned(),
            tasks(job),
            format!("{:.1} s", took(job, now_ms).as_secs_f64()),
            ago(job.submitted_ms, now_ms),
            job.owner.clone(),
            or_none(&job.output),
        ]
    };
    columns(head, jobs.iter().map(row).collect())
}

/// What is said where a list has no room for all jobs.
pub(crate) fn left_out(jobs: u64) -> Option<String> {
    (jobs > 0).then(|| {
        format!(
            "{} left out: an answer holds no more (rpc.max_frame_bytes of the coordinator); jobs \
             show ID tells of each",
            plural(jobs, "older job")
        )
    })
}

/// A job for people.
pub(super) fn text(job: &JobInfo) -> String {
    let now = now_ms();
    let mut lines = vec![("job", job.id.to_string())];
    lines.extend(job.name.clone().map(|name| ("name", name)));
    lines.push(("state", job.state.name().to_owned()));
    if let Some(error) = &job.error {
        lines.push(("error", format!("{}: {error}", error.kind().name())));
    }
    lines.extend((!job.owner.is_empty()).then(|| ("owner", job.owner.clone())));
    lines.push(("submitted", ago(job.submitted_ms, now)));
    lines.push(("took", format!("{:.2} s", took(job, now).as_secs_f64())));
    lines.push(("tasks", tasks(job)));
    lines.extend(job.progress.stages.iter().map(|stage| ("stage", told(stage))));
    lines.extend(job.output.clone().map(|output| ("output", output)));
    if let Some(written) = &job.committed {
        lines.push(("written", plural(written.rows, "row") + &in_files(written)));
    } else if let Some(summary) = &job.summary {
        lines.push(("rows", summary.rows.to_string()));
    }
    if let Some(statement) = &job.statement {
        lines.push(("statement", statement.trim().replace('\n', "\n           ")));
    }
    let lines = lines.into_iter().map(|(name, value)| format!("{name:9}  {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// What a job did that is done, as if it had been waited for.
pub(super) fn report(job: JobInfo) -> Report {
    let took = took(&job, now_ms());
    let output = job.output.filter(|_| job.committed.is_some()).map(PathBuf::from);
    let files = Files { output, misses: None, written: job.committed };
    Report::new(job.id, took, job.summary.unwrap_or_default(), files)
}

fn tasks(job: &JobInfo) -> String {
    match job.known_status() {
        Some(status) => format!("{}/{}", status.tasks_done, status.tasks),
        None => "unknown".to_owned(),
    }
}

/// How far a stage is: `1 lookups: 3/8 tasks, 1,200 rows`.
fn told(stage: &StageProgress) -> String {
    let StageProgress { work, tasks, tasks_done, rows, .. } = *stage;
    match stage.stage {
        Some(number) => {
            let rows = plural(rows, "row");
            format!("{number} {}: {tasks_done}/{tasks} tasks, {rows}", work.name())
        }
        None => work.name().to_owned(),
    }
}

/// How long it ran, so far.
fn took(job: &JobInfo, now_ms: u64) -> Duration {
    let end = job.ended_ms.unwrap_or(now_ms);
    Duration::from_millis(job.started_ms.map_or(0, |start| end.saturating_sub(start)))
}

fn ago(then_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    format!("{} ago", HumanDuration(Duration::from_secs(seconds)))
}

#[cfg(test)]
pub(super) mod tests {
    use keyloom_client::{
        Error, JobId,
        report::{JobState, JobStatus, StageWork},
    };
    use serde_json::json;

    use super::*;

    /// A job that is done.
    pub(crate) fn job() -> JobInfo {
        JobInfo {
            id: JobId::from_u128(7),
            name: Some("nightly".to_owned()),
            statement: Some("SELECT 1".to_owned()),
            owner: "me".to_owned(),
            state: JobState::Done,
            output: Some("/out/".to_owned()),
            submitted_ms: 1_000,
            started_ms: Some(2_000),
            ended_ms: Some(4_500),
            status: JobStatus { tasks: 3, tasks_done: 3, workers: 2 },
            progress: JobProgress::default(),
            error: None,
            committed: Some(Committed { rows: 10, bytes: 100, files: 2, version: None }),
            summary: Some(JobSummary { rows: 1, tasks: 3, workers: 2, ..JobSummary::default() }),
            schema: None,
        }
    }

    #[test]
    fn the_names_in_json_stay() {
        let expected = json!({
            "id": "00000000-0000-0000-0000-000000000007", "name": "nightly",
            "statement": "SELECT 1", "owner": "me", "state": "done", "output": "/out/",
            "submitted_ms": 1000, "started_ms": 2000, "ended_ms": 4500,
            "tasks": 3, "tasks_done": 3, "workers": 2,
            "progress": {"stages": [], "stores": {}, "left_out": 0}, "error": null,
            "written": {"rows": 10, "bytes": 100, "files": 2, "version": null},
            "summary": {"rows": 1, "tasks": 3, "workers": 2, "stores": {}, "missed_left_out": 0},
        });
        assert_eq!(serde_json::to_value(Viewed::of(&job())).unwrap(), expected);
        let error = Some(Error::store("no disk"));
        let failed = JobInfo { state: JobState::Failed, error, summary: None, ..job() };
        let failed = serde_json::to_value(Viewed::of(&failed)).unwrap();
        assert_eq!(failed["error"], json!({"kind": "store", "message": "no disk"}));
        assert_eq!(failed["summary"], json!(null));
    }

    #[test]
    fn a_job_that_runs_is_told_stage_by_stage() {
        let lookups = StageProgress {
            stage: Some(1),
            work: StageWork::Lookups,
            tasks: 8,
            tasks_done: 3,
            thousandths: 500,
            rows: 1200,
            bytes: 0,
        };
        let own = StageProgress { stage: None, work: StageWork::Computing, ..lookups };
        let progress = JobProgress { stages: vec![lookups, own], ..JobProgress::default() };
        let running = JobInfo { state: JobState::Running, progress, ..job() };
        let told = text(&running);
        let stages: Vec<_> = told.lines().filter(|line| line.starts_with("stage ")).collect();
        assert_eq!(stages, ["stage      1 lookups: 3/8 tasks, 1,200 rows", "stage      computing"]);
        let shown = serde_json::to_value(Viewed::of(&running)).unwrap();
        let expected = json!({
            "stage": 1, "work": "lookups", "tasks": 8, "tasks_done": 3, "thousandths": 500,
            "rows": 1200, "bytes": 0
        });
        assert_eq!(shown["progress"]["stages"][0], expected);
    }

    #[test]
    fn tasks_of_an_interrupted_job_that_are_not_known_are_not_said_to_be_none() {
        let interrupted = |status| JobInfo { state: JobState::Interrupted, status, ..job() };
        let unknown = interrupted(JobStatus::default());
        assert!(text(&unknown).contains("\ntasks      unknown\n"), "{}", text(&unknown));
        let shown = serde_json::to_value(Viewed::of(&unknown)).unwrap();
        assert_eq!((&shown["tasks"], &shown["tasks_done"]), (&json!(null), &json!(null)));
        let kept = interrupted(JobStatus { tasks: 9, tasks_done: 0, workers: 0 });
        assert!(in_columns(std::slice::from_ref(&kept), 31_000).contains("  0/9  "));
        let shown = serde_json::to_value(Viewed::of(&kept)).unwrap();
        assert_eq!((&shown["tasks"], &shown["tasks_done"]), (&json!(9), &json!(0)));
    }

    #[test]
    fn jobs_that_a_list_has_no_room_for_are_counted() {
        assert_eq!(left_out(0), None);
        let said = left_out(1_200).unwrap();
        assert!(said.starts_with("1,200 older jobs left out: "), "{said}");
    }

    #[test]
    fn jobs_are_listed_in_columns() {
        let list = in_columns(&[job()], 31_000);
        let line = list.lines().nth(1).unwrap();
        let row: Vec<_> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let id = "00000000-0000-0000-0000-000000000007";
        assert_eq!(row, [id, "nightly", "done", "3/3", "2.5 s", "30 seconds ago", "me", "/out/"]);
    }

    #[test]
    fn a_job_is_told_line_by_line() {
        let told = text(&job());
        let lines: Vec<_> = told.lines().filter(|line| !line.starts_with("submitted")).collect();
        let expected = [
            "job        00000000-0000-0000-0000-000000000007",
            "name       nightly",
            "state      done",
            "owner      me",
            "took       2.50 s",
            "tasks      3/3",
            "output     /out/",
            "written    10 rows: 2 files, 100 B",
            "statement  SELECT 1",
        ];
        assert_eq!(lines, expected);
        let report = report(job());
        assert!(report.text().starts_with("10 rows written to /out/: 2 files, 100 B\n"));
    }
}
