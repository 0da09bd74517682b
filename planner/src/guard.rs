//! Guards: which rows take the branch that a call stands in.
//!
//! A guard is built from the conditions of the branch and those before it, as a CASE with booleans
//! for results, so that it is as lazy as the original: a condition is computed only for the rows
//! that reach it.

use std::sync::Arc;

use datafusion::{
    error::Result,
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr, CaseExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr},
    },
    scalar::ScalarValue,
};

type Expr = Arc<dyn PhysicalExpr>;

/// The rows that need an answer: those of any of several branches. By default, all.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Guard {
    branches: Vec<Branch>,
}

/// The rows where all conditions hold. A condition is computed for no row where one before it does
/// not hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Branch {
    conditions: Vec<Condition>,
}

/// What must be so of a boolean expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    True(Expr),
    NotTrue(Expr),
    NotFalse(Expr),
}

impl Default for Guard {
    fn default() -> Self {
        Self { branches: vec![Branch::default()] }
    }
}

impl Guard {
    /// The rows of this guard where a condition holds, too.
    pub(crate) fn and(&self, condition: &Condition) -> Self {
        let mut guard = self.clone();
        guard.branches.iter_mut().for_each(|branch| branch.push(condition.clone()));
        guard
    }

    /// The rows of either guard.
    pub(crate) fn or(&self, other: &Self) -> Self {
        let mut branches = self.branches.clone();
        for branch in &other.branches {
            if !branches.iter().any(|known| known.includes(branch)) {
                branches.retain(|known| !branch.includes(known));
                branches.push(branch.clone());
            }
        }
        Self { branches }
    }

    /// Whether the rows of another guard are certainly among those of this one.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        let included = |branch: &Branch| self.branches.iter().any(|own| own.includes(branch));
        other.branches.iter().all(included)
    }

    /// Whether a boolean expression is true for all its rows.
    pub(crate) fn implies(&self, expr: &Expr) -> bool {
        let is_it =
            |condition: &Condition| matches!(condition, Condition::True(given) if given.eq(expr));
        self.branches.iter().all(|branch| branch.conditions.iter().any(is_it))
    }

    /// The expressions that it is made of.
    pub(crate) fn exprs(&self) -> impl Iterator<Item = &Expr> {
        self.branches.iter().flat_map(|branch| &branch.conditions).map(Condition::expr)
    }

    /// The guard as one expression; `None` if all rows need an answer.
    pub(crate) fn expr(&self) -> Result<Option<Expr>> {
        let mut any: Option<Expr> = None;
        for branch in &self.branches {
            let Some(branch) = branch.expr()? else { return Ok(None) };
            any = Some(match any {
                None => branch,
                Some(any) => Arc::new(BinaryExpr::new(any, Operator::Or, branch)),
            });
        }
        Ok(any)
    }
}

impl Branch {
    /// Conditions are kept in their parts, so that branches can be compared.
    fn push(&mut self, condition: Condition) {
        let parts = match &condition {
            Condition::True(expr) => {
                parts(expr, Operator::And).map(|parts| parts.map(Condition::True))
            }
            Condition::NotTrue(expr) => {
                parts(expr, Operator::Or).map(|parts| parts.map(Condition::NotTrue))
            }
            Condition::NotFalse(_) => None,
        };
        match parts {
            Some(parts) => parts.into_iter().for_each(|part| self.push(part)),
            None if self.conditions.contains(&condition) => {}
            None => self.conditions.push(condition),
        }
    }

    fn includes(&self, other: &Self) -> bool {
        let implied = |condition: &Condition| {
            other.conditions.iter().any(|given| match (given, condition) {
                (Condition::True(given), Condition::NotFalse(expr)) => given.eq(expr),
                (given, condition) => given == condition,
            })
        };
        self.conditions.iter().all(implied)
    }

    fn expr(&self) -> Result<Option<Expr>> {
        let Some((last, before)) = self.conditions.split_last() else { return Ok(None) };
        let fails = |condition: &Condition| (condition.fails(), boolean(false));
        let mut branches: Vec<_> = before.iter().map(fails).collect();
        let otherwise = match last {
            Condition::True(expr) => Arc::clone(expr),
            other => {
                branches.push(fails(other));
                boolean(true)
            }
        };
        if branches.is_empty() {
            return Ok(Some(otherwise));
        }
        Ok(Some(Arc::new(CaseExpr::try_new(None, branches, Some(otherwise))?)))
    }
}

impl Condition {
    fn expr(&self) -> &Expr {
        match self {
            Self::True(expr) | Self::NotTrue(expr) | Self::NotFalse(expr) => expr,
        }
    }

    /// Where the condition does not hold. Null counts as false, as everywhere in a CASE.
    fn fails(&self) -> Expr {
        match self {
            Self::True(expr) => distinct(expr, true),
            Self::NotTrue(expr) => Arc::clone(expr),
            Self::NotFalse(expr) => Arc::new(NotExpr::new(Arc::clone(expr))),
        }
    }
}

/// The two sides of an expression with this operator.
fn parts(expr: &Expr, operator: Operator) -> Option<[Expr; 2]> {
    let binary = expr.downcast_ref::<BinaryExpr>().filter(|binary| *binary.op() == operator)?;
    Some([Arc::clone(binary.left()), Arc::clone(binary.right())])
}

fn distinct(expr: &Expr, value: bool) -> Expr {
    Arc::new(BinaryExpr::new(Arc::clone(expr), Operator::IsDistinctFrom, boolean(value)))
}

pub(crate) fn is_null(expr: Expr) -> Condition {
    Condition::True(Arc::new(IsNullExpr::new(expr)))
}

pub(crate) fn is_not_null(expr: Expr) -> Condition {
    Condition::True(Arc::new(IsNotNullExpr::new(expr)))
}

/// Whether a choice is of the answer at a place.
pub(crate) fn is_place(choice: &Expr, place: usize) -> Condition {
    let place = Arc::new(Literal::new(ScalarValue::Int64(Some(place as i64))));
    Condition::True(Arc::new(BinaryExpr::new(Arc::clone(choice), Operator::Eq, place)))
}

/// Whether a branch of a CASE is taken, from its (rewritten) operand and condition.
pub(crate) fn matches(operand: Option<&Expr>, when: &Expr) -> Result<Expr> {
    let Some(operand) = operand else { return Ok(Arc::clone(when)) };
    let branches = vec![(Arc::clone(when), boolean(true))];
    let case = CaseExpr::try_new(Some(Arc::clone(operand)), branches, Some(boolean(false)))?;
    Ok(Arc::new(case))
}

/// Whether an expression is the literal TRUE.
pub(crate) fn is_true(expr: &Expr) -> bool {
    let literal = expr.downcast_ref::<Literal>().map(Literal::value);
    literal == Some(&ScalarValue::Boolean(Some(true)))
}

fn boolean(value: bool) -> Expr {
    Arc::new(Literal::new(ScalarValue::Boolean(Some(value))))
}
