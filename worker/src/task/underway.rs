//! How far the attempts are that run now, for heartbeats to tell: read off what they count while
//! they count it. Nothing is kept of one that has ended.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use datafusion::physical_plan::ExecutionPlan;
use keyloom_common::{
    AttemptId,
    output::WriteExec,
    report::{PlanMetrics, TaskProgress},
};
use tokio_util::sync::CancellationToken;

use super::part::part;

/// About the most bytes of a heartbeat that tell how far attempts are. Those that do not fit are
/// not told of before others have ended.
const TOLD_BYTES: usize = 256 << 10;

/// The attempts that run a plan now. Shared by a life's tasks and its heartbeats.
#[derive(Clone, Debug, Default)]
pub(crate) struct Underway(Arc<Mutex<BTreeMap<AttemptId, Arc<Counted>>>>);

/// What an attempt has counted so far.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(super) attempt: AttemptId,
    /// Cancelled when it has computed all that it writes.
    pub(super) computed: CancellationToken,
    /// Whose nodes count, unless others run it.
    plan: Option<Arc<dyn ExecutionPlan>>,
    /// Rows that it has handed in or, if it writes, taken to write them.
    rows: AtomicU64,
}

/// An attempt that runs, until this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    underway: Underway,
    pub(crate) counted: Arc<Counted>,
}

impl Underway {
    /// An attempt begins to run a plan, and is to say when it has computed all that it writes.
    pub(crate) fn begin(
        &self,
        attempt: AttemptId,
        plan: Option<Arc<dyn ExecutionPlan>>,
        computed: &CancellationToken,
    ) -> Running {
        let counted =
            Arc::new(Counted { computed: computed.clone(), ..Counted::new(attempt, plan) });
        self.lock().insert(attempt, Arc::clone(&counted));
        Running { underway: self.clone(), counted }
    }

    /// How far attempts are, as many as a message of so many bytes holds beside what else it says.
    pub(crate) fn told(&self, max_bytes: usize) -> Vec<(AttemptId, TaskProgress)> {
        // Plans are looked at without the lock.
        let running: Vec<_> = self.lock().values().cloned().collect();
        let mut room = TOLD_BYTES.min(max_bytes / 2);
        let told = running.iter().map(|counted| (counted.attempt, counted.progress()));
        let fits = told.filter(|(_, progress)| match room.checked_sub(progress.told_bytes()) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        });
        fits.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Arc<Counted>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    pub(super) fn new(attempt: AttemptId, plan: Option<Arc<dyn ExecutionPlan>>) -> Self {
        let (computed, rows) = (CancellationToken::new(), AtomicU64::new(0));
        Self { attempt, computed, plan, rows }
    }

    /// Counts rows that are handed in, unless they only tell of what is written.
    pub(crate) fn hand_in(&self, rows: u64) {
        if !self.plan.as_ref().is_some_and(|plan| plan.is::<WriteExec>()) {
            self.rows.fetch_add(rows, Ordering::Relaxed);
        }
    }

    /// Counts rows that are taken to be written.
    pub(super) fn write(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    fn progress(&self) -> TaskProgress {
        let rows = self.rows.load(Ordering::Relaxed);
        let Some(plan) = &self.plan else { return TaskProgress::of(rows, &PlanMetrics::default()) };
        let counted = PlanMetrics::of(plan.as_ref());
        let progress = TaskProgress::of(rows, &counted);
        TaskProgress { thousandths: part(plan, &counted, rows), ..progress }.bounded()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.underway.lock().remove(&self.counted.attempt);
    }
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::{
        empty::EmptyExec,
        metrics::{ExecutionPlanMetricsSet, MetricBuilder},
    };
    use keyloom_common::{
        JobId, StageId, TaskId,
        output::FileFormat,
        report::{StoreProgress, counter},
    };

    use super::*;
    use crate::samples::{files, ids, written};

    fn attempt(index: u32) -> AttemptId {
        let stage = StageId { job: JobId::from_u128(1), index: 0 };
        AttemptId { task: TaskId { stage, index }, number: 0 }
    }

    fn begin(underway: &Underway, task: u32, plan: Option<Arc<dyn ExecutionPlan>>) -> Running {
        underway.begin(attempt(task), plan, &CancellationToken::new())
    }

    /// A plan that writes, and where it counts.
    fn writing() -> (Arc<dyn ExecutionPlan>, ExecutionPlanMetricsSet) {
        let rows = Arc::new(EmptyExec::new(ids()));
        let plan = written(rows, "/out/", files(FileFormat::Parquet));
        let metrics = plan.metrics_set().clone();
        (Arc::new(plan), metrics)
    }

    /// The rows of attempts that run, by their tasks.
    fn rows(underway: &Underway, max_bytes: usize) -> Vec<(u32, u64)> {
        let told = underway.told(max_bytes).into_iter();
        told.map(|(attempt, progress)| (attempt.task.index, progress.rows)).collect()
    }

    #[test]
    fn rows_are_told_while_an_attempt_runs_and_not_after() {
        let underway = Underway::default();
        let (plan, _) = writing();
        let running = [begin(&underway, 0, None), begin(&underway, 1, Some(plan))];
        assert_eq!(rows(&underway, usize::MAX), [(0, 0), (1, 0)]);
        running[0].counted.hand_in(5);
        // Of one that writes, these tell of pieces.
        running[1].counted.hand_in(1);
        for _ in 0..2 {
            running[1].counted.write(20);
        }
        assert_eq!(rows(&underway, usize::MAX), [(0, 5), (1, 40)]);
        let [first, second] = running;
        drop(first);
        assert_eq!(rows(&underway, usize::MAX), [(1, 40)]);
        drop(second);
        assert!(rows(&underway, usize::MAX).is_empty());
    }

    #[test]
    fn what_stores_were_asked_for_is_read_while_it_is_counted() {
        let underway = Underway::default();
        let (plan, metrics) = writing();
        let _running = begin(&underway, 0, Some(plan));
        let count = |name: &'static str| {
            let builder = MetricBuilder::new(&metrics);
            builder.with_new_label(counter::STORE_LABEL, "products".to_owned()).counter(name, 0)
        };
        let counters = [counter::KEYS, counter::HITS, counter::MISSES].map(count);
        MetricBuilder::new(&metrics).counter(counter::BYTES_WRITTEN, 0).add(99);
        for times in 1..=2 {
            counters[0].add(10);
            counters[1].add(7);
            counters[2].add(2);
            let store = StoreProgress { keys: 10 * times, hits: 7 * times, misses: 2 * times };
            let stores = [("products".to_owned(), store)].into();
            let expected = TaskProgress { rows: 0, bytes: 99, thousandths: 0, stores };
            assert_eq!(underway.told(usize::MAX), [(attempt(0), expected)]);
        }
    }

    #[test]
    fn a_heartbeat_tells_of_no_more_attempts_than_it_has_room_for() {
        let underway = Underway::default();
        let running: Vec<_> = (0..10_000).map(|task| begin(&underway, task, None)).collect();
        let each = TaskProgress::default().told_bytes();
        assert_eq!(underway.told(usize::MAX).len(), TOLD_BYTES / each);
        assert_eq!(rows(&underway, 4 * each), [(0, 0), (1, 0)]);
        drop(running);
    }
}
