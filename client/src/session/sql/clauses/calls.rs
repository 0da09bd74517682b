//! Clauses of function calls. Which of them are read depends on what the function is: of one that
//! neither aggregates nor has a window, none.

use std::ops::ControlFlow;

use datafusion::{
    execution::SessionState,
    sql::sqlparser::ast::{
        DuplicateTreatment, Expr, Function, FunctionArgumentClause, FunctionArguments,
        NamedWindowExpr, NullTreatment, OrderByKind, Query, Select, Visit, WindowType,
        visit_expressions,
    },
};
use keyloom_common::Result;

use super::{LEAVE_OUT, check_window, refusal, refuse_if};

/// The functions that are taken for those of windows, though aggregates have their names, too.
const OF_WINDOWS: [&str; 5] = ["lag", "lead", "first_value", "last_value", "nth_value"];

/// What reads a call's clauses.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Aggregate,
    Window,
    Scalar,
}

pub(super) fn check(call: &Function, state: &SessionState) -> Result<()> {
    let parametric = !matches!(call.parameters, FunctionArguments::None);
    refuse_if(parametric, "a second list of arguments", "give all arguments in one")?;
    let bare_query = matches!(call.args, FunctionArguments::Subquery(_));
    refuse_if(bare_query, "a query as a function's argument", "write ((SELECT …))")?;
    if let Some(WindowType::WindowSpec(window)) = &call.over {
        check_window(window)?;
    }
    let name = name(call);
    let kind = kind(call, &name, state);
    match ignored(call, kind) {
        Some((clause, instead)) => Err(refusal(&format!("{clause} of {name}"), instead)),
        None => Ok(()),
    }
}

/// The function's name as DataFusion looks it up.
fn name(call: &Function) -> String {
    match call.name.0.as_slice() {
        [part] => match part.as_ident() {
            Some(ident) if ident.quote_style.is_some() => ident.value.clone(),
            _ => part.to_string().to_ascii_lowercase(),
        },
        _ => call.name.to_string(),
    }
}

/// Scalar functions come first, and aggregates before windows of the same name but for a few, as in
/// DataFusion.
fn kind(call: &Function, name: &str, state: &SessionState) -> Kind {
    if state.scalar_functions().contains_key(name) {
        return Kind::Scalar;
    }
    let aggregates = state.aggregate_functions().contains_key(name);
    let has_window = state.window_functions().contains_key(name);
    match (&call.over, aggregates, has_window) {
        (Some(_), true, true) if OF_WINDOWS.contains(&name) => Kind::Window,
        (_, true, _) => Kind::Aggregate,
        (_, false, true) => Kind::Window,
        _ => Kind::Scalar,
    }
}

/// The first clause that nothing reads, or that plans do not carry to where they run, and what to
/// do.
fn ignored(call: &Function, kind: Kind) -> Option<(&'static str, &'static str)> {
    let (mut distinct, mut ordered) = (None, false);
    let mut nulls = call.null_treatment;
    if let FunctionArguments::List(list) = &call.args {
        distinct = list.duplicate_treatment;
        for clause in &list.clauses {
            match clause {
                FunctionArgumentClause::OrderBy(_) => ordered = true,
                FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => nulls = Some(*treatment),
                _ => {}
            }
        }
    }
    let distinct = distinct == Some(DuplicateTreatment::Distinct);
    let ignore_nulls = nulls == Some(NullTreatment::IgnoreNulls);
    let is_scalar = kind == Kind::Scalar;
    let has_window = call.over.is_some();
    let case = "write CASE WHEN … THEN … END as its argument";
    let filled = "choose the rows that are not null in a subquery";
    [
        (has_window && is_scalar, "OVER", LEAVE_OUT),
        (call.filter.is_some() && kind != Kind::Aggregate, "FILTER", LEAVE_OUT),
        (call.filter.is_some() && has_window, "FILTER with OVER", case),
        (distinct && kind != Kind::Aggregate, "DISTINCT", LEAVE_OUT),
        (ordered && is_scalar, "ORDER BY within the arguments", LEAVE_OUT),
        (!call.within_group.is_empty() && is_scalar, "WITHIN GROUP", LEAVE_OUT),
        (ignore_nulls && is_scalar, "IGNORE NULLS", LEAVE_OUT),
        (ignore_nulls && has_window, "IGNORE NULLS with OVER", filled),
    ]
    .into_iter()
    .find_map(|(is_ignored, clause, instead)| is_ignored.then_some((clause, instead)))
}

/// Named windows are read in the columns of a SELECT alone.
pub(super) fn check_windows(select: &Select) -> Result<()> {
    for definition in &select.named_window {
        if let NamedWindowExpr::WindowSpec(window) = &definition.1 {
            check_window(window)?;
        }
    }
    match &select.qualify {
        Some(qualify) => refuse_named_windows(qualify, "QUALIFY"),
        None => Ok(()),
    }
}

/// The same for the order of a query.
pub(super) fn check_order(query: &Query) -> Result<()> {
    match query.order_by.as_ref().map(|order| &order.kind) {
        Some(OrderByKind::Expressions(keys)) => {
            keys.iter().try_for_each(|key| refuse_named_windows(&key.expr, "ORDER BY"))
        }
        _ => Ok(()),
    }
}

fn refuse_named_windows(within: &impl Visit, place: &str) -> Result<()> {
    let named = visit_expressions(within, |expr| match expr {
        Expr::Function(Function { over: Some(WindowType::NamedWindow(name)), .. }) => {
            ControlFlow::Break(name.to_string())
        }
        _ => ControlFlow::Continue(()),
    });
    match named {
        ControlFlow::Break(name) => {
            Err(refusal(&format!("OVER {name} in {place}"), "write the window in parentheses"))
        }
        ControlFlow::Continue(()) => Ok(()),
    }
}
