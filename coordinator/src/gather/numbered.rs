//! Which rows of a fragment are rows of its input, one for one, and so have numbers.

use datafusion::physical_plan::{
    ExecutionPlan, execution_plan::CardinalityEffect, sorts::sort::SortExec,
};
use keyloom_common::plan::{FrameScanExec, InputScanExec};
use keyloom_planner::{Fragment, Source};

/// The place, among the nodes of a fragment in pre-order, of the first one from which on down all
/// rows are those of the one input, in order; none if there is no such node, or if tasks may not
/// read all their rows.
pub(super) fn numbered_from(fragment: &Fragment) -> Option<usize> {
    match &fragment.source {
        Source::Slices(chains) if chains.len() == 1 => {}
        _ => return None,
    }
    let mut nodes = vec![&fragment.plan];
    while let Some(&node) = nodes.last() {
        match node.children().as_slice() {
            [] => break,
            [below] => nodes.push(*below),
            _ => return None,
        }
    }
    let (leaf, above) = nodes.split_last()?;
    let reads_all = match leaf.downcast_ref::<InputScanExec>() {
        Some(scan) => scan.predicate().is_none(),
        None => leaf.is::<FrameScanExec>(),
    };
    if !reads_all || nodes.iter().any(|node| node.fetch().is_some()) {
        return None;
    }
    let keeping = above.iter().rev().take_while(|node| keeps_rows(node.as_ref()));
    Some(above.len() - keeping.count())
}

/// Whether a node gives all the rows that it gets, in their order. A sort gives them in another.
fn keeps_rows(node: &dyn ExecutionPlan) -> bool {
    matches!(node.cardinality_effect(), CardinalityEffect::Equal) && !node.is::<SortExec>()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::{
        physical_expr::{LexOrdering, PhysicalSortExpr, expressions::Column},
        physical_plan::{coop::CooperativeExec, limit::LocalLimitExec, union::UnionExec},
    };

    use super::*;
    use crate::{
        gather::{RemoteExec, cut},
        samples::frame,
        settings::Settings,
    };

    fn numbered(plan: Arc<dyn ExecutionPlan>) -> Option<usize> {
        let plan = cut(plan, Settings::default().grain(), false).unwrap();
        numbered_from(plan.downcast_ref::<RemoteExec>().unwrap().fragment())
    }

    #[test]
    fn rows_have_numbers_where_each_is_one_of_the_input() {
        assert_eq!(numbered(frame(2)), Some(0));
        assert_eq!(numbered(Arc::new(CooperativeExec::new(frame(2)))), Some(0));
        let order = PhysicalSortExpr::new_default(Arc::new(Column::new("id", 0)));
        let sorted = SortExec::new(LexOrdering::from([order]), frame(2));
        let sorted: Arc<dyn ExecutionPlan> = Arc::new(sorted.with_preserve_partitioning(true));
        // Below the sort, which is the first of three nodes.
        let above_sort = CooperativeExec::new(Arc::clone(&sorted));
        assert_eq!(numbered(Arc::new(above_sort)), Some(2));
        let limited = LocalLimitExec::new(frame(2), 1);
        assert_eq!(numbered(Arc::new(limited)), None);
        assert_eq!(numbered(UnionExec::try_new(vec![frame(2), frame(2)]).unwrap()), None);
    }
}
