//! Jobs that write to one place at the same time.

use super::*;

/// A job that writes somewhere, and what becomes of it when it is handed in.
fn to(jobs: &Jobs, path: &str, if_exists: IfExists) -> (Submission, Result<()>) {
    let owner = Owner::default();
    let submission = writing_to(path, if_exists, frame(jobs, &owner));
    let submitted = submit(jobs, &submission, &owner);
    (submission, submitted)
}

/// That a job is refused for the other's sake, and leaves nothing.
fn check_refused(jobs: &Jobs, (refused, outcome): (Submission, Result<()>), other: &Submission) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let start = format!("job {} writes to /out", other.id);
    assert!(error.message().starts_with(&start), "{error}");
    assert!(!jobs.lock().contains_key(&refused.id) && jobs.history.get(refused.id).is_none());
}

#[tokio::test]
async fn a_job_that_must_be_alone_is_refused_when_it_is_handed_in_until_the_other_has_ended() {
    let jobs = jobs(Settings::default());
    let mut worker = FakeWorker::join(&jobs.dispatcher);
    let (first, submitted) = to(&jobs, "/out/", IfExists::Error);
    submitted.unwrap();
    submit(&jobs, &first, &Owner::default()).unwrap();
    for if_exists in [IfExists::Error, IfExists::Overwrite] {
        check_refused(&jobs, to(&jobs, "/out", if_exists), &first);
    }
    // It has begun to write, and then it commits.
    let attempt = task(&mut worker).await;
    check_refused(&jobs, to(&jobs, "/out/", IfExists::Error), &first);
    deliver(&mut worker, attempt).await;
    let asked = worker.assigned().await;
    assert!(matches!(asked.work, Work::CommitOutput(_)), "{asked:?}");
    check_refused(&jobs, to(&jobs, "/out/", IfExists::Overwrite), &first);
    to(&jobs, "/other/", IfExists::Error).1.unwrap();
    worker.finish(asked.attempt, Ok(TaskReport::Committed(committed())));
    result(&jobs, first.id).await.unwrap();
    to(&jobs, "/out/", IfExists::Overwrite).1.unwrap();
}

#[tokio::test]
async fn what_a_job_keeps_is_nobody_s_where_the_job_is_not_known() {
    let jobs = jobs(Settings::default());
    let (running, submitted) = to(&jobs, "/out/", IfExists::Error);
    submitted.unwrap();
    assert!(jobs.may_have_pieces(running.id));
    submit(&jobs, &waiting(&jobs), &Owner::default()).unwrap();
    assert_eq!(jobs.with_pieces(), [running.id], "the other job writes nothing");
    jobs.cancel(running.id, &Owner::default()).unwrap();
    assert!(jobs.may_have_pieces(running.id), "it is being removed");
    assert_eq!(jobs.with_pieces(), [running.id]);
    assert!(!jobs.may_have_pieces(JobId::new()));
}

#[tokio::test]
async fn jobs_that_append_run_side_by_side_and_keep_others_out() {
    let jobs = jobs(Settings::default());
    let (first, submitted) = to(&jobs, "/out/", IfExists::Append);
    submitted.unwrap();
    to(&jobs, "/out/", IfExists::Append).1.unwrap();
    check_refused(&jobs, to(&jobs, "/out/", IfExists::Error), &first);
}

#[tokio::test]
async fn a_job_that_failed_or_was_cancelled_keeps_nobody_out() {
    let jobs = jobs(Settings::default());
    let mut worker = FakeWorker::join(&jobs.dispatcher);
    let (failed, submitted) = to(&jobs, "/out/", IfExists::Error);
    submitted.unwrap();
    let attempt = task(&mut worker).await;
    worker.finish(attempt, Err(Error::invalid("a key is missing")));
    result(&jobs, failed.id).await.unwrap_err();
    let (cancelled, submitted) = to(&jobs, "/out/", IfExists::Error);
    submitted.unwrap();
    jobs.cancel(cancelled.id, &Owner::default()).unwrap();
    to(&jobs, "/out/", IfExists::Error).1.unwrap();
}
