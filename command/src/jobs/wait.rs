//! Staying with a job until it has ended, wherever it runs and whoever handed it in.

use std::time::Duration;

use keyloom_client::{
    Error, JobId, Session,
    report::{JobInfo, JobState},
};

use crate::{error::Failure, watch::Watch};

/// How soon it is asked again at first, and how often later.
pub(super) const SOON: Duration = Duration::from_millis(50);
pub(super) const LATER: Duration = Duration::from_secs(1);

/// How long a coordinator that is gone is asked again: it may be restarting.
pub(super) const GONE: Duration = Duration::from_secs(60);

/// Waits until a job has ended. Who is interrupted meanwhile leaves it as it is.
pub(super) async fn until_end(
    session: &Session,
    id: JobId,
    watch: &Watch,
) -> Result<JobInfo, Failure> {
    let (mut pause, mut gone) = (SOON, Duration::ZERO);
    loop {
        match super::info(session, id, watch).await {
            Ok(job) if job.state.is_end() => return Ok(job),
            Ok(job) => {
                gone = Duration::ZERO;
                match job.status.workers {
                    0 if job.state == JobState::Running => watch.no_workers(),
                    _ => watch.progress(job.status, &job.progress, 0),
                }
            }
            Err(failure) if failure.kind() == "unavailable" && gone < GONE => gone += pause,
            Err(failure) => return Err(failure),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LATER),
            () = watch.interrupted() => {
                return Err(Failure::interrupted().help(format!(
                    "job {id} goes on: keyloom jobs wait, or keyloom jobs cancel"
                )));
            }
        }
    }
}

/// How a job has ended, as a command's end.
pub(super) fn outcome(job: &JobInfo) -> Result<(), Failure> {
    let id = job.id;
    match job.state {
        JobState::Done => Ok(()),
        JobState::Cancelled => Err(Failure::cancelled(format!("job {id} was cancelled"))),
        JobState::Interrupted => {
            let message = format!("the coordinator ended before job {id} did");
            Err(Failure::failed(message).help(format!("go on with it: keyloom run --resume {id}")))
        }
        JobState::Failed | JobState::Queued | JobState::Running => {
            let error = job.error.clone();
            let error = error.unwrap_or_else(|| {
                Error::internal(format!("job {id} is {}, and it is not told why", job.state.name()))
            });
            Err(Failure::running(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::view::tests::job;

    #[test]
    fn how_a_job_ended_is_how_the_command_ends() {
        let ended = |state: JobState, error: Option<Error>| {
            outcome(&JobInfo { state, error, ..job() }).map_err(|failure| {
                (failure.code(), failure.message.clone().unwrap_or_default(), failure.help)
            })
        };
        assert_eq!(ended(JobState::Done, None), Ok(()));
        let (code, message, help) = ended(JobState::Cancelled, None).unwrap_err();
        assert_eq!((code, message.ends_with(" was cancelled"), help), (130, true, None));
        let (code, _, help) = ended(JobState::Interrupted, None).unwrap_err();
        assert_eq!((code, help.is_some_and(|help| help.contains("--resume"))), (1, true));
        let failed = ended(JobState::Failed, Some(Error::store("no disk")));
        assert_eq!(failed, Err((1, "no disk".to_owned(), None)));
    }
}
