//! The file in which jobs are kept: redb, which has checksums of its own and lets one process in.
//! All of its calls wait for the disk. Once the disk has failed, redb refuses everything until the
//! file is opened again, which is tried at once, and with each call.

mod database;

use std::{
    path::{Path, PathBuf},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use keyloom_common::{Error, JobId, Result};
use redb::{Database, ReadableDatabase};

use super::{
    private,
    record::{PlanRecord, Record, TaskRecord, decode, encode},
};
use database::{JOBS, PLANS, TASKS, get, guarded, is_latched, open_database, range, unreadable};

/// Its name in the folder.
const NAME: &str = "jobs.redb";

/// A task of a job: the bytes of the job, of the stage's number and of the task's, the highest
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskKey([u8; 24]);

impl TaskKey {
    pub(super) fn new(job: JobId, stage: u32, task: u32) -> Self {
        let mut key = [0; 24];
        key[..16].copy_from_slice(&job.to_bytes());
        key[16..20].copy_from_slice(&stage.to_be_bytes());
        key[20..].copy_from_slice(&task.to_be_bytes());
        Self(key)
    }

    /// The number of the task.
    fn task(key: &[u8]) -> Option<u32> {
        let bytes = key.get(20..24)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }
}

/// What is written at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) jobs: Vec<Record>,
    pub(super) tasks: Vec<(TaskKey, Vec<u8>)>,
    /// Jobs whose plans and tasks go.
    pub(super) settled: Vec<JobId>,
    /// Jobs that go.
    pub(super) forgotten: Vec<JobId>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
            && self.tasks.is_empty()
            && self.settled.is_empty()
            && self.forgotten.is_empty()
    }
}

/// The file. Nobody else has it.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    /// None while it cannot be opened again.
    database: RwLock<Option<Database>>,
    /// Whether the last write failed.
    fails: AtomicBool,
}

impl StateFile {
    /// Opens the file in a folder, or makes it.
    ///
    /// # Errors
    /// `invalid`, naming it, if another coordinator has it, or it is damaged or of another format.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        private::folder(folder).map_err(|error| {
            Error::invalid(format!("state_folder = {}: {error}", folder.display()))
        })?;
        let path = folder.join(NAME);
        let database = RwLock::new(Some(open_database(&path)?));
        Ok(Self { path, database, fails: AtomicBool::new(false) })
    }

    /// Whether what was last written is there.
    ///
    /// # Errors
    /// That it is not, naming the file.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.fails.load(Ordering::Relaxed) {
            false => Ok(()),
            true => {
                let path = self.path.display();
                Err(format!("{path} cannot be written, and what is known of jobs is not kept"))
            }
        }
    }

    /// Closes the file after the disk has failed, which lets it be opened again.
    pub(super) fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Opens the file again if it was closed.
    fn open_again(&self) -> Result<()> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            *database = Some(open_database(&self.path)?);
            tracing::warn!(path = %self.path.display(), "opened again after the disk failed");
        }
        Ok(())
    }

    /// Runs something on the database.
    fn on_database<T>(
        &self,
        run: impl FnOnce(&Database) -> Result<T, redb::Error>,
        failed: impl FnOnce(&redb::Error) -> Error,
    ) -> Result<T> {
        self.open_again()?;
        let ran = guarded(&self.path, || {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            Ok(database.as_ref().map(run))
        })?;
        match ran {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => {
                if is_latched(&error) {
                    self.close();
                    if let Err(error) = self.open_again() {
                        tracing::error!(%error, "the file of jobs cannot be opened again (yet)");
                    }
                }
                Err(failed(&error))
            }
            // Somebody else has met that the disk failed.
            None => Err(failed(&redb::Error::PreviousIo)),
        }
    }

    /// All jobs. Those that cannot be read are set aside: they are told, and go.
    ///
    /// # Errors
    /// `invalid` if the file is damaged.
    pub(super) fn jobs(&self) -> Result<Vec<Record>> {
        let values = self.reading(|database| range(database, JOBS, &[0; 16], &[u8::MAX; 16]))?;
        let (mut records, mut forgotten) = (Vec::new(), Vec::new());
        for (key, value) in values {
            let id = <[u8; 16]>::try_from(key).map(JobId::from_bytes);
            match (id, decode::<Record>(&value)) {
                (Ok(id), Ok(record)) if record.info.id == id => records.push(record),
                (Ok(id), read) => {
                    let why = read.err().map_or_else(|| "another's".to_owned(), |e| e.to_string());
                    tracing::warn!(job = %id, why, "what was known of a job cannot be read");
                    forgotten.push(id);
                }
                (Err(_), _) => tracing::warn!("what was known of a job has a bad name"),
            }
        }
        if !forgotten.is_empty() {
            self.write(&Batch { forgotten, ..Batch::default() })?;
        }
        Ok(records)
    }

    /// Writes a job and what it takes to run it again. It is there when this returns.
    ///
    /// # Errors
    /// `resource_exhausted` if the file cannot be written.
    pub(super) fn write_plan(&self, job: &Record, plan: &PlanRecord) -> Result<()> {
        let (id, job, plan) = (job.info.id.to_bytes(), encode(job)?, encode(plan)?);
        self.writing(|database| {
            let transaction = database.begin_write()?;
            transaction.open_table(JOBS)?.insert(id.as_slice(), job.as_slice())?;
            transaction.open_table(PLANS)?.insert(id.as_slice(), plan.as_slice())?;
            transaction.commit()?;
            Ok(())
        })
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// `resource_exhausted` if the file cannot be written.
    pub(super) fn write(&self, batch: &Batch) -> Result<()> {
        let jobs = batch.jobs.iter().map(|job| Ok((job.info.id.to_bytes(), encode(job)?)));
        let jobs = jobs.collect::<Result<Vec<_>>>()?;
        self.writing(|database| {
            let transaction = database.begin_write()?;
            {
                let mut tasks = transaction.open_table(TASKS)?;
                let mut plans = transaction.open_table(PLANS)?;
                let mut known = transaction.open_table(JOBS)?;
                for (key, task) in &batch.tasks {
                    tasks.insert(key.0.as_slice(), task.as_slice())?;
                }
                for (id, job) in &jobs {
                    known.insert(id.as_slice(), job.as_slice())?;
                }
                for job in batch.settled.iter().chain(&batch.forgotten) {
                    plans.remove(job.to_bytes().as_slice())?;
                    let (first, last) = tasks_of(*job);
                    tasks.retain_in(first.0.as_slice()..=last.0.as_slice(), |_, _| false)?;
                }
                for job in &batch.forgotten {
                    known.remove(job.to_bytes().as_slice())?;
                }
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// What it takes to run a job again.
    ///
    /// # Errors
    /// `invalid` if it cannot be read.
    pub(super) fn plan(&self, job: JobId) -> Result<Option<PlanRecord>> {
        let plan = self.reading(|database| get(database, PLANS, &job.to_bytes()))?;
        plan.map(|plan| decode(&plan)).transpose()
    }

    /// The numbers of the tasks of a stage that are done, and the bytes of what is kept of each.
    ///
    /// # Errors
    /// `invalid` if the file cannot be read.
    pub(super) fn sized_tasks(&self, job: JobId, stage: u32) -> Result<Vec<(u32, u64)>> {
        let (first, last) = tasks_in(job, stage);
        self.reading(|database| {
            let transaction = database.begin_read()?;
            let table = transaction.open_table(TASKS)?;
            let mut tasks = Vec::new();
            for entry in table.range(first.0.as_slice()..=last.0.as_slice())? {
                let (key, value) = entry?;
                let bytes = value.value().len() as u64;
                tasks.extend(TaskKey::task(key.value()).map(|task| (task, bytes)));
            }
            Ok(tasks)
        })
    }

    /// A task that is done.
    ///
    /// # Errors
    /// `invalid` if it cannot be read.
    pub(super) fn task(&self, key: TaskKey) -> Result<TaskRecord> {
        let gone = || Error::not_found("what a task has done is not known any more");
        decode(&self.reading(|database| get(database, TASKS, &key.0))?.ok_or_else(gone)?)
    }

    /// All tasks of a stage that are done, in their order.
    ///
    /// # Errors
    /// `invalid` if they cannot be read.
    pub(super) fn all_tasks(&self, job: JobId, stage: u32) -> Result<Vec<TaskRecord>> {
        let (first, last) = tasks_in(job, stage);
        let tasks = self.reading(|database| range(database, TASKS, &first.0, &last.0))?;
        tasks.iter().map(|(_, task)| decode(task)).collect()
    }

    fn reading<T>(&self, read: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T> {
        self.on_database(read, |error| unreadable(&self.path, error))
    }

    fn writing(&self, write: impl FnOnce(&Database) -> Result<(), redb::Error>) -> Result<()> {
        let written = self.on_database(write, |error| {
            let path = self.path.display();
            Error::resource_exhausted(format!("{path} cannot be written: {error}"))
        });
        self.fails.store(written.is_err(), Ordering::Relaxed);
        written
    }
}

/// The first and the last that there may be.
fn tasks_of(job: JobId) -> (TaskKey, TaskKey) {
    (TaskKey::new(job, 0, 0), TaskKey::new(job, u32::MAX, u32::MAX))
}

/// The first and the last that there may be in a stage.
fn tasks_in(job: JobId, stage: u32) -> (TaskKey, TaskKey) {
    (TaskKey::new(job, stage, 0), TaskKey::new(job, stage, u32::MAX))
}

#[cfg(test)]
mod tests;
