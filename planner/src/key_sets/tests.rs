//! Which keys are collected, and by which plans.

use datafusion::{
    physical_expr::expressions::{IsNotNullExpr, lit},
    physical_plan::{displayable, union::UnionExec},
};

use super::*;
use crate::samples::{frame, lookup, scan};

/// A lookup whose keys are scanned, over an input, with a guard for each call.
fn scanning(
    input: Arc<dyn ExecutionPlan>,
    guards: &[Option<Arc<dyn PhysicalExpr>>],
) -> Arc<dyn ExecutionPlan> {
    let plan = lookup(Arc::clone(&input), 10);
    let mut waves = plan.downcast_ref::<KvLookupExec>().unwrap().waves().to_vec();
    let fetch = &mut waves[0].fetches[0];
    fetch.access.keys = KeyPath::Scan;
    let call = fetch.calls.remove(0);
    fetch.calls = guards
        .iter()
        .enumerate()
        .map(|(at, guard)| {
            let mut call = call.clone();
            call.name = format!("{} {at}", call.name);
            call.guard.clone_from(guard);
            call
        })
        .collect();
    Arc::new(KvLookupExec::try_new(input, waves).unwrap())
}

/// Where lookups with sets stand, and the operators of the first set.
fn sets(fragment: &Arc<dyn ExecutionPlan>) -> (Vec<usize>, String) {
    let sets = key_sets(fragment).unwrap();
    let plan = sets.first().map_or_else(String::new, |set| {
        let lines = displayable(set.keys.as_ref()).indent(false).to_string();
        let lines = lines.lines().map(str::trim).filter(|line| !line.contains("ScanExec"));
        lines.collect::<Vec<_>>().join("; ")
    });
    (sets.iter().map(|set| set.place).collect(), plan)
}

#[test]
fn keys_are_collected_once_each_where_all_rows_need_them() {
    let all = "AggregateExec: mode=Final, gby=[key@0 as key], aggr=[]; CoalescePartitionsExec; \
               AggregateExec: mode=Partial, gby=[key@0 as key], aggr=[]; \
               ProjectionExec: expr=[id@0 as key]";
    assert_eq!(sets(&scanning(scan(3), &[None])), (vec![0], all.to_owned()));
    let some: Arc<dyn PhysicalExpr> = Arc::new(IsNotNullExpr::new(Arc::new(Column::new("id", 0))));
    assert_eq!(sets(&scanning(frame(3), &[Some(Arc::clone(&some)), None])).1, all);
    let guarded = sets(&scanning(frame(3), &[Some(some), Some(lit(false))])).1;
    assert_eq!(guarded, format!("{all}; FilterExec: id@0 IS NOT NULL OR false"));
}

#[test]
fn each_branch_of_a_union_has_its_own() {
    let branch = || scanning(frame(1), &[None]);
    let union = UnionExec::try_new(vec![branch(), branch()]).unwrap();
    assert_eq!(sets(&union).0, [1, 3]);
}

#[test]
fn not_where_maps_are_asked_or_rows_would_be_others() {
    assert_eq!(sets(&lookup(scan(3), 10)).0, [0; 0]);
    let limited: Arc<dyn ExecutionPlan> = Arc::new(LocalLimitExec::new(scan(3), 5));
    assert_eq!(sets(&scanning(limited, &[None])).0, [0; 0]);
    let first: Arc<dyn ExecutionPlan> =
        Arc::new(LocalLimitExec::new(scanning(scan(3), &[None]), 5));
    assert_eq!(sets(&first).0, [0; 0]);
    // The lower lookup has a set, the upper one would make the lower's lookups twice.
    let below = scanning(scan(3), &[None]);
    assert_eq!(sets(&scanning(below, &[None])).0, [1]);
}
