use datafusion::{
    physical_expr::{LexOrdering, PhysicalSortExpr},
    physical_optimizer::enforce_sorting::EnforceSorting,
    physical_plan::{
        displayable,
        joins::CrossJoinExec,
        sorts::{sort::SortExec, sort_preserving_merge::SortPreservingMergeExec},
    },
};

use super::{
    samples::{id, same, shuffled},
    *,
};
use crate::samples::scan;

/// Sorted by the first column, each partition apart or all together.
fn sorted(rows: Plan, apart: bool) -> Plan {
    let by_id = LexOrdering::new([PhysicalSortExpr::new_default(id())]).unwrap();
    Arc::new(SortExec::new(by_id, rows).with_preserve_partitioning(apart))
}

fn gathered(rows: Plan) -> Plan {
    Arc::new(CoalescePartitionsExec::new(rows))
}

fn planned(plan: Plan) -> Plan {
    let rule = PlanSorts(Arc::new(EnforceSorting::new()));
    let mut config = ConfigOptions::new();
    config.optimizer.repartition_sorts = true;
    rule.optimize(plan, &config).unwrap()
}

fn text(plan: &Plan) -> String {
    displayable(plan.as_ref()).indent(false).to_string()
}

#[test]
fn rows_that_were_shuffled_are_sorted_by_what_was_the_same_before() {
    let plan = text(&planned(sorted(shuffled(same()), true)));
    assert!(plan.starts_with("SortExec"), "{plan}");
    assert!(!plan.contains("ForgetExec"), "{plan}");
    // Without a shuffle, nothing is.
    let plan = text(&planned(sorted(same(), true)));
    assert!(!plan.contains("SortExec"), "{plan}");
}

#[test]
fn what_a_join_collects_is_gathered_whatever_becomes_of_its_other_side() {
    let join = CrossJoinExec::new(gathered(scan(2)), gathered(scan(2)));
    let plan = planned(sorted(Arc::new(join), false));
    let mut join = &plan;
    while !join.is::<CrossJoinExec>() {
        join = join.children()[0];
    }
    let left = join.children()[0].output_partitioning().partition_count();
    assert_eq!(left, 1, "{}", text(&plan));
}

#[test]
fn an_input_is_sorted_where_it_has_to_be() {
    let by_id = LexOrdering::new([PhysicalSortExpr::new_default(id())]).unwrap();
    let merged = |rows| -> Plan { Arc::new(SortPreservingMergeExec::new(by_id.clone(), rows)) };
    let mended = sort(merged(scan(2))).unwrap();
    assert!(mended.transformed);
    assert_eq!(text(&mended.data), text(&merged(sorted(scan(2), true))));
    assert!(!sort(mended.data).unwrap().transformed);
}

#[test]
fn an_input_is_gathered_where_one_partition_is_needed_or_will_do() {
    let by_id = Distribution::HashPartitioned(vec![id()]);
    let one = &Distribution::SinglePartition;
    for (input, needed, is_alone, expected) in [
        (scan(2), one, false, true),
        (scan(1), one, false, false),
        (scan(2), &by_id, true, true),
        (shuffled(scan(2)), &by_id, true, false),
        (scan(1), &by_id, true, false),
        // The other input would have as many partitions as before.
        (scan(2), &by_id, false, false),
        (scan(2), &Distribution::UnspecifiedDistribution, true, false),
    ] {
        assert_eq!(is_apart(&input, needed, is_alone), expected, "{needed:?} {}", text(&input));
    }
}
