//! Which parts of a plan become fragments, and what stands in their places.

use std::cell::RefCell;

use datafusion::{
    config::ConfigOptions,
    physical_expr::{LexOrdering, PhysicalSortExpr},
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        Partitioning,
        coop::CooperativeExec,
        empty::EmptyExec,
        expressions::{Column, lit},
        filter::FilterExec,
        limit::GlobalLimitExec,
        repartition::RepartitionExec,
        sorts::sort::SortExec,
        union::UnionExec,
    },
};
use keyloom_common::ErrorKind;

use super::*;
use crate::{
    Chain, KeepFetch,
    samples::{frame, keys, lookup, scan, scanning, written},
    slice::WriteGrain,
};

const GRAIN: Grain = Grain {
    rows: 10,
    row_slices: 8,
    answer_bytes: 250,
    answer_slices: 5,
    write: WriteGrain { rows: 1, bytes: 250, slices: 16 },
};

/// Notes the fragments; in their places it has what has no rows. A commit is shown as what changes
/// nothing.
#[derive(Default)]
struct Noted(RefCell<Vec<Fragment>>);

impl Gather for Noted {
    fn remote(&self, fragment: Fragment) -> Arc<dyn ExecutionPlan> {
        let (schema, partitions) = (fragment.plan.schema(), fragment.partitions());
        self.0.borrow_mut().push(fragment);
        Arc::new(EmptyExec::new(schema).with_partitions(partitions))
    }

    fn concat(&self, parts: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(CoalescePartitionsExec::new(parts))
    }

    fn commit(
        &self,
        pieces: Arc<dyn ExecutionPlan>,
        _: Arc<PreparedOutput>,
    ) -> Arc<dyn ExecutionPlan> {
        Arc::new(CooperativeExec::new(pieces))
    }
}

/// The names of a plan's operators.
fn names(plan: &Arc<dyn ExecutionPlan>) -> String {
    let below: Vec<_> = plan.children().into_iter().map(names).collect();
    match below.as_slice() {
        [] => plan.name().to_owned(),
        below => format!("{}({})", plan.name(), below.join(", ")),
    }
}

fn shown(fragment: &Fragment) -> String {
    let source = match &fragment.source {
        Source::Slices(chains) => {
            format!("slices={}", chains.iter().map(Chain::tasks).sum::<usize>())
        }
        Source::Rows(input) => format!("rows={}", names(input)),
        Source::Shuffle => "shuffle".to_owned(),
    };
    let collects = if fragment.collects { " collects" } else { "" };
    format!("{:?} {} {source}{collects}", fragment.reading, names(&fragment.plan))
}

/// Cuts a plan, and checks what the coordinator has of it and what workers have.
fn check(plan: Arc<dyn ExecutionPlan>, above: &str, fragments: &[&str]) {
    let noted = Noted::default();
    let plan = cut(plan, GRAIN, &noted).unwrap();
    assert_eq!(names(&plan), above);
    assert_eq!(plan.output_partitioning().partition_count(), 1);
    let noted = noted.0.into_inner();
    assert_eq!(noted.iter().map(shown).collect::<Vec<_>>(), fragments);
    let stages: Vec<_> = noted.iter().map(|fragment| fragment.stage as usize).collect();
    assert_eq!(stages, (0..noted.len()).collect::<Vec<_>>());
}

fn limited(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    Arc::new(GlobalLimitExec::new(input, 0, Some(2)))
}

fn by_id() -> LexOrdering {
    [PhysicalSortExpr::new_default(Arc::new(Column::new("id", 0)))].into()
}

#[test]
fn what_treats_each_row_by_itself_is_one_fragment() {
    let fragment = "Ordered KvLookupExec(InputScanExec) slices=3";
    check(lookup(scan(3), 10), "EmptyExec", &[fragment]);
}

#[test]
fn sorted_runs_are_merged_by_the_coordinator() {
    let sort = SortExec::new(by_id(), scan(3)).with_preserve_partitioning(true);
    let merge = SortPreservingMergeExec::new(by_id(), Arc::new(sort));
    let fragment = "Runs SortExec(InputScanExec) slices=3";
    check(Arc::new(merge), "SortPreservingMergeExec(EmptyExec)", &[fragment]);
}

#[test]
fn sorted_runs_of_a_union_are_merged_whoever_makes_them() {
    let sort = |input, each| {
        let sort = SortExec::new(by_id(), input).with_preserve_partitioning(each);
        Arc::new(sort) as Arc<dyn ExecutionPlan>
    };
    let union = UnionExec::try_new(vec![sort(limited(scan(2)), false), sort(scan(3), true)]);
    let merge = SortPreservingMergeExec::new(by_id(), union.unwrap());
    let runs = "UnionExec(SortExec(GlobalLimitExec(EmptyExec)), EmptyExec)";
    let fragments = ["Ordered InputScanExec slices=2", "Runs SortExec(InputScanExec) slices=3"];
    check(Arc::new(merge), &format!("SortPreservingMergeExec({runs})"), &fragments);
}

#[test]
fn sorted_runs_that_become_one_partition_are_sorted_anew() {
    let parts = UnionExec::try_new(vec![limited(scan(2)), limited(scan(2))]).unwrap();
    let sort = SortExec::new(by_id(), parts).with_preserve_partitioning(true);
    let merge = SortPreservingMergeExec::new(by_id(), lookup(Arc::new(sort), 10));
    let sorted = "SortExec(EmptyExec)";
    let fragments = [
        "Ordered InputScanExec slices=2",
        "Ordered InputScanExec slices=2",
        "Ordered KvLookupExec(FrameScanExec) rows=SortExec(CoalescePartitionsExec(UnionExec(\
         GlobalLimitExec(EmptyExec), GlobalLimitExec(EmptyExec))))",
    ];
    check(Arc::new(merge), &format!("SortPreservingMergeExec({sorted})"), &fragments);
}

#[test]
fn lookups_above_a_limit_get_its_rows_from_the_coordinator() {
    let fragments = [
        "Ordered InputScanExec slices=3",
        "Ordered KvLookupExec(FrameScanExec) rows=GlobalLimitExec(EmptyExec)",
    ];
    check(lookup(limited(scan(3)), 10), "EmptyExec", &fragments);
}

#[test]
fn parts_that_the_coordinator_puts_together_follow_each_other() {
    let union = UnionExec::try_new(vec![limited(scan(2)), limited(frame(5))]).unwrap();
    let parts = "UnionExec(GlobalLimitExec(EmptyExec), GlobalLimitExec(EmptyExec))";
    let fragments = ["Ordered InputScanExec slices=2", "Ordered FrameScanExec slices=1"];
    check(union, &format!("CoalescePartitionsExec({parts})"), &fragments);
}

#[test]
fn workers_decide_conditions_also_where_a_limit_stands_above() {
    let filter = FilterExec::try_new(lit(true), scan(3)).unwrap().with_fetch(Some(2)).unwrap();
    let plan = KeepFetch.optimize(filter, &ConfigOptions::new()).unwrap();
    let merged = CoalescePartitionsExec::new(plan).with_fetch(Some(2));
    let fragment = "Ordered FilterExec(InputScanExec) slices=3";
    check(Arc::new(merged), "CoalescePartitionsExec(EmptyExec)", &[fragment]);
    // Rows of the coordinator become slices, each of which would have so many.
    let filter = FilterExec::try_new(lit(true), lookup(limited(scan(1)), 10)).unwrap();
    let fragments = [
        "Ordered InputScanExec slices=1",
        "Ordered KvLookupExec(FrameScanExec) rows=GlobalLimitExec(EmptyExec)",
    ];
    check(filter.with_fetch(Some(2)).unwrap(), "FilterExec(EmptyExec)", &fragments);
}

#[test]
fn what_reads_nothing_and_looks_nothing_up_needs_no_worker() {
    check(Arc::new(EmptyExec::new(keys())), "EmptyExec", &[]);
}

#[test]
fn keys_are_collected_before_a_fragment_unless_only_some_rows_are_wanted() {
    let lookup = || scanning(scan(3), Arc::new(Column::new("id", 0)));
    let fragment = "Ordered KvLookupExec(InputScanExec) slices=3";
    let collected = "Ordered AggregateExec(ProjectionExec(InputScanExec)) slices=3 collects";
    check(lookup(), "EmptyExec", &[collected, fragment]);
    check(limited(lookup()), "GlobalLimitExec(EmptyExec)", &[fragment]);
    // Of sorted rows the first ones are known when all are there.
    let sort = SortExec::new(by_id(), lookup()).with_preserve_partitioning(true);
    let merge = SortPreservingMergeExec::new(by_id(), Arc::new(sort)).with_fetch(Some(2));
    let runs = "Runs SortExec(KvLookupExec(InputScanExec)) slices=3";
    check(Arc::new(merge), "SortPreservingMergeExec(EmptyExec)", &[collected, runs]);
}

#[test]
fn tasks_write_their_own_rows_and_all_of_them_are_committed() {
    let fragment = "Ordered WriteExec(KvLookupExec(InputScanExec)) slices=3";
    let committed = "CooperativeExec(EmptyExec)";
    check(written(lookup(scan(3), 10)), committed, &[fragment]);
    // Pieces have an order of their own: nothing is put together before.
    let merged = CoalescePartitionsExec::new(scan(3));
    let fragment = "Ordered WriteExec(InputScanExec) slices=3";
    check(written(Arc::new(merged)), committed, &[fragment]);
    let union = UnionExec::try_new(vec![scan(2), frame(5)]).unwrap();
    let fragment = "Ordered WriteExec(UnionExec(InputScanExec, FrameScanExec)) slices=3";
    check(written(union), committed, &[fragment]);
    // Nobody else writes what needs no worker otherwise.
    let none = EmptyExec::new(keys());
    check(written(Arc::new(none)), committed, &["Ordered WriteExec(EmptyExec) slices=1"]);
}

#[test]
fn rows_of_the_coordinator_are_sent_out_to_be_written() {
    let fragments = [
        "Ordered InputScanExec slices=3",
        "Ordered WriteExec(FrameScanExec) rows=GlobalLimitExec(EmptyExec)",
    ];
    check(written(limited(scan(3))), "CooperativeExec(EmptyExec)", &fragments);
    let fragments = [
        "Ordered InputScanExec slices=3",
        "Ordered WriteExec(KvLookupExec(FrameScanExec)) rows=GlobalLimitExec(EmptyExec)",
    ];
    check(written(lookup(limited(scan(3)), 10)), "CooperativeExec(EmptyExec)", &fragments);
    let sort = SortExec::new(by_id(), scan(3)).with_preserve_partitioning(true);
    let merge = SortPreservingMergeExec::new(by_id(), Arc::new(sort));
    let fragments = [
        "Runs SortExec(InputScanExec) slices=3",
        "Ordered WriteExec(FrameScanExec) rows=SortPreservingMergeExec(EmptyExec)",
    ];
    check(written(Arc::new(merge)), "CooperativeExec(EmptyExec)", &fragments);
}

#[test]
fn keys_are_collected_before_rows_are_written() {
    let plan = written(scanning(scan(3), Arc::new(Column::new("id", 0))));
    let fragments = [
        "Ordered AggregateExec(ProjectionExec(InputScanExec)) slices=3 collects",
        "Ordered WriteExec(KvLookupExec(InputScanExec)) slices=3",
    ];
    check(plan, "CooperativeExec(EmptyExec)", &fragments);
}

#[test]
fn a_plan_that_writes_elsewhere_than_at_its_end_is_refused() {
    let twice = written(written(scan(1)));
    let below = limited(written(scan(1)));
    for plan in [twice, below] {
        let error = keyloom_common::Error::from(cut(plan, GRAIN, &Noted::default()).unwrap_err());
        let expected = "a job has one output, which is written at its end";
        assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, expected));
    }
}

fn by_hash(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let by_id = Partitioning::Hash(vec![Arc::new(Column::new("id", 0))], 2);
    Arc::new(RepartitionExec::try_new(input, by_id).unwrap())
}

#[test]
fn what_is_shuffled_is_a_fragment_of_one_task() {
    let plan = by_hash(lookup(scan(3), 10));
    let fragment =
        "Ordered CoalescePartitionsExec(RepartitionExec(KvLookupExec(InputScanExec))) shuffle";
    check(Arc::clone(&plan), "EmptyExec", &[fragment]);
    // What comes after in one partition is the coordinator's.
    let merged = limited(Arc::new(CoalescePartitionsExec::new(plan)));
    check(merged, "GlobalLimitExec(EmptyExec)", &[fragment]);
}

#[test]
fn rows_that_were_shuffled_are_sent_out_to_be_written() {
    let shuffled = "Ordered CoalescePartitionsExec(RepartitionExec(InputScanExec)) shuffle";
    let merged: Arc<dyn ExecutionPlan> = Arc::new(CoalescePartitionsExec::new(by_hash(scan(3))));
    for plan in [by_hash(scan(3)), merged] {
        let write = "Ordered WriteExec(FrameScanExec) rows=EmptyExec";
        check(written(plan), "CooperativeExec(EmptyExec)", &[shuffled, write]);
    }
    // What is looked up of them is looked up by those who write.
    let write = "Ordered WriteExec(KvLookupExec(FrameScanExec)) rows=EmptyExec";
    let plan = written(lookup(by_hash(scan(3)), 10));
    check(plan, "CooperativeExec(EmptyExec)", &[shuffled, write]);
}

#[test]
fn runs_that_are_shuffled_come_merged() {
    let sort = SortExec::new(by_id(), by_hash(scan(3))).with_preserve_partitioning(true);
    let merge = SortPreservingMergeExec::new(by_id(), Arc::new(sort));
    let fragment =
        "Ordered SortPreservingMergeExec(SortExec(RepartitionExec(InputScanExec))) shuffle";
    check(Arc::new(merge), "SortPreservingMergeExec(EmptyExec)", &[fragment]);
}
