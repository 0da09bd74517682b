//! Tasks that are looked at while they run.

use std::{collections::HashMap, future::ready, slice, sync::Mutex};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use async_trait::async_trait;
use bytes::Bytes;
use keyloom_common::{
    BlobId, Error,
    ipc::encode_all,
    output::{FileFormat, FilesOutput},
    plan::{FramePartition, FrameScanExec, encode_plan},
    report::TaskProgress,
    rpc::Limits,
};

use super::*;
use crate::samples::{files, written};

/// What a coordinator holds.
#[derive(Debug)]
struct Held(HashMap<BlobId, Bytes>);

#[async_trait]
impl BlobSource for Held {
    async fn blob(&self, id: BlobId) -> Result<Bytes> {
        self.0.get(&id).cloned().ok_or_else(|| Error::not_found("it is not held"))
    }
}

const ATTEMPT: AttemptId = AttemptId {
    task: TaskId { stage: StageId { job: JobId::from_u128(1), index: 0 }, index: 0 },
    number: 0,
};

/// Runs a task over seven rows, three at a time, that does this with them, and gives what was known
/// of it each time that it handed something in.
async fn watched(
    computed: &CancellationToken,
    make: impl FnOnce(Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan>,
) -> Vec<TaskProgress> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..7));
    let rows = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let scan = FrameScanExec::try_new(vec![FramePartition::NONE], rows.schema(), None).unwrap();
    let plan = encode_plan(&make(Arc::new(scan))).unwrap();
    let rows = encode_all(&rows.schema(), slice::from_ref(&rows)).unwrap();
    let [plan_id, rows_id] = [&plan, &rows].map(|bytes| BlobId::of(bytes));
    let held: Arc<dyn BlobSource> = Arc::new(Held([(plan_id, plan), (rows_id, rows)].into()));
    // Each batch is a chunk.
    let rpc = Limits { chunk_bytes: 1, ..Limits::default() };
    let settings = Settings { rpc, ..Settings::default() };
    let shared = TasksShared::new(settings, Arc::clone(&held)).unwrap();
    let tasks = Tasks::new(shared, held, true);
    let slice = Slice::Frame(FramePartition { blob: rows_id, rows: 7 }, None).encode().unwrap();
    let work = Work::Fragment {
        plan: plan_id,
        slice: slice.into(),
        batch_rows: 3,
        discard: false,
        misses: MissPolicy::default(),
    };
    let (seen, underway) = (Mutex::new(Vec::new()), tasks.underway().clone());
    let look = |_, _| {
        seen.lock().unwrap().extend(underway.told(usize::MAX));
        ready(Ok(()))
    };
    tasks.run(ATTEMPT, work, computed, look).await.unwrap();
    assert!(underway.told(usize::MAX).is_empty(), "it has ended");
    let seen = seen.into_inner().unwrap().into_iter();
    seen.map(|(attempt, progress)| {
        assert_eq!(attempt, ATTEMPT);
        progress
    })
    .collect()
}

#[tokio::test]
async fn a_task_is_seen_to_give_rows_while_it_runs() {
    let computed = CancellationToken::new();
    let seen = watched(&computed, |scan| scan).await;
    assert!(!computed.is_cancelled(), "it computes until its end");
    let seen: Vec<_> = seen.iter().map(|seen| (seen.rows, seen.thousandths)).collect();
    // While it runs, it is not done.
    assert_eq!(seen, [(3, 428), (6, 857), (7, 999)]);
}

#[tokio::test]
async fn a_task_that_writes_is_seen_to_take_rows_and_not_to_give_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let files = FilesOutput { target_file_bytes: 1, ..files(FileFormat::Csv) };
    let computed = CancellationToken::new();
    let seen = watched(&computed, |scan| Arc::new(written(scan, path, files))).await;
    assert!(computed.is_cancelled(), "files are stored when all is computed");
    assert_eq!(seen.iter().map(|seen| seen.rows).collect::<Vec<_>>(), [7]);
    assert!(seen[0].bytes > 0, "{seen:?}");
}
