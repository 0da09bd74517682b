//! What is remembered, for how long, and what the next coordinator knows.

use arrow::datatypes::Schema;
use bytes::Bytes;
use keyloom_common::{
    BUILD, WorkerId,
    misses::MissPolicy,
    output::{OutputKind, PreparedOutput},
    report::{JobLog, JobState, JobStatus, JobSummary, LogKind, PlanMetrics},
    rpc::Role,
};

use super::*;
use crate::samples::prepared;

fn alice() -> Identity {
    Identity { role: Role::Client, name: "alice".into() }
}

fn open(settings: Settings) -> History {
    History::open(&Arc::new(settings)).unwrap()
}

fn begin(history: &History, id: u128, detached: bool) -> Arc<KnownJob> {
    let terms = JobTerms { detached, ..JobTerms::default() };
    let job = (JobId::from_u128(id), alice(), terms);
    history.begin(job, None, Resumable::NoOutput, None).unwrap().0
}

fn output() -> PreparedOutput {
    prepared("/out", OutputKind::Columns, Arc::new(Schema::empty()))
}

fn done() -> End {
    let summary = JobSummary { rows: 3, ..JobSummary::default() };
    End { outcome: Ok(summary), committed: None, status: JobStatus::default() }
}

fn task() -> TaskRecord {
    TaskRecord {
        worker: WorkerId::from_u128(1),
        rows: 5,
        metrics: PlanMetrics::default(),
        lookups: Vec::new(),
        chunks: vec![(Bytes::from_static(b"rows"), false)],
    }
}

#[test]
fn a_job_goes_from_state_to_state_and_ends_once() {
    let history = open(Settings::default());
    let job = begin(&history, 1, false);
    assert_eq!((job.state(), job.over_for()), (JobState::Queued, None));
    job.begin();
    assert_eq!(job.state(), JobState::Running);
    job.end(done());
    let info = job.info();
    assert_eq!((info.state, info.summary.map(|summary| summary.rows)), (JobState::Done, Some(3)));
    assert!(info.ended_ms >= info.started_ms && info.started_ms.is_some());
    assert!(!job.cancel(None), "it is done");
    job.interrupt(JobStatus::default());
    job.end(End { outcome: Err(Error::internal("late")), ..done() });
    assert_eq!((job.state(), job.info().error), (JobState::Done, None));
}

#[test]
fn the_oldest_that_ended_are_forgotten_and_never_one_that_runs() {
    let history = open(Settings { max_remembered_jobs: 4, ..Settings::default() });
    let running = begin(&history, 1, false);
    for id in 2..10 {
        begin(&history, id, false).end(done());
    }
    let known = history.all();
    assert!(known.len() <= 4 && known.iter().any(|job| job.id == running.id), "{known:?}");
    assert!(history.get(JobId::from_u128(9)).is_some());
    assert!(history.get(JobId::from_u128(2)).is_none());
}

#[test]
fn what_ended_long_ago_is_forgotten() {
    let history = open(Settings::default());
    begin(&history, 1, false).end(done());
    assert!(history.expire().is_empty());
    let history = History {
        settings: Arc::new(Settings { job_history_ms: 0, ..Settings::default() }),
        ..history
    };
    begin(&history, 2, false);
    while history.get(JobId::from_u128(1)).is_some() {
        history.expire();
    }
    assert!(history.get(JobId::from_u128(2)).is_some(), "it has not ended");
}

#[tokio::test]
async fn the_next_coordinator_knows_what_ended_and_what_was_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { state_folder: Some(folder.path().to_owned()), ..Settings::default() };
    let history = open(settings.clone());
    begin(&history, 1, false).end(done());
    begin(&history, 2, true).begin();
    begin(&history, 3, false).begin();
    begin(&history, 4, true).cancel(None);
    history.written().await;
    let ended = history.get(JobId::from_u128(1)).unwrap().info();
    drop(history);

    let history = open(settings);
    let states = [1, 2, 3, 4].map(|id| history.get(JobId::from_u128(id)).map(|job| job.state()));
    let expected =
        [Some(JobState::Done), Some(JobState::Interrupted), None, Some(JobState::Cancelled)];
    assert_eq!(states, expected, "the third has ended with its client");
    let known = history.get(JobId::from_u128(1)).unwrap();
    assert_eq!((known.info(), &known.whose), (ended, &alice()));
}

#[tokio::test]
async fn what_a_job_needs_to_be_resumed_is_kept_until_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { state_folder: Some(folder.path().to_owned()), ..Settings::default() };
    let history = open(settings.clone());
    let id = JobId::from_u128(7);
    let slices = keyloom_common::BlobId::NONE;
    let cuts = vec![Cut { stage: 1, tasks: 9, slices, writes: true }];
    let (plan, build) = (Bytes::from_static(b"plan"), BUILD.to_owned());
    let misses = MissPolicy::default();
    let plan = PlanRecord { build, plan, batch_rows: 10, misses, output: output(), cuts };
    let cuts = plan.cuts.clone();
    let terms = JobTerms { detached: true, ..JobTerms::default() };
    history.begin((id, alice(), terms), None, Resumable::Yes, Some(&plan)).unwrap();
    let task = task();
    let journal = history.journal(id, &cuts).unwrap().unwrap();
    assert_eq!((journal.written(), journal.count(1)), (Some(1), 0));
    journal.keep(1, 4, &task).await;
    history.written().await;
    drop((history, journal));

    let history = open(settings);
    let job = history.get(id).unwrap();
    assert_eq!((job.state(), job.runs()), (JobState::Interrupted, 0));
    assert_eq!(history.plan(id), Ok(plan));
    assert!(history.journal(id, &[]).unwrap().is_none(), "nothing of it is kept");
    let journal = history.journal(id, &cuts).unwrap().unwrap();
    assert_eq!((journal.count(1), journal.has(1, 4), journal.has(1, 3)), (1, true, false));
    assert_eq!(journal.read(1, 4).await, Ok(task.clone()));
    assert_eq!(history.tasks(id), Ok(vec![task]));
    history.resume(&job).unwrap();
    assert_eq!((job.state(), job.runs()), (JobState::Queued, 1));
    let records = history.kept.as_ref().unwrap().file.jobs().unwrap();
    assert_eq!(records.first().map(|record| record.runs), Some(1), "it is in the file at once");
    job.end(done());
    history.settle(id);
    history.written().await;
    assert_eq!((history.tasks(id), history.plan(id).is_err()), (Ok(Vec::new()), true));
}

/// A job whose rows the coordinator computes, which can be resumed.
fn computed(history: &History, id: u128) -> Journal {
    let slices = keyloom_common::BlobId::NONE;
    let cuts = vec![Cut { stage: 1, tasks: 9, slices, writes: false }];
    let (plan, build) = (Bytes::from_static(b"plan"), BUILD.to_owned());
    let misses = MissPolicy::default();
    let plan = PlanRecord { build, plan, batch_rows: 10, misses, output: output(), cuts };
    let terms = JobTerms { detached: true, ..JobTerms::default() };
    let job = (JobId::from_u128(id), alice(), terms);
    history.begin(job, None, Resumable::Yes, Some(&plan)).unwrap();
    history.journal(JobId::from_u128(id), &plan.cuts).unwrap().unwrap()
}

#[tokio::test]
async fn of_a_job_that_was_interrupted_the_tasks_are_done_that_are_kept_or_it_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { state_folder: Some(folder.path().to_owned()), ..Settings::default() };
    let history = open(settings.clone());
    let journal = computed(&history, 1);
    for number in [0, 3] {
        journal.keep(1, number, &task()).await;
    }
    drop(computed(&history, 2));
    let not_kept = begin(&history, 3, true);
    not_kept.begin();
    assert_eq!(not_kept.info().known_status(), Some(JobStatus::default()), "it runs");
    history.written().await;
    drop((history, journal, not_kept));

    let history = open(settings);
    let known = |id| history.get(JobId::from_u128(id)).unwrap().info().known_status();
    let of_nine = |tasks_done| Some(JobStatus { tasks: 9, tasks_done, workers: 0 });
    assert_eq!([1, 2, 3].map(known), [of_nine(2), of_nine(0), None]);
}

#[tokio::test]
async fn rows_of_all_jobs_have_one_bound_also_of_those_that_the_last_coordinator_kept() {
    let folder = tempfile::tempdir().unwrap();
    let task = task();
    let journal_rows_bytes = 2 * record::encode(&task).unwrap().len() as u64;
    let state_folder = Some(folder.path().to_owned());
    let settings = Settings { state_folder, journal_rows_bytes, ..Settings::default() };
    let history = open(settings.clone());
    let [first, second] = [1, 2].map(|id| computed(&history, id));
    first.keep(1, 0, &task).await;
    second.keep(1, 0, &task).await;
    assert!(!first.has_room(1, 1, 1), "the other job has taken the rest");
    second.keep(1, 1, &task).await;
    history.written().await;
    drop((history, first, second));

    let history = open(settings);
    let third = computed(&history, 3);
    third.keep(1, 0, &task).await;
    history.settle(JobId::from_u128(1));
    third.keep(1, 1, &task).await;
    third.keep(1, 2, &task).await;
    history.written().await;
    let kept = |id| {
        let file = &history.kept.as_ref().unwrap().file;
        let tasks = file.sized_tasks(JobId::from_u128(id), 1).unwrap();
        tasks.into_iter().map(|(task, _)| task).collect::<Vec<_>>()
    };
    assert_eq!([1, 2, 3].map(kept), [vec![], vec![0], vec![1]]);
}

#[test]
fn what_was_cancelled_is_not_done_afterwards() {
    let history = open(Settings::default());
    let job = begin(&history, 1, true);
    assert!(job.cancel(None) && job.is_cancelled());
    job.end(done());
    assert!(job.is_cancelled());
    let failed = begin(&history, 2, true);
    failed.end(End { outcome: Err(Error::internal("x")), ..done() });
    assert!(!failed.cancel(None), "there is nothing left of it");
    assert_eq!(failed.state(), JobState::Failed);
}

#[test]
fn a_statement_is_known_once_and_within_the_bound() {
    let history = open(Settings { job_record_bytes: 1024, ..Settings::default() });
    let terms = JobTerms { statement: Some("x".repeat(1 << 20)), ..JobTerms::default() };
    let job = (JobId::from_u128(1), alice(), terms);
    let job = history.begin(job, None, Resumable::NoOutput, None).unwrap().0;
    assert_eq!(job.terms.statement, None);
    assert!(job.info().statement.is_some_and(|statement| statement.len() <= 128));
}

#[test]
fn of_a_job_that_ends_while_it_commits_it_is_told_that_nobody_knows() {
    let history = open(Settings::default());
    let code = |job: &KnownJob| job.info().error.and_then(|error| error.code());
    let unknown = Some(keyloom_common::ErrorCode::CommitUnknown);
    let [cancelled, refused, early, failed] = [1, 2, 3, 4].map(|id| begin(&history, id, false));
    assert!(cancelled.commits() && cancelled.cancel(None) && refused.commits());
    assert!(refused.cancel(None));
    assert_eq!((code(&cancelled), code(&refused)), (unknown, unknown));
    refused.refused(&Error::invalid("something is there"));
    let last = refused.log().lines.pop().map(|line| (line.kind, line.text));
    assert_eq!(last, Some((LogKind::Refused, "something is there".to_owned())));
    assert_eq!((refused.state(), refused.info().error), (JobState::Cancelled, None));
    cancelled.committed(&keyloom_common::output::Committed::default());
    assert_eq!((cancelled.state(), cancelled.info().error), (JobState::Done, None));

    assert!(early.cancel(None) && !early.commits(), "nothing of it is committed any more");
    assert!(!early.may_be_committed() && early.info().error.is_none());
    assert!(failed.commits());
    failed.end(End { outcome: Err(Error::timeout("no answer")), ..done() });
    assert_eq!((failed.state(), code(&failed)), (JobState::Failed, unknown));
}

#[tokio::test]
async fn what_happened_to_a_job_is_known_to_the_next_coordinator() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { state_folder: Some(folder.path().to_owned()), ..Settings::default() };
    let history = open(settings.clone());
    let [ended, running] = [1, 2].map(|id| begin(&history, id, true));
    for job in [&ended, &running] {
        job.begin();
        job.tell(Happened::new(LogKind::Retried, "once more").of_stage(3));
    }
    ended.end(done());
    ended.tell(Happened::new(LogKind::Retried, "too late"));
    history.written().await;
    let log = ended.log();
    let kinds = |log: &JobLog| log.lines.iter().map(|line| line.kind).collect::<Vec<_>>();
    let begun = [LogKind::Submitted, LogKind::Started, LogKind::Retried];
    assert_eq!(kinds(&log), [&begun[..], &[LogKind::Done]].concat());
    assert_eq!((log.lines[0].text.as_str(), log.lines[2].stage), ("by client 'alice'", Some(3)));
    drop((history, ended, running));

    let history = open(settings);
    let known = |id| history.get(JobId::from_u128(id)).unwrap().log();
    assert_eq!(known(1), log);
    assert_eq!(kinds(&known(2)), [&begun[..], &[LogKind::Interrupted]].concat());
}

#[test]
fn a_job_that_ends_with_its_coordinator_has_a_time_and_a_reason_for_it() {
    let history = open(Settings::default());
    let job = begin(&history, 1, true);
    let status = JobStatus { tasks: 3, tasks_done: 2, workers: 1 };
    job.interrupt(status);
    let (info, last) = (job.info(), job.log().lines.pop());
    assert_eq!((info.state, info.ended_ms.is_some()), (JobState::Interrupted, true));
    assert_eq!(info.known_status(), Some(status));
    assert_eq!(last.map(|line| line.kind), Some(LogKind::Interrupted));
}

#[tokio::test]
async fn what_is_told_of_a_job_that_is_forgotten_does_not_bring_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { state_folder: Some(folder.path().to_owned()), ..Settings::default() };
    let history = open(settings.clone());
    let job = begin(&history, 1, true);
    job.end(done());
    history.forget(&mut history.lock(), job.id).unwrap();
    job.tell(Happened::new(LogKind::Retried, "too late"));
    history.written().await;
    drop((history, job));
    assert!(open(settings).get(JobId::from_u128(1)).is_none());
}

#[tokio::test]
async fn what_is_kept_is_for_the_coordinator_alone() {
    use std::os::unix::fs::PermissionsExt;
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("state");
    let history = open(Settings { state_folder: Some(folder.clone()), ..Settings::default() });
    begin(&history, 1, true).end(done());
    history.written().await;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("jobs.redb"))), (0o700, 0o600));
}
