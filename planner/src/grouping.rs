//! `grouping(…)`, computed before other rules see it.
//!
//! DataFusion computes it of a column of the groups that it then drops, but leaves that column in
//! what it has written down of the nodes above: a window there could not be planned, nor a lookup.

use datafusion::{
    common::tree_node::{Transformed, TransformedResult},
    config::ConfigOptions,
    error::Result,
    logical_expr::{Expr, LogicalPlan, expr::AggregateFunction},
    optimizer::{AnalyzerRule, analyzer::resolve_grouping_function::ResolveGroupingFunction},
};

use crate::holds::{contains, has_node};

/// Has DataFusion compute it, and tells the nodes above of their columns anew. It is to be among
/// the first rules.
#[derive(Debug, Default)]
pub struct ResolveGrouping(ResolveGroupingFunction);

impl AnalyzerRule for ResolveGrouping {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        if !has_node(&plan, asks)? {
            return Ok(plan);
        }
        let resolved = self.0.analyze(plan, config)?;
        let anew = |node: LogicalPlan| node.recompute_schema().map(Transformed::yes);
        resolved.transform_up_with_subqueries(anew).data()
    }

    fn name(&self) -> &'static str {
        "resolve_grouping"
    }
}

fn asks(node: &LogicalPlan) -> bool {
    let is_grouping = |expr: &Expr| {
        matches!(expr, Expr::AggregateFunction(AggregateFunction { func, .. })
            if func.name() == "grouping")
    };
    matches!(node, LogicalPlan::Aggregate(groups)
        if groups.aggr_expr.iter().any(|expr| contains(expr, is_grouping)))
}
