//! Which jobs run, and which wait for their turns, in the order in which they came.
//!
//! A job has its place until it ends or first waits for its client: whoever reads slowly, or in an
//! order of its own, keeps nobody waiting. A client's jobs beyond those that it may have run at once
//! wait for others of its own, and hold up nobody else's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use keyloom_common::{Error, Result, rpc::Identity};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{owner::is_bounded, settings::Settings};

/// A job's place among those that run, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _among_all: OwnedSemaphorePermit,
    /// Among those of its client, if these are bounded.
    _among_its_own: Option<OwnedSemaphorePermit>,
}

/// The places of all jobs.
#[derive(Debug)]
pub(super) struct Turns {
    running: Arc<Semaphore>,
    queued: Arc<Semaphore>,
    max_running: usize,
    max_queued: usize,
    /// The places of each client that has jobs, for as long as it has some.
    of_clients: Mutex<HashMap<Identity, Weak<Semaphore>>>,
    max_of_client: usize,
}

/// When a job runs.
#[derive(Debug)]
pub(super) enum Turn {
    Now(Place),
    Later {
        running: Arc<Semaphore>,
        /// Those of its client, if they are bounded.
        own: Option<Arc<Semaphore>>,
        queued: OwnedSemaphorePermit,
    },
}

impl Turns {
    pub(super) fn new(settings: &Settings) -> Self {
        let (max_running, max_queued) = (settings.max_running_jobs, settings.max_queued_jobs);
        let [running, queued] =
            [max_running, max_queued].map(|jobs| Arc::new(Semaphore::new(jobs)));
        let (of_clients, max_of_client) = (Mutex::default(), settings.max_running_jobs_per_client);
        Self { running, queued, max_running, max_queued, of_clients, max_of_client }
    }

    /// How many run now, and how many wait.
    pub(super) fn taken(&self) -> (usize, usize) {
        let taken = |max: usize, free: &Semaphore| max.saturating_sub(free.available_permits());
        (taken(self.max_running, &self.running), taken(self.max_queued, &self.queued))
    }

    /// Lets another job of somebody in.
    ///
    /// # Errors
    /// `resource_exhausted` if too many wait.
    pub(super) fn enter(&self, whose: &Identity) -> Result<Turn> {
        let own = self.own(whose);
        if let Some(place) = Place::free(&self.running, own.as_ref()) {
            return Ok(Turn::Now(place));
        }
        let queued = Arc::clone(&self.queued).try_acquire_owned().map_err(|_| {
            let max = self.max_queued;
            Error::resource_exhausted(format!(
                "{max} jobs wait until others have run, and max_queued_jobs = {max} on the \
                 coordinator; try again later, or raise it or max_running_jobs"
            ))
        })?;
        Ok(Turn::Later { running: Arc::clone(&self.running), own, queued })
    }

    /// The places of a client, if they are bounded.
    fn own(&self, whose: &Identity) -> Option<Arc<Semaphore>> {
        if !is_bounded(whose) {
            return None;
        }
        let mut clients = self.of_clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = clients.get(whose).and_then(Weak::upgrade) {
            return Some(own);
        }
        clients.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(self.max_of_client));
        clients.insert(whose.clone(), Arc::downgrade(&own));
        Some(own)
    }
}

impl Place {
    /// A place that nobody waits for, if there is one.
    fn free(running: &Arc<Semaphore>, own: Option<&Arc<Semaphore>>) -> Option<Self> {
        let among_its_own = own.map(|own| Arc::clone(own).try_acquire_owned()).transpose().ok()?;
        let among_all = Arc::clone(running).try_acquire_owned().ok()?;
        Some(Self { _among_all: among_all, _among_its_own: among_its_own })
    }
}

impl Turn {
    /// Waits until the job's turn has come.
    pub(super) async fn come(self) -> Result<Place> {
        match self {
            Self::Now(place) => Ok(place),
            Self::Later { running, own, queued } => {
                // Its client's first: who waits for these stands in nobody else's way.
                let among_its_own = match own {
                    Some(own) => Some(permit(own).await?),
                    None => None,
                };
                let among_all = permit(running).await?;
                drop(queued);
                Ok(Place { _among_all: among_all, _among_its_own: among_its_own })
            }
        }
    }
}

async fn permit(places: Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    places.acquire_owned().await.map_err(|_| Error::internal("no job runs any more"))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use keyloom_common::{ErrorKind, rpc::Role};

    use super::*;

    fn somebody(role: Role, name: &str) -> Identity {
        Identity { role, name: name.into() }
    }

    #[tokio::test]
    async fn beyond_those_that_run_some_wait_in_order_and_others_are_refused() {
        let settings = Settings { max_running_jobs: 1, max_queued_jobs: 2, ..Settings::default() };
        let turns = Turns::new(&settings);
        let enter = || turns.enter(&Identity::anybody());
        let first = enter().unwrap().come().now_or_never().expect("its turn").unwrap();
        let [mut second, mut third] = [(); 2].map(|()| Box::pin(enter().unwrap().come()));
        let refused = enter().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
        assert!(refused.message().contains("max_queued_jobs = 2 on the coordinator"), "{refused}");
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut third).is_pending());
        assert_eq!(turns.taken(), (1, 2));
        drop(first);
        assert!(futures::poll!(&mut third).is_pending(), "it came later");
        let _second = second.now_or_never().expect("its turn").unwrap();
        let _fourth = enter().expect("a place in the queue");
        drop(third);
        enter().expect("the place of one that does not wait any more");
    }

    #[tokio::test]
    async fn a_clients_jobs_wait_for_its_own_and_let_others_pass() {
        let settings =
            Settings { max_running_jobs: 3, max_running_jobs_per_client: 1, ..Settings::default() };
        let turns = Turns::new(&settings);
        let [alice, bob] = ["alice", "bob"].map(|name| somebody(Role::Client, name));
        let first = turns.enter(&alice).unwrap().come().now_or_never().expect("its turn").unwrap();
        let [mut second, mut third] =
            [(); 2].map(|()| Box::pin(turns.enter(&alice).unwrap().come()));
        assert!(futures::poll!(&mut second).is_pending());
        let of_bob = turns.enter(&bob).unwrap();
        assert!(matches!(of_bob, Turn::Now(_)), "others hold it up");
        assert_eq!(turns.taken(), (2, 2));
        drop(first);
        assert!(futures::poll!(&mut third).is_pending(), "it came later");
        let second = second.now_or_never().expect("its turn").unwrap();
        drop((second, third, of_bob));
        assert_eq!(turns.taken(), (0, 0));

        // Nothing is kept of clients that have no jobs, and operators have no bound of their own.
        let olga = somebody(Role::Operator, "olga");
        let places = [(); 3].map(|()| turns.enter(&olga).unwrap());
        assert!(places.iter().all(|turn| matches!(turn, Turn::Now(_))));
        drop(places);
        let _turn = turns.enter(&bob).unwrap();
        assert_eq!(turns.of_clients.lock().unwrap().len(), 1);
    }
}
