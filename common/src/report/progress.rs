//! How far a job is, stage by stage and store by store, for those who watch it.
//!
//! It is told again and again, so it is small: of many stages or stores some are left out, and how
//! many is told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{JobStatus, PlanMetrics, StoreStats, TASK, counter};

/// How far the parts of a job are. Rows, bytes and keys are those of tasks that are done, and of
/// those that run what their workers have told last: if an attempt fails, its own are taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProgress {
    /// The stages that have begun, in the order of their numbers, and then what the coordinator
    /// does itself at this moment.
    pub stages: Vec<StageProgress>,
    /// What was asked of stores, by alias.
    pub stores: BTreeMap<String, StoreProgress>,
    /// Stages and stores that are not told of, because there are too many.
    pub left_out: u32,
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageProgress {
    /// Its number; none of what the coordinator does itself.
    pub stage: Option<u32>,
    /// What it is for.
    pub work: StageWork,
    /// Tasks known so far.
    pub tasks: u32,
    /// Tasks done.
    pub tasks_done: u32,
    /// What is done of those that run, in thousandths of a task, as far as it is known how much
    /// there is to do.
    pub thousandths: u32,
    /// Rows that they gave or, of a stage that writes, wrote.
    pub rows: u64,
    /// Bytes that they wrote to an output.
    pub bytes: u64,
}

/// What a stage is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageWork {
    /// Collecting the keys that others look up.
    Keys,
    /// Reading rows.
    Rows,
    /// Looking rows' keys up.
    Lookups,
    /// Writing rows to an output, whatever else is done with them before.
    Writing,
    /// Computing rows on the coordinator, after the tasks that are known.
    Computing,
    /// Making visible what was written.
    Committing,
}

/// What was asked of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreProgress {
    /// Keys that rows asked for.
    pub keys: u64,
    /// Distinct keys that the store holds, of those that were looked up together.
    pub hits: u64,
    /// Distinct keys that it does not hold.
    pub misses: u64,
}

/// How far an attempt at a task is, as its worker tells while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskProgress {
    /// Rows that it has given or, if it writes, taken to write them.
    pub rows: u64,
    /// Bytes of the files that it has written to an output and closed.
    pub bytes: u64,
    /// What it has done of its rows, in thousandths; 0 if it is not known how many there are.
    pub thousandths: u32,
    /// What it has asked of stores, by alias.
    pub stores: BTreeMap<String, StoreProgress>,
}

/// How far a job is that has nothing to hand out yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underway {
    /// As a whole.
    pub status: JobStatus,
    /// Part by part.
    pub progress: JobProgress,
}

impl JobProgress {
    /// The most stages that are told of.
    pub const MAX_STAGES: usize = 32;
    /// The most stores that are told of.
    pub const MAX_STORES: usize = 64;

    /// What is told of these. Of too many stages, those are left out first that are done.
    pub fn bounded(
        mut stages: Vec<StageProgress>,
        mut stores: BTreeMap<String, StoreProgress>,
    ) -> Self {
        let mut left_out = stages.len().saturating_sub(Self::MAX_STAGES);
        if left_out > 0 {
            // The coordinator's own have no number and come last.
            let place = |stage: &StageProgress| stage.stage.unwrap_or(u32::MAX);
            stages.sort_by_key(StageProgress::is_done);
            stages.truncate(Self::MAX_STAGES);
            stages.sort_by_key(place);
        }
        while stores.len() > Self::MAX_STORES {
            stores.pop_last();
            left_out += 1;
        }
        Self { stages, stores, left_out: u32::try_from(left_out).unwrap_or(u32::MAX) }
    }

    /// Rows of the job's last part so far: what it wrote, or else what its last stage gave. Rows
    /// pass through one stage after the other, and are not counted twice.
    pub fn rows(&self) -> u64 {
        let of = |writes: bool| {
            let mut stages = self.stages.iter().rev().filter(|stage| stage.stage.is_some());
            let is_asked = move |stage: &&StageProgress| match stage.work {
                StageWork::Writing => writes,
                StageWork::Rows | StageWork::Lookups => !writes,
                StageWork::Keys | StageWork::Computing | StageWork::Committing => false,
            };
            stages.find(is_asked).map(|stage| stage.rows)
        };
        of(true).or_else(|| of(false)).unwrap_or_default()
    }
}

impl StageProgress {
    /// Whether all its tasks are done that are known.
    pub fn is_done(&self) -> bool {
        self.tasks > 0 && self.tasks_done >= self.tasks
    }
}

impl StageWork {
    /// Its name, as people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Rows => "rows",
            Self::Lookups => "lookups",
            Self::Writing => "writing",
            Self::Computing => "computing",
            Self::Committing => "committing",
        }
    }
}

impl StoreProgress {
    /// Adds what was counted elsewhere.
    pub fn add(&mut self, counted: Self) {
        self.keys = self.keys.saturating_add(counted.keys);
        self.hits = self.hits.saturating_add(counted.hits);
        self.misses = self.misses.saturating_add(counted.misses);
    }
}

impl From<&StoreStats> for StoreProgress {
    fn from(counted: &StoreStats) -> Self {
        Self { keys: counted.keys, hits: counted.hits, misses: counted.misses }
    }
}

impl TaskProgress {
    /// Of an attempt with so many rows, whose plan has counted this.
    pub fn of(rows: u64, counted: &PlanMetrics) -> Self {
        let bytes = counted.sum(0, counter::BYTES_WRITTEN);
        let stores = counted.stores();
        let stores =
            stores.iter().map(|(alias, counted)| (alias.clone(), StoreProgress::from(counted)));
        Self { rows, bytes, thousandths: 0, stores: stores.collect() }.bounded()
    }

    /// The same with no more stores than are told of a job, and less than all of it done: it runs.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.thousandths = self.thousandths.min(TASK - 1);
        while self.stores.len() > JobProgress::MAX_STORES {
            self.stores.pop_last();
        }
        self
    }

    /// About how many bytes of a message tell of it.
    pub fn told_bytes(&self) -> usize {
        const NUMBERS: usize = 64;
        self.stores.keys().fold(NUMBERS, |bytes, alias| bytes + NUMBERS + alias.len())
    }

    /// Adds another task's.
    pub fn add(&mut self, other: &Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.thousandths = self.thousandths.saturating_add(other.thousandths);
        for (alias, counted) in &other.stores {
            self.stores.entry(alias.clone()).or_default().add(*counted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(stage: Option<u32>, work: StageWork, tasks_done: u32) -> StageProgress {
        let rows = tasks_done.into();
        StageProgress { stage, work, tasks: 2, tasks_done, thousandths: 0, rows, bytes: 0 }
    }

    #[test]
    fn of_too_many_stages_those_that_are_done_are_left_out() {
        let mut stages: Vec<_> =
            (0..40).map(|number| stage(Some(number), StageWork::Lookups, number % 2 + 1)).collect();
        stages.push(stage(None, StageWork::Committing, 0));
        let progress = JobProgress::bounded(stages, BTreeMap::new());
        assert_eq!((progress.stages.len(), progress.left_out), (JobProgress::MAX_STAGES, 9));
        let under_way = progress.stages.iter().filter(|stage| !stage.is_done()).count();
        assert_eq!(under_way, 21);
        assert_eq!(progress.stages.last().map(|stage| stage.work), Some(StageWork::Committing));
        assert!(progress.stages.is_sorted_by_key(|stage| stage.stage.unwrap_or(u32::MAX)));
    }

    #[test]
    fn of_too_many_stores_some_are_left_out() {
        let stores = (0..70).map(|store| (format!("{store:02}"), StoreProgress::default()));
        let progress = JobProgress::bounded(Vec::new(), stores.collect());
        assert_eq!((progress.stores.len(), progress.left_out), (JobProgress::MAX_STORES, 6));
        assert!(progress.stores.contains_key("63"));
    }

    #[test]
    fn what_tasks_tell_adds_up_and_is_bounded() {
        let counted = |keys| StoreProgress { keys, hits: 2, misses: 1 };
        let task = |rows, keys| TaskProgress {
            rows,
            bytes: 5,
            thousandths: 400,
            stores: [("products".to_owned(), counted(keys))].into(),
        };
        let mut all = task(7, 3);
        all.add(&task(u64::MAX, 4));
        let both = StoreProgress { keys: 7, hits: 4, misses: 2 };
        let stores = [("products".to_owned(), both)].into();
        let expected = TaskProgress { rows: u64::MAX, bytes: 10, thousandths: 800, stores };
        assert_eq!(all, expected);
        assert_eq!(all.told_bytes(), 136);
        let many = (0..70).map(|store| (format!("{store:02}"), counted(store))).collect();
        let many = TaskProgress { stores: many, thousandths: u32::MAX, ..task(0, 0) }.bounded();
        assert_eq!(many.thousandths, TASK - 1);
        assert_eq!(many.stores.len(), JobProgress::MAX_STORES);
        assert_eq!(many.stores.get("63"), Some(&counted(63)));
    }

    #[test]
    fn rows_are_counted_once_and_where_they_are_written_if_they_are() {
        use StageWork::{Committing, Keys, Lookups, Rows, Writing};
        let rows = |stages: &[StageProgress]| {
            JobProgress::bounded(stages.to_vec(), BTreeMap::new()).rows()
        };
        assert_eq!(rows(&[]), 0);
        let read = [stage(Some(0), Rows, 2), stage(Some(1), Lookups, 1)];
        assert_eq!(rows(&[read[0], read[1], stage(Some(2), Keys, 2)]), 1);
        let written = [read[0], stage(Some(1), Writing, 2), stage(None, Committing, 0)];
        assert_eq!(rows(&written), 2);
    }
}
