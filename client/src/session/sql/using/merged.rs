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
    pub(super) fn of(operator: &JoinOperator) -> Self {
        use JoinOperator as Op;
        match operator {
            Op::Left(_) | Op::LeftOuter(_) => Self::Left,
            Op::Right(_) | Op::RightOuter(_) => Self::Right,
            Op::FullOuter(_) => Self::Full,
            Op::Semi(_) | Op::Anti(_) | Op::LeftSemi(_) | Op::LeftAnti(_) => Self::LeftAlone,
            Op::RightSemi(_) | Op::RightAnti(_) => Self::RightAlone,
            _ => Self::Inner,
        }
    }

    /// Whether rows may stand on one side alone.
    pub(super) fn is_outer(self) -> bool {
        matches!(self, Self::Left | Self::Right | Self::Full)
    }
}

/// What a join compares. DataFusion knows no others with such.
pub(super) fn constraint(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    use JoinOperator as Op;
    match operator {
        Op::Join(constraint)
        | Op::Inner(constraint)
        | Op::CrossJoin(constraint)
        | Op::Left(constraint)
        | Op::LeftOuter(constraint)
        | Op::Right(constraint)
        | Op::RightOuter(constraint)
        | Op::FullOuter(constraint)
        | Op::Semi(constraint)
        | Op::Anti(constraint)
        | Op::LeftSemi(constraint)
        | Op::LeftAnti(constraint)
        | Op::RightSemi(constraint)
        | Op::RightAnti(constraint) => Some(constraint),
        _ => None,
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
