//! A job from when it was handed in until it is forgotten: how it is, and how it ended. What
//! changes of it goes to the file, if there is one.

mod changes;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use keyloom_common::{
    Error, JobId,
    output::Committed,
    report::{JobInfo, JobLog, JobProgress, JobState, JobStatus, JobSummary, LogKind, RowSchema},
    rpc::{Identity, JobTerms},
};
use tokio::sync::OwnedMutexGuard;

use super::{
    log::{Happened, Log},
    record::{Record, Resumable, bounded},
    writer::Queue,
};

/// A job that is known.
#[derive(Debug)]
pub(crate) struct KnownJob {
    pub(crate) id: JobId,
    pub(crate) whose: Identity,
    pub(crate) terms: JobTerms,
    pub(crate) resumable: Resumable,
    state: Mutex<State>,
    /// Locked while what an earlier run has written is removed.
    removing: Arc<tokio::sync::Mutex<()>>,
    queue: Option<Arc<Queue>>,
}

/// The most bytes of what is known of a job, and of its log beside that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) record: usize,
    pub(super) log: usize,
}

#[derive(Debug)]
struct State {
    info: JobInfo,
    log: Log,
    bounds: Bounds,
    /// How often it was resumed.
    runs: u32,
    /// Whether a worker was asked to commit its output.
    commits: bool,
    /// Since when nothing more becomes of it by itself, by this process's clock.
    over: Option<Instant>,
}

impl State {
    fn tell(&mut self, happened: Happened) {
        self.log.add(happened, now_ms(), self.bounds.log);
    }

    /// Forgets the least wanted of it, if it is too much.
    fn bound(&mut self) {
        self.info = bounded(self.info.clone(), self.bounds.record);
    }
}

/// How a job ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) outcome: Result<JobSummary, Error>,
    pub(crate) committed: Option<Committed>,
    pub(crate) status: JobStatus,
}

/// Why a job is interrupted.
const ENDED_BEFORE: &str = "the coordinator ended before it";

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl KnownJob {
    /// A job that was just handed in, and whose rows go there.
    pub(super) fn new(
        (id, whose, mut terms): (JobId, Identity, JobTerms),
        output: Option<String>,
        resumable: Resumable,
        bounds: Bounds,
        queue: Option<Arc<Queue>>,
    ) -> Self {
        // It is in there once, where it is cut off if it is too long.
        let statement = terms.statement.take();
        let info = JobInfo {
            id,
            name: terms.name.clone(),
            statement,
            owner: whose.to_string(),
            state: JobState::Queued,
            output,
            submitted_ms: now_ms(),
            started_ms: None,
            ended_ms: None,
            status: JobStatus::default(),
            progress: JobProgress::default(),
            error: None,
            committed: None,
            summary: None,
            schema: None,
        };
        let by = format!("by {}", info.owner);
        let (info, log) = (bounded(info, bounds.record), Log::default());
        let mut state = State { info, log, bounds, runs: 0, commits: false, over: None };
        state.tell(Happened::new(LogKind::Submitted, by));
        let (state, removing) = (Mutex::new(state), Arc::default());
        Self { id, whose, terms, resumable, state, removing, queue }
    }

    /// A job as the file has it. One that had not ended was interrupted.
    pub(super) fn read(record: Record, bounds: Bounds, queue: Option<Arc<Queue>>) -> Self {
        let whose = record.whose();
        let Record { info, log, terms, resumable, runs, commits, .. } = record;
        let id = info.id;
        let mut state = State { info, log, bounds, runs, commits, over: Some(Instant::now()) };
        if !state.info.state.is_end() {
            state.info.state = JobState::Interrupted;
            state.info.ended_ms = Some(now_ms());
            state.tell(Happened::new(LogKind::Interrupted, ENDED_BEFORE));
        }
        let (state, removing) = (Mutex::new(state), Arc::default());
        Self { id, whose, terms, resumable, state, removing, queue }
    }

    /// As the file is to have it.
    pub(super) fn record(&self) -> Record {
        let State { info, log, runs, commits, .. } = &*self.lock();
        Record {
            role: self.whose.role,
            name: self.whose.name.to_string(),
            info: info.clone(),
            log: log.clone(),
            terms: self.terms.clone(),
            resumable: self.resumable,
            runs: *runs,
            commits: *commits,
        }
    }

    /// What is known of it.
    pub(crate) fn info(&self) -> JobInfo {
        self.lock().info.clone()
    }

    /// What happened to it.
    pub(crate) fn log(&self) -> JobLog {
        let state = self.lock();
        JobLog { job: self.id, state: state.info.state, lines: state.log.lines().to_vec() }
    }

    /// Something happened to it: nothing more does once it has ended.
    pub(crate) fn tell(self: &Arc<Self>, happened: Happened) {
        let mut state = self.lock();
        if state.info.state.is_end() {
            // It may be forgotten, and is not to come back to the file.
            return;
        }
        state.tell(happened);
        drop(state);
        self.keep(false);
    }

    /// Its rows have these columns. Of too many, nothing is remembered.
    pub(crate) fn set_schema(self: &Arc<Self>, schema: RowSchema) {
        self.change(|state| {
            state.info.schema = Some(schema);
            state.bound();
        });
    }

    pub(crate) fn state(&self) -> JobState {
        self.lock().info.state
    }

    /// When it was submitted, in milliseconds since 1970.
    pub(super) fn submitted_ms(&self) -> u64 {
        self.lock().info.submitted_ms
    }

    /// How often it was resumed.
    pub(crate) fn runs(&self) -> u32 {
        self.lock().runs
    }

    /// For how long nothing more has become of it.
    pub(crate) fn over_for(&self) -> Option<Duration> {
        self.lock().over.map(|over| over.elapsed())
    }

    /// Whether somebody wanted its end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.state() == JobState::Cancelled
    }

    /// Whether some of its output may be seen.
    pub(crate) fn may_be_committed(&self) -> bool {
        self.lock().commits
    }

    /// Whether the pieces of its output are to stay when it ends before they are committed, because
    /// it can be resumed, by the next coordinator or after it failed. Those of one that was
    /// cancelled go.
    pub(crate) fn keeps_pieces(&self) -> bool {
        self.resumable == Resumable::Yes && !self.is_cancelled()
    }

    /// For as long as what it has written is removed: it does not run again meanwhile. None if
    /// somebody removes it already.
    pub(crate) fn removing(&self) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.removing).try_lock_owned().ok()
    }

    /// Waits until what an earlier run has written is removed, if it is being removed.
    pub(crate) async fn removed(&self) {
        drop(self.removing.lock().await);
    }

    /// Whether it can still be resumed, so that what it has written is still there.
    pub(crate) fn left_pieces(&self) -> bool {
        let ended = matches!(self.state(), JobState::Failed | JobState::Interrupted);
        ended && self.resumable == Resumable::Yes
    }

    /// Whether it writes, may write again, or has its output ended, which takes so long at most.
    pub(crate) fn may_have_pieces(&self, ending: Duration) -> bool {
        if self.lock().info.output.is_none() {
            return false;
        }
        let ending = u64::try_from(ending.as_millis()).unwrap_or(u64::MAX);
        match self.ended_ms() {
            None => true,
            Some(ended) => self.left_pieces() || now_ms().saturating_sub(ended) <= ending,
        }
    }

    /// When it ended, as far as that is known: for those that are forgotten by their age.
    pub(super) fn ended_ms(&self) -> Option<u64> {
        let state = self.lock();
        let info = &state.info;
        info.state.is_end().then(|| info.ended_ms.unwrap_or(info.submitted_ms))
    }

    fn change(self: &Arc<Self>, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let is_over = state.info.state.is_end();
        drop(state);
        self.keep(is_over);
    }

    /// Has the file take what changed. Those that end with their clients are of interest to the
    /// next coordinator once they have ended.
    fn keep(self: &Arc<Self>, is_over: bool) {
        if let Some(queue) = &self.queue
            && (is_over || self.terms.detached)
        {
            queue.put(self);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
