//! Conditions of a case: what has no calls is decided before what has.

use super::{
    interpret::{Interpreter, Row},
    query::{Expr, Value},
};

impl Interpreter<'_> {
    /// Conditions without calls are decided before those with calls, and those of a join before
    /// those of the filter.
    pub(super) fn passes(&self, row: &Row<'_>) -> bool {
        let of_join = self.case.join.as_ref().and_then(|join| join.condition.as_ref());
        let conditions = of_join.into_iter().chain(&self.case.filter);
        let conditions = conditions.flat_map(|condition| conjuncts(condition, true));
        let (calling, plain): (Vec<_>, Vec<_>) = conditions.partition(|(c, _)| c.calls());
        for (condition, wanted) in plain {
            if self.eval(condition, row) != Value::Bool(wanted) {
                return false;
            }
        }
        let mut all = Value::Bool(true);
        for (condition, wanted) in calling {
            match self.condition(condition, row) {
                Value::Bool(bool) if bool == wanted => {}
                Value::Bool(_) => return false,
                null => all = null,
            }
        }
        all == Value::Bool(true)
    }

    /// Of a condition's ANDs and ORs, what has no calls is decided first.
    fn condition(&self, condition: &Expr, row: &Row<'_>) -> Value {
        let decisive = match condition {
            Expr::And(..) => false,
            Expr::Or(..) => true,
            Expr::Not(inner) => {
                return match self.condition(inner, row) {
                    Value::Bool(bool) => Value::Bool(!bool),
                    other => other,
                };
            }
            other => return self.eval(other, row),
        };
        let (calling, plain): (Vec<_>, Vec<_>) =
            parts(condition, decisive).into_iter().partition(|part| part.calls());
        let mut decided = Value::Bool(!decisive);
        for part in plain.into_iter().chain(calling) {
            match self.condition(part, row) {
                Value::Bool(bool) if bool == decisive => return Value::Bool(bool),
                Value::Null => decided = Value::Null,
                _ => {}
            }
        }
        decided
    }
}

/// What must be true, or false, for an expression to be what is wanted of it.
fn conjuncts(expr: &Expr, wanted: bool) -> Vec<(&Expr, bool)> {
    match (expr, wanted) {
        (Expr::And(left, right), true) | (Expr::Or(left, right), false) => {
            [conjuncts(left, wanted), conjuncts(right, wanted)].concat()
        }
        (Expr::Not(inner), _) => conjuncts(inner, !wanted),
        _ => vec![(expr, wanted)],
    }
}

/// What ORs, or ANDs, connect.
fn parts(expr: &Expr, of_or: bool) -> Vec<&Expr> {
    match (expr, of_or) {
        (Expr::Or(left, right), true) | (Expr::And(left, right), false) => {
            [parts(left, of_or), parts(right, of_or)].concat()
        }
        _ => vec![expr],
    }
}
