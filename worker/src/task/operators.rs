//! The memory of operators, of all tasks together. What is kept for later gives way to them.

use std::fmt;

use datafusion::{
    error::{DataFusionError, Result},
    execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation},
};
use keyloom_common::memory::Reserved;

use crate::{memory::Commons, settings::Memory};

/// What operators have.
#[derive(Debug)]
pub(super) struct Operators {
    commons: Commons,
    taken: Reserved,
}

impl Operators {
    pub(super) fn within(memory: &Memory) -> Self {
        Self { commons: memory.commons.clone(), taken: memory.operators.reserve() }
    }
}

impl fmt::Display for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.taken.bytes(), self.taken.budget().bytes())
    }
}

impl MemoryPool for Operators {
    fn name(&self) -> &'static str {
        "operators"
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        let additional = additional as u64;
        if self.commons.grow(&self.taken, additional).is_err() {
            self.taken.grow(additional);
        }
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        self.taken.shrink(shrink as u64);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.commons.grow(&self.taken, additional as u64).map_err(|full| {
            let operator = reservation.consumer().name();
            DataFusionError::ResourcesExhausted(format!(
                "{operator} needs {additional} bytes more, and {full} on the worker"
            ))
        })
    }

    fn reserved(&self) -> usize {
        self.taken.bytes() as usize
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.taken.budget().bytes() as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::execution::memory_pool::MemoryConsumer;

    use super::*;
    use crate::settings::Settings;

    const MIB: usize = 1 << 20;

    #[test]
    fn what_is_full_is_named() {
        // 28 MiB of it are not set apart.
        let usual = Settings { memory_bytes: 64 << 20, ..Settings::default() };
        let memory = usual.clone().fitted().memory();
        let less = Settings { operator_memory_bytes: 5 * MIB, ..usual }.fitted().memory();
        let cases = [
            (memory, 28 * MIB, "29360128 bytes of memory_bytes beside its fixed parts are free"),
            (less, 5 * MIB, "5242880 bytes of operator_memory_bytes are free"),
        ];
        for (memory, bytes, expected) in cases {
            let pool: Arc<dyn MemoryPool> = Arc::new(Operators::within(&memory));
            let sort = MemoryConsumer::new("sort").register(&pool);
            let error = sort.try_grow(bytes + 1).unwrap_err().to_string();
            assert!(error.contains(&format!("sort needs {} bytes more", bytes + 1)), "{error}");
            assert!(error.ends_with(&format!("{expected} on the worker")), "{error}");
            sort.try_grow(bytes).unwrap();
            sort.grow(1);
            assert_eq!(pool.reserved(), bytes + 1);
            drop(sort);
            assert_eq!((pool.reserved(), memory.commons.budget().used()), (0, 0));
        }
    }
}
