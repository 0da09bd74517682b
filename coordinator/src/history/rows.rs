//! How many bytes of tasks' rows the file keeps, of all jobs together: a bound that holds whatever
//! jobs there are. A job gives back what it has taken once it cannot be resumed any more.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use keyloom_common::JobId;

/// The room for rows, and who has taken of it.
#[derive(Debug)]
pub(super) struct Rows {
    max: u64,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    sum: u64,
    by_job: HashMap<JobId, u64>,
}

impl Rows {
    /// Room for so many bytes.
    pub(super) fn new(max: u64) -> Self {
        Self { max, taken: Mutex::default() }
    }

    /// Counts what a job has in the file, be it more than there may be now.
    pub(super) fn count(&self, job: JobId, bytes: u64) {
        if bytes > 0 {
            self.lock().add(job, bytes);
        }
    }

    /// Whether there is room for so many bytes more.
    pub(super) fn has(&self, bytes: u64) -> bool {
        self.lock().sum.saturating_add(bytes) <= self.max
    }

    /// Takes so many bytes for a job, if there is room for them. A task that runs again takes its
    /// place twice: there may be less room than that, and never more.
    pub(super) fn take(&self, job: JobId, bytes: u64) -> bool {
        let mut taken = self.lock();
        let fits = taken.sum.saturating_add(bytes) <= self.max;
        if fits {
            taken.add(job, bytes);
        }
        fits
    }

    /// Gives back all that a job has taken.
    pub(super) fn give_back(&self, job: JobId) {
        let mut taken = self.lock();
        let bytes = taken.by_job.remove(&job).unwrap_or_default();
        taken.sum = taken.sum.saturating_sub(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // No change leaves it half-done, so a poisoned lock guards sound contents.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn add(&mut self, job: JobId, bytes: u64) {
        let own = self.by_job.entry(job).or_default();
        *own = own.saturating_add(bytes);
        self.sum = self.sum.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jobs_take_is_bounded_together_and_given_back_by_each() {
        let [one, other] = [1, 2].map(JobId::from_u128);
        let rows = Rows::new(100);
        assert!(rows.take(one, 60) && rows.take(other, 40));
        assert!(!rows.has(1) && !rows.take(other, 1));
        rows.give_back(one);
        rows.give_back(one);
        assert!(rows.has(60) && !rows.has(61) && rows.take(other, 60));
        // The setting is a smaller one than before.
        rows.count(one, 500);
        rows.give_back(other);
        assert!(!rows.has(0) && !rows.take(other, 1));
        rows.give_back(one);
        assert!(rows.has(100));
    }
}
