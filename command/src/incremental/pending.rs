//! A job of which it is not known yet whether its rows were committed: it was handed in, and nobody
//! has heard of its end since.

use std::time::{Duration, Instant};

use keyloom_client::{
    Error, ErrorCode, ErrorKind, JobId, Session,
    report::{JobInfo, JobState},
};
use keyloom_common::{
    described::{Mode, Output},
    error::redact,
};
use serde::{Deserialize, Serialize};

/// How long a job that is being committed is waited for, and how often it is asked about meanwhile.
const SETTLES: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// How long an answer may take: a coordinator that is gone gives none.
const ANSWERS: Duration = Duration::from_secs(10);

/// A job that was handed in, and reads what is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HandedIn {
    pub(crate) id: JobId,
    /// Where its rows go.
    pub(super) output: String,
    /// Whether they would be there twice if the same is read again.
    pub(super) appends: bool,
}

impl HandedIn {
    /// A job of an id of its own, whose rows the workers write there.
    pub(crate) fn to(output: &Output) -> Self {
        let appends = output.if_exists == Mode::Append;
        Self { id: JobId::new(), output: redact(&output.path), appends }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its rows are where they were to be.
    Committed,
    /// None of them are, and none will be.
    Nothing,
    UnderWay,
    /// The coordinator cannot tell.
    Unknown,
    /// The coordinator does not know it (any more), or was not reached.
    NotTold,
}

impl Fate {
    fn of(job: &JobInfo) -> Self {
        let code = job.error.as_ref().and_then(Error::code);
        if job.committed.is_some() {
            return Self::Committed;
        }
        match job.state {
            JobState::Done => Self::Committed,
            JobState::Queued | JobState::Running => Self::UnderWay,
            JobState::Interrupted => Self::Unknown,
            JobState::Failed | JobState::Cancelled if code == Some(ErrorCode::CommitUnknown) => {
                Self::Unknown
            }
            JobState::Failed | JobState::Cancelled => Self::Nothing,
        }
    }
}

/// What became of a job, once that is settled or has taken long.
///
/// # Errors
/// Why the coordinator does not say it, unless it does not know the job.
pub(super) async fn fate(session: &Session, job: JobId) -> keyloom_client::Result<Fate> {
    let end = Instant::now() + SETTLES;
    loop {
        let asked = tokio::time::timeout(ANSWERS, session.job(job)).await;
        let late = |_| Error::timeout(format!("nobody says what became of job {job}"));
        let info = match asked.map_err(late).flatten() {
            Ok(info) => info,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Fate::NotTold),
            Err(error) => return Err(error),
        };
        let fate = Fate::of(&info);
        // One that was cancelled while it was committed is done in the end, or refused.
        let settles = match fate {
            Fate::UnderWay => true,
            Fate::Unknown => info.state == JobState::Cancelled,
            Fate::Committed | Fate::Nothing | Fate::NotTold => false,
        };
        if !settles || Instant::now() >= end {
            return Ok(fate);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use keyloom_client::report::{JobProgress, JobStatus};
    use keyloom_common::output::Committed;

    use super::*;

    fn job() -> JobInfo {
        JobInfo {
            id: JobId::from_u128(7),
            name: None,
            statement: None,
            owner: "me".to_owned(),
            state: JobState::Done,
            output: None,
            submitted_ms: 0,
            started_ms: None,
            ended_ms: None,
            status: JobStatus::default(),
            progress: JobProgress::default(),
            error: None,
            committed: None,
            summary: None,
            schema: None,
        }
    }

    #[test]
    fn what_became_of_a_job_is_told_by_its_state_and_its_error() {
        let fate = |state: JobState, error: Option<Error>| {
            Fate::of(&JobInfo { state, error, committed: None, ..job() })
        };
        let unknown = || Some(Error::timeout("?").with_code(ErrorCode::CommitUnknown));
        let failed = || Some(Error::timeout("too slow"));
        assert_eq!(fate(JobState::Done, None), Fate::Committed);
        assert_eq!(fate(JobState::Running, None), Fate::UnderWay);
        assert_eq!(fate(JobState::Cancelled, None), Fate::Nothing);
        assert_eq!(fate(JobState::Cancelled, unknown()), Fate::Unknown);
        assert_eq!(fate(JobState::Failed, failed()), Fate::Nothing);
        assert_eq!(fate(JobState::Failed, unknown()), Fate::Unknown);
        assert_eq!(fate(JobState::Interrupted, None), Fate::Unknown);
        // More keys missed than it allows, which was found behind the commit.
        let committed = Some(Committed::default());
        let late = JobInfo { state: JobState::Failed, error: failed(), committed, ..job() };
        assert_eq!(Fate::of(&late), Fate::Committed);
    }
}
