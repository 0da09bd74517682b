//! Which workers live, and which of their attempts they have, by what their heartbeats name.

use std::time::Duration;

use keyloom_common::{AttemptId, WorkerId};

use super::{Fleet, Held};

/// So many heartbeats must miss an attempt before it can be dropped: one may be just behind its
/// end.
const MISSED: u32 = 3;

/// How long a worker that lives may leave an attempt unnamed.
#[derive(Clone, Copy, Debug)]
pub(in crate::scheduler) struct Unnamed {
    /// Before it has named it.
    pub(in crate::scheduler) at_first: Duration,
    /// After it has.
    pub(in crate::scheduler) again: Duration,
}

impl Fleet {
    /// Notes that a worker lives, and says which of its attempts it should not have.
    pub(in crate::scheduler) fn heartbeat(
        &mut self,
        id: WorkerId,
        attempts: Vec<AttemptId>,
        now: Duration,
    ) -> Vec<AttemptId> {
        let Some(worker) = self.workers.get_mut(&id) else { return Vec::new() };
        self.heartbeats.remove(&(worker.heartbeat, id));
        worker.heartbeat = now;
        self.heartbeats.insert((now, id));
        let mut unknown = attempts;
        unknown.retain(|attempt| match worker.attempts.get_mut(attempt) {
            Some(held @ Held::Running { .. }) => {
                *held = Held::Running { since: now, named: true, missed: 0 };
                false
            }
            Some(Held::Stopping { .. }) => false,
            None => true,
        });
        for held in worker.attempts.values_mut() {
            if let Held::Running { since, missed, .. } = held
                && *since < now
            {
                *missed += 1;
            }
        }
        unknown
    }

    /// The current attempts that a worker has dropped, though it lives: it has not named for so
    /// long what it had named before, or for much longer what it was told to start. A worker whose
    /// threads all compute may be slow to read its orders.
    pub(in crate::scheduler) fn dropped(
        &self,
        id: WorkerId,
        bounds: Unnamed,
        now: Duration,
    ) -> Vec<AttemptId> {
        let attempts = self.workers.get(&id).into_iter().flat_map(|worker| &worker.attempts);
        let dropped = attempts.filter(|(_, held)| {
            let Held::Running { since, named, missed } = **held else { return false };
            let bound = if named { bounds.again } else { bounds.at_first };
            missed >= MISSED && since.saturating_add(bound) <= now
        });
        dropped.map(|(attempt, _)| *attempt).collect()
    }

    /// The worker that was silent for the longest time, and since when.
    pub(in crate::scheduler) fn most_silent(&self) -> Option<(Duration, WorkerId)> {
        self.heartbeats.first().copied()
    }
}
