//! What protobuf would lose of a plan, so that other rows would come: it is refused.

use std::sync::Arc;

use datafusion::{
    common::tree_node::TreeNode,
    physical_plan::{
        ExecutionPlan,
        aggregates::AggregateExec,
        joins::{HashJoinExec, NestedLoopJoinExec},
        limit::GlobalLimitExec,
    },
};

use crate::error::{Error, Result};

/// Checks that a plan arrives as it is.
///
/// # Errors
/// `invalid` if users can say it otherwise, `internal` if a rule should have.
pub(super) fn check(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    check_limits(plan)?;
    check_columns(plan)?;
    check_groups(plan)
}

/// Protobuf has no place for a join's own limit, and of others 32 bits: other rows would come than
/// were asked for.
fn check_limits(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let is_lost =
        |node: &Arc<dyn ExecutionPlan>| Ok(node.is::<HashJoinExec>() && node.fetch().is_some());
    if plan.exists(is_lost)? {
        return Err(Error::internal("a plan with a limit within a join cannot travel"));
    }
    let is_cut_off = |node: &Arc<dyn ExecutionPlan>| {
        let skip = node.downcast_ref::<GlobalLimitExec>().map(GlobalLimitExec::skip);
        Ok(skip.into_iter().chain(node.fetch()).any(|rows| u32::try_from(rows).is_err()))
    };
    if plan.exists(is_cut_off)? {
        return Err(Error::invalid(format!(
            "LIMIT and OFFSET name {} rows together at most; without a LIMIT, all rows come",
            u32::MAX
        )));
    }
    Ok(())
}

/// Of a join of which no column is read, protobuf says nothing: all of them would be read.
fn check_columns(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let is_lost = |node: &Arc<dyn ExecutionPlan>| {
        let by_hash = node.downcast_ref::<HashJoinExec>().map(|join| &join.projection);
        let by_pairs =
            node.downcast_ref::<NestedLoopJoinExec>().map(NestedLoopJoinExec::projection);
        let read = by_hash.or(by_pairs).and_then(Option::as_deref);
        Ok(read.is_some_and(<[usize]>::is_empty))
    };
    if plan.exists(is_lost)? {
        return Err(Error::internal("a plan with a join of no column cannot travel"));
    }
    Ok(())
}

/// Of sets of groups by nothing at all, protobuf does not say how many there are: none would be.
fn check_groups(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let is_lost = |node: &Arc<dyn ExecutionPlan>| {
        let groups = node.downcast_ref::<AggregateExec>().map(AggregateExec::group_expr);
        Ok(groups.is_some_and(|groups| groups.has_grouping_set() && groups.expr().is_empty()))
    };
    if plan.exists(is_lost)? {
        return Err(Error::invalid(
            "GROUPING SETS takes () only beside sets of columns; without GROUP BY, all rows are \
             one group",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;
    use datafusion::{
        common::JoinType,
        physical_plan::{
            aggregates::{AggregateMode, PhysicalGroupBy},
            empty::EmptyExec,
            limit::LocalLimitExec,
        },
    };

    use super::*;
    use crate::ErrorKind;

    fn empty() -> Arc<dyn ExecutionPlan> {
        Arc::new(EmptyExec::new(Arc::new(Schema::empty())))
    }

    #[test]
    fn a_join_of_which_no_column_is_read_does_not_travel_as_one_of_all() {
        let (inner, none) = (JoinType::Inner, Some(Vec::new()));
        let join = NestedLoopJoinExec::try_new(empty(), empty(), None, &inner, none).unwrap();
        let plan: Arc<dyn ExecutionPlan> = Arc::new(join);
        let error = check(&plan).unwrap_err();
        let expected = "a plan with a join of no column cannot travel";
        assert_eq!((error.kind(), error.message()), (ErrorKind::Internal, expected));
    }

    #[test]
    fn sets_of_groups_by_nothing_do_not_travel_as_none() {
        let by_nothing = PhysicalGroupBy::new(Vec::new(), Vec::new(), vec![Vec::new()], true);
        let schema = empty().schema();
        let (mode, none) = (AggregateMode::Partial, Vec::new());
        let groups = AggregateExec::try_new(mode, by_nothing, none, Vec::new(), empty(), schema);
        let plan: Arc<dyn ExecutionPlan> = Arc::new(groups.unwrap());
        let error = check(&plan).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().starts_with("GROUPING SETS takes () only"), "{error}");
    }

    #[test]
    fn a_limit_that_would_be_cut_off_is_refused() {
        let most = u32::MAX as usize;
        let global = |skip, fetch| -> Arc<dyn ExecutionPlan> {
            Arc::new(GlobalLimitExec::new(empty(), skip, fetch))
        };
        let local =
            |fetch| -> Arc<dyn ExecutionPlan> { Arc::new(LocalLimitExec::new(empty(), fetch)) };
        for fits in [global(most, Some(most)), global(0, None), local(most)] {
            assert!(check(&fits).is_ok(), "{fits:?}");
        }
        for large in [global(most + 1, None), global(0, Some(most + 1)), local(most + 4)] {
            let error = check(&large).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let expected = "LIMIT and OFFSET name 4294967295 rows together at most; without a \
                            LIMIT, all rows come";
            assert_eq!(error.message(), expected);
        }
    }
}
