//! How many rows a part of a plan is expected to give, if its leaves say how many they hold.
//!
//! DataFusion's own statistics would say it too, but with them it also plans joins and aggregates
//! otherwise.

use std::sync::Arc;

use datafusion::{
    common::JoinType,
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode},
        empty::EmptyExec,
        execution_plan::CardinalityEffect,
        filter::FilterExec,
        joins::HashJoinExec,
        limit::GlobalLimitExec,
        placeholder_row::PlaceholderRowExec,
        union::UnionExec,
    },
};
use keyloom_common::plan::{FrameScanExec, InputScanExec};

/// Of a hundred rows, those that a condition is expected to let pass: DataFusion's own guess.
const PASSING_OF_HUNDRED: u64 = 20;

/// The rows of all partitions.
pub(crate) fn rows(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let rows = known_rows(plan);
    let limit = plan.fetch().map(|limit| limit as u64);
    match (rows, limit) {
        (Some(rows), Some(limit)) => Some(rows.min(limit)),
        (rows, limit) => rows.or(limit),
    }
}

/// Those of the rows for which a condition is expected to hold.
pub(crate) fn passing(rows: u64) -> u64 {
    (rows.saturating_mul(PASSING_OF_HUNDRED)).div_ceil(100)
}

/// Those of which so many are expected to pass a condition.
pub(crate) fn sifted(passing: u64) -> u64 {
    passing.saturating_mul(100) / PASSING_OF_HUNDRED
}

fn known_rows(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    if let Some(frame) = plan.downcast_ref::<FrameScanExec>() {
        return Some(frame.partitions().iter().map(|partition| partition.rows).sum());
    }
    if let Some(scan) = plan.downcast_ref::<InputScanExec>() {
        return scan.partitions().iter().map(|partition| partition.known_rows()).sum();
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        if aggregate.group_expr().is_true_no_grouping() {
            return Some(1);
        }
        // Nothing says how many groups there are. Where keys of lookups make them, as many keys are
        // expected as there would be without.
        let is_partial = *aggregate.mode() == AggregateMode::Partial;
        return rows(aggregate.input()).filter(|_| is_partial);
    }
    if plan.is::<EmptyExec>() {
        return Some(0);
    }
    if plan.is::<PlaceholderRowExec>() {
        return Some(1);
    }
    if plan.is::<UnionExec>() {
        return plan.children().into_iter().map(rows).sum();
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return joined(join);
    }
    let children = plan.children();
    let [input] = children.as_slice() else { return None };
    if plan.is::<FilterExec>() {
        return rows(input).map(passing);
    }
    match plan.cardinality_effect() {
        CardinalityEffect::Equal | CardinalityEffect::LowerEqual => rows(input),
        _ if plan.is::<GlobalLimitExec>() => rows(input),
        _ => None,
    }
}

/// Each row of the larger side is expected to find one of the other.
fn joined(join: &HashJoinExec) -> Option<u64> {
    let (left, right) = (join.left(), join.right());
    match join.join_type() {
        JoinType::LeftSemi | JoinType::LeftAnti => rows(left).map(passing),
        JoinType::RightSemi | JoinType::RightAnti => rows(right).map(passing),
        JoinType::LeftMark => rows(left),
        JoinType::RightMark => rows(right),
        _ => Some(rows(left)?.max(rows(right)?)),
    }
}
