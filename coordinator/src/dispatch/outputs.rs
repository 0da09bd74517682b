//! Chunks of attempts that run now. A chunk of any other attempt is refused: that is the fence
//! between an attempt and its late predecessor.

use std::{
    cmp::Ordering,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use keyloom_common::{AttemptId, Error, Result, StageId, WorkerId};

use crate::gather::{Spool, SpoolRoom};

#[derive(Debug)]
pub(super) struct Outputs {
    room: Arc<SpoolRoom>,
    attempts: Mutex<HashMap<AttemptId, (WorkerId, Spool)>>,
}

impl Outputs {
    pub(super) fn new(room: Arc<SpoolRoom>) -> Self {
        Self { room, attempts: Mutex::default() }
    }

    /// Takes chunks of this attempt from this worker from now on.
    pub(super) fn open(&self, worker: WorkerId, attempt: AttemptId) {
        self.lock().insert(attempt, (worker, Spool::new(Arc::clone(&self.room))));
    }

    /// Takes the next chunk; one that came before is ignored, so that sending twice is harmless.
    pub(super) fn push(
        &self,
        worker: WorkerId,
        attempt: AttemptId,
        sequence: u32,
        chunk: Bytes,
    ) -> Result<()> {
        let mut attempts = self.lock();
        let spool = match attempts.get_mut(&attempt) {
            Some((owner, spool)) if *owner == worker => spool,
            _ => return Err(not_wanted(attempt)),
        };
        match (sequence as usize).cmp(&spool.len()) {
            Ordering::Less => Ok(()),
            Ordering::Equal => spool.push(chunk),
            Ordering::Greater => Err(Error::internal(format!(
                "attempt {attempt}: chunk {sequence} came when {} was due",
                spool.len()
            ))),
        }
    }

    /// Takes no more chunks of this attempt and hands out what came.
    pub(super) fn take(&self, worker: WorkerId, attempt: AttemptId) -> Result<Spool> {
        let mut attempts = self.lock();
        match attempts.get(&attempt) {
            Some((owner, _)) if *owner == worker => {}
            _ => return Err(not_wanted(attempt)),
        }
        attempts.remove(&attempt).map(|(_, spool)| spool).ok_or_else(|| not_wanted(attempt))
    }

    pub(super) fn discard(&self, attempt: AttemptId) {
        self.lock().remove(&attempt);
    }

    pub(super) fn discard_worker(&self, worker: WorkerId) {
        self.lock().retain(|_, (owner, _)| *owner != worker);
    }

    pub(super) fn discard_stage(&self, stage: StageId) {
        self.lock().retain(|attempt, _| attempt.task.stage != stage);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptId, (WorkerId, Spool)>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_wanted(attempt: AttemptId) -> Error {
    Error::cancelled(format!("attempt {attempt} is not wanted any more"))
}
