//! Which rows are taken, wait for memory, go to files or are put off, and which are refused.

use bytes::Bytes;
use futures::FutureExt;
use keyloom_common::{ErrorKind, rpc::WorkerInfo};

use super::*;

const CHUNK: usize = 10;

/// Outputs with memory for two chunks, one of them for rows that are due, and attempts at tasks
/// 0, 1, … of one stage.
struct Rig {
    outputs: Outputs,
    worker: Arc<Worker>,
    stage: StageId,
}

impl Rig {
    fn new(tasks: u32) -> Self {
        Self::with_patience(tasks, Patience { time: Duration::from_secs(60), attempts: 1 })
    }

    fn with_patience(tasks: u32, patience: Patience) -> Self {
        Self::with_disk(tasks, patience, 1000)
    }

    fn with_disk(tasks: u32, patience: Patience, disk: u64) -> Self {
        let room = SpoolRoom::new(2 * CHUNK as u64, disk, std::env::temp_dir());
        let outputs = Outputs::new(room, patience);
        let stage = StageId { job: JobId::new(), index: 0 };
        let info =
            WorkerInfo { id: WorkerId::new(), name: "w".to_owned(), slots: 1, shuffle: None };
        let rig = Self { outputs, worker: Worker::new(info), stage };
        let open = |task| rig.outputs.open(Arc::clone(&rig.worker), rig.attempt(task));
        (0..tasks).for_each(open);
        rig
    }

    fn attempt(&self, index: u32) -> AttemptId {
        AttemptId { task: TaskId { stage: self.stage, index }, number: 0 }
    }

    async fn push(&self, task: u32, sequence: u32) -> Result<()> {
        let chunk = Bytes::from(vec![task as u8; CHUNK]);
        self.outputs.push(self.worker.id(), self.attempt(task), sequence, chunk.into()).await
    }
}

#[tokio::test]
async fn what_is_told_of_an_attempt_stays_until_it_is_counted_or_taken_back() {
    let rig = Rig::new(3);
    let tell = |worker, tasks: &[u32]| {
        let rows = |task: u32| TaskProgress { rows: 10 + u64::from(task), ..Default::default() };
        let progress = tasks.iter().map(|task| (rig.attempt(*task), rows(*task)));
        rig.outputs.tell(worker, progress.collect());
    };
    let told = || rig.outputs.told(rig.stage.job).get(&rig.stage).map_or(0, |told| told.rows);
    tell(WorkerId::new(), &[0]);
    assert_eq!(told(), 0, "it is another's attempt");
    tell(rig.worker.id(), &[0, 1]);
    assert_eq!(told(), 21);
    // It is done, and what was on its way before comes late.
    drop(rig.outputs.take(rig.worker.id(), rig.attempt(0)).unwrap());
    tell(rig.worker.id(), &[0]);
    assert_eq!(told(), 21);
    rig.outputs.counted(rig.attempt(0).task);
    tell(rig.worker.id(), &[0, 2]);
    assert_eq!(told(), 23);
    rig.outputs.discard(rig.attempt(1));
    assert_eq!(told(), 12);
    rig.outputs.discard_worker(rig.worker.id());
    assert_eq!(told(), 0);
}

#[tokio::test]
async fn rows_that_are_due_never_wait() {
    let rig = Rig::new(2);
    rig.outputs.set_due(rig.stage, 0);
    rig.push(1, 0).await.unwrap();
    for sequence in 0..3 {
        rig.push(0, sequence).await.unwrap();
    }
    assert_eq!(rig.outputs.lock().attempts[&rig.attempt(0)].patience, Duration::from_secs(60));
}

#[tokio::test]
async fn early_rows_wait_for_memory() {
    let rig = Rig::new(3);
    rig.outputs.set_due(rig.stage, 0);
    rig.push(1, 0).await.unwrap();
    let mut waiting = Box::pin(rig.push(2, 0));
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(rig.outputs.take(rig.worker.id(), rig.attempt(1)).unwrap());
    waiting.now_or_never().expect("there is room").unwrap();
}

#[tokio::test]
async fn rows_that_become_due_stop_waiting() {
    let rig = Rig::new(3);
    rig.outputs.set_due(rig.stage, 0);
    rig.push(1, 0).await.unwrap();
    let mut waiting = Box::pin(rig.push(2, 0));
    assert!(futures::poll!(&mut waiting).is_pending());
    rig.outputs.set_due(rig.stage, 2);
    waiting.now_or_never().expect("they are due").unwrap();
}

#[tokio::test]
async fn an_attempt_waits_once_and_then_its_rows_go_to_a_file() {
    let rig = Rig::with_patience(3, Patience { time: Duration::from_millis(1), attempts: 1 });
    rig.outputs.set_due(rig.stage, 0);
    rig.push(1, 0).await.unwrap();
    rig.push(2, 0).await.unwrap();
    rig.push(2, 1).await.unwrap();
    let spent = rig.outputs.lock().attempts[&rig.attempt(2)].patience;
    assert_eq!(spent, Duration::ZERO, "it waits no more");
}

#[tokio::test]
async fn where_files_are_full_early_rows_are_put_off_and_due_ones_are_an_error() {
    let patience = Patience { time: Duration::from_millis(1), attempts: 1 };
    let rig = Rig::with_disk(3, patience, 3 * CHUNK as u64);
    rig.outputs.set_due(rig.stage, 0);
    for (task, sequence) in [(1, 0), (0, 0), (1, 1), (2, 0)] {
        rig.push(task, sequence).await.unwrap();
    }
    assert_eq!(rig.push(2, 1).await.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(rig.outputs.take_put_off(rig.attempt(2)));
    assert!(!rig.outputs.take_put_off(rig.attempt(2)), "once");
    rig.push(0, 1).await.unwrap();
    let mut sequence = 2;
    let full = loop {
        match rig.push(0, sequence).await {
            Ok(()) => sequence += 1,
            Err(full) => break full,
        }
    };
    assert!(sequence < 5, "the place of what was put off, at most");
    assert_eq!(full.kind(), ErrorKind::ResourceExhausted);
    assert!(full.message().contains("gather_disk_bytes = 30"), "{full}");
}

#[tokio::test]
async fn of_a_worker_only_so_many_wait() {
    let rig = Rig::new(4);
    rig.outputs.set_due(rig.stage, 0);
    rig.push(1, 0).await.unwrap();
    let mut waiting = Box::pin(rig.push(2, 0));
    assert!(futures::poll!(&mut waiting).is_pending());
    rig.push(3, 0).await.unwrap();
    let patience = rig.outputs.lock().attempts[&rig.attempt(3)].patience;
    assert_eq!(patience, Duration::from_secs(60), "another waits");
    drop(waiting);
    assert!(rig.push(2, 0).now_or_never().is_none(), "none waits any more");
}

#[tokio::test]
async fn a_chunk_that_never_fits_does_not_wait_for_nothing() {
    let rig = Rig::new(2);
    rig.outputs.set_due(rig.stage, 0);
    let chunk = Bytes::from(vec![1; 3 * CHUNK]);
    let push = rig.outputs.push(rig.worker.id(), rig.attempt(1), 0, chunk.into());
    push.await.unwrap();
    let patience = rig.outputs.lock().attempts[&rig.attempt(1)].patience;
    assert_eq!(patience, Duration::from_secs(60));
}

#[tokio::test]
async fn stages_that_are_not_read_in_order_never_wait() {
    let rig = Rig::new(2);
    for task in [1, 0] {
        rig.push(task, 0).now_or_never().expect("no wait").unwrap();
    }
}

#[tokio::test]
async fn a_chunk_that_came_before_is_ignored_and_one_too_early_refused() {
    let rig = Rig::new(1);
    rig.push(0, 0).await.unwrap();
    rig.push(0, 0).await.unwrap();
    assert_eq!(rig.push(0, 2).await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(rig.outputs.take(rig.worker.id(), rig.attempt(0)).unwrap().len(), 1);
    let late = rig.push(0, 1).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Cancelled);
}
