//! Which workers did the tasks of a stage. A worker registers under another id with each
//! coordinator, so that one that did tasks of a job before that was resumed would count twice.

use std::collections::HashSet;

use keyloom_common::WorkerId;

/// The workers that did tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DoneBy {
    known: HashSet<WorkerId>,
    /// Those of runs before, which are not registered (any more): who they are now is not known.
    before: HashSet<WorkerId>,
}

impl DoneBy {
    /// Adds that of a task, which is not known if it did that in a run before, and is gone.
    pub(super) fn add(&mut self, worker: WorkerId, is_known: bool) {
        let workers = if is_known { &mut self.known } else { &mut self.before };
        workers.insert(worker);
    }

    /// How many did the tasks of all these. Of those that are not known, somebody else may be one
    /// of the others: they count where there are no others.
    pub(crate) fn count<'a>(all: impl IntoIterator<Item = &'a Self>) -> u32 {
        let mut sum = Self::default();
        for stage in all {
            sum.known.extend(&stage.known);
            sum.before.extend(&stage.before);
        }
        let workers = if sum.known.is_empty() { sum.before } else { sum.known };
        u32::try_from(workers.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(known: &[u128], before: &[u128]) -> DoneBy {
        let mut by = DoneBy::default();
        known.iter().for_each(|id| by.add(WorkerId::from_u128(*id), true));
        before.iter().for_each(|id| by.add(WorkerId::from_u128(*id), false));
        by
    }

    #[test]
    fn workers_count_once_whatever_they_were_called_before() {
        let count = |all: &[DoneBy]| DoneBy::count(all);
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[by(&[1, 2], &[]), by(&[2, 3], &[])]), 3);
        assert_eq!(count(&[by(&[1, 2], &[7]), by(&[], &[8])]), 2);
        assert_eq!(count(&[by(&[], &[7, 8]), by(&[], &[8])]), 2, "all was done before");
    }
}
