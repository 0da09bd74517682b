//! A call as DataFusion's planner sees it.

use std::{hash::Hash, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    error::{DataFusionError, Result},
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, Volatility,
    },
};

use super::KvCall;
use crate::error::Error;

/// A scalar function of one argument, the key, that is bound to one call.
///
/// It is volatile on purpose: DataFusion then neither duplicates it nor moves it into a scan. The
/// lookup node makes up for what volatile functions lose (see `lookup`).
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct KvFunction {
    call: Arc<KvCall>,
    signature: Signature,
    /// The function's name, or the name by which a SQL statement finds this one call.
    name: String,
}

impl KvFunction {
    /// The call as an expression of DataFusion.
    pub fn expr(call: KvCall, key: Expr) -> Expr {
        Self::udf(call).call(vec![key])
    }

    /// The call as a function of DataFusion.
    pub fn udf(call: KvCall) -> ScalarUDF {
        let name = call.function().name().to_owned();
        Self::named_udf(call, name)
    }

    /// The call as a function that a SQL statement finds under a name.
    pub fn named_udf(call: KvCall, name: String) -> ScalarUDF {
        let signature = Signature::user_defined(Volatility::Volatile);
        ScalarUDF::from(Self { call: Arc::new(call), signature, name })
    }

    /// The call that it stands for.
    pub fn call(&self) -> &Arc<KvCall> {
        &self.call
    }
}

impl KvFunction {
    /// The type of the answer for these arguments.
    fn answer(&self, keys: &[FieldRef]) -> Result<DataType> {
        match keys {
            [key] => Ok(self.call.return_type(key)?),
            _ => Err(Error::invalid(format!("{} takes one key expression", self.name())).into()),
        }
    }
}

impl ScalarUDFImpl for KvFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let keys: Vec<_> = args.iter().map(|key| key.schema_name().to_string()).collect();
        Ok(self.call.display(&keys.join(", ")))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, keys: &[DataType]) -> Result<DataType> {
        let keys = keys.iter().map(|key| Arc::new(Field::new("key", key.clone(), true)));
        self.answer(&keys.collect::<Vec<_>>())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), self.answer(args.arg_fields)?, true)))
    }

    fn coerce_types(&self, keys: &[DataType]) -> Result<Vec<DataType>> {
        // Never cast: the lookup compares in the store's key type, and there a key outside its
        // range is missing, where a cast would fail. Keys that do not fit are refused by
        // `return_type`, whose error DataFusion does not wrap in words of its own.
        Ok(keys.to_vec())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::Internal(format!(
            "{} was left in the plan; a Keyloom session plans it as a lookup",
            self.name()
        )))
    }
}
