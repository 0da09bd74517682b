//! The length of bytes, which are binary or text.

use arrow::{compute::kernels::length::length, datatypes::DataType};
use datafusion::{
    common::ScalarValue,
    error::Result,
    execution::context::SessionContext,
    functions::string::octet_length::OctetLengthFunc,
    logical_expr::{
        Coercion, ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, TypeSignature, TypeSignatureClass, Volatility,
    },
};

/// DataFusion's `octet_length`, which takes text alone, for binary values, too.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct OctetLength {
    of_text: OctetLengthFunc,
    signature: Signature,
}

impl OctetLength {
    /// Puts it in the place of DataFusion's: wherever plans are made, and wherever they run.
    pub fn register(context: &SessionContext) {
        context.register_udf(ScalarUDF::from(Self::default()));
    }
}

impl Default for OctetLength {
    fn default() -> Self {
        let of_text = OctetLengthFunc::new();
        let binary = vec![Coercion::new_exact(TypeSignatureClass::Binary)];
        let either =
            vec![of_text.signature().type_signature.clone(), TypeSignature::Coercible(binary)];
        Self { of_text, signature: Signature::one_of(either, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for OctetLength {
    fn name(&self) -> &str {
        self.of_text.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::LargeBinary] => Ok(DataType::Int64),
            [DataType::Null] => Ok(DataType::Int32),
            [binary] if is_binary(binary) => Ok(DataType::Int32),
            text => self.of_text.return_type(text),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(bytes)] if is_binary(bytes.data_type()) => {
                Ok(ColumnarValue::Array(length(bytes)?))
            }
            // DataFusion takes a null of no type for text, and then does not know it.
            [null] if null.data_type().is_null() => {
                Ok(ColumnarValue::Scalar(ScalarValue::Int32(None)))
            }
            [ColumnarValue::Scalar(bytes)] if is_binary(&bytes.data_type()) => {
                let length = length(&bytes.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&length, 0)?))
            }
            _ => self.of_text.invoke_with_args(args),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.of_text.documentation()
    }
}

fn is_binary(data_type: &DataType) -> bool {
    data_type.is_binary() || matches!(data_type, DataType::FixedSizeBinary(_))
}

#[cfg(test)]
mod tests {
    use datafusion::assert_batches_eq;

    use super::*;

    #[tokio::test]
    async fn bytes_are_counted_of_binary_and_of_text() {
        let context = SessionContext::new();
        OctetLength::register(&context);
        let sql = "SELECT octet_length(arrow_cast(v, 'Binary')) AS b, \
                   octet_length(arrow_cast(v, 'LargeBinary')) AS lb, \
                   octet_length(arrow_cast(v, 'BinaryView')) AS bv, octet_length(v) AS t, \
                   octet_length(X'00ff') AS literal, octet_length(NULL) AS n \
                   FROM (VALUES ('a'), ('ü'), (''), (NULL)) AS t(v)";
        let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
        let expected = [
            "+---+----+----+---+---------+---+",
            "| b | lb | bv | t | literal | n |",
            "+---+----+----+---+---------+---+",
            "| 1 | 1  | 1  | 1 | 2       |   |",
            "| 2 | 2  | 2  | 2 | 2       |   |",
            "| 0 | 0  | 0  | 0 | 2       |   |",
            "|   |    |    |   | 2       |   |",
            "+---+----+----+---+---------+---+",
        ];
        assert_batches_eq!(expected, &rows);
    }
}
