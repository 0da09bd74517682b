//! The memory of jobs: of the operators that the coordinator runs itself, of which no job takes
//! all, and of results that wait for their clients.

use std::{fmt, sync::Arc};

use datafusion::{
    error::{DataFusionError, Result},
    execution::{
        memory_pool::{MemoryLimit, MemoryPool, MemoryReservation},
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
};
use keyloom_common::{
    memory::{MemoryBudget, Reserved},
    spill_folder::{SpillFolder, disk_manager},
};

use crate::{metrics::Share, settings::Memory};

/// What operators run with, of all jobs, and what their results wait in.
#[derive(Debug)]
pub(crate) struct Operators {
    runtime: RuntimeEnv,
    memory: MemoryBudget,
    results: MemoryBudget,
}

impl Operators {
    /// Their parts of the memory, and a folder for what operators have no room for.
    pub(crate) fn within(
        memory: &Memory,
        folder: Option<&SpillFolder>,
    ) -> keyloom_common::Result<Self> {
        let disk = disk_manager(folder);
        let runtime = RuntimeEnvBuilder::new().with_disk_manager_builder(disk).build()?;
        let (memory, results) = (memory.operators.clone(), memory.results.clone());
        Ok(Self { runtime, memory, results })
    }

    /// The same, with so much for operators.
    #[cfg(test)]
    pub(crate) fn new(bytes: usize, folder: Option<&SpillFolder>) -> keyloom_common::Result<Self> {
        let usual = crate::Settings::default();
        let settings = crate::Settings { operator_memory_bytes: bytes, ..usual };
        Self::within(&settings.memory(), folder)
    }

    /// What the operators of one job run with: what is free, but never the last quarter.
    pub(super) fn of_a_job(&self) -> Arc<RuntimeEnv> {
        let (all, bytes) = (&self.memory, self.memory.bytes());
        let part = all.part(format!("one job's part of {}", all.name()), bytes - bytes / 4);
        let mut runtime = self.runtime.clone();
        runtime.memory_pool = Arc::new(JobPool(part.reserve()));
        Arc::new(runtime)
    }

    /// What operators and results take of the memory.
    pub(crate) fn shares(&self) -> [Share; 2] {
        [Share::of("operators", &self.memory), Share::of("results", &self.results)]
    }

    /// The bytes that operators have in temporary files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.runtime.disk_manager.used_disk_space()
    }

    /// What the results of all jobs wait in.
    pub(super) fn results(&self) -> MemoryBudget {
        self.results.clone()
    }
}

/// What one job has of its part.
#[derive(Debug)]
struct JobPool(Reserved);

impl fmt::Display for JobPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes of the job", self.0.bytes(), self.0.budget().bytes())
    }
}

impl MemoryPool for JobPool {
    fn name(&self) -> &'static str {
        "job"
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        self.0.grow(additional as u64);
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        self.0.shrink(shrink as u64);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.0.try_grow(additional as u64).map_err(|full| {
            let (operator, has) = (reservation.consumer().name(), self.0.bytes());
            DataFusionError::ResourcesExhausted(format!(
                "{operator} needs {additional} bytes beside {has} that the job has, and {full} on \
                 the coordinator"
            ))
        })
    }

    fn reserved(&self) -> usize {
        self.0.bytes() as usize
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.0.budget().bytes() as usize)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::MemoryConsumer;

    use super::*;
    use crate::settings::Settings;

    fn reserve(runtime: &RuntimeEnv) -> MemoryReservation {
        MemoryConsumer::new("sort").register(&runtime.memory_pool)
    }

    fn check_names(grown: Result<()>, expected: &str) {
        let error = grown.unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    }

    #[test]
    fn jobs_share_one_budget_and_none_takes_all_of_it() {
        let operators = Operators::new(1000, None).unwrap();
        let [one, two] = [(); 2].map(|()| operators.of_a_job());
        let (first, second) = (reserve(&one), reserve(&two));
        check_names(
            first.try_grow(751),
            "sort needs 751 bytes beside 0 that the job has, and only 750 of the 750 bytes of one \
             job's part of operator_memory_bytes are free on the coordinator",
        );
        first.try_grow(750).unwrap();
        check_names(
            second.try_grow(251),
            "only 250 of the 1000 bytes of operator_memory_bytes are free on the coordinator",
        );
        second.try_grow(250).unwrap();
        first.shrink(750);
        assert_eq!((one.memory_pool.reserved(), two.memory_pool.reserved()), (0, 250));
        second.try_grow(500).unwrap();
    }

    #[test]
    fn what_waits_is_taken_of_the_same_memory() {
        let settings = Settings { memory_bytes: 1000, receive_bytes: 100, ..Settings::default() };
        let memory = settings.memory();
        let operators = Operators::within(&memory, None).unwrap();
        let job = reserve(&operators.of_a_job());
        let waiting = [memory.gathered.try_take(400).unwrap(), operators.results().force(300)];
        check_names(
            job.try_grow(201),
            "only 200 of the 900 bytes of memory_bytes beside receive_bytes are free on the \
             coordinator",
        );
        drop(waiting);
        job.try_grow(675).unwrap();
    }
}
