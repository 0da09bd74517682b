//! Sums, differences and products of whole numbers, which fail where they become too large.
//!
//! DataFusion has them wrap around, unless an expression says otherwise, and its protobuf does not
//! carry that. All that runs has been read, so it is said here.

use std::sync::Arc;

use datafusion::{
    logical_expr::Operator,
    physical_expr::{PhysicalExpr, expressions::BinaryExpr},
};

/// The expression that was read, whose arithmetic fails where a whole number becomes too large.
pub(super) fn as_checked(mut expr: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    use Operator::{Minus, Multiply, Plus};

    let Some(op @ (Plus | Minus | Multiply)) = operator(&expr) else { return expr };
    // A chain of one operator comes as a list of operands, and is read at once.
    let mut operands = Vec::new();
    while operator(&expr) == Some(op)
        && let Some((left, right)) = sides(&expr)
    {
        operands.push(right);
        expr = left;
    }
    operands.into_iter().rev().fold(expr, |left, right| {
        Arc::new(BinaryExpr::new(left, op, right).with_fail_on_overflow(true))
    })
}

fn operator(expr: &Arc<dyn PhysicalExpr>) -> Option<Operator> {
    expr.downcast_ref::<BinaryExpr>().map(|binary| *binary.op())
}

fn sides(expr: &Arc<dyn PhysicalExpr>) -> Option<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)> {
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    Some((Arc::clone(binary.left()), Arc::clone(binary.right())))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{ArrayRef, AsArray, Int32Array, RecordBatch},
        datatypes::Int32Type,
    };
    use datafusion::{
        error::Result,
        physical_expr::expressions::{col, lit},
    };

    use super::*;

    #[test]
    fn a_chain_fails_wherever_it_becomes_too_large() {
        let column: ArrayRef = Arc::new(Int32Array::from(vec![Some(2), None, Some(3)]));
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let chain = |op: Operator, operands: &[i32]| -> Result<Vec<Option<i32>>> {
            let first = col("n", rows.schema_ref()).unwrap();
            let chain = operands.iter().fold(first, |left, operand| {
                Arc::new(BinaryExpr::new(left, op, lit(*operand))) as Arc<dyn PhysicalExpr>
            });
            let shown = chain.to_string();
            let checked = as_checked(chain);
            assert_eq!(checked.to_string(), shown);
            let computed = checked.evaluate(&rows)?.into_array(rows.num_rows())?;
            Ok(computed.as_primitive::<Int32Type>().iter().collect())
        };
        let good = chain(Operator::Minus, &[5, 7, i32::MAX - 11]).unwrap();
        assert_eq!(good, [Some(1 - i32::MAX), None, Some(2 - i32::MAX)]);
        for (op, operands) in [
            (Operator::Plus, [i32::MAX - 2, 0, -9]),
            (Operator::Minus, [i32::MAX, 9, 0]),
            (Operator::Multiply, [1 << 15, 1 << 15, 0]),
        ] {
            let error = chain(op, &operands).unwrap_err().to_string();
            assert!(error.contains("Overflow happened on: "), "{op}: {error}");
        }
    }
}
