//! Jobs that go on where they were after they failed, and what is left of those that do not.

use datafusion::physical_plan::{placeholder_row::PlaceholderRowExec, union::UnionExec};
use keyloom_common::rpc::WrittenOutput;

use super::*;

#[tokio::test]
async fn what_nothing_is_kept_of_cannot_be_resumed() {
    let (jobs, owner) = (jobs(Settings::default()), Owner::default());
    let submission = detached_of(&jobs, &owner);
    submit(&jobs, &submission, &owner).unwrap();
    assert_eq!(jobs.resume(submission.id, &owner), Ok(()), "it runs");
    jobs.cancel(submission.id, &owner).unwrap();
    let error = jobs.resume(submission.id, &owner).unwrap_err();
    let id = submission.id;
    let expected =
        format!("job {id} cannot be resumed: it was cancelled, and what it had written is removed");
    assert_eq!(error.message(), expected);
}

/// A detached job of three tasks that write, and that read nothing of its client's.
fn detached_writing() -> Submission {
    let row = || Arc::new(PlaceholderRowExec::new(ids())) as Arc<dyn ExecutionPlan>;
    let rows = UnionExec::try_new(vec![row(), row(), row()]).unwrap();
    let terms = JobTerms { detached: true, ..JobTerms::default() };
    Submission { terms, ..writing_rows(rows) }
}

/// Jobs that are kept in a folder.
fn kept_jobs(folder: &std::path::Path) -> Jobs {
    kept_jobs_with(folder, Settings::default())
}

fn kept_jobs_with(folder: &std::path::Path, settings: Settings) -> Jobs {
    let state_folder = Some(folder.to_owned());
    let settings = Settings { state_folder, ..settings };
    let history = History::open(&Arc::new(settings.clone())).unwrap();
    jobs(settings).with_history(history)
}

/// A job of three tasks that is handed in, and a worker for it.
fn handed_in(jobs: &Jobs, owner: &Owner) -> (FakeWorker, Submission) {
    let worker = FakeWorker::join(&jobs.dispatcher);
    let submission = detached_writing();
    submit(jobs, &submission, owner).unwrap();
    (worker, submission)
}

/// The same once its tasks are done: the worker is asked to commit next.
async fn all_written(jobs: &Jobs, owner: &Owner) -> (FakeWorker, JobId) {
    let (mut worker, submission) = handed_in(jobs, owner);
    for _ in 0..3 {
        write(&mut worker).await;
    }
    (worker, submission.id)
}

/// How many pieces of an output a worker is told of.
fn pieces_of(jobs: &Jobs, written: &WrittenOutput) -> usize {
    let pieces = jobs.blobs.read(written.pieces, 0, usize::MAX).unwrap().part;
    pieces.decode_all().unwrap().iter().map(RecordBatch::num_rows).sum()
}

/// The worker commits the job's output. How many pieces it was told of.
async fn commit_pieces(jobs: &Jobs, worker: &mut FakeWorker) -> usize {
    let asked = worker.assigned().await;
    let Work::CommitOutput(written) = asked.work else { panic!("{:?}", asked.work) };
    let pieces = pieces_of(jobs, &written);
    worker.finish(asked.attempt, Ok(TaskReport::Committed(committed())));
    pieces
}

/// The worker is asked to look at a job that goes on, and misses some of its pieces. How many there
/// should be.
async fn looked_at(jobs: &Jobs, worker: &mut FakeWorker, gone: Vec<u32>) -> usize {
    let asked = worker.assigned().await;
    let Work::CheckResumed(resumed) = asked.work else { panic!("{:?}", asked.work) };
    assert!(jobs.blobs.read(resumed.plan, 0, usize::MAX).is_ok(), "what it reads");
    let pieces = pieces_of(jobs, &resumed.written.unwrap());
    worker.finish(asked.attempt, Ok(TaskReport::Resumed { gone }));
    pieces
}

#[tokio::test]
async fn a_task_whose_pieces_are_gone_is_done_again_when_its_job_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let (jobs, owner) = (kept_jobs(folder.path()), Owner::default());
    let (mut worker, id) = all_written(&jobs, &owner).await;
    let asked = worker.assigned().await;
    worker.finish(asked.attempt, Err(Error::not_found("output file a is not there any more")));
    result(&jobs, id).await.unwrap_err();

    // Another input is another job.
    jobs.resume(id, &owner).unwrap();
    let asked = worker.assigned().await;
    assert!(matches!(asked.work, Work::CheckResumed(_)), "{asked:?}");
    worker.finish(asked.attempt, Err(Error::invalid("input file b changed")));
    let error = result(&jobs, id).await.unwrap_err();
    assert_eq!(error.message(), "the job cannot go on where it was: input file b changed");
    assert_eq!(jobs.info(id, &owner).unwrap().state, JobState::Failed);

    // Once that is as it was, the task runs again whose piece is gone, and no other.
    jobs.resume(id, &owner).unwrap();
    assert_eq!(looked_at(&jobs, &mut worker, vec![1]).await, 3);
    assert_eq!(write(&mut worker).await.task.index, 1);
    assert_eq!(commit_pieces(&jobs, &mut worker).await, 3);
    result(&jobs, id).await.unwrap();
    assert_eq!(jobs.info(id, &owner).unwrap().state, JobState::Done);
}

#[tokio::test]
async fn a_job_that_failed_is_resumed_and_what_was_done_is_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let (jobs, owner) = (kept_jobs(folder.path()), Owner::default());
    let (mut worker, submission) = handed_in(&jobs, &owner);
    let id = submission.id;
    assert_eq!(write(&mut worker).await.task.index, 0);
    let attempt = task(&mut worker).await;
    worker.finish(attempt, Err(Error::invalid("a key is missing")));
    assert_eq!(result(&jobs, id).await.unwrap_err().message(), "a key is missing");
    assert_eq!(jobs.info(id, &owner).unwrap().state, JobState::Failed);

    jobs.resume(id, &owner).unwrap();
    let work = async {
        assert_eq!(looked_at(&jobs, &mut worker, Vec::new()).await, 1, "that of the first task");
        // Nothing is removed before.
        for index in [1, 2] {
            let AttemptId { task, number } = write(&mut worker).await;
            assert_eq!((task.index, number), (index, 10_000));
        }
        assert_eq!(commit_pieces(&jobs, &mut worker).await, 3);
    };
    let (ended, ()) = tokio::join!(result(&jobs, id), work);
    let (batches, summary) = ended.unwrap();
    assert_eq!(batches, [committed().batch("/out/").unwrap()]);
    assert_eq!((summary.rows, summary.tasks), (7, 3));
    let info = jobs.info(id, &owner).unwrap();
    assert_eq!((info.state, info.committed, info.error), (JobState::Done, Some(committed()), None));
    let error = jobs.resume(id, &owner).unwrap_err();
    assert!(error.message().ends_with("it is done"), "{error}");
    jobs.history.written().await;
    assert_eq!(jobs.history.plan(id).unwrap_err().kind(), ErrorKind::NotFound);

    // Its result is told again, whoever hands it in again.
    jobs.cancel(id, &owner).unwrap();
    submit(&jobs, &submission, &owner).unwrap();
    assert_eq!(result(&jobs, id).await.unwrap().0, batches);
}

#[tokio::test]
async fn what_is_left_of_a_job_that_failed_is_removed_when_it_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let (jobs, owner) = (kept_jobs(folder.path()), Owner::default());
    let (mut worker, submission) = handed_in(&jobs, &owner);
    let id = submission.id;
    write(&mut worker).await;
    let attempt = task(&mut worker).await;
    worker.finish(attempt, Err(Error::invalid("a key is missing")));
    result(&jobs, id).await.unwrap_err();
    jobs.cancel(id, &owner).unwrap();
    let asked = worker.assigned().await;
    let Work::AbortOutput(written) = asked.work else { panic!("{:?}", asked.work) };
    assert_eq!(written.job, id);
    assert_eq!(pieces_of(&jobs, &written), 1, "those of the task that was done");
    assert_eq!(jobs.info(id, &owner).unwrap().state, JobState::Cancelled);
}

#[tokio::test]
async fn of_a_job_that_is_cancelled_all_pieces_are_removed_before_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let (jobs, owner) = (kept_jobs(folder.path()), Owner::default());
    let [mut first, mut second] = [0, 1].map(|_| FakeWorker::join(&jobs.dispatcher));
    let submission = detached_writing();
    let id = submission.id;
    submit(&jobs, &submission, &owner).unwrap();
    // The first of all tasks is not done, so nobody has read the other's pieces.
    let attempts = [task(&mut first).await, task(&mut second).await];
    let (worker, later) = match attempts[0].task.index {
        0 => (&mut second, attempts[1]),
        _ => (&mut first, attempts[0]),
    };
    deliver(worker, later).await;
    task(worker).await;
    while jobs.history.tasks(id).unwrap().is_empty() {
        jobs.history.written().await;
    }
    jobs.cancel(id, &owner).unwrap();
    jobs.history.written().await;
    assert!(jobs.history.plan(id).is_ok(), "the next coordinator could go on with removing");
    let mut third = FakeWorker::join(&jobs.dispatcher);
    let asked = third.assigned().await;
    let Work::AbortOutput(written) = asked.work else { panic!("{:?}", asked.work) };
    assert_eq!(pieces_of(&jobs, &written), 1);
    third.finish(asked.attempt, Ok(TaskReport::Aborted));
    while jobs.history.plan(id).is_ok() {
        jobs.history.written().await;
    }
    assert_eq!(jobs.info(id, &owner).unwrap().state, JobState::Cancelled);
}

#[tokio::test]
async fn what_a_job_left_is_removed_when_it_is_cancelled_while_it_waits_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { max_running_jobs: 1, ..Settings::default() };
    let (jobs, owner) = (kept_jobs_with(folder.path(), settings), Owner::default());
    let (mut worker, submission) = handed_in(&jobs, &owner);
    let id = submission.id;
    write(&mut worker).await;
    let attempt = task(&mut worker).await;
    worker.finish(attempt, Err(Error::invalid("a key is missing")));
    result(&jobs, id).await.unwrap_err();
    // Another takes the only turn, and the only slot.
    let other = writing_to("/other/", IfExists::Error, frame(&jobs, &owner));
    submit(&jobs, &other, &owner).unwrap();
    task(&mut worker).await;
    jobs.resume(id, &owner).unwrap();
    assert_eq!(jobs.info(id, &owner).unwrap().state, JobState::Queued);
    jobs.cancel(id, &owner).unwrap();
    let asked = FakeWorker::join(&jobs.dispatcher).assigned().await;
    let Work::AbortOutput(written) = asked.work else { panic!("{:?}", asked.work) };
    assert_eq!(written.job, id);
}

#[tokio::test]
async fn a_job_of_which_it_is_not_known_whether_it_was_committed_is_resumed_until_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { commit_timeout_ms: 500, ..Settings::default() };
    let (jobs, owner) = (kept_jobs_with(folder.path(), settings), Owner::default());
    let (mut worker, id) = all_written(&jobs, &owner).await;
    let mut asked = worker.assigned().await;
    // Once no worker has an answer, and once one refuses, while the first may still be at it.
    for answer in [None, Some(Error::invalid("something is there"))] {
        assert!(matches!(asked.work, Work::CommitOutput(_)), "{asked:?}");
        if let Some(error) = answer {
            worker.finish(asked.attempt, Err(error));
        }
        let error = result(&jobs, id).await.unwrap_err();
        assert!(error.message().contains("/out/ was committed is not known"), "{error}");
        assert_eq!(jobs.info(id, &owner).unwrap().state, JobState::Failed);
        jobs.resume(id, &owner).unwrap();
        // Nothing is removed, and nothing runs again.
        asked = worker.assigned().await;
    }
    let Work::CommitOutput(written) = asked.work else { panic!("{:?}", asked.work) };
    assert_eq!(pieces_of(&jobs, &written), 3);
    worker.finish(asked.attempt, Ok(TaskReport::Committed(committed())));
    let (batches, _) = result(&jobs, id).await.unwrap();
    assert_eq!(batches, [committed().batch("/out/").unwrap()]);
    assert_eq!(jobs.info(id, &owner).unwrap().state, JobState::Done);
}

#[tokio::test]
async fn a_job_whose_output_was_refused_is_resumed_with_what_it_has_written() {
    let folder = tempfile::tempdir().unwrap();
    let (jobs, owner) = (kept_jobs(folder.path()), Owner::default());
    let (mut worker, id) = all_written(&jobs, &owner).await;
    let asked = worker.assigned().await;
    assert!(matches!(asked.work, Work::CommitOutput(_)), "{asked:?}");
    worker.finish(asked.attempt, Err(Error::invalid("something is there")));
    let refused = result(&jobs, id).await.unwrap_err();
    assert!(refused.message().contains("something is there"), "{refused}");

    jobs.resume(id, &owner).unwrap();
    assert_eq!(looked_at(&jobs, &mut worker, Vec::new()).await, 3);
    // Nothing was removed, and nothing runs again.
    assert_eq!(commit_pieces(&jobs, &mut worker).await, 3);
    let (batches, _) = result(&jobs, id).await.unwrap();
    assert_eq!(batches, [committed().batch("/out/").unwrap()]);
}
