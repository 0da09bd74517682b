//! CASEs that are functions before they are typed.
//!
//! DataFusion asks a CASE for its type, and then whether it may be null; a function asks both of
//! what it is of, whatever it is asked. So where functions are of CASEs, what is innermost is typed
//! twice as often with each level, from the moment that a statement is planned. A function asks
//! once.

use std::iter;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::{
    common::{
        ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRewriter},
    },
    error::Result,
    logical_expr::{Case, Expr, lit, type_coercion::other::get_coerce_type_for_case_expression},
};

use super::{CHOOSE, Conditional};
use crate::error::Error;

/// The most CASEs within each other that DataFusion is given.
pub const MOST_NESTED_CASES: usize = 4;

/// Makes choices of CASEs within which others are nested deep. Nothing of it needs to be typed.
///
/// # Errors
/// None that are expected.
pub fn keep_nested_cases(expr: Expr) -> Result<Expr> {
    let kept = expr.rewrite(&mut Keeper::default())?;
    Ok(if kept.transformed { keep_name(kept.data) } else { kept.data })
}

/// Names an expression as it was written, if choices are within: what the optimizer makes of them
/// does not tell that any more.
pub fn keep_name(expr: Expr) -> Expr {
    let is_choice = |expr: &Expr| {
        let Expr::ScalarFunction(call) = expr else { return Ok(false) };
        Ok(call.func.name() == CHOOSE)
    };
    if matches!(expr, Expr::Alias(_)) || !expr.exists(is_choice).unwrap_or_default() {
        return expr;
    }
    let name = expr.schema_name().to_string();
    expr.alias(name)
}

/// On its way through an expression.
#[derive(Default)]
struct Keeper {
    /// For each expression that is not yet left, how many CASEs stand within each other in what was
    /// left of it.
    open: Vec<usize>,
}

impl TreeNodeRewriter for Keeper {
    type Node = Expr;

    fn f_down(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        self.open.push(0);
        Ok(Transformed::no(expr))
    }

    fn f_up(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        let within = self.open.pop().unwrap_or_default();
        let nested = within + usize::from(matches!(expr, Expr::Case(_)));
        if let Some(around) = self.open.last_mut() {
            *around = nested.max(*around);
        }
        Ok(match expr {
            Expr::Case(case) if nested > MOST_NESTED_CASES => Transformed::yes(choice(case)),
            other => Transformed::no(other),
        })
    }
}

/// A CASE as a choice. Where it has no ELSE, nothing is chosen, and the last result only says so.
fn choice(case: Case) -> Expr {
    let place = |place: usize| Box::new(lit(place as i64));
    let (mut places, mut results) = (Vec::new(), Vec::new());
    for (index, (when, then)) in case.when_then_expr.into_iter().enumerate() {
        places.push((when, place(index)));
        results.push(*then);
    }
    let otherwise = case.else_expr.as_ref().map(|_| place(results.len()));
    results.push(case.else_expr.map_or(Expr::Literal(ScalarValue::Null, None), |last| *last));
    let choice = Expr::Case(Case::new(case.expr, places, otherwise));
    Conditional::Choose.call([vec![choice], results].concat())
}

/// The name of the CASE that was written for a choice, if it can still be seen.
pub(super) fn name(args: &[Expr]) -> Option<String> {
    let [Expr::Case(case), thens @ .., otherwise] = args else { return None };
    let mut parts = vec!["CASE".to_owned()];
    parts.extend(case.expr.iter().map(|operand| operand.schema_name().to_string()));
    if case.when_then_expr.len() != thens.len() {
        return None;
    }
    for (index, ((when, place), then)) in case.when_then_expr.iter().zip(thens).enumerate() {
        match place.as_ref() {
            Expr::Literal(ScalarValue::Int64(Some(place)), _) if *place == index as i64 => {}
            _ => return None,
        }
        parts.push(format!("WHEN {} THEN {}", when.schema_name(), then.schema_name()));
    }
    parts.extend(case.else_expr.iter().map(|_| format!("ELSE {}", otherwise.schema_name())));
    parts.push("END".to_owned());
    Some(parts.join(" "))
}

/// The types that the arguments of a choice are cast to.
pub(super) fn coerce(types: &[DataType]) -> Vec<DataType> {
    let results = types.get(1..).unwrap_or_default();
    match common_type(results) {
        Some(common) => {
            let results = iter::repeat_n(common, results.len());
            iter::once(DataType::Int64).chain(results).collect()
        }
        // `check` refuses them: what is said here, DataFusion wraps in words of its own.
        None => types.to_vec(),
    }
}

/// # Errors
/// `invalid` if results have no type in common.
pub(super) fn check(results: &[&FieldRef]) -> Result<()> {
    let types: Vec<_> = results.iter().map(|result| result.data_type().clone()).collect();
    if common_type(&types).is_some() {
        return Ok(());
    }
    let types: Vec<_> = types.iter().map(DataType::to_string).collect();
    let types = types.join(", ");
    Err(Error::invalid(format!("the values of a CASE have no type in common: {types}")).into())
}

/// The type of a CASE with these values, the last of which is that of its ELSE.
fn common_type(results: &[DataType]) -> Option<DataType> {
    let (last, others) = results.split_last()?;
    get_coerce_type_for_case_expression(others, Some(last))
}
