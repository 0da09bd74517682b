//! A job from when it was handed in until it is forgotten: how it is, and how it ended. What
//! changes of it goes to the file, if there is one.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use keyloom_common::{
    Error, ErrorCode, JobId,
    output::Committed,
    report::{JobInfo, JobProgress, JobState, JobStatus, JobSummary},
    rpc::{Identity, JobTerms},
};
use tokio::sync::OwnedMutexGuard;

use super::{
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
    /// The most bytes of what is known of it.
    max_bytes: usize,
    state: Mutex<State>,
    /// Locked while what an earlier run has written is removed.
    removing: Arc<tokio::sync::Mutex<()>>,
    queue: Option<Arc<Queue>>,
}

#[derive(Debug)]
struct State {
    info: JobInfo,
    /// How often it was resumed.
    runs: u32,
    /// Whether a worker was asked to commit its output.
    commits: bool,
    /// Since when nothing more becomes of it by itself, by this process's clock.
    over: Option<Instant>,
}

/// How a job ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) outcome: Result<JobSummary, Error>,
    pub(crate) committed: Option<Committed>,
    pub(crate) status: JobStatus,
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whether an error says that nobody knows of a commit.
fn is_unknown(error: Option<&Error>) -> bool {
    error.and_then(Error::code) == Some(ErrorCode::CommitUnknown)
}

impl KnownJob {
    /// A job that was just handed in, and whose rows go there.
    pub(super) fn new(
        (id, whose, mut terms): (JobId, Identity, JobTerms),
        output: Option<String>,
        resumable: Resumable,
        max_bytes: usize,
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
        };
        let state = Mutex::new(State {
            info: bounded(info, max_bytes),
            runs: 0,
            commits: false,
            over: None,
        });
        let removing = Arc::default();
        Self { id, whose, terms, resumable, max_bytes, state, removing, queue }
    }

    /// A job as the file has it. One that had not ended was interrupted.
    pub(super) fn read(record: Record, max_bytes: usize, queue: Option<Arc<Queue>>) -> Self {
        let whose = record.whose();
        let Record { mut info, terms, resumable, runs, commits, .. } = record;
        if !info.state.is_end() {
            info.state = JobState::Interrupted;
            info.ended_ms = Some(now_ms());
        }
        let id = info.id;
        let state = Mutex::new(State { info, runs, commits, over: Some(Instant::now()) });
        let removing = Arc::default();
        Self { id, whose, terms, resumable, max_bytes, state, removing, queue }
    }

    /// As the file is to have it.
    pub(super) fn record(&self) -> Record {
        let State { info, runs, commits, .. } = &*self.lock();
        Record {
            role: self.whose.role,
            name: self.whose.name.to_string(),
            info: info.clone(),
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

    /// A worker is to be asked to commit its output, unless this says that the job was cancelled
    /// before: from now on it is not known whether somebody sees some of it, until it is done.
    pub(crate) fn commits(self: &Arc<Self>) -> bool {
        let mut may = false;
        self.change(|state| {
            may = state.info.state != JobState::Cancelled;
            state.commits |= may;
        });
        may
    }

    /// The commit was refused, and nobody sees any of it.
    pub(crate) fn refused(self: &Arc<Self>) {
        self.change(|state| {
            state.commits = false;
            let error = &mut state.info.error;
            if state.info.state == JobState::Cancelled && is_unknown(error.as_ref()) {
                *error = None;
            }
        });
    }

    /// Its output can be seen. One that somebody had cancelled meanwhile is done all the same.
    pub(crate) fn committed(self: &Arc<Self>, committed: &Committed) {
        self.change(|state| {
            let info = &mut state.info;
            info.committed = Some(committed.clone());
            if matches!(info.state, JobState::Cancelled | JobState::Interrupted) {
                (info.state, info.error) = (JobState::Done, None);
            }
        });
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

    /// When it ended, as far as that is known: for those that are forgotten by their age.
    pub(super) fn ended_ms(&self) -> Option<u64> {
        let state = self.lock();
        let info = &state.info;
        info.state.is_end().then(|| info.ended_ms.unwrap_or(info.submitted_ms))
    }

    /// Its turn has come.
    pub(crate) fn begin(self: &Arc<Self>) {
        self.change(|state| {
            if state.info.state == JobState::Queued {
                state.info.state = JobState::Running;
                state.info.started_ms = Some(now_ms());
            }
        });
    }

    /// It has ended, unless it was cancelled before.
    pub(crate) fn end(self: &Arc<Self>, end: End) {
        let max = self.max_bytes;
        self.change(|state| {
            if state.info.state.is_end() {
                return;
            }
            let info = &mut state.info;
            info.status = end.status;
            info.committed = end.committed;
            match end.outcome {
                Ok(summary) => (info.state, info.summary) = (JobState::Done, Some(summary)),
                // Nobody is to take it for one that has left nothing.
                Err(error) if state.commits && info.committed.is_none() => {
                    let error = error.with_code(ErrorCode::CommitUnknown);
                    (info.state, info.error) = (JobState::Failed, Some(error));
                }
                Err(error) => (info.state, info.error) = (JobState::Failed, Some(error)),
            }
            info.ended_ms = Some(now_ms());
            state.over = Some(Instant::now());
            state.info = bounded(info.clone(), max);
        });
    }

    /// Somebody wants its end. Says whether that is news: what has ended stays as it is, unless it
    /// could be resumed.
    pub(crate) fn cancel(self: &Arc<Self>, status: Option<JobStatus>) -> bool {
        let (mut is_new, resumable) = (false, self.resumable);
        self.change(|state| {
            let stays = match state.info.state {
                JobState::Queued | JobState::Running => false,
                JobState::Failed | JobState::Interrupted => resumable != Resumable::Yes,
                JobState::Done | JobState::Cancelled => true,
            };
            if stays {
                return;
            }
            is_new = true;
            state.info.state = JobState::Cancelled;
            if state.commits {
                let unknown = || {
                    let message = "it was cancelled while its output was committed, and whether it \
                                   was is not known (yet)";
                    Error::cancelled(message).with_code(ErrorCode::CommitUnknown)
                };
                state.info.error.get_or_insert_with(unknown);
            }
            state.info.status = status.unwrap_or(state.info.status);
            state.info.ended_ms = Some(now_ms());
            state.over = Some(Instant::now());
        });
        is_new
    }

    /// It was dropped, and nobody wanted its end: the coordinator ends. The file goes on to say
    /// that it runs, from which the next coordinator knows.
    pub(crate) fn interrupt(&self) {
        let mut state = self.lock();
        if !state.info.state.is_end() {
            state.info.state = JobState::Interrupted;
            state.over = Some(Instant::now());
        }
    }

    /// It is to run again. Only who has found that it may calls this, once.
    pub(crate) fn resume(self: &Arc<Self>) {
        self.change(|state| {
            let info = &mut state.info;
            info.state = JobState::Queued;
            (info.started_ms, info.ended_ms) = (None, None);
            (info.error, info.summary, info.status) = (None, None, JobStatus::default());
            state.runs = state.runs.saturating_add(1);
            state.over = None;
        });
    }

    /// It did not go on by itself, and stays as it was.
    pub(crate) fn not_resumed(self: &Arc<Self>, error: &Error) {
        self.change(|state| state.info.error = Some(error.clone()));
    }

    fn change(self: &Arc<Self>, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let is_over = state.info.state.is_end();
        drop(state);
        // Those that end with their clients are of interest to the next coordinator once they have
        // ended.
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
