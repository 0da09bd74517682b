//! What becomes of a job: its state goes forward in each run, and a run ends once.

use std::{sync::Arc, time::Instant};

use keyloom_common::{
    Error, ErrorCode,
    output::Committed,
    report::{
        JobState, JobStatus, LogKind,
        words::{bytes, plural},
    },
};

use super::{ENDED_BEFORE, End, KnownJob, State, now_ms};
use crate::history::{
    journal::KeptTasks,
    log::{Happened, because},
    record::Resumable,
};

/// What can be seen of an output.
fn seen(committed: &Committed) -> String {
    let Committed { rows, bytes: size, files, version } = committed;
    let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
    format!("{} in {}, {}{version}", plural(*rows, "row"), plural(*files, "file"), bytes(*size))
}

/// Whether an error says that nobody knows of a commit.
fn is_unknown(error: Option<&Error>) -> bool {
    error.and_then(Error::code) == Some(ErrorCode::CommitUnknown)
}

impl State {
    fn interrupt_for(&mut self, why: &str, status: JobStatus) {
        if !self.info.state.is_end() {
            self.info.state = JobState::Interrupted;
            self.info.status = status;
            // What was put into the queue before may be written only now.
            self.info.ended_ms = Some(now_ms());
            self.over = Some(Instant::now());
            self.tell(Happened::new(LogKind::Interrupted, why));
        }
    }
}

impl KnownJob {
    /// A worker is to be asked to commit its output, unless this says that the job was cancelled
    /// before: from now on it is not known whether somebody sees some of it, until it is done.
    pub(crate) fn commits(self: &Arc<Self>) -> bool {
        let mut may = false;
        self.change(|state| {
            may = state.info.state != JobState::Cancelled;
            state.commits |= may;
            if may {
                let text = "a worker is asked to make visible what was written";
                state.tell(Happened::new(LogKind::Committing, text));
            }
        });
        may
    }

    /// The commit was refused, and nobody sees any of it. That is told of one that was cancelled
    /// meanwhile, too.
    pub(crate) fn refused(self: &Arc<Self>, why: &Error) {
        self.change(|state| {
            state.tell(because(LogKind::Refused, why));
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
            state.tell(Happened::new(LogKind::Committed, seen(committed)));
            let info = &mut state.info;
            info.committed = Some(committed.clone());
            if matches!(info.state, JobState::Cancelled | JobState::Interrupted) {
                (info.state, info.error) = (JobState::Done, None);
                let text = "its output was committed all the same";
                state.tell(Happened::new(LogKind::Done, text));
            }
        });
    }

    /// Its turn has come.
    pub(crate) fn begin(self: &Arc<Self>) {
        self.change(|state| {
            if state.info.state == JobState::Queued {
                state.info.state = JobState::Running;
                state.info.started_ms = Some(now_ms());
                state.tell(Happened::new(LogKind::Started, "it runs"));
            }
        });
    }

    /// It has ended, unless it was cancelled before.
    pub(crate) fn end(self: &Arc<Self>, end: End) {
        self.change(|state| {
            if state.info.state.is_end() {
                return;
            }
            let happened = match &end.outcome {
                Ok(summary) => Happened::new(LogKind::Done, plural(summary.rows, "row")),
                Err(error) => because(LogKind::Failed, error),
            };
            state.tell(happened);
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
            state.bound();
        });
    }

    /// Somebody has cancelled it while it began, as [`Self::cancel_for`].
    pub(crate) fn cancel(self: &Arc<Self>, status: Option<JobStatus>) -> bool {
        self.cancel_for(status, "somebody did, as it began")
    }

    /// Somebody wants its end, for a reason in words. Says whether that is news: what has ended
    /// stays as it is, unless it could be resumed.
    pub(crate) fn cancel_for(self: &Arc<Self>, status: Option<JobStatus>, why: &str) -> bool {
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
            state.tell(Happened::new(LogKind::Cancelled, why));
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

    /// It was dropped when it was so far, and nobody wanted its end: the coordinator ends. The file
    /// goes on to say that it runs, from which the next coordinator knows.
    pub(crate) fn interrupt(&self, status: JobStatus) {
        self.lock().interrupt_for(ENDED_BEFORE, status);
    }

    /// The same before it ran, for another reason.
    pub(in crate::history) fn interrupt_for(&self, why: &str) {
        self.lock().interrupt_for(why, JobStatus::default());
    }

    /// So much of it is in the file: these tasks are done of one that was interrupted, for what
    /// others did is lost.
    pub(in crate::history) fn found(&self, kept: &KeptTasks) {
        let mut state = self.lock();
        if state.info.state == JobState::Interrupted {
            let [tasks, tasks_done] =
                [kept.tasks, kept.done].map(|tasks| u32::try_from(tasks).unwrap_or(u32::MAX));
            state.info.status = JobStatus { tasks, tasks_done, workers: 0 };
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
            let text = format!("it goes on, as run {}", state.runs.saturating_add(1));
            state.tell(Happened::new(LogKind::Resumed, text));
        });
    }

    /// It did not go on by itself, and stays as it was.
    pub(crate) fn not_resumed(self: &Arc<Self>, error: &Error) {
        self.change(|state| {
            state.info.error = Some(error.clone());
            state.tell(because(LogKind::NotResumed, error));
        });
    }
}
