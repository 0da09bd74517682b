//! The one value of a scalar subquery, which may have found several rows.
//!
//! DataFusion makes joins of such subqueries here: each row that one finds becomes a row of the
//! result. [`SingleRow`] makes one row of them that knows whether there were others, and
//! [`SingleValue`] reads it, and fails where there were: if the subquery depends on the rows around
//! it, only for those that read its value.

mod seen;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, StructArray},
    datatypes::{DataType, Field, FieldRef, Fields},
};
use datafusion::{
    common::ScalarValue,
    error::Result,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Expr, ReturnFieldArgs,
        ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        function::AccumulatorArgs,
    },
};

use super::field::null_where;
use crate::error::Error;
use seen::Seen;

/// The name of [`SingleRow`], which no user can have given.
pub(crate) const SINGLE_ROW: &str = "single_row#";

/// The name of [`SingleValue`], which no user can have given.
pub(crate) const SINGLE_VALUE: &str = "single_value#";

/// The aggregate of values that should be one: a struct of the first of them and of whether there
/// were several, or null if there was none. A state of it is such a struct, too.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SingleRow {
    signature: Signature,
}

impl SingleRow {
    /// The aggregate of a value.
    pub fn call(value: Expr) -> Expr {
        Self::udaf().call(vec![value])
    }

    pub(crate) fn udaf() -> AggregateUDF {
        AggregateUDF::from(Self { signature: Signature::any(1, Volatility::Immutable) })
    }
}

impl AggregateUDFImpl for SingleRow {
    fn name(&self) -> &str {
        SINGLE_ROW
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Err(Error::internal(format!("{SINGLE_ROW} is typed by its argument's field")).into())
    }

    fn return_field(&self, args: &[FieldRef]) -> Result<FieldRef> {
        let [value] = args else { return Err(unfit().into()) };
        let value = value.as_ref().clone().with_name("value").with_nullable(true);
        let several = Field::new("several", DataType::Boolean, true);
        let row = DataType::Struct(Fields::from(vec![value, several]));
        Ok(Arc::new(Field::new(SINGLE_ROW, row, true)))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Seen::new(row_fields(args.return_field.data_type())?.clone())))
    }
}

/// The value of what [`SingleRow`] makes, which fails where there were several.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SingleValue {
    /// The column of the subquery, by which errors name it.
    column: String,
    /// Whether the subquery finds other rows for each row around it.
    by_row: bool,
    signature: Signature,
}

impl SingleValue {
    /// The value of a row of the subquery with this column.
    pub fn call(column: impl Into<String>, by_row: bool, row: Expr) -> Expr {
        Self::udf(column.into(), by_row).call(vec![row])
    }

    fn udf(column: String, by_row: bool) -> ScalarUDF {
        let signature = Signature::any(1, Volatility::Immutable);
        ScalarUDF::from(Self { column, by_row, signature })
    }

    /// What [`SingleValue::decode`] reads.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(self.by_row));
        bytes.extend(self.column.as_bytes());
    }

    /// The function from bytes; `None` if they are none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<ScalarUDF> {
        let (by_row, column) = bytes.split_first()?;
        let by_row = match by_row {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Self::udf(String::from_utf8(column.to_vec()).ok()?, by_row))
    }

    fn several(&self) -> Error {
        let (found, choices) = if self.by_row {
            ("several rows for one row around it", "by an aggregate such as max()")
        } else {
            ("several rows", "by an aggregate such as max(), or by LIMIT 1")
        };
        Error::invalid(format!(
            "the subquery of '{}' found {found}, and has to give one value; make one of them \
             {choices}",
            self.column
        ))
    }
}

impl ScalarUDFImpl for SingleValue {
    fn name(&self) -> &str {
        SINGLE_VALUE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Err(Error::internal(format!("{SINGLE_VALUE} is typed by its argument's field")).into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [row] = args.arg_fields else { return Err(unfit().into()) };
        let fields = row_fields(row.data_type())?;
        Ok(Arc::new(fields[0].as_ref().clone().with_name(SINGLE_VALUE).with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [row] = args.args.as_slice() else { return Err(unfit().into()) };
        let is_scalar = matches!(row, ColumnarValue::Scalar(_));
        let rows = row.to_array(if is_scalar { 1 } else { args.number_rows })?;
        let (rows, values, several) = parts(&rows)?;
        if (0..rows.len()).any(|row| rows.is_valid(row) && several.value(row)) {
            return Err(self.several().into());
        }
        let values = null_where(rows.nulls(), Arc::clone(values))?;
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?)
        } else {
            ColumnarValue::Array(values)
        })
    }
}

/// The fields of what [`SingleRow`] makes: the value, and whether there were several.
fn row_fields(row: &DataType) -> Result<&Fields> {
    match row {
        DataType::Struct(fields) if fields.len() == 2 => Ok(fields),
        _ => Err(unfit().into()),
    }
}

/// The columns of these fields.
fn parts(rows: &ArrayRef) -> Result<(&StructArray, &ArrayRef, &BooleanArray)> {
    if let Some(rows) = rows.as_struct_opt()
        && let [values, several] = rows.columns()
        && let Some(several) = several.as_boolean_opt()
    {
        return Ok((rows, values, several));
    }
    Err(unfit().into())
}

fn unfit() -> Error {
    Error::internal(format!("{SINGLE_ROW} or {SINGLE_VALUE} of what is no single row"))
}

#[cfg(test)]
mod tests;
