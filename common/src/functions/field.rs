//! Reading a field of a struct or a map.
//!
//! A CASE, `nullif` and the files of others make a struct null without touching its fields, and
//! DataFusion's `get_field` answers what lies under the null. [`GetField`] takes its place in every
//! plan.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array},
    buffer::NullBuffer,
    compute::nullif,
    datatypes::{DataType, FieldRef, Fields},
};
use datafusion::{
    common::ScalarValue,
    error::Result,
    functions::core::getfield::GetFieldFunc,
    logical_expr::{
        ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs,
        ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        expr::ScalarFunction,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
};

use crate::{error::Error, store::quoted};

/// The name of the function, which is DataFusion's.
pub const GET_FIELD: &str = "get_field";

/// DataFusion's `get_field`, but null where the struct or map is.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct GetField {
    inner: GetFieldFunc,
}

impl GetField {
    /// The function.
    pub fn udf() -> Arc<ScalarUDF> {
        static UDF: LazyLock<Arc<ScalarUDF>> =
            LazyLock::new(|| Arc::new(ScalarUDF::from(GetField::default())));
        Arc::clone(&UDF)
    }

    /// The field of each row's struct, or the value of each row's map.
    fn read(
        &self,
        parent: &ArrayRef,
        name: &ColumnarValue,
        args: &ScalarFunctionArgs,
    ) -> Result<ArrayRef> {
        match (parent.data_type(), name) {
            (DataType::Dictionary(_, values), _) if matches!(**values, DataType::Struct(_)) => {
                let dictionary = parent.as_any_dictionary();
                let values = self.read(dictionary.values(), name, args)?;
                return Ok(dictionary.with_values(values));
            }
            (DataType::Map(entries, _), ColumnarValue::Scalar(key)) if key.is_null() => {
                let DataType::Struct(entry) = entries.data_type() else {
                    return Err(Error::internal("a map whose entries are no structs").into());
                };
                return Ok(new_null_array(entry[1].data_type(), parent.len()));
            }
            _ => {}
        }
        let child = self.inner.invoke_with_args(ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(Arc::clone(parent)), name.clone()],
            arg_fields: Vec::new(),
            number_rows: parent.len(),
            return_field: Arc::clone(&args.return_field),
            config_options: Arc::clone(&args.config_options),
        })?;
        null_where(parent.nulls(), child.into_array(parent.len())?)
    }
}

/// Refuses a field that a struct does not have, naming those that it has. What is no struct is left
/// to DataFusion.
fn check_path(args: &ReturnFieldArgs) -> Result<()> {
    let Some((base, path)) = args.arg_fields.first().zip(args.scalar_arguments.get(1..)) else {
        return Ok(());
    };
    let mut structure = base.data_type();
    for name in path {
        let Some(fields) = fields_of(structure) else { return Ok(()) };
        let name = name.and_then(|name| name.try_as_str().flatten());
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(()) };
        let Some(field) = fields.iter().find(|field| field.name() == name) else {
            let choices = quoted(fields.iter().map(|field| field.name()));
            let message = format!("the struct has no field '{name}'; it has {choices}");
            return Err(Error::invalid(message).into());
        };
        structure = field.data_type();
    }
    Ok(())
}

fn fields_of(data_type: &DataType) -> Option<&Fields> {
    match data_type {
        DataType::Struct(fields) => Some(fields),
        DataType::Dictionary(_, values) => fields_of(values),
        _ => None,
    }
}

/// A field with nulls where its struct has some.
pub(super) fn null_where(parent: Option<&NullBuffer>, child: ArrayRef) -> Result<ArrayRef> {
    let Some(nulls) = parent.filter(|nulls| nulls.null_count() > 0) else { return Ok(child) };
    if child.nulls().is_some_and(|own| own.contains(nulls)) {
        return Ok(child);
    }
    match child.data_type() {
        // Their nulls are not a mask beside the values.
        DataType::Union(..) | DataType::RunEndEncoded(..) => Err(Error::invalid(format!(
            "a field of type {} cannot be read of structs of which some are null",
            child.data_type()
        ))
        .into()),
        _ => Ok(nullif(&child, &BooleanArray::new(!nulls.inner(), None))?),
    }
}

impl ScalarUDFImpl for GetField {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        check_path(&args)?;
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((base, path)) = args.args.split_first() else {
            return self.inner.invoke_with_args(args);
        };
        let is_scalar = matches!(base, ColumnarValue::Scalar(_));
        let mut value = base.to_array(if is_scalar { 1 } else { args.number_rows })?;
        for name in path {
            if value.data_type().is_null() {
                return Ok(ColumnarValue::Scalar(ScalarValue::Null));
            }
            value = self.read(&value, name, &args)?;
        }
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?)
        } else {
            ColumnarValue::Array(value)
        })
    }

    /// `get_field(get_field(s, 'a'), 'b')` is `get_field(s, 'a', 'b')`.
    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let mut merged = args;
        let mut nested = false;
        while let Some(Expr::ScalarFunction(inner)) = merged.first()
            && inner.func.name() == GET_FIELD
        {
            merged = [inner.args.as_slice(), &merged[1..]].concat();
            nested = true;
        }
        Ok(if nested {
            let function = ScalarFunction::new_udf(Self::udf(), merged);
            ExprSimplifyResult::Simplified(Expr::ScalarFunction(function))
        } else {
            ExprSimplifyResult::Original(merged)
        })
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner.placement(args)
    }
}

#[cfg(test)]
mod tests;
