//! Keeping what is nested from growing while it is planned.
//!
//! DataFusion writes `coalesce(a, b)` as `CASE WHEN a IS NOT NULL THEN a ELSE b END`, and a CASE of
//! booleans as ANDs and ORs that repeat its conditions. What a CASE holds it asks twice whether it
//! may be null, and builds anew for each CASE around it. So planning, and what is planned, doubles
//! with each level. From some depth on, conditionals become functions that are left alone, and that
//! compute a branch, as CASEs do, only for the rows that take it.

use datafusion::{
    common::{
        DFSchema, ScalarValue,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRewriter},
    },
    config::ConfigOptions,
    error::Result,
    functions::core::{coalesce::CoalesceFunc, nvl::NVLFunc, nvl2::NVL2Func},
    logical_expr::{
        Case, Expr, ExprSchemable, LogicalPlan, expr::ScalarFunction, expr_rewriter::NamePreserver,
        utils::merge_schema,
    },
    optimizer::AnalyzerRule,
};
use keyloom_common::functions::Conditional;

use crate::lazy::{Nesting, is_deep, is_nested_deep};

/// Keeps conditionals within which others are nested deep. It runs when all types are settled, so
/// last of the analyzer's rules.
#[derive(Debug, Default)]
pub struct KeepNested;

impl AnalyzerRule for KeepNested {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(keep_in_node).data()
    }

    fn name(&self) -> &'static str {
        "keep_nested"
    }
}

fn keep_in_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let exprs = node.expressions();
    // The columns of grouping sets are found again by the expressions that are written.
    let is_set = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
    if exprs.iter().any(is_set) || !exprs.iter().any(is_nested_deep) {
        return Ok(Transformed::no(node));
    }
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    // Sort keys have no names to keep.
    let named = !matches!(node, LogicalPlan::Sort(_));
    let kept = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let kept = expr.rewrite(&mut Keeper { schema: &schema, nesting: Nesting::default() })?;
        Ok(if named { kept.update_data(|expr| name.restore(expr)) } else { kept })
    });
    kept.data()?.recompute_schema().map(Transformed::yes)
}

/// Rewrites an expression over a schema.
struct Keeper<'a> {
    schema: &'a DFSchema,
    nesting: Nesting,
}

impl TreeNodeRewriter for Keeper<'_> {
    type Node = Expr;

    fn f_down(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        self.nesting.enter();
        Ok(Transformed::no(expr))
    }

    fn f_up(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        if !is_deep(self.nesting.leave(&expr)) {
            return Ok(Transformed::no(expr));
        }
        match expr {
            Expr::Case(case) => keep_case(case, self.schema),
            Expr::ScalarFunction(function) => Ok(match conditional(&function) {
                Some(conditional) => Transformed::yes(conditional.call(function.args)),
                None => Transformed::no(Expr::ScalarFunction(function)),
            }),
            other => Ok(Transformed::no(other)),
        }
    }
}

/// The conditional that a function of DataFusion's is, if it is one.
fn conditional(function: &ScalarFunction) -> Option<Conditional> {
    let function = function.func.inner();
    if function.is::<CoalesceFunc>() || function.is::<NVLFunc>() {
        Some(Conditional::Coalesce)
    } else if function.is::<NVL2Func>() {
        Some(Conditional::Nvl2)
    } else {
        None
    }
}

/// `CASE WHEN a THEN b ELSE c END` as `case(a, b, c)`. One with an operand that is more than a
/// column stays: DataFusion neither copies it nor asks its conditions for nulls.
fn keep_case(case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let operand = case.expr.as_deref().filter(|operand| !is_true(operand)).cloned();
    let case = Expr::Case(case);
    let typed = (case.get_type(schema), case.nullable(schema));
    match (case, typed) {
        (Expr::Case(case), (Ok(data_type), Ok(nullable)))
            if matches!(operand, None | Some(Expr::Column(_))) =>
        {
            let mut args = Vec::with_capacity(case.when_then_expr.len() * 2 + 1);
            for (when, then) in case.when_then_expr {
                args.push(match &operand {
                    Some(operand) => operand.clone().eq(*when),
                    None => *when,
                });
                args.push(*then);
            }
            args.push(match case.else_expr {
                Some(otherwise) => *otherwise,
                None => Expr::Literal(ScalarValue::try_new_null(&data_type)?, None),
            });
            Ok(Transformed::yes(Conditional::Case { nullable }.call(args)))
        }
        (case, _) => Ok(Transformed::no(case)),
    }
}

/// Whether it is the operand of a CASE that is to stay one, which has none otherwise.
fn is_true(operand: &Expr) -> bool {
    matches!(operand, Expr::Literal(ScalarValue::Boolean(Some(true)), _))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::{
        arrow::util::pretty::pretty_format_batches,
        execution::SessionStateBuilder,
        optimizer::Analyzer,
        prelude::{DataFrame, SessionContext},
    };

    use keyloom_common::stack::Deep;

    use super::*;

    const DEEP: usize = 40;

    async fn query(sql: &str) -> DataFrame {
        let mut rules = Analyzer::default().rules;
        rules.push(Arc::new(KeepNested));
        let state = SessionStateBuilder::new().with_default_features();
        let state = state.with_analyzer_rules(rules).build();
        SessionContext::new_with_state(state).sql(sql).await.unwrap()
    }

    /// An expression within itself so often, from `v`.
    fn nested(times: usize, write: impl Fn(&str) -> String) -> String {
        (0..times).fold("v".to_owned(), |inner, _| write(&inner))
    }

    /// How an expression of `v` is planned, as text, and its values for 1, null and 3.
    async fn planned(expr: &str) -> (String, Vec<String>) {
        let sql = format!("SELECT {expr} AS x FROM (VALUES (1), (NULL), (3)) AS t(v)");
        let query = query(&sql).await;
        let plan = query.clone().into_optimized_plan().unwrap();
        let data_type = |schema: &DFSchema| schema.field(0).data_type().clone();
        assert_eq!(data_type(query.schema()), data_type(plan.schema()), "{expr}");
        let rows = pretty_format_batches(&query.collect().await.unwrap()).unwrap().to_string();
        let values = rows.lines().filter(|line| line.starts_with('|')).skip(1);
        let values = values.map(|line| line.trim_matches(['|', ' ']).to_owned()).collect();
        (plan.display_indent().to_string(), values)
    }

    /// Checks the values of what is nested deep, and that nothing is repeated with each level.
    async fn check(write: impl Fn(&str) -> String, expected: [&str; 3]) {
        let expr = nested(DEEP, write);
        let (plan, values) = Deep::new(planned(&expr)).await;
        assert_eq!(values, expected, "{expr}");
        assert!(plan.len() < expr.len() * 10, "{plan}");
    }

    #[tokio::test]
    async fn what_is_nested_little_is_left_to_datafusion() {
        let (plan, values) =
            planned(&nested(4, |inner| format!("coalesce({inner} + 1, -1)"))).await;
        assert_eq!(values, ["5", "2", "7"]);
        assert!(plan.contains("CASE WHEN") && !plan.contains("coalesce("), "{plan}");
    }

    #[tokio::test]
    async fn from_some_depth_on_conditionals_are_kept() {
        let expr = nested(DEEP, |inner| format!("coalesce({inner} + 1, -1)"));
        let (plan, values) = planned(&expr).await;
        assert_eq!(values, ["41", "38", "43"]);
        assert_eq!(plan.matches("coalesce(").count(), DEEP - 4, "{plan}");
    }

    #[tokio::test]
    async fn all_arguments_may_be_nested() {
        check(|inner| format!("coalesce({inner}, 0)"), ["1", "0", "3"]).await;
        check(|inner| format!("coalesce(nullif(v, 1), {inner} + 1, 7)"), ["41", "46", "3"]).await;
        check(|inner| format!("coalesce(nullif(v, 1), {inner})"), ["1", "", "3"]).await;
        check(|inner| format!("nvl({inner} + 1, -1)"), ["41", "38", "43"]).await;
        check(|inner| format!("nvl(nullif(v, 1), {inner} + 1)"), ["41", "", "3"]).await;
        check(|inner| format!("nvl2({inner}, v, 5)"), ["1", "", "3"]).await;
        check(|inner| format!("nvl2(v, {inner} + 1, -1)"), ["41", "-1", "43"]).await;
        check(|inner| format!("nvl2(v, -1, {inner} + 1)"), ["-1", "", "-1"]).await;
    }

    #[tokio::test]
    async fn all_parts_of_a_case_may_be_nested() {
        let when = |inner: &str| format!("CASE WHEN {inner} > 0 THEN 1 ELSE 2 END");
        check(when, ["1", "1", "1"]).await;
        check(|inner| format!("CASE WHEN v > 1 THEN {inner} + 1 END"), ["", "", "43"]).await;
        check(|inner| format!("CASE WHEN v > 1 THEN 0 ELSE {inner} + 1 END"), ["41", "", "0"])
            .await;
        check(|inner| format!("CASE v WHEN 3 THEN 0 ELSE {inner} END"), ["1", "", "0"]).await;
    }

    #[tokio::test]
    async fn conditions_do_not_double_what_is_nested_in_them() {
        let boolean = |inner: &str| {
            let inner = if inner == "v" { "v = 1" } else { inner };
            format!("CASE WHEN {inner} THEN false ELSE v IS NOT NULL END")
        };
        // With each level the other for numbers, and false for the null: an even number of levels.
        check(boolean, ["true", "false", "false"]).await;
    }
}
