//! What the operators of one job share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use datafusion::execution::{TaskContext, memory_pool::MemoryReservation};
use keyloom_common::{
    Error, JobId, Result, StageId, TaskId,
    misses::MissPolicy,
    output::PreparedOutput,
    report::{JobStatus, LogKind, PlanMetrics, StageWork},
};
use tracing::Span;

use super::{done_by::DoneBy, misses::JobMisses, times::Times};
use crate::{
    blobs::Blobs,
    catalog::Rights,
    dispatch::{Dispatcher, Finished},
    history::{Happened, JobRecord, Journal, KnownJob, Resumable},
    output::{HeldPlace, Means, OutputProgress, Writing},
    scheduler::ATTEMPTS_OF_A_RUN,
    settings::Settings,
};

/// The stages of a job that was resumed so often have numbers from so many times this on: no two of
/// a job have the same, in whichever run they are.
const STAGES_OF_A_RUN: u32 = 10_000;

/// One job's means and counters. Operators find it in their task context.
#[derive(Debug)]
pub(crate) struct JobContext {
    pub(crate) job: JobId,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) batch_rows: u32,
    pub(crate) discard: bool,
    /// Whether the client is in this process.
    pub(crate) in_process: bool,
    pub(crate) misses: JobMisses,
    /// How far its output is, if it has one.
    pub(crate) output: Arc<OutputProgress>,
    /// What its client may read, if that is not everything.
    pub(crate) rights: Option<Rights>,
    /// What is done for it is told, and traced, as part of this.
    pub(crate) span: Span,
    tasks: AtomicU32,
    /// Those of them that are bounded.
    own_tasks: AtomicU32,
    tasks_done: AtomicU32,
    /// Whether the coordinator computes rows itself, and does not only pass them on.
    pub(super) computes: AtomicBool,
    begun: Mutex<BTreeMap<u32, Begun>>,
    /// The stages that are not over, and whether each has all of its tasks.
    open: Mutex<BTreeMap<u32, bool>>,
    reports: Mutex<BTreeMap<u32, StageReport>>,
    /// Where it writes, until it begins to write or ends.
    place: Mutex<Option<HeldPlace>>,
    /// What is known of it, from when it begins.
    record: OnceLock<JobRecord>,
}

/// A stage that has begun, and its tasks known so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) work: StageWork,
    pub(super) tasks: u32,
}

/// What the tasks of a stage have counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct StageReport {
    pub(crate) metrics: PlanMetrics,
    pub(crate) tasks: u32,
    pub(crate) rows: u64,
    pub(crate) workers: DoneBy,
    pub(crate) times: Times,
}

impl JobContext {
    /// A job's, made within its span.
    pub(crate) fn new(
        job: JobId,
        dispatcher: Dispatcher,
        blobs: Arc<Blobs>,
        settings: Arc<Settings>,
        batch_rows: u32,
        discard: bool,
        in_process: bool,
    ) -> Self {
        let misses = JobMisses::new(MissPolicy::default(), &settings);
        Self {
            job,
            dispatcher,
            blobs,
            settings,
            batch_rows,
            discard,
            in_process,
            misses,
            output: Arc::default(),
            rights: None,
            span: Span::current(),
            tasks: AtomicU32::new(0),
            own_tasks: AtomicU32::new(0),
            tasks_done: AtomicU32::new(0),
            computes: AtomicBool::new(false),
            begun: Mutex::default(),
            open: Mutex::default(),
            reports: Mutex::default(),
            place: Mutex::default(),
            record: OnceLock::new(),
        }
    }

    /// The same job, which does this about missing keys.
    pub(crate) fn with_misses(self, policy: MissPolicy) -> Self {
        Self { misses: JobMisses::new(policy, &self.settings), ..self }
    }

    /// The same job, whose client may read this alone.
    pub(crate) fn with_rights(self, rights: Option<Rights>) -> Self {
        Self { rights, ..self }
    }

    pub(crate) fn of(context: &TaskContext) -> Result<Arc<Self>> {
        let extension = context.session_config().get_extension::<Self>();
        extension.ok_or_else(|| Error::internal("a fragment was executed outside a job"))
    }

    /// Begins to write an output, of which it takes note in this memory.
    pub(super) fn write(
        &self,
        output: &PreparedOutput,
        memory: MemoryReservation,
    ) -> Result<Writing> {
        let resumable = self.record().filter(|job| job.known.resumable == Resumable::Yes);
        let means = Means {
            job: self.job,
            dispatcher: self.dispatcher.clone(),
            blobs: Arc::clone(&self.blobs),
            settings: Arc::clone(&self.settings),
            progress: Arc::clone(&self.output),
            known: self.record().map(|record| Arc::clone(&record.known)),
            history: resumable.map(|record| Arc::clone(&record.history)),
            has_journal: self.journal().is_some_and(|journal| journal.written().is_some()),
            span: self.span.clone(),
        };
        Ok(Writing::begin(means, output.clone(), memory)?.within(self.place().take()))
    }

    /// Holds the place that it writes to.
    pub(crate) fn hold_place(&self, place: HeldPlace) {
        *self.place() = Some(place);
    }

    /// Leaves that place, unless it writes there: then it is left once that has ended.
    pub(crate) fn leave_place(&self) {
        *self.place() = None;
    }

    fn place(&self) -> MutexGuard<'_, Option<HeldPlace>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of a stage that has this number in its plan.
    pub(crate) fn stage(&self, index: u32) -> StageId {
        let before = self.run().saturating_mul(STAGES_OF_A_RUN);
        StageId { job: self.job, index: before.saturating_add(index) }
    }

    /// Begins what is known of it, once.
    pub(crate) fn begin(&self, record: JobRecord) {
        // Whoever began it first stays.
        let _ = self.record.set(record);
    }

    /// What is known of it.
    pub(crate) fn record(&self) -> Option<&JobRecord> {
        self.record.get()
    }

    fn known(&self) -> Option<&KnownJob> {
        self.record().map(|record| record.known.as_ref())
    }

    /// Something happened to it.
    pub(crate) fn tell(&self, happened: Happened) {
        if let Some(record) = self.record() {
            record.known.tell(happened);
        }
    }

    /// Whether no more rows have missed their keys than may.
    ///
    /// # Errors
    /// `not_found` if there are too many.
    pub(crate) fn check_misses(&self) -> Result<()> {
        self.tell_misses(self.misses.check_all())
    }

    /// Tells of too many misses, if there are.
    pub(super) fn tell_misses(&self, checked: Result<()>) -> Result<()> {
        checked.inspect_err(|error| {
            self.tell(Happened::new(LogKind::Misses, error.message()));
        })
    }

    /// Where its tasks are kept, if they are.
    pub(super) fn journal(&self) -> Option<&Journal> {
        self.record().and_then(|record| record.journal.as_ref())
    }

    /// Whether it goes on without its client.
    pub(crate) fn is_detached(&self) -> bool {
        self.known().is_some_and(|known| known.terms.detached)
    }

    /// How often it was resumed.
    fn run(&self) -> u32 {
        self.known().map_or(0, KnownJob::runs)
    }

    /// The number of the first attempts at its tasks, if it was resumed: what they write must not
    /// have the names of what was written before.
    pub(super) fn first_attempt(&self) -> Option<u32> {
        let run = self.run();
        (run > 0).then(|| run.saturating_mul(ATTEMPTS_OF_A_RUN))
    }

    /// Says that the coordinator computes rows itself.
    pub(crate) fn set_computes(&self) {
        self.computes.store(true, Ordering::Relaxed);
    }

    /// Counts a stage, before its tasks.
    pub(super) fn stage_begun(&self, stage: u32, work: StageWork) {
        self.begun().entry(stage).or_insert(Begun { work, tasks: 0 });
        self.open().insert(stage, false);
        self.tell(Happened::new(LogKind::StageBegun, named(stage, work)).of_stage(stage));
    }

    /// Counts a task of a stage. One that collects keys for others is shown, but takes nothing of
    /// what the job may have: a set of keys has about as many tasks as those that look them up.
    ///
    /// # Errors
    /// `resource_exhausted` if the job has too many.
    pub(super) fn task_added(&self, stage: u32, collects: bool) -> Result<()> {
        self.tasks.fetch_add(1, Ordering::Relaxed);
        if let Some(begun) = self.begun().get_mut(&stage) {
            begun.tasks = begun.tasks.saturating_add(1);
        }
        if collects {
            return Ok(());
        }
        self.check_tasks(self.own_tasks.fetch_add(1, Ordering::Relaxed) as usize + 1)
    }

    /// Checks how many tasks the job has, or will have at least.
    ///
    /// # Errors
    /// `resource_exhausted` if they are too many.
    pub(super) fn check_tasks(&self, tasks: usize) -> Result<()> {
        let max = self.settings.max_tasks_per_job;
        if tasks <= max as usize {
            return Ok(());
        }
        Err(Error::resource_exhausted(format!(
            "the job has more than max_tasks_per_job = {max} tasks; raise it on the coordinator, or \
             read larger files"
        )))
    }

    /// Counts what a task has done. Its counters are those of the nodes at these places.
    pub(super) fn task_done(
        &self,
        stage: u32,
        index: u32,
        finished: &Finished,
        rows: u64,
        (metrics, places): (&PlanMetrics, &[usize]),
    ) {
        self.tasks_done.fetch_add(1, Ordering::Relaxed);
        let is_known = !finished.is_kept || self.dispatcher.is_registered(finished.worker);
        let mut reports = self.lock();
        let report = reports.entry(stage).or_default();
        report.metrics.merge(metrics, places);
        report.tasks += 1;
        report.rows = report.rows.saturating_add(rows);
        report.workers.add(finished.worker, is_known);
        report.times.add(index, finished.worker, finished.launched..finished.ended);
        // Who asks how far the job is holds the reports, too, and sees the task once.
        self.dispatcher.counted(TaskId { stage: self.stage(stage), index });
        drop(reports);
        self.end_if_done(stage);
    }

    pub(crate) fn status(&self) -> JobStatus {
        JobStatus {
            tasks: self.tasks.load(Ordering::Relaxed),
            tasks_done: self.tasks_done.load(Ordering::Relaxed),
            workers: self.dispatcher.live_workers(),
        }
    }

    pub(crate) fn reports(&self) -> BTreeMap<u32, StageReport> {
        self.lock().clone()
    }

    pub(super) fn begun(&self) -> MutexGuard<'_, BTreeMap<u32, Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self) -> MutexGuard<'_, BTreeMap<u32, bool>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, StageReport>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a stage is called in the job's log.
pub(super) fn named(stage: u32, work: StageWork) -> String {
    format!("stage {stage}, {}", work.name())
}
