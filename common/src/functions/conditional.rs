//! Conditionals that stay what they are, so that their size is that of the statement.
//!
//! DataFusion writes `coalesce(a, b)` as `CASE WHEN a IS NOT NULL THEN a ELSE b END`, and a CASE of
//! booleans as ANDs and ORs that repeat its conditions: with each level of nesting, what is
//! innermost is there twice as often. Here nothing is repeated: a conditional is a function while
//! it is planned, and where the plan arrives an expression that is as lazy as a CASE.

mod choice;
mod lazy;

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, FieldRef, Schema},
};
use datafusion::{
    common::ScalarValue,
    error::Result,
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, Volatility, expr::ScalarFunction,
    },
    physical_expr::{PhysicalExpr, expressions::Column},
};

use crate::error::Error;

pub use choice::{MOST_NESTED_CASES, keep_name, keep_nested_cases};
pub(crate) use lazy::{as_function, as_lazy};

/// The name of [`Conditional::Choose`], which no user can have given.
pub const CHOOSE: &str = "choose#";

/// A conditional, by what it makes of its arguments. Those that it may give have one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conditional {
    /// `coalesce(a, b, …)`: the first that is not null.
    Coalesce,
    /// `nvl2(a, b, c)`: `b` where `a` is not null, elsewhere `c`.
    Nvl2,
    /// `CASE WHEN a THEN b … ELSE z END`, as `case(a, b, …, z)`.
    Case {
        /// Whether the result may be null.
        nullable: bool,
    },
    /// `CASE … THEN a … ELSE z END`, as `choose#(CASE … THEN 0 … ELSE n END, a, …, z)`: the result
    /// at the place that comes first, which is a CASE of numbers. It is coerced as a CASE is.
    Choose,
}

impl Conditional {
    const ALL: [Self; 5] = [
        Self::Coalesce,
        Self::Nvl2,
        Self::Case { nullable: false },
        Self::Case { nullable: true },
        Self::Choose,
    ];

    /// The conditional of arguments, as an expression that DataFusion leaves as it is.
    pub fn call(self, args: Vec<Expr>) -> Expr {
        self.udf().call(args)
    }

    /// The conditional as a function.
    pub fn udf(self) -> ScalarUDF {
        let signature = match self {
            Self::Choose => Signature::user_defined(Volatility::Immutable),
            // Types are settled when statements are written with one of these.
            Self::Coalesce | Self::Nvl2 | Self::Case { .. } => {
                Signature::variadic_any(Volatility::Immutable)
            }
        };
        ScalarUDF::from(ConditionalFunction { conditional: self, signature })
    }

    /// The conditional that a function is, if it is one.
    pub fn of(function: &ScalarFunction) -> Option<Self> {
        let function = function.func.inner().downcast_ref::<ConditionalFunction>()?;
        Some(function.conditional())
    }

    /// Whether it may give the argument at this place, of so many.
    pub fn may_give(self, place: usize, args: usize) -> bool {
        match self {
            Self::Coalesce => true,
            Self::Nvl2 | Self::Choose => place > 0,
            Self::Case { .. } => place % 2 == 1 || place + 1 == args,
        }
    }

    /// By what it is known in a plan that travels.
    pub(crate) fn tag(self) -> u8 {
        match self {
            Self::Coalesce => 0,
            Self::Nvl2 => 1,
            Self::Case { nullable: false } => 2,
            Self::Case { nullable: true } => 3,
            Self::Choose => 4,
        }
    }

    /// The conditional of a tag, if there is one.
    pub(crate) fn of_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|conditional| conditional.tag() == tag)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Coalesce => "coalesce",
            Self::Nvl2 => "nvl2",
            Self::Case { .. } => "case",
            Self::Choose => CHOOSE,
        }
    }

    /// Those of the arguments that it may give.
    fn results<T>(self, args: &[T]) -> Vec<&T> {
        let is_result = |place: usize| self.may_give(place, args.len());
        let args = args.iter().enumerate();
        args.filter(|(place, _)| is_result(*place)).map(|(_, arg)| arg).collect()
    }

    fn is_nullable(self, args: &[FieldRef]) -> bool {
        match self {
            Self::Coalesce => args.iter().all(|arg| arg.is_nullable()),
            Self::Nvl2 | Self::Choose => {
                self.results(args).into_iter().any(|arg| arg.is_nullable())
            }
            Self::Case { nullable } => nullable,
        }
    }
}

/// A conditional as DataFusion's planner sees it: a function of which it knows only which arguments
/// may not be computed.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConditionalFunction {
    conditional: Conditional,
    signature: Signature,
}

impl ConditionalFunction {
    /// Which conditional it stands for.
    pub(crate) fn conditional(&self) -> Conditional {
        self.conditional
    }
}

impl ScalarUDFImpl for ConditionalFunction {
    fn name(&self) -> &str {
        self.conditional.name()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let written = match self.conditional {
            Conditional::Choose => choice::name(args),
            Conditional::Coalesce | Conditional::Nvl2 | Conditional::Case { .. } => None,
        };
        let names = || args.iter().map(|arg| arg.schema_name().to_string()).collect::<Vec<_>>();
        Ok(written.unwrap_or_else(|| format!("{}({})", self.name(), names().join(","))))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Of a choice, which alone is typed before this.
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(choice::coerce(types))
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Err(Error::internal(format!("{} is typed by its arguments' fields", self.name())).into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let results = self.conditional.results(args.arg_fields);
        if self.conditional == Conditional::Choose {
            choice::check(&results)?;
        }
        let types = || results.iter().map(|field| field.data_type());
        let known = types().find(|data_type| !data_type.is_null()).or_else(|| types().next());
        let data_type = known.cloned().unwrap_or(DataType::Null);
        let nullable = self.conditional.is_nullable(args.arg_fields);
        Ok(Arc::new(Field::new(self.name(), data_type, nullable)))
    }

    /// Of arguments that are computed already, as those of constants are.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let fields = columns.iter().map(|column| Field::new("", column.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let batch = RecordBatch::try_new(schema, columns)?;
        let column = |index| Arc::new(Column::new("", index)) as Arc<dyn PhysicalExpr>;
        let columns: Vec<_> = (0..batch.num_columns()).map(column).collect();
        let value =
            lazy::evaluate(self.conditional, &columns, args.return_field.data_type(), &batch)?;
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?)
        } else {
            ColumnarValue::Array(value)
        })
    }

    fn short_circuits(&self) -> bool {
        true
    }

    /// The first is computed for all rows.
    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        let (first, others) = args.split_first()?;
        Some((vec![first], others.iter().collect()))
    }
}

#[cfg(test)]
mod tests;
