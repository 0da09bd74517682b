//! Whether a row that asks matches the row of the store that it found.

use datafusion::{
    common::Column,
    error::Result,
    logical_expr::{Expr, Operator, case, lit, utils::conjunction},
};
use keyloom_common::functions::GET_FIELD;

use super::side::is_null_of_null;
use crate::holds::contains;

/// That a row was found, and that these conditions hold of it. One that may fail is not computed
/// where none was: there is no such row in the join.
pub(super) fn matches(
    is_found: Expr,
    conditions: impl IntoIterator<Item = Expr>,
    row: &Column,
) -> Result<Expr> {
    let conditions = conditions.into_iter();
    let (late, plain): (Vec<_>, Vec<_>) = conditions.partition(|one| may_fail(one, row));
    let matches = plain.into_iter().fold(is_found, Expr::and);
    match conjunction(late) {
        None => Ok(matches),
        // AND computes both, and so might another CASE.
        Some(late) => case(lit(true)).when(matches, late).end(),
    }
}

/// Whether a condition may fail where no row was found, of what it makes of nulls or of what it
/// reads of the row that asks.
fn may_fail(condition: &Expr, row: &Column) -> bool {
    contains(condition, |node| computes(node) && !is_null_of_null(node, row))
}

/// Whether a condition may fail of what some row of a store holds.
pub(super) fn may_fail_of_a_row(condition: &Expr) -> bool {
    contains(condition, computes)
}

/// Whether it is of its values whether an expression fails.
fn computes(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(_) | Expr::Negative(_) => true,
        Expr::BinaryExpr(binary) => matches!(
            binary.op,
            Operator::Plus
                | Operator::Minus
                | Operator::Multiply
                | Operator::Divide
                | Operator::Modulo
        ),
        Expr::ScalarFunction(function) => function.name() != GET_FIELD,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use datafusion::{
        functions::core::coalesce,
        logical_expr::{cast, col},
    };
    use keyloom_common::functions::GetField;

    use super::*;

    #[test]
    fn what_may_fail_is_computed_of_rows_that_were_found() {
        let row = Column::new_unqualified("row");
        let price = || GetField::udf().call(vec![col("row"), lit("price")]);
        let whole = || cast(price(), DataType::Int64);
        for safe in [price().gt(lit(1)), price().eq(col("n")), whole().is_not_null()] {
            assert!(!may_fail(&safe, &row), "{safe}");
        }
        let or_none = || coalesce().call(vec![price(), lit(0)]);
        let text = || cast(col("text"), DataType::Int64);
        for risky in [lit(1) / or_none(), lit(1) / col("n"), text(), price() * lit(2)] {
            assert!(may_fail(&risky.gt(lit(1)), &row));
        }
        let found = || col("row").is_not_null();
        let (plain, late) = (price().gt(lit(1)), (lit(1) / or_none()).gt(lit(1)));
        let both = found().and(plain.clone());
        assert_eq!(matches(found(), [plain.clone()], &row).unwrap(), both);
        let guarded = case(lit(true)).when(both, late.clone()).end().unwrap();
        assert_eq!(matches(found(), [late, plain], &row).unwrap(), guarded);
    }
}
