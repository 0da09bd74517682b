//! Values with fewer fields: those of calls, of conditionals between calls, and of structs that
//! are put together.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    arrow::datatypes::DataType,
    common::{
        DFSchema, ScalarValue,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    error::Result,
    functions::core::named_struct::NamedStructFunc,
    logical_expr::{
        Case, Expr, ExprSchemable,
        expr::{Alias, ScalarFunction},
    },
};
use keyloom_common::functions::{Conditional, Function};

use super::{
    calls::{cheapest, found, with_fields},
    uses::{as_field_access, unaliased},
};
use crate::holds::{as_call, contains_call};

/// The value with no more than these fields, if it can have fewer. With none, it is null where the
/// value is, and of any type.
pub(super) fn narrow_value(
    expr: Expr,
    fields: &BTreeSet<String>,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Alias(Alias { expr, relation, name, metadata }) => {
            let narrowed = narrow_value(*expr, fields, schema)?;
            Ok(narrowed.update_data(|expr| {
                Expr::Alias(Alias { expr: Box::new(expr), relation, name, metadata })
            }))
        }
        Expr::Case(case) if case_holds_call(&case) => narrow_case(case, fields, schema),
        Expr::ScalarFunction(function) if function.func.inner().is::<NamedStructFunc>() => {
            Ok(narrow_struct(function, fields))
        }
        Expr::ScalarFunction(function) if Conditional::of(&function).is_some() => {
            narrow_kept(function, fields, schema)
        }
        other => Ok(match narrow_call(&other, fields)? {
            Some(narrowed) => Transformed::yes(narrowed),
            None => Transformed::no(other),
        }),
    }
}

fn narrow_call(expr: &Expr, fields: &BTreeSet<String>) -> Result<Option<Expr>> {
    let Some((call, key)) = as_call(expr) else { return Ok(None) };
    match call.function() {
        Function::Get if fields.is_empty() => found(call, key).map(Some),
        Function::BatchGet | Function::GetAll if fields.is_empty() => cheapest(call, key),
        Function::Get | Function::BatchGet | Function::GetAll => with_fields(call, key, fields),
        Function::Exists => Ok(None),
    }
}

/// The struct of fewer fields. At least one stays, so that there is a struct.
fn narrow_struct(function: ScalarFunction, fields: &BTreeSet<String>) -> Transformed<Expr> {
    let name = |pair: &[Expr]| match pair {
        [Expr::Literal(name, _), _] => name.try_as_str().flatten().map(ToOwned::to_owned),
        _ => None,
    };
    let pairs = function.args.chunks(2);
    let Some(names) = pairs.clone().map(name).collect::<Option<Vec<_>>>() else {
        return Transformed::no(Expr::ScalarFunction(function));
    };
    let is_any = names.iter().any(|name| fields.contains(name));
    let mut args = Vec::new();
    for (place, (pair, name)) in pairs.zip(&names).enumerate() {
        if fields.contains(name) || !is_any && place == 0 {
            args.extend_from_slice(pair);
        }
    }
    let is_narrowed = args.len() < function.args.len();
    let function = ScalarFunction { func: function.func, args };
    Transformed::new_transformed(Expr::ScalarFunction(function), is_narrowed)
}

fn case_holds_call(case: &Case) -> bool {
    let thens = case.when_then_expr.iter().map(|(_, then)| then);
    thens.chain(&case.else_expr).any(|branch| contains_call(branch))
}

/// The CASE whose branches are all narrowed, if they come to one type.
fn narrow_case(
    case: Case,
    fields: &BTreeSet<String>,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    let thens = case.when_then_expr.iter().map(|(_, then)| then);
    let branches = thens.chain(&case.else_expr).map(|branch| branch.as_ref());
    let Some(narrowed) = narrow_branches(branches, fields, schema)? else {
        return Ok(Transformed::no(Expr::Case(case)));
    };
    let mut branches = narrowed.into_iter();
    let mut when_then_expr = Vec::with_capacity(case.when_then_expr.len());
    for ((when, old), new) in case.when_then_expr.into_iter().zip(branches.by_ref()) {
        when_then_expr.push((when, old, Box::new(new)));
    }
    let otherwise = case.else_expr.zip(branches.next());
    // The conditions ask the same calls where they are null: for the same columns, they are one.
    let mut pairs: Vec<_> = when_then_expr.iter().map(|(_, old, new)| (&**old, &**new)).collect();
    pairs.extend(otherwise.iter().map(|(old, new)| (&**old, new)));
    let whens = when_then_expr.iter().map(|(when, ..)| replace_tested(when, &pairs));
    let whens = whens.collect::<Result<Vec<_>>>()?;
    let thens = when_then_expr.iter().map(|(.., new)| new.clone());
    let case = Case {
        expr: case.expr,
        when_then_expr: whens.into_iter().map(Box::new).zip(thens).collect(),
        else_expr: otherwise.as_ref().map(|(_, new)| Box::new(new.clone())),
    };
    Ok(Transformed::yes(Expr::Case(case)))
}

/// The same of a conditional that is kept as a function.
fn narrow_kept(
    function: ScalarFunction,
    fields: &BTreeSet<String>,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    let Some(conditional) = Conditional::of(&function) else {
        return Ok(Transformed::no(Expr::ScalarFunction(function)));
    };
    let count = function.args.len();
    let may_give = |place: usize| conditional.may_give(place, count);
    let results = function.args.iter().enumerate().filter(|(place, _)| may_give(*place));
    let Some(narrowed) = narrow_branches(results.map(|(_, arg)| arg), fields, schema)? else {
        return Ok(Transformed::no(Expr::ScalarFunction(function)));
    };
    let mut narrowed = narrowed.into_iter();
    let results = (0..count).map(|place| if may_give(place) { narrowed.next() } else { None });
    let results: Vec<_> = results.collect();
    let pairs = function.args.iter().zip(&results);
    let pairs: Vec<_> = pairs.filter_map(|(old, new)| Some((old, new.as_ref()?))).collect();
    let args = function.args.iter().zip(&results).map(|(arg, result)| match result {
        Some(result) => Ok(result.clone()),
        None => replace_tested(arg, &pairs),
    });
    let args = args.collect::<Result<_>>()?;
    let function = ScalarFunction { func: Arc::clone(&function.func), args };
    Ok(Transformed::yes(Expr::ScalarFunction(function)))
}

/// All branches, the last of them otherwise, with fewer fields; `None` if they differ then, or if
/// nothing is gained.
fn narrow_branches<'a>(
    branches: impl Iterator<Item = &'a Expr>,
    fields: &BTreeSet<String>,
    schema: &DFSchema,
) -> Result<Option<Vec<Expr>>> {
    let mut narrowed = Vec::new();
    let mut data_type: Option<DataType> = None;
    let mut is_narrowed = false;
    for branch in branches {
        if is_null(branch) {
            narrowed.push(Expr::clone(branch));
            continue;
        }
        let branch = narrow_value(Expr::clone(branch), fields, schema)?;
        is_narrowed |= branch.transformed;
        let its = branch.data.get_type(schema)?;
        if data_type.as_ref().is_some_and(|known| *known != its) {
            return Ok(None);
        }
        data_type = Some(its);
        narrowed.push(branch.data);
    }
    let Some(data_type) = data_type.filter(|_| is_narrowed) else { return Ok(None) };
    for null in narrowed.iter_mut().filter(|branch| is_null(branch)) {
        *null = Expr::Literal(ScalarValue::try_new_null(&data_type)?, None);
    }
    Ok(Some(narrowed))
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.is_null())
}

/// The condition with the new values in the place of the old ones that it tests for null: they are
/// null where these are.
fn replace_tested(condition: &Expr, pairs: &[(&Expr, &Expr)]) -> Result<Expr> {
    let replaced = |tested: &Expr| {
        // What a call is asked for whose fields nobody reads, its other tests decide.
        let serves = |old: &Expr, new: &Expr| as_call(old).is_none() || as_call(new).is_some();
        let same = |old: &Expr, new: &Expr| {
            unaliased(old) == unaliased(tested) && serves(unaliased(old), unaliased(new))
        };
        let (_, new) = pairs.iter().find(|&&(old, new)| same(old, new))?;
        Some(Box::new(Expr::clone(new)))
    };
    condition
        .clone()
        .transform_down(|node| {
            Ok(match &node {
                Expr::IsNull(tested) => match replaced(tested) {
                    Some(new) => Transformed::yes(Expr::IsNull(new)),
                    None => Transformed::no(node),
                },
                Expr::IsNotNull(tested) => match replaced(tested) {
                    Some(new) => Transformed::yes(Expr::IsNotNull(new)),
                    None => Transformed::no(node),
                },
                _ => Transformed::no(node),
            })
        })
        .data()
}

/// Narrows the conditionals of which an expression reads a field. A call of which it does is
/// narrowed when it becomes a lookup.
pub(super) fn narrow_read_fields(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_down(|node| {
        let narrowed = match as_field_access(&node) {
            Some((structure, field)) if is_conditional(structure) && contains_call(structure) => {
                let fields = BTreeSet::from([field.to_owned()]);
                narrow_value(structure.clone(), &fields, schema)?
            }
            _ => return Ok(Transformed::no(node)),
        };
        Ok(match node {
            Expr::ScalarFunction(mut function) if narrowed.transformed => {
                function.args[0] = narrowed.data;
                Transformed::yes(Expr::ScalarFunction(function))
            }
            node => Transformed::no(node),
        })
    })
}

fn is_conditional(expr: &Expr) -> bool {
    match unaliased(expr) {
        Expr::Case(_) => true,
        Expr::ScalarFunction(function) => Conditional::of(function).is_some(),
        _ => false,
    }
}
