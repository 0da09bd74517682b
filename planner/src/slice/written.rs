//! How what is written is cut: into few slices, because each task makes files of its own.
//!
//! Partitions that follow each other are put together to about a measure, and larger ones of files
//! are cut by it. How large it is follows from the plan and from settings: the workers of the
//! moment play no part, so that a plan is cut in the same way whenever that is done.

use std::{ops::Range, sync::Arc};

use datafusion::physical_plan::ExecutionPlan;
use keyloom_common::{
    input::Layout,
    output::WriteExec,
    plan::{FramePartition, FrameScanExec, InputScanExec, ScanPartition},
};

use super::{Chain, Cut, Grain, Lookups};
use crate::write::wants_whole_fragments;

/// How finely what is written is cut.
#[derive(Clone, Copy, Debug)]
pub struct WriteGrain {
    /// The most rows of a slice, where they are known.
    pub rows: usize,
    /// The most bytes of a slice: those of files and frames that it reads, and those of answers.
    pub bytes: u64,
    /// How many slices there are at least, where each has as many rows as those of other plans: so
    /// that many workers have some.
    pub slices: usize,
}

/// How much makes a slice of a fragment that writes.
#[derive(Debug)]
pub(super) struct Coarse {
    /// About how many rows, where they are known.
    rows: u64,
    /// The most of them.
    most_rows: u64,
    /// Bytes of files of which they are not.
    unknown: u64,
    /// Bytes of files or of a frame, and of answers, in any case.
    bytes: u64,
}

/// How much there is of a partition, or of several.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    rows: u64,
    unknown: u64,
    bytes: u64,
    answers: u64,
    /// Whether some rows of a partition are wanted: they are not read as one with others.
    is_apart: bool,
}

impl Coarse {
    /// The measure of a fragment that writes, unless it needs partitions as they are.
    pub(super) fn of(
        fragment: &Arc<dyn ExecutionPlan>,
        chains: &[Chain],
        grain: Grain,
    ) -> Option<Self> {
        if !fragment.is::<WriteExec>() || wants_whole_fragments(fragment) {
            return None;
        }
        let loads = chains.iter().flat_map(|chain| Load::of_each(&chain.leaf, 0));
        let all = loads.flatten().fold(Load::default(), Load::and);
        let (write, slices) = (grain.write, grain.write.slices.max(1) as u64);
        let rows = all.rows.div_ceil(slices).max(grain.rows as u64).min(write.rows as u64);
        let unknown = all.unknown.div_ceil(slices).min(write.bytes);
        let most_rows = write.rows as u64;
        Some(Self { rows: rows.max(1), most_rows, unknown, bytes: write.bytes })
    }

    /// The slices of a leaf, in the order of their rows.
    pub(super) fn cuts(
        &self,
        leaf: &Arc<dyn ExecutionPlan>,
        lookups: &Lookups,
        grain: Grain,
    ) -> Vec<Cut> {
        let rows = usize::try_from(self.rows).unwrap_or(usize::MAX);
        let grain = Grain { rows, answer_bytes: self.bytes, ..grain };
        // A limit is one of each partition.
        let scan = leaf.downcast_ref::<InputScanExec>();
        let are_limited = lookups.are_limited || scan.is_some_and(|scan| scan.limit().is_some());
        let loads = Load::of_each(leaf, lookups.answer_bytes).filter(|_| !are_limited);
        let Some(loads) = loads else { return lookups.cuts(leaf, grain) };
        let groups = self.groups(loads).into_iter();
        let cuts = groups.flat_map(|group| match group.len() {
            1 => lookups.cuts_of(leaf, group.start, grain),
            _ => vec![Cut::Over(group)],
        });
        cuts.collect()
    }

    /// Partitions that follow each other, about as many as make a slice, or one. Where they do not
    /// come out even, some slices are a little larger than the measure and others smaller: if none
    /// were larger, partitions of a bit more than half of it would stay alone.
    fn groups(&self, loads: Vec<Load>) -> Vec<Range<usize>> {
        let mut groups: Vec<Range<usize>> = Vec::new();
        let mut taken = Load::default();
        let mut due = self.rows;
        for (index, load) in loads.into_iter().enumerate() {
            let together = taken.and(load);
            let is_due = taken.rows.saturating_add(load.rows.div_ceil(2)) > due;
            match groups.last_mut().filter(|_| !is_due && self.has_room(together)) {
                Some(group) => {
                    group.end = index + 1;
                    taken = together;
                }
                None => {
                    let is_first = groups.is_empty();
                    due = if is_first || !is_due { self.rows } else { self.next(due, taken.rows) };
                    groups.push(index..index + 1);
                    taken = load;
                }
            }
        }
        groups
    }

    /// How many rows the next slice is to have, where one has so many that was to have others.
    fn next(&self, due: u64, taken: u64) -> u64 {
        let half = self.rows / 2;
        let next = self.rows.saturating_add(due).saturating_sub(taken);
        next.clamp(self.rows - half, self.rows.saturating_add(half))
    }

    fn has_room(&self, load: Load) -> bool {
        !load.is_apart
            && load.rows <= self.most_rows
            && load.unknown <= self.unknown
            && load.bytes <= self.bytes
            && load.answers <= self.bytes
    }
}

impl Load {
    /// Of each partition of a leaf, to each row of which lookups add so many bytes, if it reads
    /// files or a frame.
    fn of_each(leaf: &Arc<dyn ExecutionPlan>, answer_bytes: u64) -> Option<Vec<Self>> {
        if let Some(frame) = leaf.downcast_ref::<FrameScanExec>() {
            let of = |partition| Self::of_frame(frame, partition, answer_bytes);
            return Some(frame.partitions().iter().map(of).collect());
        }
        let scan = leaf.downcast_ref::<InputScanExec>()?;
        let of = |partition| Self::of_files(scan, partition, answer_bytes);
        Some(scan.partitions().iter().map(of).collect())
    }

    fn of_frame(frame: &FrameScanExec, partition: &FramePartition, answer_bytes: u64) -> Self {
        let rows = partition.rows;
        let bytes = rows.saturating_mul(frame.row_bytes().unwrap_or_default());
        let answers = rows.saturating_mul(answer_bytes);
        Self { rows, bytes, answers, ..Self::default() }
    }

    fn of_files(scan: &InputScanExec, partition: &ScanPartition, answer_bytes: u64) -> Self {
        let rows = partition.known_rows();
        let bytes = match (&scan.table().layout, rows) {
            // Its parts are fragments, and their bytes are not known.
            (Layout::Lance(_), Some(_)) => 0,
            (Layout::Lance(_), None) => u64::MAX,
            _ => {
                let slices = partition.slices.iter();
                let bytes = slices.map(|slice| slice.bytes.end.saturating_sub(slice.bytes.start));
                bytes.fold(0, u64::saturating_add)
            }
        };
        let is_apart = partition.rows.is_some();
        match rows {
            Some(rows) => {
                let answers = rows.saturating_mul(answer_bytes);
                Self { rows, unknown: 0, bytes, answers, is_apart }
            }
            None => Self { rows: 0, unknown: bytes, bytes, answers: 0, is_apart },
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_add(other.rows),
            unknown: self.unknown.saturating_add(other.unknown),
            bytes: self.bytes.saturating_add(other.bytes),
            answers: self.answers.saturating_add(other.answers),
            is_apart: self.is_apart || other.is_apart,
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::{limit::LocalLimitExec, union::UnionExec};
    use keyloom_common::{
        BlobId,
        plan::{FileSlice, RowRange, Slice},
    };

    use super::*;
    use crate::{
        samples::{frame, lookup, scan, written},
        slice::chains,
    };

    const GRAIN: Grain = Grain {
        rows: 10,
        row_slices: 8,
        answer_bytes: 250,
        answer_slices: 5,
        write: WriteGrain { rows: 40, bytes: 1000, slices: 3 },
    };

    /// How many row groups each task reads, or rows of a frame, and from which row on if it reads
    /// part of one.
    fn tasks(plan: &Arc<dyn ExecutionPlan>, grain: Grain) -> Vec<(u64, Option<usize>)> {
        let chains = chains(plan, grain).unwrap();
        let slices = chains.iter().flat_map(|chain| chain.slices());
        let tasks = slices.map(|slice| match slice.unwrap() {
            Slice::Files(ScanPartition { slices, rows }) => {
                let groups = slices.iter().map(|slice| slice.bytes.end - slice.bytes.start);
                (groups.sum(), rows.map(|rows| rows.start))
            }
            Slice::Frame(partition, rows) => (partition.rows, rows.map(|rows| rows.start)),
            Slice::Frames(partitions) => {
                (partitions.iter().map(|partition| partition.rows).sum(), None)
            }
            other => panic!("{other:?}"),
        });
        tasks.collect()
    }

    fn row_groups(plan: Arc<dyn ExecutionPlan>) -> Vec<u64> {
        tasks(&written(plan), GRAIN).into_iter().map(|(groups, _)| groups).collect()
    }

    /// A scan of so many row groups, changed.
    fn changed(groups: u64, change: fn(&mut FileSlice)) -> Arc<dyn ExecutionPlan> {
        let plan = scan(groups);
        let scan = plan.downcast_ref::<InputScanExec>().unwrap();
        let mut partitions = scan.partitions().to_vec();
        partitions.iter_mut().flat_map(|partition| &mut partition.slices).for_each(change);
        Arc::new(scan.with_partitions(partitions))
    }

    #[test]
    fn few_tasks_write_but_as_many_as_are_wanted_at_least() {
        assert_eq!(row_groups(scan(100)), [34, 34, 32]);
        // They are not smaller than those of plans that write nothing.
        assert_eq!(row_groups(scan(20)), [10, 10]);
        assert_eq!(row_groups(scan(3)), [3]);
        // Nor larger than they may be.
        assert_eq!(row_groups(scan(1000)), [40; 25]);
        assert_eq!(tasks(&scan(20), GRAIN).len(), 20);
    }

    #[test]
    fn the_same_plan_is_cut_in_the_same_way() {
        let plan = || written(lookup(scan(777), 3));
        assert_eq!(tasks(&plan(), GRAIN), tasks(&plan(), GRAIN));
    }

    #[test]
    fn large_row_groups_are_cut() {
        let large = changed(1, |slice| slice.rows = Some(100));
        let expected = [(1, Some(0)), (1, Some(34)), (1, Some(68))];
        assert_eq!(tasks(&written(large), GRAIN), expected);
    }

    #[test]
    fn rows_that_are_not_known_are_measured_in_bytes() {
        assert_eq!(row_groups(changed(100, |slice| slice.rows = None)), [34, 34, 32]);
        let bytes = WriteGrain { bytes: 20, ..GRAIN.write };
        let grain = Grain { write: bytes, ..GRAIN };
        assert_eq!(tasks(&written(scan(100)), grain), [(20, None); 5]);
    }

    #[test]
    fn answers_make_slices_smaller() {
        assert_eq!(row_groups(lookup(scan(100), 100)), [10; 10]);
    }

    #[test]
    fn the_inputs_of_a_union_are_measured_together() {
        let union = UnionExec::try_new(vec![scan(50), frame(7), scan(50)]).unwrap();
        assert_eq!(row_groups(union), [36, 14, 7, 36, 14]);
    }

    /// A frame of partitions of so many rows, each of which takes so many bytes.
    fn frames(rows: &[u64], row_bytes: u64) -> Arc<dyn ExecutionPlan> {
        let partition = |rows: &u64| FramePartition { blob: BlobId::of(b"rows"), rows: *rows };
        let partitions = rows.iter().map(partition).collect();
        let frame = FrameScanExec::try_new(partitions, frame(0).schema(), None).unwrap();
        Arc::new(frame.with_row_bytes(Some(row_bytes)))
    }

    #[test]
    fn small_partitions_of_a_frame_are_written_together() {
        assert_eq!(row_groups(frames(&[1; 100], 1)), [34, 34, 32]);
        assert_eq!(row_groups(frames(&[1; 20], 1)), [10, 10]);
        assert_eq!(row_groups(frames(&[4, 5, 6, 2, 30, 1], 1)), [17, 30, 1]);
        // Ten rows of a hundred bytes are as many as may be.
        assert_eq!(row_groups(frames(&[1; 100], 100)), [10; 10]);
        assert_eq!(row_groups(lookup(frames(&[1; 100], 1), 100)), [10; 10]);
    }

    #[test]
    fn partitions_that_do_not_come_out_even_are_shared_out() {
        // A third of them is wanted.
        let groups = |rows: &[u64]| row_groups(frames(rows, 1));
        assert_eq!(groups(&[12, 12, 12, 12, 12]), [24, 12, 24]);
        assert_eq!(groups(&[15, 15, 15, 15]), [15, 30, 15]);
        // None has more than may be.
        assert_eq!(groups(&[30; 4]), [30; 4]);
        assert_eq!(groups(&[7; 100]), [35; 20]);
    }

    #[test]
    fn large_partitions_of_a_frame_are_tasks_as_before() {
        assert_eq!(row_groups(frames(&[90, 90], 1)), [90, 90]);
        assert_eq!(tasks(&frames(&[1; 20], 1), GRAIN).len(), 20);
        let limited = Arc::new(LocalLimitExec::new(frames(&[1; 20], 1), 5));
        assert_eq!(row_groups(limited), [1; 20]);
    }

    #[test]
    fn partitions_of_which_some_rows_are_wanted_are_not_put_together() {
        let plan = scan(6);
        let scan = plan.downcast_ref::<InputScanExec>().unwrap();
        let mut partitions = scan.partitions().to_vec();
        partitions[2].rows = Some(RowRange { start: 1, length: None });
        let some: Arc<dyn ExecutionPlan> = Arc::new(scan.with_partitions(partitions));
        let expected = [(2, None), (1, Some(1)), (3, None)];
        assert_eq!(tasks(&written(some), GRAIN), expected);
    }

    #[test]
    fn partitions_with_a_limit_are_not_put_together() {
        let limited = scan(20).with_fetch(Some(5)).unwrap();
        assert_eq!(row_groups(limited), [1; 20]);
    }
}
