//! Chunks of attempts that run now. A chunk of any other attempt is refused: that is the fence
//! between an attempt and its late predecessor.
//!
//! While half of the memory is taken, a task waits whose rows are not due yet, and with it its
//! worker. It waits for a while only: the task whose rows are due may need that worker's slot. And
//! of a worker only so many wait that others of its requests are heard. Then its rows go to a file;
//! if the files are full, too, it is put off. No lock is held while a disk is waited for.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyloom_common::{
    AttemptId, Error, JobId, Result, StageId, TaskId, WorkerId, report::TaskProgress, rpc::Chunk,
};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use super::{told::Told, workers::Worker};
use crate::spool::{SpilledChunk, Spool, SpoolRoom};

#[derive(Debug)]
pub(super) struct Outputs {
    room: Arc<SpoolRoom>,
    patience: Patience,
    state: Mutex<State>,
}

/// How waiting for memory is bounded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long an attempt waits, all its chunks together.
    pub(crate) time: Duration,
    /// The most attempts of one worker that wait at once.
    pub(crate) attempts: usize,
}

#[derive(Debug, Default)]
struct State {
    attempts: HashMap<AttemptId, Output>,
    /// The task whose rows the reader of a stage takes next. Stages that are not read in order have
    /// none.
    due: HashMap<StageId, u32>,
    /// How many bytes all attempts have that wait. How many those are stands with their workers.
    waiting_bytes: u64,
    /// Attempts for whose rows there was no room, until their ends are reported.
    put_off: HashSet<AttemptId>,
    /// How far they are, and those that are done and not counted.
    told: Told,
}

/// What becomes of a chunk.
enum Next {
    Taken,
    /// It waits for memory, so long at most: its attempt counts among this worker's then.
    Wait(Duration, Arc<Worker>),
    /// It goes to a file.
    Spill {
        early: bool,
    },
}

#[derive(Debug)]
struct Output {
    worker: Arc<Worker>,
    spool: Spool,
    /// How long it may still wait for memory.
    patience: Duration,
}

impl Outputs {
    pub(super) fn new(room: Arc<SpoolRoom>, patience: Patience) -> Self {
        Self { room, patience, state: Mutex::default() }
    }

    pub(super) fn room(&self) -> &SpoolRoom {
        &self.room
    }

    pub(super) fn shared_room(&self) -> Arc<SpoolRoom> {
        Arc::clone(&self.room)
    }

    /// Takes chunks of this attempt from this worker from now on.
    pub(super) fn open(&self, worker: Arc<Worker>, attempt: AttemptId) {
        let spool = Spool::new(Arc::clone(&self.room));
        let output = Output { worker, spool, patience: self.patience.time };
        self.lock().attempts.insert(attempt, output);
    }

    /// Says which task's rows the reader of a stage takes next.
    pub(super) fn set_due(&self, stage: StageId, index: u32) {
        self.lock().due.insert(stage, index);
        self.room.changed().notify_waiters();
    }

    /// Takes the next chunk; one that came before is ignored, so that sending twice is harmless.
    pub(super) async fn push(
        &self,
        worker: WorkerId,
        attempt: AttemptId,
        sequence: u32,
        chunk: Chunk,
    ) -> Result<()> {
        // Whether the files were full, and for rows that came early.
        let mut full = None;
        loop {
            let changed = self.room.changed().notified();
            let (patience, worker) = match self.try_push(worker, attempt, sequence, &chunk, full)? {
                Next::Taken => return Ok(()),
                Next::Wait(patience, worker) => (patience, worker),
                Next::Spill { early } => match self.room.spill(chunk.clone(), early).await? {
                    Some(spilled) => return self.push_spilled(worker, attempt, sequence, spilled),
                    None => {
                        full = Some(early);
                        continue;
                    }
                },
            };
            let (bytes, since) = (chunk.size() as u64, Instant::now());
            let _waits = Waits { outputs: self, worker, attempt, bytes, since };
            // Whatever happened meanwhile, the next try sees it.
            let _ = timeout(patience, changed).await;
            full = None;
        }
    }

    /// Takes the next chunk if there is memory for it, or says what else to do.
    fn try_push(
        &self,
        worker: WorkerId,
        attempt: AttemptId,
        sequence: u32,
        chunk: &Chunk,
        full: Option<bool>,
    ) -> Result<Next> {
        let mut state = self.lock();
        let State { attempts, due, waiting_bytes, put_off, .. } = &mut *state;
        let Some(output) = due_output(attempts, worker, attempt, sequence)? else {
            return Ok(Next::Taken);
        };
        let early = due.get(&attempt.task.stage).is_some_and(|due| attempt.task.index > *due);
        // More room is left to rows that have become due meanwhile.
        let full = full.is_some_and(|was_early| early || !was_early);
        let bytes = chunk.size() as u64;
        // What waits takes memory, too.
        let may_wait = !output.patience.is_zero()
            && output.worker.waiting() < self.patience.attempts
            && *waiting_bytes + bytes <= self.room.memory_bytes();
        if early && may_wait && (full || !self.room.has_memory_ahead(chunk.size())) {
            output.worker.begin_waiting();
            *waiting_bytes += bytes;
            return Ok(Next::Wait(output.patience, Arc::clone(&output.worker)));
        }
        match (output.spool.push(chunk, early), full) {
            (true, _) => Ok(Next::Taken),
            (false, false) => Ok(Next::Spill { early }),
            (false, true) if early => {
                drop_apart(attempts.remove(&attempt));
                put_off.insert(attempt);
                let (job, task) = (attempt.task.stage.job, attempt.task);
                tracing::info!(
                    %job, %task, %attempt, %worker, "put off: there is no room for its rows"
                );
                Err(not_wanted(attempt))
            }
            (false, true) => Err(self.room.full()),
        }
    }

    fn push_spilled(
        &self,
        worker: WorkerId,
        attempt: AttemptId,
        sequence: u32,
        chunk: SpilledChunk,
    ) -> Result<()> {
        let mut state = self.lock();
        if let Some(output) = due_output(&mut state.attempts, worker, attempt, sequence)? {
            output.spool.push_spilled(chunk);
        }
        Ok(())
    }

    /// Notes how far attempts are that run on this worker. What it says of others is late.
    pub(super) fn tell(&self, worker: WorkerId, progress: Vec<(AttemptId, TaskProgress)>) {
        let mut state = self.lock();
        let State { attempts, told, .. } = &mut *state;
        for (attempt, progress) in progress {
            let output = attempts.get(&attempt);
            if output.is_some_and(|output| output.worker.id() == worker) {
                told.note(attempt, progress);
            }
        }
    }

    /// How far the tasks of a job are that are not counted, stage by stage.
    pub(super) fn told(&self, job: JobId) -> BTreeMap<StageId, TaskProgress> {
        self.lock().told.of_job(job)
    }

    /// What a task has reported is counted.
    pub(super) fn counted(&self, task: TaskId) {
        self.lock().told.counted(task);
    }

    /// Whether this attempt was stopped for want of room, and is to be made again later.
    pub(super) fn take_put_off(&self, attempt: AttemptId) -> bool {
        self.lock().put_off.remove(&attempt)
    }

    /// Takes no more chunks of this attempt and hands out what came.
    pub(super) fn take(&self, worker: WorkerId, attempt: AttemptId) -> Result<Spool> {
        let mut state = self.lock();
        match state.attempts.get(&attempt) {
            Some(output) if output.worker.id() == worker => {}
            _ => return Err(not_wanted(attempt)),
        }
        let output = state.attempts.remove(&attempt);
        output.map(|output| output.spool).ok_or_else(|| not_wanted(attempt))
    }

    pub(super) fn discard(&self, attempt: AttemptId) {
        let mut state = self.lock();
        state.told.take_back(attempt);
        let gone = state.attempts.remove(&attempt);
        drop(state);
        drop_apart(gone);
    }

    pub(super) fn discard_worker(&self, worker: WorkerId) {
        let mut state = self.lock();
        let State { attempts, told, .. } = &mut *state;
        let gone = attempts.extract_if(|_, output| output.worker.id() == worker);
        drop_apart(gone.inspect(|(attempt, _)| told.take_back(*attempt)));
    }

    pub(super) fn discard_stage(&self, stage: StageId) {
        let mut state = self.lock();
        state.due.remove(&stage);
        state.told.forget(stage);
        state.put_off.retain(|attempt| attempt.task.stage != stage);
        let gone = state.attempts.extract_if(|attempt, _| attempt.task.stage == stage);
        drop_apart(gone);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that waits for memory, until this is dropped.
struct Waits<'a> {
    outputs: &'a Outputs,
    worker: Arc<Worker>,
    attempt: AttemptId,
    bytes: u64,
    since: Instant,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut state = self.outputs.lock();
        state.waiting_bytes -= self.bytes;
        self.worker.end_waiting();
        if let Some(output) = state.attempts.get_mut(&self.attempt) {
            output.patience = output.patience.saturating_sub(self.since.elapsed());
        }
    }
}

/// Drops outputs where nobody waits for the disk that their files are on.
pub(super) fn drop_apart<T: Send + 'static>(gone: impl IntoIterator<Item = T>) {
    let gone: Vec<_> = gone.into_iter().collect();
    match Handle::try_current() {
        _ if gone.is_empty() => {}
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(gone))),
        Err(_) => drop(gone),
    }
}

/// The output whose next chunk this is; `None` if it came before.
fn due_output(
    attempts: &mut HashMap<AttemptId, Output>,
    worker: WorkerId,
    attempt: AttemptId,
    sequence: u32,
) -> Result<Option<&mut Output>> {
    let output = attempts.get_mut(&attempt).filter(|output| output.worker.id() == worker);
    let output = output.ok_or_else(|| not_wanted(attempt))?;
    let due = output.spool.len();
    match (sequence as usize).cmp(&due) {
        Ordering::Less => Ok(None),
        Ordering::Equal => Ok(Some(output)),
        Ordering::Greater => Err(Error::internal(format!(
            "attempt {attempt}: chunk {sequence} came when {due} was due"
        ))),
    }
}

fn not_wanted(attempt: AttemptId) -> Error {
    Error::cancelled(format!("attempt {attempt} is not wanted any more"))
}

#[cfg(test)]
mod tests {
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
            let rows =
                |task: u32| TaskProgress { rows: 10 + u64::from(task), ..Default::default() };
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
}
