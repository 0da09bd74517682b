//! What IS DISTINCT FROM compares.
//!
//! The parser takes all that follows for its right side: `a IS DISTINCT FROM b AND c` means `(a IS
//! DISTINCT FROM b) AND c`, and is read as `a IS DISTINCT FROM (b AND c)`. The tree keeps
//! parentheses that were written, so the two are told apart. What stands before it has too much on
//! its right side, too: `NOT a IS DISTINCT FROM b OR c`.

use std::{mem, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, UnaryOperator, Value, VisitMut, VisitorMut,
};

/// Gives each operator of a statement, or of a part of one, the right side that SQL says.
pub(super) fn settle(statement: &mut impl VisitMut) {
    // It never breaks off.
    let _ = statement.visit(&mut Operators);
}

struct Operators;

impl VisitorMut for Operators {
    type Break = ();

    /// What is within the expression is settled by then.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some((side, looser)) = right_side(expr)
            && is_one_of(side, looser)
        {
            let side = take(side);
            *expr = with_first(take(expr), side, looser);
        }
        ControlFlow::Continue(())
    }
}

/// What binds looser than NOT and IS DISTINCT FROM.
const THAN_NOT: &[BinaryOperator] = &[BinaryOperator::And, BinaryOperator::Or];

/// What binds looser than AND.
const THAN_AND: &[BinaryOperator] = &[BinaryOperator::Or];

/// The right side of an operator that may have too much there, and what cannot stand there without
/// parentheses.
fn right_side(expr: &mut Expr) -> Option<(&mut Expr, &'static [BinaryOperator])> {
    match expr {
        Expr::IsDistinctFrom(_, side) | Expr::IsNotDistinctFrom(_, side) => {
            Some((side.as_mut(), THAN_NOT))
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr: side } => Some((side.as_mut(), THAN_NOT)),
        Expr::BinaryOp { op: BinaryOperator::And, right, .. } => Some((right.as_mut(), THAN_AND)),
        _ => None,
    }
}

fn is_one_of(expr: &Expr, operators: &[BinaryOperator]) -> bool {
    matches!(expr, Expr::BinaryOp { op, .. } if operators.contains(op))
}

/// What stood on an operator's right side, whose first operand alone is the operator's.
fn with_first(mut operator: Expr, side: Expr, looser: &[BinaryOperator]) -> Expr {
    match side {
        Expr::BinaryOp { left, op, right } if looser.contains(&op) => {
            Expr::BinaryOp { left: Box::new(with_first(operator, *left, looser)), op, right }
        }
        operand => {
            if let Some((side, _)) = right_side(&mut operator) {
                *side = operand;
            }
            operator
        }
    }
}

fn take(expr: &mut Expr) -> Expr {
    mem::replace(expr, Expr::value(Value::Null))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::{dialect::GenericDialect, parser::Parser};

    use super::*;

    struct Parentheses;

    impl VisitorMut for Parentheses {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Nested(within) = expr {
                *expr = take(within);
            }
            ControlFlow::Continue(())
        }
    }

    fn parsed(text: &str) -> Expr {
        let dialect = GenericDialect {};
        Parser::new(&dialect).try_with_sql(text).unwrap().parse_expr().unwrap()
    }

    /// The tree as it is without the parentheses that were written.
    fn settled(text: &str) -> Expr {
        let mut expr = parsed(text);
        settle(&mut expr);
        let _ = expr.visit(&mut Parentheses);
        expr
    }

    #[test]
    fn is_distinct_from_binds_tighter_than_not_and_and_or() {
        for (text, meant) in [
            ("a IS DISTINCT FROM b AND c", "(a IS DISTINCT FROM b) AND c"),
            ("a IS NOT DISTINCT FROM b OR c", "(a IS NOT DISTINCT FROM b) OR c"),
            ("a IS DISTINCT FROM b AND c OR d", "((a IS DISTINCT FROM b) AND c) OR d"),
            ("a IS DISTINCT FROM b OR c AND d", "(a IS DISTINCT FROM b) OR (c AND d)"),
            ("x AND a IS DISTINCT FROM b OR c", "(x AND (a IS DISTINCT FROM b)) OR c"),
            ("x OR a IS DISTINCT FROM b AND c", "x OR ((a IS DISTINCT FROM b) AND c)"),
            ("NOT a IS DISTINCT FROM b AND c", "(NOT (a IS DISTINCT FROM b)) AND c"),
            ("x AND NOT a IS DISTINCT FROM b OR c", "(x AND (NOT (a IS DISTINCT FROM b))) OR c"),
            ("a IS DISTINCT FROM b + 1 OR c = d", "(a IS DISTINCT FROM (b + 1)) OR (c = d)"),
            (
                "a IS DISTINCT FROM b OR c IS NOT DISTINCT FROM d OR e",
                "(a IS DISTINCT FROM b) OR ((c IS NOT DISTINCT FROM d) OR e)",
            ),
            (
                "f(a IS DISTINCT FROM b AND c) = (d IS DISTINCT FROM e OR g)",
                "f((a IS DISTINCT FROM b) AND c) = ((d IS DISTINCT FROM e) OR g)",
            ),
        ] {
            assert_eq!(settled(text), settled(meant), "{text}");
        }
    }

    #[test]
    fn what_stands_in_parentheses_stays() {
        for text in [
            "a IS DISTINCT FROM (b AND c)",
            "x AND (y OR z)",
            "NOT (a AND b) OR c",
            "a AND b OR c AND NOT d",
            "a IS DISTINCT FROM b",
        ] {
            let mut expr = parsed(text);
            settle(&mut expr);
            assert_eq!(expr, parsed(text), "{text}");
        }
    }
}
