//! Timestamps of different units among which one is chosen: by CASE, and by functions that take
//! values for each other.

use datafusion::{
    common::{DFSchema, tree_node::Transformed},
    logical_expr::{
        Case, Expr,
        expr::{InList, ScalarFunction},
    },
};

use super::{common_unit, is_constant, side_in_unit};
use crate::lazy::is_nested_deep;

/// An expression whose values, or what they are compared with, have one unit.
pub(super) fn keep_in_value(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::Case(case) => keep_in_case(case, schema),
        Expr::InList(InList { expr, list, negated }) => {
            let Some(unit) = common_unit(list.iter().chain([expr.as_ref()]), schema) else {
                return Transformed::no(Expr::InList(InList { expr, list, negated }));
            };
            let expr = Box::new(side_in_unit(*expr, unit, schema));
            let list = list.into_iter().map(|value| side_in_unit(value, unit, schema)).collect();
            Transformed::yes(Expr::InList(InList { expr, list, negated }))
        }
        Expr::ScalarFunction(function) => keep_in_function(function, schema),
        other => Transformed::no(other),
    }
}

/// The values, constants left out, one of which an expression is; none if it chooses none. All have
/// one unit once it was kept.
pub(super) fn chosen_among(expr: &Expr) -> Option<Box<dyn Iterator<Item = &Expr> + '_>> {
    let values: Box<dyn Iterator<Item = &Expr> + '_> = match expr {
        Expr::Case(case) => Box::new(results(case)),
        Expr::ScalarFunction(function) => {
            Box::new(function.args.iter().skip(first_value(function)?))
        }
        _ => return None,
    };
    Some(Box::new(values.filter(|value| !is_constant(value))))
}

fn results(case: &Case) -> impl Iterator<Item = &Expr> {
    let results = case.when_then_expr.iter().map(|(_, result)| result.as_ref());
    results.chain(case.else_expr.as_deref())
}

/// The place of the first argument that may be the value of a function that chooses one.
fn first_value(function: &ScalarFunction) -> Option<usize> {
    match function.name() {
        "coalesce" | "greatest" | "least" | "nullif" | "nvl" => Some(0),
        // The first one decides.
        "nvl2" => Some(1),
        _ => None,
    }
}

/// Whether the type of a value is soon found: DataFusion asks what deep conditionals hold twice at
/// each level, to know of the type of a function around them.
fn is_simple(value: &Expr) -> bool {
    let Expr::ScalarFunction(function) = value else { return true };
    first_value(function).is_some() || !is_nested_deep(value)
}

fn keep_in_case(case: Case, schema: &DFSchema) -> Transformed<Expr> {
    let result_unit = common_unit(results(&case).filter(|value| is_simple(value)), schema);
    let whens = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
    let when_unit = case.expr.as_deref().and_then(|compared| {
        common_unit(whens.chain([compared]).filter(|value| is_simple(value)), schema)
    });
    if result_unit.is_none() && when_unit.is_none() {
        return Transformed::no(Expr::Case(case));
    }
    let cast = |expr: Box<Expr>, unit| match unit {
        Some(unit) => Box::new(side_in_unit(*expr, unit, schema)),
        None => expr,
    };
    let branches = case.when_then_expr.into_iter();
    let branches =
        branches.map(|(when, result)| (cast(when, when_unit), cast(result, result_unit)));
    Transformed::yes(Expr::Case(Case {
        expr: case.expr.map(|expr| cast(expr, when_unit)),
        when_then_expr: branches.collect(),
        else_expr: case.else_expr.map(|expr| cast(expr, result_unit)),
    }))
}

fn keep_in_function(function: ScalarFunction, schema: &DFSchema) -> Transformed<Expr> {
    let Some(first) = first_value(&function) else {
        return Transformed::no(Expr::ScalarFunction(function));
    };
    let values = function.args.iter().skip(first).filter(|value| is_simple(value));
    let Some(unit) = common_unit(values, schema) else {
        return Transformed::no(Expr::ScalarFunction(function));
    };
    let ScalarFunction { func, args } = function;
    let args = args.into_iter().enumerate().map(|(at, arg)| match at < first {
        true => arg,
        false => side_in_unit(arg, unit, schema),
    });
    Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args: args.collect() }))
}
