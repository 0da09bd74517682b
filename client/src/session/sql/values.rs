//! Values for the placeholders of a statement: `$name` is the value under that name, wherever it
//! stands, as if it had been written there in quotes and cast to what stands beside it.
//!
//! A value is text, and never part of the statement's text: it cannot mean anything but itself.

use std::collections::BTreeMap;

use datafusion::{
    arrow::datatypes::DataType,
    common::{
        ScalarValue,
        tree_node::{Transformed, TreeNode},
    },
    error::{DataFusionError, Result},
    logical_expr::{
        Expr, LogicalPlan, LogicalPlanBuilder, Values as Rows, expr::Placeholder,
        expr_rewriter::NamePreserver,
    },
};
use keyloom_common::Error;

/// Values by name.
pub(crate) type Values = BTreeMap<String, String>;

/// The plan with a literal for each placeholder.
pub(super) fn bind(plan: LogicalPlan, values: &Values) -> keyloom_common::Result<LogicalPlan> {
    let bound = plan.transform_up_with_subqueries(|node| bind_node(node, values));
    Ok(bound.map_err(Error::from)?.data)
}

fn bind_node(node: LogicalPlan, values: &Values) -> Result<Transformed<LogicalPlan>> {
    // Numbers of rows have no column beside them.
    let default = match &node {
        LogicalPlan::Limit(_) => DataType::Int64,
        _ => DataType::Utf8,
    };
    let names = NamePreserver::new(&node);
    let bound = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let bound = expr.transform_up(|expr| bind_expr(expr, values, &default))?;
        Ok(match bound.transformed {
            // Others refer to a column by the name that it had with the placeholder in it.
            true => bound.update_data(|expr| name.restore(expr)),
            false => bound,
        })
    })?;
    let is_changed = bound.transformed;
    // Types may have changed, here or below.
    bound.map_data(|node| match node {
        LogicalPlan::Values(Rows { values, .. }) if is_changed => {
            LogicalPlanBuilder::values(values)?.build()
        }
        node => node.recompute_schema(),
    })
}

fn bind_expr(expr: Expr, values: &Values, default: &DataType) -> Result<Transformed<Expr>> {
    let Expr::Placeholder(Placeholder { id, field }) = &expr else {
        return Ok(Transformed::no(expr));
    };
    let name = id.strip_prefix('$').unwrap_or(id);
    // Beside another placeholder stands no type.
    let beside = field.as_ref().map(|field| field.data_type()).filter(|known| !known.is_null());
    let data_type = beside.unwrap_or(default);
    let value = literal(name, values, data_type).map_err(DataFusionError::from)?;
    Ok(Transformed::yes(Expr::Literal(value, None)))
}

/// A value as the type that its place wants.
fn literal(
    name: &str,
    values: &Values,
    data_type: &DataType,
) -> keyloom_common::Result<ScalarValue> {
    let text = values
        .get(name)
        .ok_or_else(|| Error::invalid(format!("parameter '{name}' has no value")))?;
    let cast = ScalarValue::try_from_string(text.clone(), data_type).ok();
    cast.filter(|value| !value.is_null()).ok_or_else(|| {
        Error::invalid(format!("parameter '{name}': '{text}' is no value of the type {data_type}"))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::{
        arrow::{
            array::{ArrayRef, Date32Array, Int32Array, RecordBatch, StringArray},
            util::pretty::pretty_format_batches,
        },
        prelude::{DataFrame, SessionContext},
    };

    use super::*;

    fn context() -> SessionContext {
        let columns: [(&str, ArrayRef); 3] = [
            ("n", Arc::new(Int32Array::from(vec![1, 9, 10]))),
            ("day", Arc::new(Date32Array::from(vec![0, 1, 31]))),
            ("k", Arc::new(StringArray::from(vec!["a", "b'", "c"]))),
        ];
        let context = SessionContext::new();
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        context.register_batch("t", rows).unwrap();
        context
    }

    async fn bound(sql: &str, values: &[(&str, &str)]) -> keyloom_common::Result<DataFrame> {
        let (state, plan) = context().sql(sql).await?.into_parts();
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Ok(DataFrame::new(state, bind(plan, &values.collect())?))
    }

    async fn check(sql: &str, values: &[(&str, &str)], expected: &[&str]) {
        let batches = bound(sql, values).await.unwrap().collect().await.unwrap();
        let text = pretty_format_batches(&batches).unwrap().to_string();
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with('|')).skip(1).collect();
        let cells = |line: &&str| line.trim_matches('|').replace(' ', "");
        assert_eq!(lines.iter().map(cells).collect::<Vec<_>>(), expected, "{sql}");
    }

    #[tokio::test]
    async fn a_value_has_the_type_of_what_stands_beside_it() {
        check("SELECT n FROM t WHERE n > $least", &[("least", "9")], &["10"]).await;
        check("SELECT n FROM t WHERE $least <= n", &[("least", "9")], &["9", "10"]).await;
        check("SELECT n FROM t WHERE day = $day", &[("day", "1970-01-02")], &["9"]).await;
        let days = [("from", "1970-01-02"), ("to", "1970-02-01")];
        check("SELECT n FROM t WHERE day BETWEEN $from AND $to", &days, &["9", "10"]).await;
        check("SELECT n FROM t WHERE n IN ($a, $b)", &[("a", "1"), ("b", "10")], &["1", "10"])
            .await;
        check("SELECT n FROM t WHERE k LIKE $k", &[("k", "b%")], &["9"]).await;
        check("SELECT n FROM t WHERE day = CAST($d AS DATE)", &[("d", "1970-01-01")], &["1"]).await;
        check("SELECT n FROM t LIMIT $most", &[("most", "2")], &["1", "9"]).await;
    }

    #[tokio::test]
    async fn a_value_is_nothing_but_itself() {
        let quote = "b' OR true --";
        check("SELECT n FROM t WHERE k = $k", &[("k", quote)], &[]).await;
        check("SELECT n FROM t WHERE k = $k", &[("k", "b'")], &["9"]).await;
        check("SELECT $k AS k FROM t LIMIT 1", &[("k", "$k")], &["$k"]).await;
    }

    #[tokio::test]
    async fn one_parameter_may_stand_for_several_types() {
        let sql = "SELECT n FROM (SELECT n, $x AS x FROM t WHERE n >= $x) WHERE x = '9'";
        check(sql, &[("x", "9")], &["9", "10"]).await;
    }

    #[tokio::test]
    async fn what_is_no_value_of_the_type_is_named() {
        let refused = async |value: &[(&str, &str)]| {
            bound("SELECT n FROM t WHERE n > $least", value).await.unwrap_err().message().to_owned()
        };
        let message = "parameter 'least': 'many' is no value of the type Int32";
        assert_eq!(refused(&[("least", "many")]).await, message);
        assert_eq!(refused(&[]).await, "parameter 'least' has no value");
    }
}
