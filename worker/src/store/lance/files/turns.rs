//! Turns at a service: how many requests it has to answer at a time, whatever reads, datasets and
//! lookups they are made for. Lance bounds those of each of its readers alone.
//!
//! Nobody who has a turn waits for another one, so nobody waits for ever; they are given in the
//! order in which they were asked for.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns at a service, or a part of them.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    service: Arc<Semaphore>,
    /// Those of stores that may have fewer.
    part: Option<Arc<Semaphore>>,
}

/// A turn, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl Turns {
    pub(super) fn new(most: usize) -> Self {
        Self { service: semaphore(most), part: None }
    }

    /// A part of them: no more than so many at a time.
    pub(super) fn part(&self, most: usize) -> Self {
        Self { service: Arc::clone(&self.service), part: Some(semaphore(most)) }
    }

    /// Waits for a turn.
    pub(super) async fn take(&self) -> Turn {
        // None is ever closed.
        let of_part = match &self.part {
            Some(part) => Arc::clone(part).acquire_owned().await.ok(),
            None => None,
        };
        let of_service = Arc::clone(&self.service).acquire_owned().await.ok();
        Turn { _permits: [of_part, of_service] }
    }
}

fn semaphore(most: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)))
}
