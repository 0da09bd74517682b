//! CASEs that are nested deep, as calls of a function.
//!
//! The planner types what it plans, and a CASE within functions twice: so this has to be done
//! before. See [`keep_nested_cases`](keyloom_common::functions::keep_nested_cases), which does the
//! same to expressions.

use std::mem;

use datafusion::{
    common::tree_node::{Transformed, TransformedResult},
    logical_expr::LogicalPlan,
    sql::sqlparser::ast::{
        CaseWhen, Expr, Function as Call, FunctionArg, FunctionArgExpr, FunctionArgumentList,
        FunctionArguments, Ident, ObjectName, Value,
    },
};
use keyloom_common::{
    Result,
    functions::{CHOOSE, MOST_NESTED_CASES, keep_name},
};

/// On the way through a statement.
#[derive(Debug, Default)]
pub(super) struct Cases {
    /// For each expression that is not yet left, how many CASEs stand within each other in what was
    /// left of it.
    open: Vec<usize>,
    kept: bool,
}

impl Cases {
    /// Begins with an expression.
    pub(super) fn enter(&mut self) {
        self.open.push(0);
    }

    /// Ends with an expression, which is a call now if it was a CASE with others deep within it.
    pub(super) fn leave(&mut self, expr: &mut Expr) {
        let within = self.open.pop().unwrap_or_default();
        let nested = within + usize::from(matches!(expr, Expr::Case { .. }));
        if let Some(around) = self.open.last_mut() {
            *around = nested.max(*around);
        }
        if let Expr::Case { conditions, else_result, .. } = expr
            && nested > MOST_NESTED_CASES
        {
            let results = results(conditions, else_result.as_deref_mut());
            let choice = mem::replace(expr, Expr::value(Value::Null));
            *expr = Expr::Function(call([vec![choice], results].concat()));
            self.kept = true;
        }
    }

    /// Whether the function is called.
    pub(super) fn are_kept(&self) -> bool {
        self.kept
    }
}

/// Names the columns of a plan as they were written, whatever becomes of the calls within.
pub(super) fn keep_names(plan: LogicalPlan) -> Result<LogicalPlan> {
    let named = |node: LogicalPlan| match node {
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) => {
            node.map_expressions(|expr| Ok(Transformed::yes(keep_name(expr))))
        }
        other => Ok(Transformed::no(other)),
    };
    Ok(plan.transform_up_with_subqueries(named).data()?)
}

/// The values of a CASE, whose places it has instead now. Where it has no ELSE, it has no place for
/// the last.
fn results(conditions: &mut [CaseWhen], otherwise: Option<&mut Expr>) -> Vec<Expr> {
    let values = conditions.iter_mut().map(|branch| &mut branch.result);
    let values = values.chain(otherwise).enumerate();
    let place = |place: usize| Expr::value(Value::Number(place.to_string(), false));
    let mut results: Vec<_> =
        values.map(|(index, value)| mem::replace(value, place(index))).collect();
    if results.len() == conditions.len() {
        results.push(Expr::value(Value::Null));
    }
    results
}

fn call(args: Vec<Expr>) -> Call {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Call {
        name: ObjectName::from(vec![Ident::with_quote('"', CHOOSE)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }
}
