//! `min` over frames whose start moves, where all that is left in one is null.
//!
//! DataFusion has such a `min` keep the value that it had before. So values of frames are counted
//! beside it, and where there are none, it is null.

use std::sync::Arc;

use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TransformedResult},
    },
    config::ConfigOptions,
    error::Result,
    functions_aggregate::count::count_udaf,
    logical_expr::{
        Expr, ExprSchemable, LogicalPlan, Projection, Window, WindowFunctionDefinition,
        expr::{WindowFunction, WindowFunctionParams},
        lit, when,
    },
    optimizer::AnalyzerRule,
};

use crate::{columns::columns_of, holds::has_node, narrow::unaliased};

/// Makes `min` null where a frame holds nothing but nulls. It runs before types are settled.
#[derive(Debug, Default)]
pub struct KeepSliding;

impl AnalyzerRule for KeepSliding {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        if !has_node(&plan, |node| matches!(node, LogicalPlan::Window(_)))? {
            return Ok(plan);
        }
        plan.transform_up_with_subqueries(counted).data()
    }

    fn name(&self) -> &'static str {
        "keep_sliding"
    }
}

/// The node, and if it is of windows, counts above it of those values that `min` may lose. What is
/// counted already is not counted again: DataFusion would compute both where no window can be.
fn counted(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Window(window) = &node else { return Ok(Transformed::no(node)) };
    let columns: Vec<Expr> = columns_of(&node).collect();
    let own = &columns[window.input.schema().fields().len()..];
    let mut known: Vec<(Expr, Expr)> =
        window.window_expr.iter().map(unaliased).cloned().zip(own.iter().cloned()).collect();
    let (mut counts, mut outputs) = (Vec::new(), columns.clone());
    let least = outputs.iter_mut().rev().take(own.len()).rev();
    for (expr, output) in window.window_expr.iter().zip(least) {
        let Some(count) = count_of(expr, window)? else { continue };
        let Expr::Column(least) = output.clone() else { continue };
        let values = match known.iter().find(|(known, _)| *known == count) {
            Some((_, column)) => column.clone(),
            None => {
                let name = format!("values of {}", least.name);
                let column = Expr::Column(Column::new_unqualified(&name));
                counts.push(count.clone().alias(name));
                known.push((count, column.clone()));
                column
            }
        };
        let kept = when(values.gt(lit(0)), Expr::Column(least.clone())).end()?;
        *output = kept.alias_qualified(least.relation, least.name);
    }
    if outputs == columns {
        return Ok(Transformed::no(node));
    }
    let mut plan = node;
    if !counts.is_empty() {
        plan = LogicalPlan::Window(Window::try_new(counts, Arc::new(plan))?);
    }
    let projection = Projection::try_new(outputs, Arc::new(plan))?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

/// The count of what a `min` is of, if its frame's start moves and there may be nulls.
fn count_of(expr: &Expr, window: &Window) -> Result<Option<Expr>> {
    let Expr::WindowFunction(function) = unaliased(expr) else { return Ok(None) };
    let WindowFunction { fun: WindowFunctionDefinition::AggregateUDF(aggregate), params } =
        function.as_ref()
    else {
        return Ok(None);
    };
    let [value] = params.args.as_slice() else { return Ok(None) };
    let slides = !params.window_frame.start_bound.is_unbounded();
    if aggregate.name() != "min" || !slides || !value.nullable(window.input.schema())? {
        return Ok(None);
    }
    let fun = WindowFunctionDefinition::AggregateUDF(count_udaf());
    // The least of distinct values is the least of all, and these are counted in one go.
    let params = WindowFunctionParams { distinct: false, ..params.clone() };
    let count = WindowFunction { fun, params };
    Ok(Some(Expr::WindowFunction(Box::new(count))))
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    #[tokio::test]
    async fn only_what_may_keep_a_value_is_counted() {
        let state = SessionContext::new().state();
        let sliding = "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW";
        for (value, frame, is_counted) in [
            ("min(x)", "", false),
            ("min(x)", "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING", false),
            ("min(x)", sliding, true),
            ("min(DISTINCT x)", sliding, true),
            ("max(x)", sliding, false),
            ("min(coalesce(x, 0))", sliding, false),
        ] {
            let rows = "(VALUES (1, 2), (2, NULL)) AS t(i, x)";
            let sql = format!("SELECT {value} OVER (ORDER BY i {frame}) FROM {rows}");
            let plan = state.create_logical_plan(&sql).await.unwrap();
            let columns = plan.schema().columns();
            let plan = KeepSliding.analyze(plan, &ConfigOptions::new()).unwrap();
            let shown = plan.display_indent().to_string();
            assert_eq!(shown.contains("values of"), is_counted, "{sql}");
            assert!(!shown.contains("count(DISTINCT"), "{shown}");
            assert_eq!(plan.schema().columns(), columns);
        }
    }
}
