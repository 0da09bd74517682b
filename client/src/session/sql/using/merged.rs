//! Columns that USING makes one of two.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, JoinConstraint, JoinOperator, ObjectName,
};
use keyloom_common::{Error, Result};

use super::NAMELESS;

/// A column that USING makes.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    pub(super) name: String,
    /// In whose place it stands.
    pub(super) table: usize,
    /// What it is; unknown if that needs the name of a table that has none.
    pub(super) value: Option<Expr>,
    /// Whether DataFusion takes the name alone for the same.
    pub(super) is_plain: bool,
    /// Whether it is no more than a table's column yet.
    pub(super) is_own: bool,
}

impl Merged {
    pub(super) fn value(&self) -> Result<&Expr> {
        self.value.as_ref().ok_or_else(|| Error::invalid(NAMELESS))
    }
}

/// What a join does to the rows of its sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Inner,
    Left,
    Right,
    Full,
    /// The left side's columns are left.
    LeftAlone,
    RightAlone,
}

impl Kind {
    pub(super) fn of(operator: &mut JoinOperator) -> (Self, Option<&mut JoinConstraint>) {
        use JoinOperator as Op;
        match operator {
            Op::Left(constraint) | Op::LeftOuter(constraint) => (Self::Left, Some(constraint)),
            Op::Right(constraint) | Op::RightOuter(constraint) => (Self::Right, Some(constraint)),
            Op::FullOuter(constraint) => (Self::Full, Some(constraint)),
            Op::Semi(constraint)
            | Op::Anti(constraint)
            | Op::LeftSemi(constraint)
            | Op::LeftAnti(constraint) => (Self::LeftAlone, Some(constraint)),
            Op::RightSemi(constraint) | Op::RightAnti(constraint) => {
                (Self::RightAlone, Some(constraint))
            }
            Op::Join(constraint) | Op::Inner(constraint) | Op::CrossJoin(constraint) => {
                (Self::Inner, Some(constraint))
            }
            // DataFusion knows no others with a constraint.
            _ => (Self::Inner, None),
        }
    }
}

/// The columns of two sides that USING names.
pub(super) struct Pair {
    pub(super) left: Merged,
    pub(super) right: Merged,
}

impl Pair {
    /// Whether DataFusion compares the two.
    pub(super) fn is_plain(&self) -> bool {
        self.left.is_plain && self.right.is_plain
    }

    /// The one column that they become.
    pub(super) fn merged(&self, kind: Kind) -> Merged {
        let (left, right) = (self.left.value.clone(), self.right.value.clone());
        // Of three columns of a name, DataFusion knows none.
        let is_known = self.left.is_own && self.right.is_own;
        let value = match kind {
            Kind::Right => right,
            Kind::Full => left.zip(right).map(|(left, right)| coalesce(left, right)),
            _ => left,
        };
        let is_left = !matches!(kind, Kind::Right | Kind::Full);
        Merged {
            name: self.left.name.clone(),
            table: self.left.table,
            value,
            is_plain: is_left && is_known,
            is_own: false,
        }
    }
}

/// That the columns of each pair are equal.
pub(super) fn condition(pairs: &[Pair]) -> Result<Option<Expr>> {
    let equal = |pair: &Pair| -> Result<Expr> {
        let (left, right) = (pair.left.value()?.clone(), pair.right.value()?.clone());
        Ok(binary(left, BinaryOperator::Eq, right))
    };
    let equal = pairs.iter().map(equal).collect::<Result<Vec<_>>>()?;
    Ok(equal.into_iter().reduce(|one, other| binary(one, BinaryOperator::And, other)))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn coalesce(one: Expr, other: Expr) -> Expr {
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    let args = FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args: vec![argument(one), argument(other)],
        clauses: Vec::new(),
    });
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("coalesce")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args,
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
