//! Refusing `IN (SELECT …)` where its nulls would be taken for false.
//!
//! DataFusion makes joins of such subqueries. The join of a condition that holds by itself knows of
//! nulls. Elsewhere a join marks the rows for which something was found, and what SQL has as null
//! (a null among the rows of the subquery, or a null that is looked for) is false to it. That is
//! the same where a condition only asks what is true, and gives other rows below a NOT, a `coalesce`
//! or an `IS NULL`. The join that knows of nulls takes the subquery's rows for the same all around:
//! where they depend on the row, it drops rows for nulls that are none of theirs.

use datafusion::{
    common::{
        DFSchema,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    config::ConfigOptions,
    error::{DataFusionError, Result},
    logical_expr::{
        BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, expr::InSubquery,
        utils::merge_schema,
    },
    optimizer::AnalyzerRule,
    scalar::ScalarValue,
};
use keyloom_common::Error;

/// Refuses conditions in which a subquery's nulls would be taken for false.
#[derive(Debug, Default)]
pub struct RefuseLostNulls;

impl AnalyzerRule for RefuseLostNulls {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|node| {
            check_node(node)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        "refuse_lost_nulls"
    }
}

fn check_node(node: &LogicalPlan) -> Result<()> {
    let condition = match node {
        LogicalPlan::Filter(filter) => Some(&filter.predicate),
        LogicalPlan::Join(join) => join.filter.as_ref(),
        // DataFusion refuses them elsewhere.
        _ => None,
    };
    let Some(condition) = condition else { return Ok(()) };
    let schema = merge_schema(&node.inputs());
    Place { is_alone: true, is_negated: false }.check(condition, &schema)
}

/// Where an expression stands in a condition that asks what is true.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Whether it has to hold by itself, and not one of several.
    is_alone: bool,
    /// Whether it is asked what is false.
    is_negated: bool,
}

impl Place {
    /// In something that asks for itself what is true.
    const WITHIN: Self = Self { is_alone: false, is_negated: false };

    /// In something that asks for itself what is false.
    const FALSE_WITHIN: Self = Self { is_alone: false, is_negated: true };

    fn check(self, expr: &Expr, schema: &DFSchema) -> Result<()> {
        if let Some((inner, place)) = self.of_compared(expr) {
            return place.check(inner, schema);
        }
        match expr {
            Expr::InSubquery(among) => {
                let is_negated = among.negated != self.is_negated;
                // What is looked for becomes the key of a join if it has columns. Such a join knows
                // of the nulls of one key alone, and of no row's own rows of the subquery.
                let is_join = self.is_alone
                    && !among.expr.column_refs().is_empty()
                    && among.subquery.outer_ref_columns.is_empty();
                refuse_if(is_negated && !is_join && may_be_null(among, schema))
            }
            Expr::Not(inner) => Self { is_negated: !self.is_negated, ..self }.check(inner, schema),
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: op @ (Operator::And | Operator::Or),
                right,
            }) => {
                let is_alone = self.is_alone && (*op == Operator::And) != self.is_negated;
                let place = Self { is_alone, ..self };
                place.check(left, schema)?;
                place.check(right, schema)
            }
            Expr::IsTrue(inner) | Expr::IsNotTrue(inner) => Self::WITHIN.check(inner, schema),
            Expr::IsFalse(inner) | Expr::IsNotFalse(inner) => {
                Self::FALSE_WITHIN.check(inner, schema)
            }
            Expr::Case(case) if case.expr.is_none() => {
                let place = Self { is_alone: false, ..self };
                for (when, then) in &case.when_then_expr {
                    Self::WITHIN.check(when, schema)?;
                    place.check(then, schema)?;
                }
                case.else_expr.as_deref().map_or(Ok(()), |other| place.check(other, schema))
            }
            other => {
                let is_lost = |inner: &Expr| {
                    Ok(matches!(inner, Expr::InSubquery(among) if may_be_null(among, schema)))
                };
                refuse_if(other.exists(is_lost)?)
            }
        }
    }

    /// What is compared with true or false, or has one of these for null, and where it stands: the
    /// comparison asks the same of it, or the opposite.
    fn of_compared(self, expr: &Expr) -> Option<(&Expr, Self)> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (inner, constant) = match (boolean(left), boolean(right)) {
                    (None, Some(constant)) => (left, constant),
                    (Some(constant), None) => (right, constant),
                    _ => return None,
                };
                let asks_for = |place: Self| Some((inner.as_ref(), place));
                let flipped = |is_flipped| Self {
                    is_alone: false,
                    is_negated: self.is_negated != is_flipped,
                };
                match op {
                    Operator::Eq => asks_for(flipped(!constant)),
                    Operator::NotEq => asks_for(flipped(constant)),
                    Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => {
                        asks_for(Self::within(constant))
                    }
                    _ => None,
                }
            }
            // With false for null it is whether it is true, and with true whether it is not false.
            Expr::ScalarFunction(function) if function.name() == "coalesce" => {
                match function.args.as_slice() {
                    [inner, null] => Some((inner, Self::within(!boolean(null)?))),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// In something that asks for itself what is true, or what is false.
    fn within(is_true: bool) -> Self {
        if is_true { Self::WITHIN } else { Self::FALSE_WITHIN }
    }
}

/// The constant that an expression is.
fn boolean(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Literal(ScalarValue::Boolean(value), _) => *value,
        _ => None,
    }
}

/// Whether it may be null; what is not known may.
fn may_be_null(among: &InSubquery, schema: &DFSchema) -> bool {
    let found = among.subquery.subquery.schema().fields().first();
    among.expr.nullable(schema).unwrap_or(true) || found.is_none_or(|field| field.is_nullable())
}

fn refuse_if(is_lost: bool) -> Result<()> {
    if !is_lost {
        return Ok(());
    }
    Err(DataFusionError::from(Error::invalid(
        "an IN (SELECT …) that may be null is not understood below NOT or within another \
         expression, unless the condition is that alone, or has AND beside it, and the subquery \
         names no column of the rows around it; write EXISTS or NOT EXISTS (SELECT 1 FROM … WHERE … \
         = …), which are never null",
    )))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::{datasource::MemTable, prelude::SessionContext};
    use keyloom_common::ErrorKind;

    use super::*;

    /// A table `t` of a column `n` that may be null, and `k`, which may not.
    fn context() -> SessionContext {
        let column = |name, nullable| Field::new(name, DataType::Int64, nullable);
        let schema = Arc::new(Schema::new(vec![column("n", true), column("k", false)]));
        let context = SessionContext::new();
        let table = MemTable::try_new(schema, vec![Vec::new()]).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        context
    }

    async fn check(condition: &str) -> Result<LogicalPlan> {
        let sql = format!("SELECT n FROM t WHERE {condition}");
        let plan = context().sql(&sql).await.unwrap().into_unoptimized_plan();
        RefuseLostNulls.analyze(plan, &ConfigOptions::new())
    }

    #[tokio::test]
    async fn subqueries_whose_nulls_change_no_row_are_understood() {
        for condition in [
            "n IN (SELECT n FROM t)",
            "n NOT IN (SELECT n FROM t)",
            "n NOT IN (SELECT n FROM t) AND (k = 1 OR n IN (SELECT n FROM t))",
            "NOT (n IN (SELECT n FROM t) OR k = 1)",
            "(n IN (SELECT n FROM t) OR k = 1) IS NOT TRUE",
            "CASE WHEN n IN (SELECT n FROM t) THEN k = 1 ELSE k = 2 END",
            "(n IN (SELECT n FROM t)) = true",
            "true = (n IN (SELECT n FROM t) OR k = 1)",
            "(n IN (SELECT n FROM t)) <> false",
            "(n NOT IN (SELECT n FROM t)) = false",
            "(n NOT IN (SELECT n FROM t)) IS FALSE",
            "(NOT (n IN (SELECT n FROM t) AND k = 1)) IS NOT FALSE",
            "(n IN (SELECT n FROM t)) IS DISTINCT FROM true",
            "NOT coalesce(n IN (SELECT n FROM t), false)",
            "coalesce(n NOT IN (SELECT n FROM t), true)",
            "k NOT IN (SELECT k FROM t) OR n = 1",
            "coalesce(k IN (SELECT k FROM t), true)",
            "NOT EXISTS (SELECT 1 FROM t AS u WHERE u.n = t.n) OR n = 1",
            "n IN (SELECT u.n FROM t AS u WHERE u.k > t.k) OR n = 1",
            "k NOT IN (SELECT u.k FROM t AS u WHERE u.k > t.k)",
        ] {
            assert!(check(condition).await.is_ok(), "{condition}");
        }
    }

    #[tokio::test]
    async fn subqueries_whose_nulls_would_be_taken_for_false_are_refused() {
        for condition in [
            "n NOT IN (SELECT k FROM t) OR k = 1",
            "k NOT IN (SELECT n FROM t) OR k = 1",
            "NOT (n IN (SELECT n FROM t) AND k = 1)",
            "(n IN (SELECT n FROM t)) IS NULL",
            "(n IN (SELECT n FROM t)) IS FALSE",
            "(n IN (SELECT n FROM t)) IS NOT FALSE",
            "(n IN (SELECT n FROM t)) = false",
            "(n NOT IN (SELECT n FROM t)) = true",
            "(n IN (SELECT n FROM t)) IS DISTINCT FROM false",
            "(n IN (SELECT n FROM t)) = (k = 1)",
            "coalesce(n NOT IN (SELECT n FROM t), false)",
            "coalesce(n IN (SELECT n FROM t), true)",
            "CASE WHEN n NOT IN (SELECT n FROM t) THEN true ELSE false END",
            "5 NOT IN (SELECT n FROM t)",
            "n NOT IN (SELECT u.k FROM t AS u WHERE u.k > t.k)",
            "k NOT IN (SELECT u.n FROM t AS u WHERE u.k = t.k)",
            "k IN (SELECT k FROM t WHERE n NOT IN (SELECT n FROM t) OR k = 1)",
        ] {
            let error = Error::from(check(condition).await.unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Invalid, "{condition}");
            assert!(error.message().contains("NOT EXISTS"), "{condition}: {error}");
        }
    }
}
