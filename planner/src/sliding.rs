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
        expr::WindowFunction, lit, when,
    },
    optimizer::AnalyzerRule,
};

use crate::{columns::columns_of, narrow::unaliased};

/// Makes `min` null where a frame holds nothing but nulls. It runs before types are settled.
#[derive(Debug, Default)]
pub struct KeepSliding;

impl AnalyzerRule for KeepSliding {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(counted).data()
    }

    fn name(&self) -> &'static str {
        "keep_sliding"
    }
}

/// The node, and if it is of windows, with counts of those values that `min` may lose.
fn counted(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Window(window) = &node else { return Ok(Transformed::no(node)) };
    let mut counts = Vec::new();
    let mut outputs: Vec<Expr> = columns_of(&node).collect();
    let first = window.input.schema().fields().len();
    for (expr, output) in window.window_expr.iter().zip(&mut outputs[first..]) {
        let Some(count) = count_of(expr, window)? else { continue };
        let Expr::Column(least) = output.clone() else { continue };
        let name = format!("values of {}", least.name);
        let has_values = Expr::Column(Column::new_unqualified(&name)).gt(lit(0));
        counts.push(count.alias(name));
        let kept = when(has_values, Expr::Column(least.clone())).end()?;
        *output = kept.alias_qualified(least.relation, least.name);
    }
    if counts.is_empty() {
        return Ok(Transformed::no(node));
    }
    let exprs = window.window_expr.iter().cloned().chain(counts).collect();
    let window = LogicalPlan::Window(Window::try_new(exprs, Arc::clone(&window.input))?);
    let projection = Projection::try_new(outputs, Arc::new(window))?;
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
    let count = WindowFunction { fun, params: params.clone() };
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
            ("max(x)", sliding, false),
            ("min(coalesce(x, 0))", sliding, false),
        ] {
            let rows = "(VALUES (1, 2), (2, NULL)) AS t(i, x)";
            let sql = format!("SELECT {value} OVER (ORDER BY i {frame}) FROM {rows}");
            let plan = state.create_logical_plan(&sql).await.unwrap();
            let columns = plan.schema().columns();
            let plan = KeepSliding.analyze(plan, &ConfigOptions::new()).unwrap();
            assert_eq!(
                plan.display_indent().to_string().contains("values of"),
                is_counted,
                "{sql}"
            );
            assert_eq!(plan.schema().columns(), columns);
        }
    }
}
