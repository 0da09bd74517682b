//! The functions of aggregates that are made of states.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::{
    error::Result,
    functions_aggregate::{
        count::count_udaf,
        min_max::{max_udaf, min_udaf},
        sum::sum_udaf,
    },
    physical_expr::{
        PhysicalExpr,
        aggregate::{AggregateExprBuilder, AggregateFunctionExpr},
        expressions::{CastExpr, Column, Literal, lit},
    },
    physical_expr_common::physical_expr::is_volatile,
};

use super::chain::Chain;

type Expr = Arc<dyn PhysicalExpr>;
type Functions = Vec<Arc<AggregateFunctionExpr>>;

/// The aggregates whose states are put together to what one state of all rows would be.
const MERGED: [&str; 5] = ["avg", "count", "max", "min", "sum"];

/// The name of the number of rows, where no aggregate counts them.
const ROWS: &str = "__rows";

/// Whether states of an aggregate make one that is the state of all their rows.
pub(super) fn is_merged(function: &AggregateFunctionExpr) -> bool {
    MERGED.contains(&function.fun().name())
        && !function.is_distinct()
        && !function.ignore_nulls()
        && function.order_bys().is_empty()
        && function.groups_accumulator_supported()
}

/// The function over the rows below the chain; `None` if it reads what the chain adds to them, or
/// might fail for rows that the chain drops.
pub(super) fn over_rows(
    function: &AggregateFunctionExpr,
    chain: &Chain,
) -> Result<Option<Arc<AggregateFunctionExpr>>> {
    let schema = chain.rows().schema();
    let mut args = Vec::new();
    for arg in function.expressions() {
        let Some(arg) = chain.over_rows(&arg)? else { return Ok(None) };
        if is_volatile(&arg) || (chain.drops_rows() && may_fail(&arg, &schema)?) {
            return Ok(None);
        }
        args.push(arg);
    }
    let fun = Arc::new(function.fun().clone());
    let builder = AggregateExprBuilder::new(fun, args).schema(schema).alias(function.name());
    Ok(Some(Arc::new(builder.build()?)))
}

/// Functions whose states are those of others, put together: of the states in the columns from
/// `first` on. `None` where the types of states differ.
///
/// Unlike states that are reduced, they let rows pass where groups do not come again.
pub(super) fn over_states(
    functions: &[Arc<AggregateFunctionExpr>],
    first: usize,
    schema: &SchemaRef,
) -> Result<Option<Functions>> {
    let mut merging = Vec::new();
    for function in functions {
        for _ in function.state_fields()? {
            let at = first + merging.len();
            let Some(merged) = over_state(function, at, schema)? else { return Ok(None) };
            merging.push(merged);
        }
    }
    Ok(Some(merging))
}

fn over_state(
    function: &AggregateFunctionExpr,
    at: usize,
    schema: &SchemaRef,
) -> Result<Option<Arc<AggregateFunctionExpr>>> {
    let (name, state) = (schema.field(at).name(), schema.field(at).data_type());
    let is_added = matches!(state, DataType::Int64 | DataType::UInt64 | DataType::Float64);
    let fun = match function.fun().name() {
        "max" => max_udaf(),
        "min" => min_udaf(),
        _ if is_added => sum_udaf(),
        _ => return Ok(None),
    };
    let column: Expr = Arc::new(Column::new(name, at));
    let builder = AggregateExprBuilder::new(fun, vec![column]).schema(Arc::clone(schema));
    let merged = builder.alias(name).build()?;
    let is_state = matches!(&merged.state_fields()?[..], [field] if field.data_type() == state);
    Ok(is_state.then(|| Arc::new(merged)))
}

/// Whether there may be values for which an expression has none.
fn may_fail(expr: &Expr, schema: &Schema) -> Result<bool> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let from = cast.expr().data_type(schema)?;
        return Ok(!widens(&from, cast.cast_type()) || may_fail(cast.expr(), schema)?);
    }
    Ok(expr.downcast_ref::<Column>().is_none() && expr.downcast_ref::<Literal>().is_none())
}

fn widens(from: &DataType, to: &DataType) -> bool {
    let is_short_unsigned = matches!(from, DataType::UInt8 | DataType::UInt16 | DataType::UInt32);
    let is_short = matches!(from, DataType::Int8 | DataType::Int16 | DataType::Int32);
    match to {
        DataType::Int64 => is_short || is_short_unsigned,
        DataType::UInt64 => is_short_unsigned,
        DataType::Float64 => from.is_integer() || from.is_floating(),
        _ => false,
    }
}

/// The functions with one among them that counts rows, and the place of its state among theirs.
pub(super) fn with_count(
    mut functions: Functions,
    schema: &SchemaRef,
) -> Result<(Functions, usize)> {
    let counting = match functions.iter().position(|function| counts_rows(function)) {
        Some(counting) => counting,
        None => {
            let count = AggregateExprBuilder::new(count_udaf(), vec![lit(1_i64)]);
            functions.push(Arc::new(count.schema(Arc::clone(schema)).alias(ROWS).build()?));
            functions.len() - 1
        }
    };
    let before = functions.iter().take(counting);
    let states = before.map(|function| function.state_fields().map(|fields| fields.len()));
    let states = states.sum::<Result<usize>>()?;
    Ok((functions, states))
}

fn counts_rows(function: &AggregateFunctionExpr) -> bool {
    let is_value = |arg: &Expr| {
        arg.downcast_ref::<Literal>().is_some_and(|literal| !literal.value().is_null())
    };
    function.fun().name() == "count" && function.expressions().iter().all(is_value)
}
