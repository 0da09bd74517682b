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
mod tests;
