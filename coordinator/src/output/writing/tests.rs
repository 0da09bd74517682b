//! Outputs that are committed, refused, left and removed, by workers that answer or die.

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};
use keyloom_common::{
    output::{IfExists, Piece, piece_schema},
    rpc::Assignment,
};

use super::*;
use crate::{
    dispatch::{FakeWorker, dispatcher},
    samples::{files, prepared},
    spool::SpoolRoom,
};

fn means_with(settings: Settings, blob_bytes: u64) -> Means {
    let room = SpoolRoom::new(0, 0, std::env::temp_dir());
    Means {
        job: JobId::new(),
        dispatcher: dispatcher(&settings.scheduler, room),
        blobs: Arc::new(Blobs::new(blob_bytes, Duration::from_secs(600))),
        settings: Arc::new(settings),
        progress: Arc::default(),
        known: None,
        history: None,
        has_journal: false,
        span: Span::none(),
    }
}

fn means() -> Means {
    means_with(Settings::default(), 1 << 20)
}

fn piece(rows: u64) -> Piece {
    Piece { rows, bytes: rows * 10, token: vec![7; rows as usize] }
}

/// An output of which two tasks have told.
fn written(means: &Means) -> Writing {
    let output = prepared("/out/", files(IfExists::Error), piece_schema());
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let memory = MemoryConsumer::new("test").register(&pool);
    let mut writing = Writing::begin(means.clone(), output, memory).unwrap();
    writing.add(Piece::batch(&[piece(1), piece(2)]).unwrap()).unwrap();
    writing.add(Piece::batch(&[piece(3)]).unwrap()).unwrap();
    writing
}

fn committed() -> Committed {
    Committed { rows: 6, bytes: 60, files: 3, version: None }
}

/// The pieces that a worker is told of.
fn pieces(means: &Means, written: &WrittenOutput) -> Vec<Piece> {
    assert_eq!((written.job, written.output.spec.path.as_str()), (means.job, "/out/"));
    let blob = means.blobs.read(written.pieces, 0, usize::MAX).unwrap();
    let batches = blob.part.decode_all().unwrap();
    batches.iter().flat_map(|batch| Piece::read(batch).unwrap()).collect()
}

fn to_commit(assignment: &Assignment) -> &WrittenOutput {
    match &assignment.work {
        Work::CommitOutput(written) => written,
        other => panic!("asked to commit, not {other:?}"),
    }
}

fn to_abort(assignment: &Assignment) -> &WrittenOutput {
    match &assignment.work {
        Work::AbortOutput(written) => written,
        other => panic!("asked to remove, not {other:?}"),
    }
}

#[tokio::test]
async fn one_worker_is_asked_to_commit_all_pieces_in_order() {
    let means = means();
    let mut worker = FakeWorker::join(&means.dispatcher);
    let writing = written(&means);
    assert_eq!(means.progress.state(), OutputState::Writing);
    let committing = tokio::spawn(writing.commit());
    let asked = worker.assigned().await;
    let written = to_commit(&asked);
    assert_eq!(pieces(&means, written), [piece(1), piece(2), piece(3)]);
    assert_eq!(means.progress.state(), OutputState::Committing);
    worker.finish(asked.attempt, Ok(TaskReport::Committed(committed())));
    assert_eq!(committing.await.unwrap(), Ok(committed()));
    assert_eq!(means.progress.state(), OutputState::Committed(committed()));
    // Nothing is held for a job that has ended.
    assert!(means.blobs.read(written.pieces, 0, 1).is_err());
    assert_eq!(means.blobs.share().used, 0);
}

#[tokio::test]
async fn another_worker_is_asked_when_one_dies_while_it_commits() {
    let means = means();
    let mut first = FakeWorker::join(&means.dispatcher);
    let committing = tokio::spawn(written(&means).commit());
    to_commit(&first.assigned().await);
    let mut second = FakeWorker::join(&means.dispatcher);
    first.leave();
    let asked = second.assigned().await;
    assert_eq!(pieces(&means, to_commit(&asked)).len(), 3);
    second.finish(asked.attempt, Ok(TaskReport::Committed(committed())));
    assert_eq!(committing.await.unwrap(), Ok(committed()));
}

#[tokio::test]
async fn what_is_asked_for_is_committed_though_nobody_waits_for_it() {
    let means = means();
    let mut worker = FakeWorker::join(&means.dispatcher);
    let mut committing = Box::pin(written(&means).commit());
    assert!(futures::poll!(&mut committing).is_pending());
    drop(committing);
    let asked = worker.assigned().await;
    assert_eq!(pieces(&means, to_commit(&asked)).len(), 3);
    worker.finish(asked.attempt, Ok(TaskReport::Committed(committed())));
    let seen = async {
        while means.progress.committed().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("not committed");
}

#[tokio::test]
async fn what_is_dropped_before_it_is_committed_is_removed() {
    let means = means();
    let mut worker = FakeWorker::join(&means.dispatcher);
    drop(written(&means));
    let asked = worker.assigned().await;
    assert_eq!(pieces(&means, to_abort(&asked)), [piece(1), piece(2), piece(3)]);
}

#[tokio::test]
async fn a_commit_that_was_never_begun_is_none() {
    let means = means();
    let mut worker = FakeWorker::join(&means.dispatcher);
    drop(written(&means).commit());
    let asked = worker.assigned().await;
    assert_eq!(pieces(&means, to_abort(&asked)).len(), 3);
}

#[tokio::test]
async fn an_output_that_is_refused_is_removed() {
    let means = means();
    let mut worker = FakeWorker::join(&means.dispatcher);
    let committing = tokio::spawn(written(&means).commit());
    let asked = worker.assigned().await;
    to_commit(&asked);
    let refusal = Error::invalid("something is there");
    worker.finish(asked.attempt, Err(refusal.clone()));
    assert_eq!(committing.await.unwrap(), Err(refusal));
    let asked = worker.assigned().await;
    assert_eq!(pieces(&means, to_abort(&asked)).len(), 3);
    assert_eq!(means.progress.committed(), None);
}

#[tokio::test]
async fn a_refusal_is_none_where_a_worker_that_was_lost_may_still_commit() {
    let means = means();
    let mut first = FakeWorker::join(&means.dispatcher);
    let committing = tokio::spawn(written(&means).commit());
    to_commit(&first.assigned().await);
    let mut second = FakeWorker::join(&means.dispatcher);
    first.leave();
    let asked = second.assigned().await;
    let named = to_commit(&asked).pieces;
    second.finish(asked.attempt, Err(Error::not_found("a file is not there any more")));
    let error = committing.await.unwrap().unwrap_err();
    let message = "whether the output /out/ was committed is not known: a file is not there any \
                   more";
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, message));
    assert_eq!(means.progress.state(), OutputState::Committing);
    // The output was ended, and nothing of it is removed.
    assert!(means.blobs.read(named, 0, 1).is_err());
    let other = Means { job: JobId::new(), ..means };
    let next = tokio::spawn(written(&other).commit());
    to_commit(&second.assigned().await);
    next.abort();
}

#[tokio::test]
async fn nobody_is_told_that_an_output_failed_of_which_that_is_not_known() {
    let settings = Settings { commit_timeout_ms: 20, ..Settings::default() };
    let means = means_with(settings, 1 << 20);
    let mut worker = FakeWorker::join(&means.dispatcher);
    let committing = tokio::spawn(written(&means).commit());
    to_commit(&worker.assigned().await);
    let error = committing.await.unwrap().unwrap_err();
    let message = "whether the output /out/ was committed is not known: no worker had an answer \
                   within commit_timeout_ms = 20";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, message));
    assert_eq!(means.progress.state(), OutputState::Committing);
}

#[tokio::test]
async fn pieces_without_room_fail_the_job_and_are_removed_as_far_as_the_job_is_known() {
    let means = means_with(Settings::default(), 1);
    let mut worker = FakeWorker::join(&means.dispatcher);
    let error = written(&means).commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    let asked = worker.assigned().await;
    assert!(pieces(&means, to_abort(&asked)).is_empty());
}
