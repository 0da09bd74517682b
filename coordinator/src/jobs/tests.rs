//! Jobs that are handed in, wait, belong to somebody and end, without workers; and jobs that write,
//! with one that does as it is told.

mod logs;
mod places;
mod quotas;
mod resuming;

use std::{collections::BTreeMap, time::Duration};

use arrow::array::RecordBatch;
use bytes::Bytes;
use datafusion::physical_plan::ExecutionPlan;
use keyloom_common::{
    AttemptId, BlobId, ErrorKind,
    ipc::Decoder,
    misses::MissPolicy,
    output::{Committed, IfExists, Piece, piece_schema},
    plan::{FramePartition, FrameScanExec, encode_plan},
    report::{
        JobState, JobSummary, PlanMetrics, StageProgress, StageWork, StoreProgress, TaskProgress,
        Underway,
    },
    rpc::{ChunkWriter, Identity, JobTerms, Limits, Role, TaskReport, Work},
};

use super::*;
use crate::{
    dispatch::{FakeWorker, dispatcher},
    samples::{files, ids, written},
    spool::SpoolRoom,
};

/// Jobs that no worker works on, unless one joins.
fn jobs(settings: Settings) -> Jobs {
    let room = SpoolRoom::new(1 << 20, 0, std::env::temp_dir());
    let dispatcher = dispatcher(&settings.scheduler, room);
    let blobs = Arc::new(Blobs::new(1 << 20, Duration::from_secs(600)));
    let operators = Operators::new(1 << 20, None).unwrap();
    Jobs::new(dispatcher, blobs, Arc::new(settings), operators)
}

fn submission(plan: Bytes) -> Submission {
    let misses = MissPolicy::default();
    let (id, plan, trace) = (JobId::new(), plan.into(), None);
    let terms = JobTerms::default();
    Submission { id, plan, batch_rows: 8192, discard: false, misses, terms, trace }
}

/// A job that waits for workers.
fn waiting(jobs: &Jobs) -> Submission {
    waiting_of(jobs, &Owner::default())
}

fn waiting_of(jobs: &Jobs, owner: &Owner) -> Submission {
    submission(encode_plan(&frame(jobs, owner)).unwrap())
}

fn frame(jobs: &Jobs, owner: &Owner) -> Arc<dyn ExecutionPlan> {
    let bytes = Bytes::from_static(b"rows");
    let blob = BlobId::of(&bytes);
    jobs.blobs.put_part(owner, blob, 0, 4, bytes.into()).unwrap();
    let partitions = vec![FramePartition { blob, rows: 1 }];
    Arc::new(FrameScanExec::try_new(partitions, ids(), None).unwrap())
}

fn submit(jobs: &Jobs, submission: &Submission, owner: &Owner) -> Result<()> {
    match jobs.begin(submission, owner)? {
        Some(entry) => jobs.submit(&entry, submission.clone(), owner, false),
        None => Ok(()),
    }
}

#[tokio::test]
async fn a_job_that_does_not_start_is_forgotten_and_not_its_successor() {
    let (jobs, owner) = (jobs(Settings::default()), Owner::default());
    let submission = submission(Bytes::from_static(b"no plan"));
    let entry = jobs.begin(&submission, &owner).unwrap().unwrap();
    let submit = || jobs.submit(&entry, submission.clone(), &owner, false).unwrap_err();
    let error = submit();
    assert!(jobs.lock().is_empty());
    let successor = jobs.begin(&submission, &owner).unwrap().unwrap();
    // Who waited for the first is told what became of that.
    assert_eq!(submit(), error);
    assert!(Arc::ptr_eq(&jobs.lock()[&submission.id], &successor));
}

#[tokio::test]
async fn a_job_that_is_cancelled_before_it_starts_does_not_start() {
    let (jobs, owner) = (jobs(Settings::default()), Owner::default());
    let submission = waiting(&jobs);
    let entry = jobs.begin(&submission, &owner).unwrap().unwrap();
    jobs.cancel(submission.id, &owner).unwrap();
    let error = jobs.submit(&entry, submission, &owner, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(jobs.lock().is_empty() && entry.started.get().is_none());
}

/// Submits a job once there is a place for it.
async fn submit_soon(jobs: &Jobs, submission: &Submission, owner: &Owner) {
    let submitted = async {
        while submit(jobs, submission, owner).is_err() {
            tokio::task::yield_now().await;
        }
    };
    let submitted = tokio::time::timeout(Duration::from_secs(10), submitted).await;
    submitted.expect("no place within 10 s");
}

#[tokio::test]
async fn jobs_beyond_those_that_run_wait_for_their_turn_or_are_refused() {
    let settings = Settings { max_running_jobs: 1, max_queued_jobs: 1, ..Settings::default() };
    let (jobs, owner) = (jobs(settings), Owner::default());
    let submissions = [(); 4].map(|()| waiting(&jobs));
    let [running, queued, third, fourth] = &submissions;
    submit(&jobs, running, &owner).unwrap();
    submit(&jobs, queued, &owner).unwrap();
    submit(&jobs, queued, &owner).unwrap();
    let error = submit(&jobs, third, &owner).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.message().contains("max_queued_jobs = 1 on the coordinator"), "{error}");
    assert!(!jobs.lock().contains_key(&third.id));
    jobs.renew(queued.id, &owner).unwrap();
    // One that waits can be cancelled, and one takes the place of another that has run.
    jobs.cancel(queued.id, &owner).unwrap();
    submit_soon(&jobs, third, &owner).await;
    jobs.cancel(running.id, &owner).unwrap();
    submit_soon(&jobs, fourth, &owner).await;
    assert_eq!(jobs.lock().len(), 2);
}

#[tokio::test]
async fn cancelling_a_job_ends_the_wait_for_it() {
    let (jobs, owner) = (jobs(Settings::default()), Owner::default());
    let submission = waiting(&jobs);
    submit(&jobs, &submission, &owner).unwrap();
    let cancel = async { jobs.cancel(submission.id, &owner) };
    let (next, cancelled) = tokio::join!(jobs.next(submission.id, 0, &owner), cancel);
    cancelled.unwrap();
    assert_eq!(next.unwrap_err(), unknown(submission.id));
}

#[tokio::test]
async fn a_job_is_its_client_s_and_operators_may_have_it() {
    let settings = Settings::default();
    let jobs = jobs(Settings { rpc: Limits { long_poll_ms: 1, ..settings.rpc }, ..settings });
    let client = |role, name: &str| Owner::of(Identity { role, name: name.into() });
    let alice = client(Role::Client, "alice");
    let submission = waiting_of(&jobs, &alice);
    let id = submission.id;
    submit(&jobs, &submission, &alice).unwrap();

    let mallory = client(Role::Client, "mallory");
    let refused = [
        submit(&jobs, &submission, &mallory),
        jobs.next(id, 0, &mallory).await.map(drop),
        jobs.renew(id, &mallory),
        jobs.cancel(id, &mallory),
    ];
    let message = format!("job {id} belongs to another client");
    assert_eq!(refused, [(); 4].map(|()| Err::<(), _>(Error::permission_denied(message.clone()))));

    // Over another connection it is the same client.
    let again = client(Role::Client, "alice");
    jobs.renew(id, &again).unwrap();
    drop(alice);
    let is_here = |jobs: &Jobs| jobs.lock()[&id].started.get().unwrap().as_ref().unwrap().idle().1;
    assert!(is_here(&jobs));
    let operator = client(Role::Operator, "olga");
    assert!(matches!(jobs.next(id, 0, &operator).await, Ok(Next::Pending(_))));
    assert!(submit(&jobs, &submission, &operator).is_err());
    drop(again);
    assert!(!is_here(&jobs));
    jobs.cancel(id, &operator).unwrap();
    assert!(jobs.lock().is_empty());
}

#[tokio::test]
async fn expiry_ends_the_wait_for_a_job() {
    let settings = Settings { client_timeout_ms: 0, ..Settings::default() };
    let (jobs, owner) = (jobs(settings), Owner::default());
    let submission = waiting(&jobs);
    submit(&jobs, &submission, &owner).unwrap();
    let expire = async { jobs.expire() };
    let (next, ()) = tokio::join!(jobs.next(submission.id, 0, &owner), expire);
    assert_eq!(next.unwrap_err(), unknown(submission.id));
    assert!(jobs.lock().is_empty());
}

/// A job that writes.
fn writing(jobs: &Jobs) -> Submission {
    writing_rows(frame(jobs, &Owner::default()))
}

fn writing_rows(rows: Arc<dyn ExecutionPlan>) -> Submission {
    writing_to("/out/", IfExists::Error, rows)
}

fn writing_to(path: &str, if_exists: IfExists, rows: Arc<dyn ExecutionPlan>) -> Submission {
    let plan = written(rows, path, files(if_exists));
    submission(encode_plan(&plan).unwrap())
}

fn committed() -> Committed {
    Committed { rows: 7, bytes: 70, files: 1, version: None }
}

/// Waits until the worker is to run the job's task.
async fn task(worker: &mut FakeWorker) -> AttemptId {
    let task = worker.assigned().await;
    assert!(matches!(task.work, Work::Fragment { discard: false, .. }), "{task:?}");
    task.attempt
}

/// Runs the job's task, which tells of a piece.
async fn write(worker: &mut FakeWorker) -> AttemptId {
    let attempt = task(worker).await;
    deliver(worker, attempt).await;
    attempt
}

/// Ends the job's task, which tells of a piece.
async fn deliver(worker: &mut FakeWorker, attempt: AttemptId) {
    let piece = Piece { rows: 7, bytes: 70, token: b"file".to_vec() };
    let mut writer = ChunkWriter::try_new(&piece_schema(), false, 1 << 20).unwrap();
    let mut chunks = writer.write(Piece::batch(&[piece]).unwrap()).unwrap();
    chunks.extend(writer.finish().unwrap());
    let (metrics, lookups) = (PlanMetrics::default(), Vec::new());
    let report = TaskReport::Rows { chunks: chunks.len() as u32, rows: 1, metrics, lookups };
    worker.deliver(attempt, chunks).await;
    worker.finish(attempt, Ok(report));
}

/// Commits the job's output.
async fn commit(worker: &mut FakeWorker) {
    let asked = worker.assigned().await;
    assert!(matches!(asked.work, Work::CommitOutput(_)), "{asked:?}");
    worker.finish(asked.attempt, Ok(TaskReport::Committed(committed())));
}

/// Takes the whole result of a job.
async fn result(jobs: &Jobs, id: JobId) -> Result<(Vec<RecordBatch>, JobSummary)> {
    let (mut batches, mut decoder, mut sequence) = (Vec::new(), Decoder::new(), 0);
    loop {
        match jobs.next(id, sequence, &Owner::default()).await? {
            Next::Chunk { chunk, .. } => {
                batches.extend(chunk.decode(&mut decoder)?);
                sequence += 1;
            }
            Next::Done(summary) => return Ok((batches, summary)),
            Next::Missed(_) | Next::Pending(_) => {}
        }
    }
}

#[tokio::test]
async fn a_job_that_writes_answers_what_was_committed() {
    for discard in [false, true] {
        let (jobs, owner) = (jobs(Settings::default()), Owner::default());
        let mut worker = FakeWorker::join(&jobs.dispatcher);
        let submission = Submission { discard, ..writing(&jobs) };
        submit(&jobs, &submission, &owner).unwrap();
        let work = async {
            write(&mut worker).await;
            commit(&mut worker).await;
        };
        let (ended, ()) = tokio::join!(result(&jobs, submission.id), work);
        let (batches, summary) = ended.unwrap();
        // What a job does is done, whether its rows are wanted or not.
        let expected = if discard { vec![] } else { vec![committed().batch("/out/").unwrap()] };
        assert_eq!(batches, expected);
        assert_eq!((summary.rows, summary.tasks), (7, 1));
    }
}

#[tokio::test]
async fn a_job_tells_how_far_its_stages_are_and_when_it_commits() {
    let settings = Settings::default();
    let jobs = jobs(Settings { rpc: Limits { long_poll_ms: 1, ..settings.rpc }, ..settings });
    let (mut worker, owner) = (FakeWorker::join(&jobs.dispatcher), Owner::default());
    let submission = writing(&jobs);
    submit(&jobs, &submission, &owner).unwrap();
    let told = async || match jobs.next(submission.id, 0, &owner).await.unwrap() {
        Next::Pending(underway) => underway.progress.stages,
        other => panic!("it is not under way: {other:?}"),
    };
    let stage = |stage, work, tasks_done| StageProgress {
        stage,
        work,
        tasks: 1,
        tasks_done,
        thousandths: 0,
        rows: 0,
        bytes: 0,
    };
    let attempt = task(&mut worker).await;
    assert_eq!(told().await, [stage(Some(0), StageWork::Writing, 0)]);
    deliver(&mut worker, attempt).await;
    let asked = worker.assigned().await;
    assert!(matches!(asked.work, Work::CommitOutput(_)), "{asked:?}");
    let expected = [stage(Some(0), StageWork::Writing, 1), stage(None, StageWork::Committing, 0)];
    assert_eq!(told().await, expected);
    worker.finish(asked.attempt, Ok(TaskReport::Committed(committed())));
    assert_eq!(result(&jobs, submission.id).await.unwrap().1.rows, 7);
}

#[tokio::test]
async fn what_a_task_has_done_is_told_while_it_runs_and_taken_back_when_its_attempt_fails() {
    let settings = Settings::default();
    let jobs = jobs(Settings { rpc: Limits { long_poll_ms: 1, ..settings.rpc }, ..settings });
    let (mut first, owner) = (FakeWorker::join(&jobs.dispatcher), Owner::default());
    let submission = writing(&jobs);
    submit(&jobs, &submission, &owner).unwrap();
    let told = async || match jobs.next(submission.id, 0, &owner).await.unwrap() {
        Next::Pending(Underway { progress, .. }) => {
            let [stage] = progress.stages[..] else { panic!("{progress:?}") };
            let keys = progress.stores.get("products").map_or(0, |store| store.keys);
            (stage.thousandths, stage.rows, stage.bytes, keys)
        }
        other => panic!("it is not under way: {other:?}"),
    };
    let progress = |rows: u64| {
        let store = StoreProgress { keys: rows, hits: 1, misses: 0 };
        let stores = [("products".to_owned(), store)].into();
        TaskProgress { rows, bytes: 3, thousandths: 5 * rows as u32, stores }
    };
    let failed = task(&mut first).await;
    assert_eq!(told().await, (0, 0, 0, 0));
    for rows in [40, 60] {
        first.tell(failed, progress(rows));
        assert_eq!(told().await, (5 * rows as u32, rows, 3, rows));
    }
    first.leave();
    let mut second = FakeWorker::join(&jobs.dispatcher);
    let attempt = task(&mut second).await;
    second.tell(failed, progress(70));
    assert_eq!(told().await, (0, 0, 0, 0));
    second.tell(attempt, progress(30));
    assert_eq!(told().await, (150, 30, 3, 30));
    deliver(&mut second, attempt).await;
    commit(&mut second).await;
    assert_eq!(result(&jobs, submission.id).await.unwrap().1.rows, 7);
    assert_eq!(jobs.dispatcher.told(submission.id), BTreeMap::new());
}

#[tokio::test]
async fn what_a_job_wrote_that_fails_is_removed() {
    let (jobs, owner) = (jobs(Settings::default()), Owner::default());
    let mut worker = FakeWorker::join(&jobs.dispatcher);
    let submission = writing(&jobs);
    submit(&jobs, &submission, &owner).unwrap();
    let attempt = task(&mut worker).await;
    worker.finish(attempt, Err(Error::invalid("a key is missing")));
    let error = result(&jobs, submission.id).await.unwrap_err();
    assert_eq!(error.message(), "a key is missing");
    assert!(matches!(worker.assigned().await.work, Work::AbortOutput(_)));
}

#[tokio::test]
async fn what_a_job_wrote_that_is_cancelled_is_removed_before_it_commits() {
    let (jobs, owner) = (jobs(Settings::default()), Owner::default());
    let mut worker = FakeWorker::join(&jobs.dispatcher);
    let submission = writing(&jobs);
    submit(&jobs, &submission, &owner).unwrap();
    let attempt = task(&mut worker).await;
    jobs.cancel(submission.id, &owner).unwrap();
    worker.finish(attempt, Err(Error::cancelled("it was stopped")));
    assert!(matches!(worker.assigned().await.work, Work::AbortOutput(_)));
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_it_commits_commits() {
    let (jobs, owner) = (jobs(Settings::default()), Owner::default());
    let mut worker = FakeWorker::join(&jobs.dispatcher);
    let submission = writing(&jobs);
    submit(&jobs, &submission, &owner).unwrap();
    write(&mut worker).await;
    let first = worker.assigned().await;
    assert!(matches!(first.work, Work::CommitOutput(_)), "{first:?}");
    jobs.cancel(submission.id, &owner).unwrap();
    let mut second = FakeWorker::join(&jobs.dispatcher);
    worker.leave();
    commit(&mut second).await;
}

/// One of a client's that goes on without it.
fn detached_of(jobs: &Jobs, owner: &Owner) -> Submission {
    let terms = JobTerms { detached: true, ..JobTerms::default() };
    Submission { terms, ..waiting_of(jobs, owner) }
}

#[tokio::test]
async fn a_detached_job_does_not_end_with_its_client_and_can_be_cancelled() {
    let settings = Settings { client_timeout_ms: 0, client_gone_ms: 0, ..Settings::default() };
    let jobs = jobs(settings);
    let alice = || Owner::of(Identity { role: Role::Client, name: "alice".into() });
    let submission = detached_of(&jobs, &alice());
    submit(&jobs, &submission, &alice()).unwrap();
    jobs.expire();
    let [known] = <[_; 1]>::try_from(jobs.list(&alice()).jobs).unwrap();
    assert_eq!((known.id, known.owner.as_str()), (submission.id, "client 'alice'"));
    assert!(!known.state.is_end(), "{known:?}");
    jobs.cancel(submission.id, &alice()).unwrap();
    let known = jobs.info(submission.id, &alice()).unwrap();
    assert_eq!(known.state, JobState::Cancelled);
    // Handed in again, it does not run again.
    submit(&jobs, &submission, &alice()).unwrap();
    assert!(jobs.lock().is_empty());
}

#[tokio::test]
async fn a_detached_job_that_failed_takes_no_place_and_its_error_is_told() {
    let settings = Settings { client_timeout_ms: 0, client_gone_ms: 0, ..Settings::default() };
    let (jobs, owner) = (jobs(settings), Owner::default());
    let mut worker = FakeWorker::join(&jobs.dispatcher);
    let submission = detached_of(&jobs, &owner);
    submit(&jobs, &submission, &owner).unwrap();
    let attempt = task(&mut worker).await;
    worker.finish(attempt, Err(Error::invalid("a key is missing")));
    let failed = result(&jobs, submission.id).await.unwrap_err();
    jobs.expire();
    assert!(jobs.lock().is_empty());
    assert_eq!(result(&jobs, submission.id).await.unwrap_err(), failed);
}

#[tokio::test]
async fn a_job_that_a_worker_ended_has_failed_and_was_not_interrupted() {
    let (jobs, owner) = (jobs(Settings::default()), Owner::default());
    let mut worker = FakeWorker::join(&jobs.dispatcher);
    let submission = detached_of(&jobs, &owner);
    submit(&jobs, &submission, &owner).unwrap();
    let attempt = task(&mut worker).await;
    worker.finish(attempt, Err(Error::cancelled("the worker is shutting down")));
    result(&jobs, submission.id).await.unwrap_err();
    let known = jobs.info(submission.id, &owner).unwrap();
    let message = known.error.map(|error| error.message().to_owned());
    let expected = "a worker ended a task that was wanted: the worker is shutting down";
    assert_eq!((known.state, message.as_deref()), (JobState::Failed, Some(expected)));
}

#[tokio::test]
async fn a_client_sees_its_own_jobs_and_operators_those_of_all() {
    let jobs = jobs(Settings::default());
    let client = |role, name: &str| Owner::of(Identity { role, name: name.into() });
    let (alice, bob) = (client(Role::Client, "alice"), client(Role::Client, "bob"));
    let [first, second] = [&alice, &bob].map(|owner| {
        let submission = detached_of(&jobs, owner);
        submit(&jobs, &submission, owner).unwrap();
        submission.id
    });
    let listed = |owner: &Owner| {
        let mut ids: Vec<_> = jobs.list(owner).jobs.into_iter().map(|job| job.id).collect();
        ids.sort();
        ids
    };
    let mut all = vec![first, second];
    all.sort();
    let olga = client(Role::Operator, "olga");
    assert_eq!([listed(&alice), listed(&bob), listed(&olga)], [vec![first], vec![second], all]);
    let refused = Error::permission_denied(format!("job {first} belongs to another client"));
    assert_eq!(jobs.info(first, &bob), Err(refused.clone()));
    assert_eq!(jobs.resume(first, &bob), Err(refused));
    assert_eq!(jobs.info(JobId::new(), &bob).unwrap_err().kind(), ErrorKind::NotFound);
    let drained = jobs.drain_worker(keyloom_common::WorkerId::new(), &bob).unwrap_err();
    assert_eq!(drained.message(), "workers are drained by operators, and not by client 'bob'");
    let drained = jobs.drain_worker(keyloom_common::WorkerId::new(), &olga).unwrap_err();
    assert_eq!(drained.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_job_that_cannot_go_on_by_itself_is_refused_with_the_reason() {
    let (jobs, owner) = (jobs(Settings::default()), Owner::default());
    for (detached, why) in [
        (false, "it was not submitted as a job that is detached"),
        (true, "workers write no output of it: submit it again"),
    ] {
        let terms = JobTerms { detached, resumes: true, ..JobTerms::default() };
        let submission = Submission { terms, ..waiting(&jobs) };
        let error = submit(&jobs, &submission, &owner).unwrap_err();
        assert!(error.message().ends_with(why), "{error}");
        assert!(jobs.lock().is_empty() && jobs.list(&owner).jobs.is_empty());
    }
    let terms = JobTerms { name: Some("two\nlines".to_owned()), ..JobTerms::default() };
    let error = submit(&jobs, &Submission { terms, ..waiting(&jobs) }, &owner).unwrap_err();
    assert!(error.message().contains("a line of at most 256"), "{error}");
}
