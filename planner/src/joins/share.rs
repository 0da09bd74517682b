//! One fetch for a join and the calls above it: what asks for the key that an inner join or one for
//! existence has asked for is asked beside it, below the condition that the join has left.
//!
//! The rule runs when calls have been delayed: those that are made for fewer rows stay above.

use std::sync::Arc;

use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{
        BinaryExpr, Expr, LogicalPlan, Operator, Projection, expr_rewriter::NamePreserver,
    },
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};
use keyloom_common::functions::KvCall;

use super::{ROW, kept::Kept, side::may_move, sink::Sinking};
use crate::holds::{as_call, contains_call, has_subquery};

/// Moves calls above a join that is a lookup to the join's own, where the two are one fetch.
#[derive(Debug, Default)]
pub struct ShareFetches;

impl OptimizerRule for ShareFetches {
    fn name(&self) -> &'static str {
        "share_fetches"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Projection(projection) = &plan else { return Ok(Transformed::no(plan)) };
        if !projection.expr.iter().any(contains_call) || !is_over_condition(&projection.input) {
            return Ok(Transformed::no(plan));
        }
        Ok(match share(projection, || config.alias_generator().next(ROW))? {
            Some(shared) => Transformed::yes(LogicalPlan::Projection(shared)),
            None => Transformed::no(plan),
        })
    }
}

/// Whether a plan's rows are those that a join's condition has kept, each of them maybe repeated.
fn is_over_condition(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Filter(filter) => Kept::by(&filter.predicate).is_some(),
        LogicalPlan::Projection(projection) => is_over_condition(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_over_condition(&alias.input),
        LogicalPlan::Unnest(unnest) => is_over_condition(&unnest.input),
        _ => false,
    }
}

/// The projection without the calls that are made below; none if there are no such.
fn share(projection: &Projection, mut name: impl FnMut() -> String) -> Result<Option<Projection>> {
    let names = NamePreserver::new_for_projection();
    let mut input = Arc::clone(&projection.input);
    let mut exprs = Vec::with_capacity(projection.expr.len());
    let mut is_shared = false;
    for expr in &projection.expr {
        let shared = expr.clone().transform_down(|node| share_node(node, &mut input, &mut name))?;
        is_shared |= shared.transformed;
        exprs.push(names.save(expr).restore(shared.data));
    }
    if !is_shared {
        return Ok(None);
    }
    Projection::try_new(exprs, input).map(Some)
}

/// A column in the place of a call that is made below. Where only some rows need a call, it stays:
/// of the others, nothing would be read.
fn share_node(
    node: Expr,
    input: &mut Arc<LogicalPlan>,
    name: &mut impl FnMut() -> String,
) -> Result<Transformed<Expr>> {
    if is_lazy(&node) || has_subquery(&node) {
        return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
    }
    let Some((call, key)) = as_call(&node) else { return Ok(Transformed::no(node)) };
    Ok(match share_call(call, key, input, &name())? {
        Some(answer) => Transformed::new(answer, true, TreeNodeRecursion::Jump),
        // Calls in its key are not looked into.
        None => Transformed::new(node, false, TreeNodeRecursion::Jump),
    })
}

/// The column of the input that is to hold the call's answer.
fn share_call(
    call: &KvCall,
    key: &Expr,
    input: &mut Arc<LogicalPlan>,
    name: &str,
) -> Result<Option<Expr>> {
    if !may_move(key) {
        return Ok(None);
    }
    let sinking = Sinking::beside_join(call.clone(), key.clone(), name);
    let Some(shared) = sinking.into_plan(input)? else { return Ok(None) };
    *input = Arc::new(shared);
    Ok(Some(Expr::Column(Column::new_unqualified(name))))
}

/// Whether parts of an expression are computed for some of the rows alone.
fn is_lazy(expr: &Expr) -> bool {
    match expr {
        Expr::Case(_) | Expr::BinaryExpr(BinaryExpr { op: Operator::And | Operator::Or, .. }) => {
            true
        }
        Expr::ScalarFunction(function) => function.func.short_circuits(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
