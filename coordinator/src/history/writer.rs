//! The thread that writes to the file, so that nobody else waits for the disk: whatever has come
//! meanwhile goes in one transaction.
//!
//! Of a job its newest state waits once, so there are never more than jobs that are known; the rows
//! of tasks are bounded in bytes, and who hands them in waits.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use keyloom_common::{Error, JobId, Result};
use tokio::sync::{Notify, oneshot};

use super::{
    file::{Batch, StateFile, TaskKey},
    known::KnownJob,
};

/// What is to be written.
pub(crate) struct Queue {
    pending: Mutex<Pending>,
    work: Condvar,
    /// Told whenever tasks were written.
    room: Notify,
    /// The most bytes of tasks that wait.
    max_task_bytes: usize,
}

impl fmt::Debug for Queue {
    /// Without what waits, which has this itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("max_task_bytes", &self.max_task_bytes)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Pending {
    jobs: HashMap<JobId, Arc<KnownJob>>,
    forgotten: HashSet<JobId>,
    /// Of which only the plan and the tasks are forgotten.
    settled: HashSet<JobId>,
    tasks: Vec<(TaskKey, Vec<u8>)>,
    task_bytes: usize,
    /// Those who wait until all that is above is written.
    waiting: Vec<oneshot::Sender<()>>,
    stop: bool,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.jobs.is_empty()
            && self.forgotten.is_empty()
            && self.settled.is_empty()
            && self.tasks.is_empty()
            && self.waiting.is_empty()
    }
}

impl Queue {
    pub(super) fn new(max_task_bytes: usize) -> Arc<Self> {
        let (pending, work, room) = (Mutex::default(), Condvar::new(), Notify::new());
        Arc::new(Self { pending, work, room, max_task_bytes })
    }

    /// A job has changed.
    pub(super) fn put(&self, job: &Arc<KnownJob>) {
        let mut pending = self.lock();
        pending.forgotten.remove(&job.id);
        pending.jobs.insert(job.id, Arc::clone(job));
        self.work.notify_one();
    }

    /// A job is not known any more.
    pub(super) fn forget(&self, job: JobId) {
        let mut pending = self.lock();
        pending.jobs.remove(&job);
        pending.forgotten.insert(job);
        self.work.notify_one();
    }

    /// A job cannot be resumed any more.
    pub(super) fn settle(&self, job: JobId) {
        self.lock().settled.insert(job);
        self.work.notify_one();
    }

    /// Takes a task's record once there is room for it.
    pub(super) async fn put_task(&self, key: TaskKey, record: Vec<u8>) {
        let mut record = Some(record);
        loop {
            let room = self.room.notified();
            if self.try_put_task(key, &mut record) {
                return;
            }
            room.await;
        }
    }

    fn try_put_task(&self, key: TaskKey, record: &mut Option<Vec<u8>>) -> bool {
        let mut pending = self.lock();
        let bytes = record.as_ref().map_or(0, Vec::len);
        let fits = pending.task_bytes == 0 || pending.task_bytes + bytes <= self.max_task_bytes;
        if fits && let Some(record) = record.take() {
            pending.task_bytes += bytes;
            pending.tasks.push((key, record));
            self.work.notify_one();
        }
        fits
    }

    /// The most bytes of one task.
    pub(super) fn max_task_bytes(&self) -> usize {
        self.max_task_bytes
    }

    /// Waits until all that came before is written, for so long at most.
    pub(super) async fn written(&self, most: Duration) {
        let (done, written) = oneshot::channel();
        self.lock().waiting.push(done);
        self.work.notify_one();
        if tokio::time::timeout(most, written).await.is_err() {
            tracing::warn!("what is known of jobs was not written within {most:?}");
        }
    }

    fn stop(&self) {
        self.lock().stop = true;
        self.work.notify_one();
    }

    /// Waits for something to write. None once there is nothing more.
    fn next(&self) -> Option<Pending> {
        let mut pending = self.lock();
        while pending.is_empty() {
            if pending.stop {
                return None;
            }
            pending = self.work.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        let stop = pending.stop;
        let taken = std::mem::take(&mut *pending);
        pending.stop = stop;
        Some(taken)
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread. When this is dropped, it writes what is left, and ends.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// # Errors
    /// `resource_exhausted` if there is no thread to be had.
    pub(super) fn start(queue: Arc<Queue>, file: Arc<StateFile>) -> Result<Self> {
        let own = Arc::clone(&queue);
        let thread = thread::Builder::new().name("keyloom-state".to_owned()).spawn(move || {
            while let Some(pending) = own.next() {
                write(&file, pending);
                own.room.notify_waiters();
            }
        });
        let thread = thread.map_err(|error| {
            Error::resource_exhausted(format!("no thread for the state_folder: {error}"))
        })?;
        Ok(Self { queue, thread: Some(thread) })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.stop();
        // It writes at most what waits, which is bounded: what was said to be known is to be there.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes all of it. Jobs go on where that fails: what is then not remembered is told.
fn write(file: &StateFile, pending: Pending) {
    let Pending { jobs, forgotten, settled, tasks, waiting, .. } = pending;
    let count = jobs.len() + tasks.len();
    let batch = Batch {
        jobs: jobs.into_values().map(|job| job.record()).collect(),
        tasks,
        settled: settled.into_iter().collect(),
        forgotten: forgotten.into_iter().collect(),
    };
    if !batch.is_empty()
        && let Err(error) = file.write(&batch)
    {
        tracing::error!(%error, count, "what is known of jobs and tasks is not remembered");
    }
    for waiting in waiting {
        // Whoever does not wait any more needs no answer.
        let _ = waiting.send(());
    }
}
