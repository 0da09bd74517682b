//! What is told of jobs, also of those that do not run any more.

use std::sync::Arc;

use keyloom_common::{
    Error, JobId, Result, WorkerId, ipc,
    output::{Committed, committed_schema},
    report::{JobInfo, JobList, JobLog, JobState},
    rpc::{Next, bincode},
    stack::deep,
};
use tokio::task::spawn_blocking;

use super::{Jobs, another_s, unknown};
use crate::{
    history::{KnownJob, Resumable, listed},
    owner::Owner,
};

impl Jobs {
    /// The jobs that somebody may have, the newest first, as many as an answer holds.
    pub(crate) fn list(&self, owner: &Owner) -> JobList {
        let room = self.settings.rpc.max_frame_bytes as u64 / 2;
        let (mut list, mut bytes) = (JobList::default(), 0);
        for known in self.history.all() {
            if !owner.may_have(&known.whose) {
                continue;
            }
            let info = listed(self.now(&known));
            bytes += bincode::encoded_bytes(&info).unwrap_or(room);
            match bytes <= room {
                true => list.jobs.push(info),
                false => list.left_out += 1,
            }
        }
        list
    }

    /// What is known of a job.
    ///
    /// # Errors
    /// `not_found` if nothing is, `permission_denied` if it is another client's.
    pub(crate) fn info(&self, id: JobId, owner: &Owner) -> Result<JobInfo> {
        let known = self.history.get(id).ok_or_else(|| unknown(id))?;
        self.check_whose(&known, owner)?;
        Ok(self.now(&known))
    }

    /// What happened to a job.
    ///
    /// # Errors
    /// As [`Self::info`].
    pub(crate) fn log(&self, id: JobId, owner: &Owner) -> Result<JobLog> {
        let known = self.history.get(id).ok_or_else(|| unknown(id))?;
        self.check_whose(&known, owner)?;
        Ok(known.log())
    }

    /// Tells a worker to end what it runs, and to go.
    ///
    /// # Errors
    /// `permission_denied` unless an operator asks, `not_found` if it is not registered.
    pub(crate) fn drain_worker(&self, worker: WorkerId, owner: &Owner) -> Result<()> {
        let by = owner.identity();
        if !owner.is_operator() {
            return Err(Error::permission_denied(format!(
                "workers are drained by operators, and not by {by}"
            )));
        }
        self.dispatcher.send_away(worker)?;
        tracing::info!(%worker, %by, "worker told to drain and go");
        Ok(())
    }

    /// A job as it is now.
    fn now(&self, known: &KnownJob) -> JobInfo {
        let mut info = known.info();
        if !info.state.is_end() {
            let entry = self.lock().get(&known.id).cloned();
            let running = entry.as_ref().and_then(|entry| entry.started.get());
            if let Some(Ok(job)) = running {
                (info.status, info.progress) = (job.status(), job.progress());
            }
        }
        info
    }

    pub(super) fn check_whose(&self, known: &KnownJob, owner: &Owner) -> Result<()> {
        if owner.may_have(&known.whose) { Ok(()) } else { Err(another_s(known.id)) }
    }

    /// Whether a job that is handed in was handed in before, and is not to run once more. One that
    /// left nothing behind, and whose client may not have heard of its end, runs anew.
    pub(super) fn is_remembered(&self, id: JobId, owner: &Owner) -> Result<bool> {
        if self.lock().contains_key(&id) {
            return Ok(false);
        }
        let Some(known) = self.history.get(id) else { return Ok(false) };
        // Not an operator either: what it hands in would be answered with another's job.
        if known.whose != *owner.identity() {
            return Err(another_s(id));
        }
        let info = known.info();
        let left_nothing = info.output.is_none();
        Ok(match info.state {
            JobState::Interrupted => !left_nothing,
            JobState::Cancelled => !left_nothing || known.terms.detached,
            JobState::Queued | JobState::Running | JobState::Done | JobState::Failed => true,
        })
    }

    /// What is answered to who asks for the rows of a job that does not run, if anything is known
    /// of it.
    pub(super) fn remembered(
        &self,
        id: JobId,
        sequence: u64,
        owner: &Owner,
    ) -> Option<Result<Next>> {
        let known = self.history.get(id)?;
        if let Err(refused) = self.check_whose(&known, owner) {
            return Some(Err(refused));
        }
        let info = known.info();
        match info.state {
            JobState::Queued | JobState::Running | JobState::Cancelled => None,
            JobState::Failed => info.error.map(Err),
            JobState::Interrupted => Some(Err(interrupted(&known))),
            JobState::Done => Some(done(info, sequence)),
        }
    }

    /// Goes on with those that are to go on by themselves, and removes what is left of those that
    /// are not wanted any more.
    pub(crate) async fn go_on(self: Arc<Self>) {
        let mut cancelled = Vec::new();
        // In the order in which they were let in: one that appends was let in beside one that may
        // not be let in beside it.
        for known in self.history.all().into_iter().rev() {
            let is_kept = known.resumable == Resumable::Yes;
            match known.state() {
                JobState::Interrupted if is_kept && known.terms.resumes => {
                    let (jobs, job) = (Arc::clone(&self), Arc::clone(&known));
                    let resumed = spawn_blocking(move || deep(|| jobs.resume_known(&job))).await;
                    if let Err(error) = resumed.map_err(Error::from_join).flatten() {
                        tracing::warn!(job = %known.id, %error, "a job did not go on by itself");
                        known.not_resumed(&error);
                    }
                }
                // The last coordinator did not come to it.
                JobState::Cancelled if is_kept => cancelled.push(known),
                _ => {}
            }
        }
        self.abandon(cancelled);
    }
}

fn interrupted(known: &KnownJob) -> Error {
    let id = known.id;
    let what = match known.resumable {
        Resumable::Yes => "it can be resumed",
        _ => "submit it again",
    };
    Error::cancelled(format!("job {id} was interrupted when the coordinator ended; {what}"))
}

/// The result of a job that is done, as often as it is asked for; rows are there once.
fn done(info: JobInfo, sequence: u64) -> Result<Next> {
    let JobInfo { id, output, committed, summary, .. } = info;
    match (output, committed, sequence) {
        (Some(output), Some(committed), 0) => row(&output, &committed),
        (Some(_), Some(_), 1) => Ok(Next::Done(summary.unwrap_or_default())),
        _ => Err(Error::not_found(format!(
            "job {id} is done, and its rows are not there (any more): they are handed out once, \
             and those of a detached job are kept for detached_result_ms"
        ))),
    }
}

fn row(output: &str, committed: &Committed) -> Result<Next> {
    let rows = ipc::encode_all(&committed_schema(), &[committed.batch(output)?])?;
    Ok(Next::Chunk { stream: 0, chunk: rows.into() })
}
