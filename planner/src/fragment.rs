//! What a cut plan asks of workers, as data.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

use crate::slice::Chain;

/// A part of a plan that workers run in tasks.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// Which of its plan's it is, from 0.
    pub stage: u32,
    /// The operators, all of them, with their leaves.
    pub plan: Arc<dyn ExecutionPlan>,
    /// Where its tasks find their input.
    pub source: Source,
    /// How their rows are read.
    pub reading: Reading,
    /// What collects the keys of its fetches, before its tasks run.
    pub key_sets: Vec<KeySet>,
    /// Whether it collects keys itself, for another.
    pub collects: bool,
}

/// All keys of some fetches.
#[derive(Clone, Debug)]
pub struct KeySet {
    /// The fetches: the place of the lookup among the nodes of the fragment, in pre-order, and
    /// which one it is of those of the lookup's first wave.
    pub fetches: Vec<(usize, usize)>,
    /// The keys, as rows of one column. They may come again.
    pub keys: Arc<dyn ExecutionPlan>,
}

/// Where a fragment's tasks find their input.
#[derive(Clone, Debug)]
pub enum Source {
    /// In the fragment itself, of which each task runs a chain over a slice.
    Slices(Arc<[Chain]>),
    /// In rows that the coordinator computes and sends out as it goes.
    Rows(Arc<dyn ExecutionPlan>),
    /// In the fragment itself, which one task runs as a whole: with other workers, among whom rows
    /// are shuffled.
    Shuffle,
}

/// How the rows of a fragment's tasks are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As one partition: those of one task after the other's, in task order.
    Ordered,
    /// As a partition a task: sorted runs, to be merged.
    Runs,
}

impl Fragment {
    /// As how many partitions its rows are read.
    pub fn partitions(&self) -> usize {
        match (self.reading, &self.source) {
            (Reading::Ordered, _) => 1,
            (Reading::Runs, Source::Slices(chains)) => chains.iter().map(Chain::tasks).sum(),
            // How many tasks there are is not known before all rows are there.
            (Reading::Runs, Source::Rows(_)) => 0,
            (Reading::Runs, Source::Shuffle) => 1,
        }
    }
}
