//! What is told of jobs: what happened to them, their columns, and how many a list leaves out.

use keyloom_common::report::{LogKind, LogLine, RowSchema};

use super::*;

fn told(line: &LogLine) -> (LogKind, Option<u32>, Option<u32>, &str) {
    (line.kind, line.stage, line.task, line.text.as_str())
}

#[tokio::test]
async fn what_happened_to_a_job_is_told_in_order_and_to_whom_it_belongs() {
    let scheduler = crate::scheduler::Settings { retry_backoff_ms: 1, ..Default::default() };
    let jobs = jobs(Settings { scheduler, ..Settings::default() });
    let owner = Owner::default();
    let mut first = FakeWorker::join(&jobs.dispatcher);
    let submission = writing(&jobs);
    let id = submission.id;
    submit(&jobs, &submission, &owner).unwrap();
    let attempt = task(&mut first).await;
    first.finish(attempt, Err(Error::store("no answer")));
    task(&mut first).await;
    let mut second = FakeWorker::join(&jobs.dispatcher);
    first.leave();
    let work = async {
        write(&mut second).await;
        commit(&mut second).await;
    };
    let (ended, ()) = tokio::join!(result(&jobs, id), work);
    ended.unwrap();

    let log = jobs.log(id, &owner).unwrap();
    assert_eq!((log.job, log.state), (id, JobState::Done));
    let by = format!("by {}", owner.identity());
    let task = "task 0 of stage 0";
    let [failed, second, lost, third] = ["no answer", "attempt 2", "it was killed", "attempt 3"]
        .map(|what| format!("{task}: {what}"));
    let expected = [
        (LogKind::Submitted, None, None, by.as_str()),
        (LogKind::Started, None, None, "it runs"),
        (LogKind::StageBegun, Some(0), None, "stage 0, writing"),
        (LogKind::AttemptFailed, Some(0), Some(0), failed.as_str()),
        (LogKind::Retried, Some(0), Some(0), second.as_str()),
        (LogKind::WorkerLost, Some(0), None, lost.as_str()),
        (LogKind::Retried, Some(0), Some(0), third.as_str()),
        (LogKind::StageDone, Some(0), None, "stage 0, writing: 1 task, 0 rows"),
        (LogKind::Committing, None, None, "a worker is asked to make visible what was written"),
        (LogKind::Committed, None, None, "7 rows in 1 file, 70 B"),
        (LogKind::Done, None, None, "7 rows"),
    ];
    assert_eq!(log.lines.iter().map(told).collect::<Vec<_>>(), expected);
    assert!(log.lines.is_sorted_by_key(|line| (line.at_ms, line.number)));
    let workers: Vec<_> = log.lines.iter().filter_map(|line| line.worker.as_deref()).collect();
    assert_eq!(workers, ["fake"; 4]);

    let mallory = Owner::of(Identity { role: Role::Client, name: "mallory".into() });
    assert_eq!(jobs.log(id, &mallory).unwrap_err(), another_s(id));
    let nobody_s = JobId::new();
    assert_eq!(jobs.log(nobody_s, &owner).unwrap_err(), unknown(nobody_s));
}

#[tokio::test]
async fn why_a_job_failed_and_who_has_cancelled_one_is_told_last() {
    let (jobs, owner) = (jobs(Settings::default()), Owner::default());
    let mut worker = FakeWorker::join(&jobs.dispatcher);
    let failing = writing(&jobs);
    submit(&jobs, &failing, &owner).unwrap();
    let attempt = task(&mut worker).await;
    worker.finish(attempt, Err(Error::invalid("a key is missing")));
    result(&jobs, failing.id).await.unwrap_err();
    let log = jobs.log(failing.id, &owner).unwrap();
    let last: Vec<_> = log.lines.iter().rev().take(3).map(told).collect();
    let expected = [
        (LogKind::Failed, None, None, "a key is missing"),
        (LogKind::StageStopped, Some(0), None, "stage 0, writing: 0 of 1 tasks done"),
        (LogKind::AttemptFailed, Some(0), Some(0), "task 0 of stage 0: a key is missing"),
    ];
    assert_eq!(last, expected);

    let cancelled = waiting(&jobs);
    submit(&jobs, &cancelled, &owner).unwrap();
    jobs.cancel(cancelled.id, &owner).unwrap();
    let log = jobs.log(cancelled.id, &owner).unwrap();
    let by = format!("by {}", owner.identity());
    assert_eq!(log.lines.last().map(told), Some((LogKind::Cancelled, None, None, by.as_str())));
}

#[tokio::test]
async fn a_list_says_how_many_jobs_it_has_no_room_for() {
    let settings = Settings::default();
    let rpc = Limits { max_frame_bytes: 2_000, ..settings.rpc };
    let (jobs, owner) = (jobs(Settings { rpc, ..settings }), Owner::default());
    let listed = || {
        let list = jobs.list(&owner);
        (list.jobs.len() as u64, list.left_out)
    };
    submit(&jobs, &waiting(&jobs), &owner).unwrap();
    assert_eq!(listed(), (1, 0));
    for _ in 1..40 {
        submit(&jobs, &waiting(&jobs), &owner).unwrap();
    }
    let (told, left_out) = listed();
    assert!(told > 0 && left_out > 0 && told + left_out == 40, "{told} and {left_out}");
}

#[tokio::test]
async fn the_columns_of_a_job_are_known_before_it_has_rows_and_after_it_had_none() {
    let (jobs, owner) = (jobs(Settings::default()), Owner::default());
    let submission = waiting(&jobs);
    submit(&jobs, &submission, &owner).unwrap();
    let schema = |id: JobId| jobs.info(id, &owner).unwrap().schema;
    let columns = frame(&jobs, &owner).schema();
    assert_eq!(schema(submission.id), Some(RowSchema(columns)));
    assert_eq!(jobs.list(&owner).jobs[0].schema, None, "lists are short");
    jobs.cancel(submission.id, &owner).unwrap();
    assert!(schema(submission.id).is_some());
}
