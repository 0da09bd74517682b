//! Guards: which rows take the branch that a call stands in.
//!
//! A guard is built from the same CASE as the branch, with booleans for results, so that it is as
//! lazy as the original: a condition is computed only for the rows that reach it.

use std::sync::Arc;

use datafusion::{
    error::Result,
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr, CaseExpr, IsNotNullExpr, IsNullExpr, Literal},
    },
    scalar::ScalarValue,
};

type Expr = Arc<dyn PhysicalExpr>;

/// The rows that need an answer: all, or those where an expression is true.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Guard {
    All,
    Where(Expr),
}

impl Guard {
    /// The rows of this guard where a condition holds; the condition is computed for no others.
    pub(super) fn and(&self, condition: Expr) -> Result<Self> {
        match self {
            Self::All => Ok(Self::Where(condition)),
            Self::Where(outer) => {
                let case = CaseExpr::try_new(
                    None,
                    vec![(Arc::clone(outer), condition)],
                    Some(boolean(false)),
                )?;
                Ok(Self::Where(Arc::new(case)))
            }
        }
    }

    /// The rows of either guard.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Where(one), Self::Where(other)) if one.eq(&other) => Self::Where(one),
            (Self::Where(one), Self::Where(other)) => {
                Self::Where(Arc::new(BinaryExpr::new(one, Operator::Or, other)))
            }
        }
    }

    pub(super) fn expr(&self) -> Option<&Expr> {
        match self {
            Self::All => None,
            Self::Where(expr) => Some(expr),
        }
    }
}

/// Where the right side of `left AND …` is needed.
pub(super) fn not_false(left: Expr) -> Expr {
    Arc::new(BinaryExpr::new(left, Operator::IsDistinctFrom, boolean(false)))
}

/// Where the right side of `left OR …` is needed.
pub(super) fn not_true(left: Expr) -> Expr {
    Arc::new(BinaryExpr::new(left, Operator::IsDistinctFrom, boolean(true)))
}

pub(super) fn is_null(expr: Expr) -> Expr {
    Arc::new(IsNullExpr::new(expr))
}

pub(super) fn is_not_null(expr: Expr) -> Expr {
    Arc::new(IsNotNullExpr::new(expr))
}

/// Where the branches of a CASE are reached, from its (rewritten) operand and conditions.
pub(super) struct Branches<'a> {
    pub(super) operand: Option<&'a Expr>,
    pub(super) whens: &'a [Expr],
}

impl Branches<'_> {
    /// Rows whose first true condition is the last of `whens`.
    pub(super) fn taken(&self) -> Result<Expr> {
        self.case(true, false)
    }

    /// Rows for which none of `whens` is true; `None` if there are none, so that all rows pass.
    pub(super) fn passed(&self) -> Result<Option<Expr>> {
        if self.whens.is_empty() { Ok(None) } else { self.case(false, true).map(Some) }
    }

    fn case(&self, last: bool, otherwise: bool) -> Result<Expr> {
        let end = self.whens.len().saturating_sub(1);
        let branches = self.whens.iter().enumerate();
        let when_then =
            branches.map(|(i, when)| (Arc::clone(when), boolean(last && i == end))).collect();
        let case = CaseExpr::try_new(self.operand.cloned(), when_then, Some(boolean(otherwise)))?;
        Ok(Arc::new(case))
    }
}

fn boolean(value: bool) -> Expr {
    Arc::new(Literal::new(ScalarValue::Boolean(Some(value))))
}
