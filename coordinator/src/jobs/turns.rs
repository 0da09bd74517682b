//! Which jobs run, and which wait for their turns, in the order in which they came.
//!
//! A job has its place until it ends or first waits for its client: whoever reads slowly, or in an
//! order of its own, keeps nobody waiting.

use std::sync::Arc;

use keyloom_common::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::settings::Settings;

/// A job's place among those that run, until this is dropped.
pub(super) type Place = OwnedSemaphorePermit;

/// The places of all jobs.
#[derive(Debug)]
pub(super) struct Turns {
    running: Arc<Semaphore>,
    queued: Arc<Semaphore>,
    max_running: usize,
    max_queued: usize,
}

/// When a job runs.
#[derive(Debug)]
pub(super) enum Turn {
    Now(Place),
    Later { running: Arc<Semaphore>, queued: OwnedSemaphorePermit },
}

impl Turns {
    pub(super) fn new(settings: &Settings) -> Self {
        let (max_running, max_queued) = (settings.max_running_jobs, settings.max_queued_jobs);
        let [running, queued] =
            [max_running, max_queued].map(|jobs| Arc::new(Semaphore::new(jobs)));
        Self { running, queued, max_running, max_queued }
    }

    /// How many run now, and how many wait.
    pub(super) fn taken(&self) -> (usize, usize) {
        let taken = |max: usize, free: &Semaphore| max.saturating_sub(free.available_permits());
        (taken(self.max_running, &self.running), taken(self.max_queued, &self.queued))
    }

    /// Lets another job in.
    ///
    /// # Errors
    /// `resource_exhausted` if too many wait.
    pub(super) fn enter(&self) -> Result<Turn> {
        if let Ok(place) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(Turn::Now(place));
        }
        let queued = Arc::clone(&self.queued).try_acquire_owned().map_err(|_| {
            let max = self.max_queued;
            Error::resource_exhausted(format!(
                "{max} jobs wait until others have run, and max_queued_jobs = {max} on the \
                 coordinator; try again later, or raise it or max_running_jobs"
            ))
        })?;
        Ok(Turn::Later { running: Arc::clone(&self.running), queued })
    }
}

impl Turn {
    /// Waits until the job's turn has come.
    pub(super) async fn come(self) -> Result<Place> {
        match self {
            Self::Now(place) => Ok(place),
            Self::Later { running, queued } => {
                let place = running.acquire_owned().await;
                drop(queued);
                place.map_err(|_| Error::internal("no job runs any more"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use keyloom_common::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn beyond_those_that_run_some_wait_in_order_and_others_are_refused() {
        let settings = Settings { max_running_jobs: 1, max_queued_jobs: 2, ..Settings::default() };
        let turns = Turns::new(&settings);
        let first = turns.enter().unwrap().come().now_or_never().expect("its turn").unwrap();
        let [mut second, mut third] = [(); 2].map(|()| Box::pin(turns.enter().unwrap().come()));
        let refused = turns.enter().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
        assert!(refused.message().contains("max_queued_jobs = 2 on the coordinator"), "{refused}");
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut third).is_pending());
        assert_eq!(turns.taken(), (1, 2));
        drop(first);
        assert!(futures::poll!(&mut third).is_pending(), "it came later");
        let _second = second.now_or_never().expect("its turn").unwrap();
        let _fourth = turns.enter().expect("a place in the queue");
        drop(third);
        turns.enter().expect("the place of one that does not wait any more");
    }
}
