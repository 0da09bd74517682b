//! Conditions without a column, such as `false`, above totals.
//!
//! DataFusion decides them below aggregates, as it may those by what groups are made by. But totals
//! are a row of no rows, too: an outer join that is to find none found that.

use std::sync::Arc;

use datafusion::{
    common::tree_node::Transformed,
    error::Result,
    logical_expr::{Expr, LogicalPlan, utils::split_conjunction},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

/// DataFusion's rule that moves conditions down, which leaves these where they are.
#[derive(Debug)]
pub(crate) struct KeepAboveTotals(pub(crate) Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for KeepAboveTotals {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if decides_totals(&plan) {
            return Ok(Transformed::no(plan));
        }
        self.0.rewrite(plan, config)
    }
}

fn decides_totals(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = plan else { return false };
    let LogicalPlan::Aggregate(groups) = filter.input.as_ref() else { return false };
    let by = &groups.group_expr;
    let has_totals = by.is_empty() || by.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)));
    let is_constant = |condition: &&Expr| condition.column_refs().is_empty();
    has_totals && split_conjunction(&filter.predicate).iter().any(is_constant)
}
