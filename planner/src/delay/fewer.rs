//! Fewer rows below what makes of each row one or several, or puts rows beside those of others:
//! the first rows of its result come of the first rows below. The sort or limit above stays, for it
//! may still get more rows than it wants.

use std::sync::Arc;

use datafusion::{
    common::{DFSchema, JoinType},
    error::Result,
    logical_expr::{
        Expr, FetchType, Join, Limit, LogicalPlan, Projection, SkipType, Sort, SortExpr,
        SubqueryAlias, Union, Unnest, lit,
    },
};
use keyloom_common::functions::Function;

use super::{
    keeps_rows,
    keys::{below_unnest, column, over_input, place_below},
    over,
};
use crate::{
    holds::{as_call, contains_call},
    narrow::unaliased,
};

/// Rows that are wanted of a plan: the first by these keys, or as they come if there are none.
struct First {
    keys: Vec<SortExpr>,
    rows: usize,
}

/// The sort over an input with fewer calls; `None` if there are none that it can do without.
pub(super) fn fewer_sorted(sort: &Sort) -> Result<Option<LogicalPlan>> {
    let Some(rows) = sort.fetch else { return Ok(None) };
    let first = First { keys: sort.expr.clone(), rows };
    let input = fewer(&first, &sort.input)?;
    Ok(input.map(|input| LogicalPlan::Sort(Sort { input: Arc::new(input), ..sort.clone() })))
}

/// The input of a limit with fewer calls below the rows that are unnested there; `None` if there
/// are no such. Past everything else, DataFusion moves limits.
pub(super) fn fewer_limited(limit: &Limit) -> Result<Option<LogicalPlan>> {
    let (SkipType::Literal(skip), FetchType::Literal(Some(fetch))) =
        (limit.get_skip_type()?, limit.get_fetch_type()?)
    else {
        return Ok(None);
    };
    let rows = skip.saturating_add(fetch);
    // Limits are said in 63 bits, and these are no fewer rows.
    if i64::try_from(rows).is_err() || !stands_over_rows(&limit.input) {
        return Ok(None);
    }
    fewer(&First { keys: Vec::new(), rows }, &limit.input)
}

fn stands_over_rows(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => stands_over_rows(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => stands_over_rows(&alias.input),
        LogicalPlan::Unnest(unnest) => never_loses(unnest) || stands_over_rows(&unnest.input),
        _ => false,
    }
}

impl First {
    /// The same of a node's input, whose columns the node's are.
    fn below(
        &self,
        schema: &DFSchema,
        value: impl Fn(usize) -> Option<Expr>,
    ) -> Result<Option<Self>> {
        let keys = over_input(&self.keys, schema, value)?;
        Ok(keys.map(|keys| Self { keys, rows: self.rows }))
    }

    /// Those rows.
    fn of(self, input: Arc<LogicalPlan>) -> LogicalPlan {
        if self.keys.is_empty() {
            let fetch = Some(Box::new(lit(self.rows as i64)));
            return LogicalPlan::Limit(Limit { skip: None, fetch, input });
        }
        LogicalPlan::Sort(Sort { expr: self.keys, input, fetch: Some(self.rows) })
    }
}

/// The plan with calls for those rows alone that may be among the first ones; `None` if that is
/// all of them.
fn fewer(first: &First, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Projection(projection) => fewer_projected(first, projection),
        LogicalPlan::SubqueryAlias(alias) => {
            let schema = alias.input.schema();
            let below = first.below(&alias.schema, |at| Some(column(schema, at)))?;
            let Some(input) = fewer_of(below, &alias.input)? else { return Ok(None) };
            let alias = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
            Ok(Some(LogicalPlan::SubqueryAlias(alias)))
        }
        LogicalPlan::Unnest(unnest) if keeps_rows(unnest) || never_loses(unnest) => {
            let below = first.below(&unnest.schema, |at| below_unnest(unnest, at))?;
            Ok(fewer_of(below, &unnest.input)?.map(|input| over(unnest, input)))
        }
        LogicalPlan::Union(union) => fewer_united(first, union),
        LogicalPlan::Join(join) if !first.keys.is_empty() => fewer_joined(first, join),
        _ => Ok(None),
    }
}

fn fewer_of(first: Option<First>, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    match first {
        Some(first) => fewer(&first, plan),
        None => Ok(None),
    }
}

fn fewer_projected(first: &First, projection: &Projection) -> Result<Option<LogicalPlan>> {
    let exprs = &projection.expr;
    let value = |at: usize| exprs.get(at).map(|expr| expr.clone().unalias());
    let Some(below) = first.below(&projection.schema, value)? else { return Ok(None) };
    if below.keys.iter().any(|key| key.expr.is_volatile()) {
        return Ok(None);
    }
    let is_few = most_rows(&projection.input)?.is_some_and(|rows| rows <= first.rows);
    let input = match fewer(&below, &projection.input)? {
        Some(input) => input,
        None if !is_few && exprs.iter().any(contains_call) => {
            below.of(Arc::clone(&projection.input))
        }
        None => return Ok(None),
    };
    let schema = Arc::clone(&projection.schema);
    let projection = Projection::try_new_with_schema(exprs.clone(), Arc::new(input), schema)?;
    Ok(Some(LogicalPlan::Projection(projection)))
}

/// The first rows of a union are among the first ones of its inputs.
fn fewer_united(first: &First, union: &Union) -> Result<Option<LogicalPlan>> {
    let mut is_fewer = false;
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in &union.inputs {
        let below = first.below(&union.schema, |at| Some(column(input.schema(), at)))?;
        let fewer = fewer_of(below, input)?;
        is_fewer |= fewer.is_some();
        inputs.push(fewer.map_or_else(|| Arc::clone(input), Arc::new));
    }
    let schema = Arc::clone(&union.schema);
    Ok(is_fewer.then(|| LogicalPlan::Union(Union { inputs, schema })))
}

/// Of a join that keeps all rows of a side, the first rows by that side's columns come of its
/// first ones.
fn fewer_joined(first: &First, join: &Join) -> Result<Option<LogicalPlan>> {
    let (left, right) = (join.left.schema(), join.right.schema());
    let width = left.fields().len();
    let of_left = |at: usize| (at < width).then(|| column(left, at));
    let of_right = |at: usize| at.checked_sub(width).map(|at| column(right, at));
    Ok(match join.join_type {
        JoinType::Left | JoinType::LeftMark => {
            let fewer = fewer_of(first.below(&join.schema, of_left)?, &join.left)?;
            fewer.map(|left| LogicalPlan::Join(Join { left: Arc::new(left), ..join.clone() }))
        }
        JoinType::Right => {
            let fewer = fewer_of(first.below(&join.schema, of_right)?, &join.right)?;
            fewer.map(|right| LogicalPlan::Join(Join { right: Arc::new(right), ..join.clone() }))
        }
        _ => None,
    })
}

/// Whether each row stays, once or several times: the lists are those of rows that keys have, of
/// which none is empty, and nulls are kept.
fn never_loses(unnest: &Unnest) -> bool {
    let lists = &unnest.list_type_columns;
    !lists.is_empty()
        && unnest.options.preserve_nulls
        && lists.iter().all(|(at, list)| list.depth == 1 && holds_rows(&unnest.input, *at))
}

/// Whether a column is the answer of `kv_get_all`.
fn holds_rows(plan: &LogicalPlan, at: usize) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => match projection.expr.get(at).map(unaliased) {
            Some(Expr::Column(column)) => {
                let below = projection.input.schema().maybe_index_of_column(column);
                below.is_some_and(|at| holds_rows(&projection.input, at))
            }
            Some(expr) => {
                as_call(expr).is_some_and(|(call, _)| call.function() == Function::GetAll)
            }
            None => false,
        },
        LogicalPlan::SubqueryAlias(alias) => holds_rows(&alias.input, at),
        LogicalPlan::Filter(filter) => holds_rows(&filter.input, at),
        LogicalPlan::Sort(sort) => holds_rows(&sort.input, at),
        LogicalPlan::Limit(limit) => holds_rows(&limit.input, at),
        LogicalPlan::Unnest(unnest) => {
            place_below(unnest, at).is_some_and(|at| holds_rows(&unnest.input, at))
        }
        _ => false,
    }
}

/// The most rows that a plan gives, where a limit says so.
fn most_rows(plan: &LogicalPlan) -> Result<Option<usize>> {
    let (most, below) = match plan {
        LogicalPlan::TableScan(scan) => return Ok(scan.fetch),
        LogicalPlan::Limit(limit) => match limit.get_fetch_type()? {
            FetchType::Literal(fetch) => (fetch, &limit.input),
            FetchType::UnsupportedExpr => (None, &limit.input),
        },
        LogicalPlan::Sort(sort) => (sort.fetch, &sort.input),
        LogicalPlan::Projection(projection) => (None, &projection.input),
        LogicalPlan::SubqueryAlias(alias) => (None, &alias.input),
        LogicalPlan::Filter(filter) => (None, &filter.input),
        LogicalPlan::Unnest(unnest) if keeps_rows(unnest) => (None, &unnest.input),
        _ => return Ok(None),
    };
    Ok(most.into_iter().chain(most_rows(below)?).min())
}
