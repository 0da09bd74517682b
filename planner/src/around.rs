//! Refusing subqueries of EXISTS and IN that depend on the row around them, and that DataFusion
//! would compute for all such rows at once.
//!
//! It makes joins of them: what names columns of the row around is taken out of the subquery, the
//! rest is computed once, and then compared. So a window is over the rows of all, and an OFFSET is
//! dropped. An aggregate without GROUP BY, which makes a row of no rows, too, becomes groups by
//! what is compared, and no rows are in no group. That is the same where such a row is not asked
//! for: if HAVING does not let it pass, or IN looks for its null.

use datafusion::{
    common::{
        ExprSchema,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    config::ConfigOptions,
    error::Result,
    logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator},
    optimizer::AnalyzerRule,
    scalar::ScalarValue,
};
use keyloom_common::Error;

/// Refuses what would be computed for all rows around a subquery at once.
#[derive(Debug, Default)]
pub struct RefuseRowsOfOthers;

impl AnalyzerRule for RefuseRowsOfOthers {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|expr| check(expr).map(|()| TreeNodeRecursion::Continue))
            })
        })?;
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        "refuse_rows_of_others"
    }
}

fn check(expr: &Expr) -> Result<()> {
    let found = match expr {
        Expr::Exists(exists) => computed_at_once(&exists.subquery.subquery, false)?,
        Expr::InSubquery(among) => {
            let plan = &among.subquery.subquery;
            computed_at_once(plan, is_null_of_none(plan))?
        }
        _ => None,
    };
    found.map_or(Ok(()), |found| Err(refusal(found).into()))
}

/// What a subquery may not do with rows that depend on the row around it.
#[derive(Clone, Copy, Debug)]
enum AtOnce {
    Window,
    Offset,
    Aggregate,
}

/// What of a plan would be computed for all rows around it. Above it, a row that an aggregate makes
/// of no rows may not be asked for.
fn computed_at_once(plan: &LogicalPlan, is_none_left_out: bool) -> Result<Option<AtOnce>> {
    let found = match plan {
        LogicalPlan::Window(_) => Some(AtOnce::Window),
        LogicalPlan::Limit(limit) => {
            let is_zero =
                |skip: &Expr| matches!(skip, Expr::Literal(ScalarValue::Int64(Some(0)), _));
            let is_offset = limit.skip.as_deref().is_some_and(|skip| !is_zero(skip));
            is_offset.then_some(AtOnce::Offset)
        }
        LogicalPlan::Aggregate(aggregate) => {
            let is_set = |group: &Expr| matches!(group, Expr::GroupingSet(_));
            let is_of_no_rows = aggregate.group_expr.iter().all(is_set);
            (is_of_no_rows && !is_none_left_out).then_some(AtOnce::Aggregate)
        }
        _ => None,
    };
    let leaves_out = match plan {
        LogicalPlan::Filter(filter) => is_false_of_none(&filter.predicate, &filter.input),
        _ => false,
    };
    for input in plan.inputs() {
        let depends = || input.exists(|node| Ok(node.contains_outer_reference()));
        if found.is_some() && depends()? {
            return Ok(found);
        }
        if let Some(found) = computed_at_once(input, is_none_left_out || leaves_out)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether the value that IN looks for is that of an aggregate which is null of no rows.
fn is_null_of_none(plan: &LogicalPlan) -> bool {
    let is_nullable = || plan.schema().fields().first().is_some_and(|field| field.is_nullable());
    match plan {
        LogicalPlan::Projection(projection) => {
            let value = projection.expr.first().map(|expr| expr.clone().unalias());
            matches!(value, Some(Expr::Column(_))) && is_nullable()
        }
        LogicalPlan::Aggregate(_) => is_nullable(),
        _ => false,
    }
}

/// Whether a condition of HAVING is not met by what an aggregate makes of no rows: null, or the
/// number 0.
fn is_false_of_none(condition: &Expr, input: &LogicalPlan) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return false };
    if *op == Operator::And {
        return is_false_of_none(left, input) || is_false_of_none(right, input);
    }
    let (Expr::Column(column), Expr::Literal(value, _)) = (left.as_ref(), right.as_ref()) else {
        return false;
    };
    let is_met_by_zero = match (op, value) {
        (Operator::Eq, ScalarValue::Int64(Some(value))) => 0 == *value,
        (Operator::Gt, ScalarValue::Int64(Some(value))) => 0 > *value,
        (Operator::GtEq, ScalarValue::Int64(Some(value))) => 0 >= *value,
        (Operator::Eq | Operator::Gt | Operator::GtEq | Operator::Lt | Operator::LtEq, _) => true,
        _ => return false,
    };
    !is_met_by_zero || input.schema().nullable(column).unwrap_or_default()
}

fn refusal(found: AtOnce) -> Error {
    let (what, instead) = match found {
        AtOnce::Window => ("window function", "compute it in a query in FROM"),
        AtOnce::Offset => ("OFFSET", "number the rows in a query in FROM"),
        AtOnce::Aggregate => (
            "aggregate without GROUP BY",
            "group by the column that is compared, or compare (SELECT count(*) FROM …) itself",
        ),
    };
    Error::invalid(format!(
        "an EXISTS or IN (SELECT …) that names columns of the rows around it takes no {what}; \
         {instead}"
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::{datasource::MemTable, prelude::SessionContext};
    use keyloom_common::ErrorKind;

    use super::*;

    /// The rule, for a condition on a table `t` of the columns `n` and `k`.
    async fn check_condition(condition: &str) -> Result<LogicalPlan> {
        let column = |name| Field::new(name, DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![column("n"), column("k")]));
        let context = SessionContext::new();
        let table = MemTable::try_new(schema, vec![Vec::new()]).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        let sql = format!("SELECT n FROM t WHERE {condition}");
        let plan = context.sql(&sql).await.unwrap().into_unoptimized_plan();
        RefuseRowsOfOthers.analyze(plan, &ConfigOptions::new())
    }

    #[tokio::test]
    async fn what_is_the_same_for_all_rows_at_once_is_understood() {
        for condition in [
            "EXISTS (SELECT 1 FROM t AS u WHERE u.k = t.k)",
            "EXISTS (SELECT 1 FROM t AS u WHERE u.k = t.k LIMIT 1)",
            "EXISTS (SELECT count(*) FROM t AS u)",
            "EXISTS (SELECT 1 FROM t AS u OFFSET 2)",
            "EXISTS (SELECT n FROM t AS u WHERE u.k = t.k GROUP BY n HAVING count(*) > 1)",
            "EXISTS (SELECT max(n) FROM t AS u WHERE u.k = t.k HAVING max(n) < 5)",
            "EXISTS (SELECT 1 FROM t AS u WHERE u.k = t.k HAVING count(*) > 1)",
            "n IN (SELECT max(u.n) FROM t AS u WHERE u.k = t.k)",
            "n IN (SELECT max(u.n) AS most FROM t AS u WHERE u.k = t.k)",
            "n IN (SELECT count(*) FROM t)",
            "n IN (SELECT count(*) FROM t AS u WHERE u.k = t.k GROUP BY u.n)",
            "n IN (SELECT r FROM (SELECT k, row_number() OVER (PARTITION BY k) AS r FROM t) AS u \
             WHERE u.k = t.k)",
            "n = (SELECT count(*) FROM t AS u WHERE u.k = t.k)",
        ] {
            assert!(check_condition(condition).await.is_ok(), "{condition}");
        }
    }

    #[tokio::test]
    async fn what_would_be_computed_of_the_rows_of_others_is_refused() {
        for (condition, what) in [
            ("EXISTS (SELECT max(n) FROM t AS u WHERE u.k = t.k)", "aggregate"),
            ("NOT EXISTS (SELECT count(*) FROM t AS u WHERE u.k = t.k)", "aggregate"),
            ("EXISTS (SELECT 1 FROM t AS u WHERE u.k = t.k HAVING count(*) = 0)", "aggregate"),
            ("EXISTS (SELECT 1 FROM t AS u WHERE u.k = t.k HAVING count(*) < 3)", "aggregate"),
            ("EXISTS (SELECT 1 FROM t AS u WHERE u.k = t.k HAVING max(n) IS NULL)", "aggregate"),
            ("0 IN (SELECT count(*) FROM t AS u WHERE u.k = t.k)", "aggregate"),
            ("n = 1 OR 0 NOT IN (SELECT count(*) FROM t AS u WHERE u.k = t.k)", "aggregate"),
            ("0 IN (SELECT coalesce(max(n), 0) FROM t AS u WHERE u.k = t.k)", "aggregate"),
            ("EXISTS (SELECT 1 FROM t AS u WHERE u.k = t.k OFFSET 1)", "OFFSET"),
            ("n IN (SELECT row_number() OVER () FROM t AS u WHERE u.k = t.k)", "window"),
            (
                "n IN (SELECT k FROM t AS v WHERE EXISTS (SELECT max(n) FROM t AS u WHERE \
              u.k = v.k))",
                "aggregate",
            ),
        ] {
            let error = Error::from(check_condition(condition).await.unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Invalid, "{condition}");
            assert!(error.message().contains(what), "{condition}: {error}");
        }
    }
}
