//! What the plan of a subquery tells of its rows.

use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, FetchType, Limit, LogicalPlan, Operator, utils::split_conjunction,
};

/// Whether a plan is known to have one row at most. DataFusion's own figure counts a `SELECT`
/// without a table as none.
pub(super) fn is_single(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Distinct(_) => plan.inputs().into_iter().all(is_single),
        LogicalPlan::Limit(limit) => is_of_one(limit) || is_single(&limit.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Values(values) => values.values.len() <= 1,
        LogicalPlan::EmptyRelation(_) => true,
        _ => false,
    }
}

/// Whether a plan is known to have a row.
pub(super) fn has_a_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Distinct(_) => plan.inputs().into_iter().all(has_a_row),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Values(values) => !values.values.is_empty(),
        LogicalPlan::EmptyRelation(relation) => relation.produce_one_row,
        _ => false,
    }
}

fn is_of_one(limit: &Limit) -> bool {
    matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(rows))) if rows <= 1)
}

/// Whether the rows of a plan are those for which columns of it are equal to what the rows around
/// it say, so that a join by these columns finds the groups that they make. Of other subqueries
/// that depend on the rows around them, DataFusion refuses those that do not aggregate.
pub(super) fn is_equated(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => {
            !projection.expr.iter().any(Expr::contains_outer) && is_equated(&projection.input)
        }
        LogicalPlan::Distinct(Distinct::All(input)) => is_equated(input),
        LogicalPlan::Filter(filter) => {
            let conditions = split_conjunction(&filter.predicate).into_iter();
            let mut of_others = conditions.filter(|condition| condition.contains_outer());
            of_others.all(is_equality) && is_equated(&filter.input)
        }
        other => other.all_out_ref_exprs().is_empty(),
    }
}

/// Whether it compares a column, as it is, with what has none.
fn is_equality(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else {
        return false;
    };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(_), other) | (other, Expr::Column(_)) => !other.any_column_refs(),
        _ => false,
    }
}
