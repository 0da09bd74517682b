//! A value that may be null, whatever is known of it.
//!
//! DataFusion types a scalar subquery by its column alone. Where that is never null, it takes the
//! null of no row for impossible, and leaves out who asks for it. [`Nullable`] hides what is known.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::{
    error::Result,
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, Volatility,
    },
};

use crate::error::Error;

/// The name of [`Nullable`], which no user can have given.
pub(crate) const NULLABLE: &str = "nullable#";

/// The value as it is, of a type with nulls.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Nullable {
    signature: Signature,
}

impl Nullable {
    /// A value as one that may be null.
    pub fn call(value: Expr) -> Expr {
        Self::udf().call(vec![value])
    }

    pub(crate) fn udf() -> ScalarUDF {
        ScalarUDF::from(Self { signature: Signature::any(1, Volatility::Immutable) })
    }
}

impl ScalarUDFImpl for Nullable {
    fn name(&self) -> &str {
        NULLABLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Err(Error::internal(format!("{NULLABLE} is typed by its argument's field")).into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [value] = args.arg_fields else { return Err(unfit().into()) };
        Ok(Arc::new(value.as_ref().clone().with_name(NULLABLE).with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else { return Err(unfit().into()) };
        Ok(value.clone())
    }
}

fn unfit() -> Error {
    Error::internal(format!("{NULLABLE} takes one value"))
}

#[cfg(test)]
mod tests {
    use arrow::{array::RecordBatch, datatypes::Schema};
    use datafusion::{
        common::{DFSchema, ScalarValue, assert_batches_eq},
        logical_expr::{ExprSchemable, col, lit},
        prelude::SessionContext,
    };

    use super::*;

    #[test]
    fn a_value_may_be_null_and_keeps_its_type() {
        let schema = DFSchema::empty();
        let value = Nullable::call(lit(5_i64));
        let found = value.to_field(&schema).unwrap().1;
        assert_eq!((found.data_type(), found.is_nullable()), (&DataType::Int64, true));
        assert!(!lit(5_i64).nullable(&schema).unwrap());
    }

    #[tokio::test]
    async fn a_value_is_as_it_was() {
        let context = SessionContext::new();
        let rows = RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            Vec::new(),
            &arrow::array::RecordBatchOptions::new().with_row_count(Some(1)),
        );
        let values = vec![
            Nullable::call(lit(5_i64)).alias("five"),
            Nullable::call(lit(ScalarValue::Utf8(None))).alias("none"),
        ];
        let frame = context.read_batch(rows.unwrap()).unwrap().select(values).unwrap();
        let frame = frame.with_column("again", Nullable::call(col("five"))).unwrap();
        let expected = [
            "+------+------+-------+",
            "| five | none | again |",
            "+------+------+-------+",
            "| 5    |      | 5     |",
            "+------+------+-------+",
        ];
        assert_batches_eq!(expected, &frame.collect().await.unwrap());
    }
}
