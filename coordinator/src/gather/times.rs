//! When the tasks of a stage ran, in a few figures however many there are.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use keyloom_common::WorkerId;

/// When tasks ran that are done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    /// From the first start to the last end.
    pub(crate) all: Option<Range<Instant>>,
    /// The sum over the tasks.
    pub(crate) total: Duration,
    /// The task that took longest: which, where and how long.
    pub(crate) slowest: Option<(u32, WorkerId, Duration)>,
}

impl Times {
    /// Adds a task.
    pub(super) fn add(&mut self, task: u32, worker: WorkerId, ran: Range<Instant>) {
        let took = ran.end.saturating_duration_since(ran.start);
        self.total += took;
        if self.slowest.is_none_or(|(.., slowest)| took > slowest) {
            self.slowest = Some((task, worker, took));
        }
        self.all = Some(match self.all.take() {
            Some(all) => all.start.min(ran.start)..all.end.max(ran.end),
            None => ran,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_that_overlap_count_once_in_the_whole_and_each_in_the_sum() {
        let epoch = Instant::now();
        let at = |seconds| epoch + Duration::from_secs(seconds);
        let (one, other) = (WorkerId::from_u128(1), WorkerId::from_u128(2));
        let mut times = Times::default();
        times.add(0, one, at(2)..at(5));
        times.add(1, other, at(1)..at(6));
        times.add(2, one, at(5)..at(7));
        assert_eq!(times.all, Some(at(1)..at(7)));
        assert_eq!(times.total, Duration::from_secs(10));
        assert_eq!(times.slowest, Some((1, other, Duration::from_secs(5))));
    }
}
