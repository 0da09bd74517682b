//! The thread that writes to the file, so that nobody else waits for the disk: whatever has come
//! meanwhile goes in one transaction.
//!
//! Of a job its newest state waits once, so there are never more than jobs that are known; the rows
//! of tasks are bounded in bytes, and who hands them in waits.

use std::{
    collections::{HashMap, HashSet},
    fmt, mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use keyloom_common::{Error, JobId, Result};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, oneshot};

use super::{
    file::{Batch, StateFile, TaskKey},
    known::KnownJob,
};

/// How long the disk is left alone once it has failed, and how often it is tried while nothing is
/// to be written.
const RESTS: Duration = Duration::from_secs(1);
const TRIES: Duration = Duration::from_secs(5);

/// Of how many tasks at once the records are made: each is in memory beside the rows that are kept
/// for the job itself, which alone are counted.
const RECORDS_AT_ONCE: usize = 4;

/// What is to be written.
pub(crate) struct Queue {
    pending: Mutex<Pending>,
    work: Condvar,
    /// Told whenever tasks were written.
    room: Notify,
    /// Those who make records of tasks.
    turns: Semaphore,
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
    waiting: Waiting,
    /// Whether some of it could not be written before.
    is_again: bool,
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
        let turns = Semaphore::new(RECORDS_AT_ONCE);
        Arc::new(Self { pending, work, room, turns, max_task_bytes })
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

    /// Waits until the record of one more task may be made. It is never closed.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
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

    /// Takes back what could not be written, which goes before what has come since.
    fn put_back(&self, jobs: HashMap<JobId, Arc<KnownJob>>, batch: Batch, waiting: Waiting) {
        let mut pending = self.lock();
        for (id, job) in jobs {
            if !pending.forgotten.contains(&id) {
                pending.jobs.entry(id).or_insert(job);
            }
        }
        for id in batch.forgotten {
            if !pending.jobs.contains_key(&id) {
                pending.forgotten.insert(id);
            }
        }
        pending.settled.extend(batch.settled);
        pending.task_bytes += batch.tasks.iter().map(|(_, record)| record.len()).sum::<usize>();
        let since_then = mem::replace(&mut pending.tasks, batch.tasks);
        pending.tasks.extend(since_then);
        pending.waiting.extend(waiting);
        pending.is_again = true;
    }

    /// Waits for something to write, or for long enough to see whether the disk works again. None
    /// once there is nothing more.
    fn next(&self) -> Option<Pending> {
        let mut pending = self.lock();
        while pending.is_empty() {
            if pending.stop {
                return None;
            }
            let waited = self.work.wait_timeout(pending, TRIES);
            let (woken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            pending = woken;
            if waited.timed_out() {
                break;
            }
        }
        let stop = pending.stop;
        let taken = mem::take(&mut *pending);
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
                let is_written = write(&own, &file, pending);
                own.room.notify_waiters();
                if !is_written {
                    thread::sleep(RESTS);
                }
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

/// Those who wait until something is written.
type Waiting = Vec<oneshot::Sender<()>>;

/// Writes all of it, and says whether that is settled: what cannot be written is put back, once.
/// Jobs go on where that fails, too: what is then not remembered is told.
fn write(queue: &Queue, file: &StateFile, pending: Pending) -> bool {
    let Pending { jobs, forgotten, settled, tasks, waiting, is_again, .. } = pending;
    let count = jobs.len() + tasks.len();
    let batch = Batch {
        jobs: jobs.values().map(|job| job.record()).collect(),
        tasks,
        settled: settled.into_iter().collect(),
        forgotten: forgotten.into_iter().collect(),
    };
    // An empty one finds out whether the disk works again.
    if (!batch.is_empty() || file.check().is_err())
        && let Err(error) = file.write(&batch)
        && !batch.is_empty()
    {
        if !is_again {
            tracing::warn!(%error, count, "what is known of jobs and tasks is written once more");
            queue.put_back(jobs, batch, waiting);
            return false;
        }
        tracing::error!(%error, count, "what is known of jobs and tasks is not remembered");
    }
    for waiting in waiting {
        // Whoever does not wait any more needs no answer.
        let _ = waiting.send(());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_written_once_more() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(folder.path()).unwrap();
        let queue = Queue::new(1 << 20);
        let job = JobId::from_u128(1);
        let put = |task: u32| {
            let mut record = Some(vec![7]);
            assert!(queue.try_put_task(TaskKey::new(job, 0, task), &mut record));
        };
        let fail = || {
            file.close();
            StateFile::open(folder.path()).unwrap()
        };
        put(1);
        let other = fail();
        assert!(!write(&queue, &file, queue.next().unwrap()), "it is put back");
        drop(other);
        put(2);
        assert!(write(&queue, &file, queue.next().unwrap()));
        assert_eq!(file.sized_tasks(job, 0), Ok(vec![(1, 1), (2, 1)]));

        // What came meanwhile goes with what was put back, and not a third time.
        put(3);
        let other = fail();
        assert!(!write(&queue, &file, queue.next().unwrap()));
        put(4);
        assert!(write(&queue, &file, queue.next().unwrap()), "it is given up");
        assert!(queue.lock().is_empty() && file.check().is_err());
        drop(other);
        assert!(write(&queue, &file, Pending::default()) && file.check().is_ok());
        assert_eq!(file.sized_tasks(job, 0), Ok(vec![(1, 1), (2, 1)]));
    }
}
