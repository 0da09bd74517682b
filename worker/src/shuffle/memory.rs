//! The memory of rows on their way: those that a worker has put by their keys, and that wait until
//! others take them.
//!
//! DataFusion writes such rows to files where it is refused memory for them, and may then stand
//! still for ever. So it is refused none here: what goes beyond the bound ends the shuffle by that
//! name. Operators write to files as they do in any task.

use std::{fmt, sync::Arc};

use datafusion::{
    error::Result,
    execution::{
        memory_pool::{MemoryLimit, MemoryPool, MemoryReservation},
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
};
use keyloom_common::{Error, memory::Reserved, plan::Room};

use crate::{memory::Commons, settings::Memory};

/// What the node that repartitions rows calls those that wait for one of its outputs, before the
/// output's number.
const QUEUE: &str = "RepartitionExec[";

/// The memory of one session: what waits is of a share of its own.
#[derive(Debug)]
struct Queues {
    /// Of all else.
    operators: Arc<dyn MemoryPool>,
    commons: Commons,
    waiting: Reserved,
    room: Arc<Room>,
}

/// A runtime for one session of a shuffle, and who says that its rows have no room any more.
///
/// # Errors
/// Never, for a runtime that exists.
pub(super) fn runtime_of_session(
    runtime: &RuntimeEnv,
    memory: &Memory,
) -> Result<(Arc<RuntimeEnv>, Arc<Room>)> {
    let room = Arc::new(Room::default());
    let queues = Queues {
        operators: Arc::clone(&runtime.memory_pool),
        commons: memory.commons.clone(),
        waiting: memory.shuffled.reserve(),
        room: Arc::clone(&room),
    };
    let runtime = RuntimeEnvBuilder::from_runtime_env(runtime)
        .with_memory_pool(Arc::new(queues))
        .build_arc()?;
    Ok((runtime, room))
}

/// Whether it is for rows that wait: those alone could be written to files.
fn waits(reservation: &MemoryReservation) -> bool {
    let consumer = reservation.consumer();
    consumer.can_spill() && consumer.name().starts_with(QUEUE)
}

impl fmt::Display for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} beside {}", self.waiting.bytes(), self.operators)
    }
}

impl MemoryPool for Queues {
    fn name(&self) -> &'static str {
        "shuffle"
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        if waits(reservation) {
            self.waiting.grow(additional as u64);
        } else {
            self.operators.grow(reservation, additional);
        }
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        if waits(reservation) {
            self.waiting.shrink(shrink as u64);
        } else {
            self.operators.shrink(reservation, shrink);
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if !waits(reservation) {
            return self.operators.try_grow(reservation, additional);
        }
        if let Err(full) = self.commons.grow(&self.waiting, additional as u64) {
            self.room.give_up(Error::resource_exhausted(format!(
                "rows that are shuffled wait for workers that do not take them as fast: they need \
                 {additional} bytes more, and {full} on the worker"
            )));
            self.waiting.grow(additional as u64);
        }
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.operators.reserved() + self.waiting.bytes() as usize
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.operators.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Int64Array, RecordBatch},
        datatypes::{DataType, Field, Schema},
    };
    use datafusion::{
        datasource::memory::MemorySourceConfig,
        execution::{TaskContext, memory_pool::MemoryConsumer},
        physical_expr::expressions::Column,
        physical_plan::{
            ExecutionPlan, Partitioning, coalesce_partitions::CoalescePartitionsExec, collect,
            repartition::RepartitionExec,
        },
        prelude::SessionConfig,
    };
    use keyloom_common::{
        ErrorKind,
        plan::{PartExec, of_shuffle},
        spill_folder::{SpillFolder, disk_manager},
    };

    use super::*;
    use crate::{settings::Settings, shuffle::ShuffleSettings};

    /// So many rows a batch, of so many batches in each of two partitions.
    const ROWS: i64 = 1000;
    const BATCHES: i64 = 50;

    fn memory(bytes: usize) -> Memory {
        let shuffle = ShuffleSettings { memory_bytes: bytes, ..ShuffleSettings::default() };
        Settings { shuffle, ..Settings::default() }.fitted().memory()
    }

    /// Rows that are put by their keys, for two that take them.
    fn shuffled() -> Arc<dyn ExecutionPlan> {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        let batch = |n: i64| {
            let ids = Int64Array::from_iter_values(n * ROWS..(n + 1) * ROWS);
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids)]).unwrap()
        };
        let batches = |from: i64| (from..from + BATCHES).map(&batch).collect::<Vec<_>>();
        let partitions = [0, BATCHES].map(batches);
        let source = MemorySourceConfig::try_new_exec(&partitions, Arc::clone(&schema), None);
        let source = source.unwrap();
        let part = Arc::new(PartExec::new(source, Vec::new()));
        let by_id = Partitioning::Hash(vec![Arc::new(Column::new("id", 0))], 2);
        let shuffled = Arc::new(RepartitionExec::try_new(part, by_id).unwrap());
        Arc::new(CoalescePartitionsExec::new(shuffled))
    }

    #[tokio::test]
    async fn rows_that_wait_beyond_the_bound_end_the_shuffle_and_are_not_written_to_files() {
        let spill = SpillFolder::create(None).unwrap();
        let usual = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(disk_manager(Some(&spill)))
            .build()
            .unwrap();
        for (bytes, has_room) in [(1, false), (64 << 20, true)] {
            let memory = memory(bytes);
            let (runtime, room) = runtime_of_session(&usual, &memory).unwrap();
            let config =
                SessionConfig::new().with_batch_size(100).with_extension(Arc::clone(&room));
            let context = TaskContext::default().with_session_config(config).with_runtime(runtime);
            let outcome = collect(shuffled(), Arc::new(context)).await;
            match outcome.map_err(of_shuffle) {
                Ok(batches) => {
                    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
                    assert!(has_room && rows as i64 == 2 * BATCHES * ROWS, "{rows}");
                }
                Err(error) => {
                    assert!(!has_room, "{error}");
                    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
                    let full = "of the 1 bytes of shuffle.memory_bytes are free on the worker";
                    assert!(error.message().contains(full), "{error}");
                }
            }
            assert_eq!(room.check().is_ok(), has_room);
            assert_eq!(usual.disk_manager.used_disk_space(), 0);
            assert_eq!(usual.disk_manager.spilling_progress().active_files_count, 0);
        }
    }

    #[test]
    fn all_else_is_the_operators() {
        let (usual, memory) = (RuntimeEnvBuilder::new().build().unwrap(), memory(10));
        let (runtime, room) = runtime_of_session(&usual, &memory).unwrap();
        let pool = &runtime.memory_pool;
        for (name, can_spill, waiting) in [
            ("RepartitionExec[3]", true, 4),
            ("RepartitionExec[Merge 3]", false, 0),
            ("SortExec[3]", true, 0),
        ] {
            let consumer = MemoryConsumer::new(name).with_can_spill(can_spill).register(pool);
            consumer.grow(1);
            consumer.try_grow(5).unwrap();
            consumer.shrink(2);
            let of_operators = usual.memory_pool.reserved();
            assert_eq!(memory.shuffled.used(), waiting, "{name}");
            assert_eq!(of_operators, 4 - waiting as usize, "{name}");
        }
        assert_eq!((memory.shuffled.used(), usual.memory_pool.reserved()), (0, 0));
        room.check().unwrap();
    }
}
