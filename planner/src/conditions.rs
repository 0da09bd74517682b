//! Conditions with calls, of filters and of joins.
//!
//! DataFusion moves conditions towards the tables, copies them from one side of a join to the other
//! and takes ANDs apart. A lookup that moves with them is made for rows that the join, or the
//! condition before it, would have dropped, and fails for keys that no row of the result has. As a
//! column, it stays where its condition was written, above all conditions without calls.

use std::sync::Arc;

use datafusion::{
    common::{
        DFSchema, JoinType, NullEquality,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{
        BinaryExpr, Expr, Filter, Join, LogicalPlan, Operator, Projection, utils::conjunction,
    },
};

use crate::{
    columns::{column_for, columns_of, lift_expr, with_columns},
    holds::{contains, contains_call, has_subquery},
};

/// The filter, or filters over columns that hold what its conditions ask of stores.
pub(crate) fn lift_filter(filter: &Filter, lifted: &mut usize) -> Result<LogicalPlan> {
    let conditions = conjuncts(filter.predicate.clone());
    let (calling, plain): (Vec<_>, Vec<_>) = conditions.into_iter().partition(is_lifted);
    let (with_subqueries, calling): (Vec<_>, Vec<_>) = calling.into_iter().partition(has_subquery);
    if with_subqueries.is_empty() && stays(&filter.input) {
        let Some(predicate) = plain_first(&filter.predicate) else {
            return Ok(LogicalPlan::Filter(filter.clone()));
        };
        let filter = Filter::try_new(predicate, Arc::clone(&filter.input))?;
        return Ok(LogicalPlan::Filter(filter));
    }
    let mut plan = LogicalPlan::clone(&filter.input);
    if let Some(plain) = conjunction(plain) {
        plan = LogicalPlan::Filter(Filter::try_new(plain, Arc::new(plan))?);
    }
    plan = filter_by_column(plan, calling, lifted)?;
    filter_by_column(plan, with_subqueries, lifted)
}

/// The conditions that must all be true, each with what needs no call first. `NOT (a OR b)` is two.
fn conjuncts(condition: Expr) -> Vec<Expr> {
    let negated = |expr: Expr| Expr::Not(Box::new(expr));
    let both = |left: Expr, right: Expr| [conjuncts(left), conjuncts(right)].concat();
    let one = |expr: Expr| vec![plain_first(&expr).unwrap_or(expr)];
    match condition {
        Expr::Alias(alias) => conjuncts(*alias.expr),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => both(*left, *right),
        Expr::Not(inner) => match *inner {
            Expr::Not(inner) => conjuncts(*inner),
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                both(negated(*left), negated(*right))
            }
            inner => one(negated(inner)),
        },
        other => one(other),
    }
}

/// The condition with calls behind what decides without any: of AND and OR, they are made only where
/// that does not. `None` if they are there.
fn plain_first(condition: &Expr) -> Option<Expr> {
    let op = match condition {
        Expr::Not(inner) => return plain_first(inner).map(|inner| Expr::Not(Box::new(inner))),
        Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or) => binary.op,
        _ => return None,
    };
    if !contains_call(condition) {
        return None;
    }
    let parts = parts(condition, op);
    let moved: Vec<_> = parts.iter().map(|part| plain_first(part)).collect();
    // What changes from call to call does not decide whether a lookup is made.
    let is_late = |part: &&Expr| part.is_volatile();
    if parts.iter().map(is_late).is_sorted() && moved.iter().all(Option::is_none) {
        return None;
    }
    let parts = parts.iter().zip(moved);
    let parts = parts.map(|(part, moved)| moved.unwrap_or_else(|| Expr::clone(part)));
    let (late, plain): (Vec<_>, Vec<_>) = parts.partition(Expr::is_volatile);
    let all = plain.into_iter().chain(late);
    all.reduce(|left, right| {
        Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) })
    })
}

/// What an operator connects, in order.
fn parts(condition: &Expr, op: Operator) -> Vec<&Expr> {
    let mut found = Vec::new();
    let mut open = vec![condition];
    while let Some(expr) = open.pop() {
        match expr {
            Expr::BinaryExpr(binary) if binary.op == op => {
                open.extend([binary.right.as_ref(), binary.left.as_ref()]);
            }
            part => found.push(part),
        }
    }
    found
}

/// Whether a condition becomes a column. One on columns of the query around its own does not: where
/// it goes, DataFusion decides.
fn is_lifted(condition: &Expr) -> bool {
    let is_outer = |node: &Expr| matches!(node, Expr::OuterReferenceColumn(..));
    contains_call(condition) && !contains(condition, is_outer)
}

/// Whether a condition over a plan drops the same rows wherever DataFusion moves it to.
fn stays(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) | LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => true,
        // One that takes nothing away is not there for long.
        LogicalPlan::Limit(limit) if limit.fetch.is_some() || limit.skip.is_some() => true,
        LogicalPlan::Limit(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Union(_) => plan.inputs().into_iter().all(stays),
        _ => false,
    }
}

/// The rows of a plan for which all conditions hold, a later one computed only where those before
/// it do.
fn filter_by_column(
    plan: LogicalPlan,
    conditions: Vec<Expr>,
    lifted: &mut usize,
) -> Result<LogicalPlan> {
    let Some(condition) = conjunction(conditions) else { return Ok(plan) };
    let columns = columns_of(&plan).collect();
    let mut computed = Vec::new();
    let condition = lift_expr(condition, &mut computed, lifted)?;
    let input = Arc::new(with_columns(plan, computed)?);
    let filter = Arc::new(LogicalPlan::Filter(Filter::try_new(condition, input)?));
    Projection::try_new(columns, filter).map(LogicalPlan::Projection)
}

/// The join with its calls above or below it; `None` where neither is the same.
///
/// Above an inner join, a condition with calls is asked of the rows that the others leave. Where
/// there are no others, each side is asked what the first condition wants of it: then the join can
/// be by key.
pub(crate) fn lift_join(join: &Join, lifted: &mut usize) -> Result<Option<LogicalPlan>> {
    if join.on.iter().any(|(left, right)| contains_call(left) || contains_call(right)) {
        return match join.null_equality {
            NullEquality::NullEqualsNothing => lift_join(&with_keys_as_filter(join), lifted),
            NullEquality::NullEqualsNull => Ok(None),
        };
    }
    let is_inner = join.join_type == JoinType::Inner;
    let conditions = join.filter.clone().map(conjuncts).unwrap_or_default();
    let (mut calling, plain): (Vec<_>, Vec<_>) = conditions.into_iter().partition(contains_call);
    let mut joined = None;
    if join.on.is_empty() && plain.is_empty() && (is_inner || calling.len() == 1) {
        joined = join_by_columns(join, &calling[0], lifted)?;
        if joined.is_some() {
            calling.remove(0);
        }
    }
    let joined = match joined {
        Some(joined) => joined,
        None if is_inner => joined_by(join, [&join.left, &join.right], conjunction(plain))?,
        None => return Ok(None),
    };
    filter_by_column(joined, calling, lifted).map(Some)
}

fn with_keys_as_filter(join: &Join) -> Join {
    let keys = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    let filter = conjunction(keys.chain(join.filter.clone()));
    Join { on: Vec::new(), filter, ..join.clone() }
}

fn joined_by(
    join: &Join,
    [left, right]: [&Arc<LogicalPlan>; 2],
    filter: Option<Expr>,
) -> Result<LogicalPlan> {
    Join::try_new(
        Arc::clone(left),
        Arc::clone(right),
        join.on.clone(),
        filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )
    .map(LogicalPlan::Join)
}

/// The join by a condition whose calls are computed on the sides that they read; `None` if one
/// reads both sides, or if whether it is made depends on the other side.
fn join_by_columns(
    join: &Join,
    condition: &Expr,
    lifted: &mut usize,
) -> Result<Option<LogicalPlan>> {
    let inputs = [&join.left, &join.right];
    let mut computed = [Vec::new(), Vec::new()];
    let mut is_possible = true;
    let condition = condition.clone().transform_down(|node| {
        if !contains_call(&node) {
            return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
        }
        let side = inputs.iter().position(|input| reads_only(&node, input.schema()));
        if let Some(side) = side {
            let column = column_for(node, &mut computed[side], lifted);
            return Ok(Transformed::new(column, true, TreeNodeRecursion::Jump));
        }
        is_possible = computes_all(&node);
        let next = if is_possible { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop };
        Ok(Transformed::new(node, false, next))
    })?;
    if !is_possible {
        return Ok(None);
    }
    let columns = join.schema.columns().into_iter().map(Expr::Column).collect();
    let [of_left, of_right] = computed;
    let left = Arc::new(with_columns(LogicalPlan::clone(&join.left), of_left)?);
    let right = Arc::new(with_columns(LogicalPlan::clone(&join.right), of_right)?);
    let joined = Arc::new(joined_by(join, [&left, &right], Some(condition.data))?);
    Projection::try_new(columns, joined).map(LogicalPlan::Projection).map(Some)
}

fn reads_only(expr: &Expr, schema: &DFSchema) -> bool {
    expr.column_refs().into_iter().all(|column| schema.has_column(column))
}

/// Whether an expression computes all its arguments for every row.
fn computes_all(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(binary) => !matches!(binary.op, Operator::And | Operator::Or),
        Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::Negative(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::Like(_)
        | Expr::Between(_) => true,
        _ => false,
    }
}
