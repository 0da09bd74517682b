//! Terms that `ORDER BY` repeats, in aggregates and of `DISTINCT ON`.
//!
//! Rows that are alike in a term are so in the same one again, whichever way it sorts. DataFusion
//! drops the second and then counts on it.

use std::mem;

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    config::ConfigOptions,
    error::Result,
    logical_expr::{
        Distinct, Expr, LogicalPlan,
        expr::{AggregateFunction, Sort},
        expr_rewriter::NamePreserver,
    },
    optimizer::AnalyzerRule,
};

use crate::holds::{contains, has_node};

/// Drops terms that come a second time.
#[derive(Debug, Default)]
pub struct DropRepeated;

impl AnalyzerRule for DropRepeated {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        if !has_node(&plan, may_repeat)? {
            return Ok(plan);
        }
        plan.transform_up_with_subqueries(|node| in_distinct(node).transform_data(in_aggregates))
            .data()
    }

    fn name(&self) -> &'static str {
        "drop_repeated"
    }
}

fn may_repeat(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(Distinct::On(_)))
}

fn in_distinct(mut node: LogicalPlan) -> Transformed<LogicalPlan> {
    let dropped = match &mut node {
        LogicalPlan::Distinct(Distinct::On(distinct)) => {
            distinct.sort_expr.as_mut().is_some_and(drop_repeated)
        }
        _ => false,
    };
    Transformed::new_transformed(node, dropped)
}

fn in_aggregates(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let repeats = |expr: &Expr| match expr {
        Expr::AggregateFunction(AggregateFunction { params, .. }) => {
            drop_repeated(&mut params.order_by.clone())
        }
        _ => false,
    };
    if !node.expressions().iter().any(|expr| contains(expr, repeats)) {
        return Ok(Transformed::no(node));
    }
    let names = NamePreserver::new(&node);
    let dropped = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let dropped = expr.transform_down(|mut expr| {
            let dropped = match &mut expr {
                Expr::AggregateFunction(function) => drop_repeated(&mut function.params.order_by),
                _ => false,
            };
            Ok(Transformed::new_transformed(expr, dropped))
        })?;
        Ok(dropped.update_data(|expr| name.restore(expr)))
    });
    dropped.data()?.recompute_schema().map(Transformed::yes)
}

/// Whether there were any.
fn drop_repeated(terms: &mut Vec<Sort>) -> bool {
    let all = mem::take(terms);
    let before = all.len();
    for term in all {
        if !terms.iter().any(|known| known.expr == term.expr) {
            terms.push(term);
        }
    }
    terms.len() < before
}

#[cfg(test)]
mod tests {
    use datafusion::{common::tree_node::TreeNodeRecursion, prelude::SessionContext};

    use super::*;

    /// How many terms a plan sorts by, in its aggregates and where rows are distinct.
    fn terms(plan: &LogicalPlan) -> usize {
        let mut terms = 0;
        let counted = plan.apply(|node| {
            if let LogicalPlan::Distinct(Distinct::On(distinct)) = node {
                terms += distinct.sort_expr.as_ref().map_or(0, Vec::len);
            }
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    if let Expr::AggregateFunction(function) = expr {
                        terms += function.params.order_by.len();
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        });
        counted.unwrap();
        terms
    }

    #[tokio::test]
    async fn rows_are_sorted_by_each_term_once() {
        let state = SessionContext::new().state();
        let rows = "FROM (VALUES (1, 2)) AS t(k, j)";
        for (sql, before, after) in [
            (format!("SELECT array_agg(j ORDER BY k, j DESC, k DESC, j) {rows}"), 4, 2),
            (format!("SELECT array_agg(j ORDER BY k, -k) {rows}"), 2, 2),
            (format!("SELECT DISTINCT ON (k) j {rows} ORDER BY k, j DESC, j"), 3, 2),
        ] {
            let plan = state.create_logical_plan(&sql).await.unwrap();
            assert_eq!(terms(&plan), before, "{sql}");
            let columns = plan.schema().columns();
            let plan = DropRepeated.analyze(plan, &ConfigOptions::new()).unwrap();
            assert_eq!((terms(&plan), plan.schema().columns()), (after, columns), "{sql}");
        }
    }
}
