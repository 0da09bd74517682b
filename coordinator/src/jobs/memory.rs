//! The memory of the operators that the coordinator runs itself: one budget for all jobs, of which no
//! job takes all.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use datafusion::{
    error::{DataFusionError, Result},
    execution::{
        memory_pool::{
            GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
        },
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
};
use keyloom_common::spill_folder::{SpillFolder, disk_manager};

/// What operators run with, of all jobs.
#[derive(Debug)]
pub(crate) struct Operators {
    runtime: Arc<RuntimeEnv>,
    bytes: usize,
}

impl Operators {
    /// So much memory, and a folder for what it has no room for.
    pub(crate) fn new(bytes: usize, folder: Option<&SpillFolder>) -> keyloom_common::Result<Self> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes)))
            .with_disk_manager_builder(disk_manager(folder))
            .build_arc()?;
        Ok(Self { runtime, bytes })
    }

    /// What the operators of one job run with.
    pub(super) fn of_a_job(&self) -> Arc<RuntimeEnv> {
        let all = Arc::clone(&self.runtime.memory_pool);
        let pool = JobPool { all, most: self.bytes - self.bytes / 4, used: AtomicUsize::new(0) };
        let mut runtime = self.runtime.as_ref().clone();
        runtime.memory_pool = Arc::new(pool);
        Arc::new(runtime)
    }
}

/// A job's part of the memory of all: what is free, but never the last quarter.
#[derive(Debug)]
struct JobPool {
    all: Arc<dyn MemoryPool>,
    most: usize,
    used: AtomicUsize,
}

impl fmt::Display for JobPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes of the job", self.reserved(), self.most)
    }
}

impl MemoryPool for JobPool {
    fn name(&self) -> &'static str {
        "job"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.all.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.all.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.used.fetch_add(additional, Ordering::Relaxed);
        self.all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.used.fetch_sub(shrink, Ordering::Relaxed);
        self.all.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let room = |used: usize| used.checked_add(additional).filter(|used| *used <= self.most);
        let grown = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        grown.map_err(|used| {
            let operator = reservation.consumer().name();
            DataFusionError::ResourcesExhausted(format!(
                "{operator} needs {additional} bytes beside {used} that the job has, more than the \
                 {} bytes that one job may take of operator_memory_bytes on the coordinator",
                self.most
            ))
        })?;
        let grown = self.all.try_grow(reservation, additional);
        if grown.is_err() {
            self.used.fetch_sub(additional, Ordering::Relaxed);
        }
        grown
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_share_one_budget_and_none_takes_all_of_it() {
        let operators = Operators::new(1000, None).unwrap();
        let [one, two] = [(); 2].map(|()| operators.of_a_job());
        let reserve =
            |runtime: &RuntimeEnv| MemoryConsumer::new("sort").register(&runtime.memory_pool);
        let (first, second) = (reserve(&one), reserve(&two));
        let error = first.try_grow(751).unwrap_err().to_string();
        assert!(error.contains("sort needs 751 bytes beside 0 that the job has"), "{error}");
        first.try_grow(750).unwrap();
        assert!(second.try_grow(251).is_err());
        second.try_grow(250).unwrap();
        first.shrink(750);
        assert_eq!((one.memory_pool.reserved(), two.memory_pool.reserved()), (0, 250));
        second.try_grow(500).unwrap();
    }
}
