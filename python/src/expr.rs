//! Expressions: DataFusion's, and what Python means by its operators.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use crate::{arrow, error::raise, session::SessionId};
use datafusion::{
    arrow::datatypes::DataType,
    common::{
        Column, DFSchema,
        tree_node::{Transformed, TreeNode},
    },
    execution::SessionStateDefaults,
    functions::{core::expr_fn::coalesce, math::expr_fn::floor},
    functions_nested::expr_fn::array_length,
    logical_expr::{
        AggregateUDF, BinaryExpr, Cast, Expr as Logical, ExprFunctionExt, ExprSchemable, Operator,
        ScalarUDF, TryCast, binary_expr, expr::InList, expr::ScalarFunction, when,
    },
    prelude::lit,
    scalar::ScalarValue,
};
use keyloom_common::{Error, Result, functions::OctetLength};
use pyo3::prelude::*;

/// An expression, and the session whose stores it looks up, if it looks any up.
#[pyclass(frozen, module = "keyloom._keyloom")]
#[derive(Debug)]
pub(crate) struct Expr {
    expr: Logical,
    session: Option<SessionId>,
}

/// DataFusion's functions by name.
static SCALARS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let functions = SessionStateDefaults::default_scalar_functions().into_iter();
    functions.map(|function| (function.name().to_owned(), function)).collect()
});

/// DataFusion's aggregates by name.
static AGGREGATES: LazyLock<HashMap<String, Arc<AggregateUDF>>> = LazyLock::new(|| {
    let functions = SessionStateDefaults::default_aggregate_functions().into_iter();
    functions.map(|function| (function.name().to_owned(), function)).collect()
});

impl Expr {
    /// An expression that looks nothing up.
    fn plain(expr: Logical) -> Self {
        Self { expr, session: None }
    }

    pub(crate) fn of_session(expr: Logical, session: SessionId) -> Self {
        Self { expr, session: Some(session) }
    }

    /// The expression, for use in a session.
    ///
    /// # Errors
    /// `invalid` if it looks up stores of another session.
    pub(crate) fn of(&self, session: SessionId) -> PyResult<&Logical> {
        if self.session.is_some_and(|other| other != session) {
            return Err(raise(Error::invalid(
                "an expression looks up the stores of another session; build it in the session of \
                 the frame",
            )));
        }
        Ok(&self.expr)
    }

    /// An expression made of parts, which must not look up stores of different sessions.
    fn made_of<'a>(parts: impl IntoIterator<Item = &'a Self>, expr: Logical) -> PyResult<Self> {
        let mut session = None;
        for other in parts.into_iter().filter_map(|part| part.session) {
            if session.replace(other).is_some_and(|one| one != other) {
                return Err(raise(Error::invalid(
                    "an expression looks up the stores of two sessions",
                )));
            }
        }
        Ok(Self { expr, session })
    }
}

fn logical(parts: &[Py<Expr>]) -> Vec<Logical> {
    parts.iter().map(|part| part.get().expr.clone()).collect()
}

/// DataFusion's operators by Python's signs.
fn operator(sign: &str) -> PyResult<Operator> {
    Ok(match sign {
        "==" => Operator::Eq,
        "!=" => Operator::NotEq,
        "<" => Operator::Lt,
        "<=" => Operator::LtEq,
        ">" => Operator::Gt,
        ">=" => Operator::GtEq,
        "+" => Operator::Plus,
        "-" => Operator::Minus,
        "*" => Operator::Multiply,
        "/" => Operator::Divide,
        "//" => Operator::IntegerDivide,
        "%" => Operator::Modulo,
        "&" => Operator::And,
        "|" => Operator::Or,
        "is not distinct from" => Operator::IsNotDistinctFrom,
        other => return Err(raise(Error::internal(format!("no operator '{other}'")))),
    })
}

#[pymethods]
impl Expr {
    #[staticmethod]
    fn column(name: &str) -> Self {
        // As it is written: DataFusion would fold its case and split it at dots.
        Self::plain(Column::from_name(name).into())
    }

    /// The value of an array of one.
    #[staticmethod]
    fn literal(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let value = ScalarValue::try_from_array(&arrow::array(value)?, 0);
        Ok(Self::plain(lit(value.map_err(raise)?)))
    }

    fn binary(&self, sign: &str, other: &Self) -> PyResult<Self> {
        let expr = binary_expr(self.expr.clone(), operator(sign)?, other.expr.clone());
        Self::made_of([self, other], expr)
    }

    fn invert(&self) -> Self {
        Self { expr: !self.expr.clone(), session: self.session }
    }

    fn negate(&self) -> Self {
        Self { expr: -self.expr.clone(), session: self.session }
    }

    fn is_null(&self) -> Self {
        Self { expr: self.expr.clone().is_null(), session: self.session }
    }

    fn not_null(&self) -> Self {
        Self { expr: self.expr.clone().is_not_null(), session: self.session }
    }

    /// The values as another type; with `try_`, null where a value has no equal of that type.
    #[pyo3(signature = (data_type, try_))]
    fn cast(&self, data_type: &Bound<'_, PyAny>, try_: bool) -> PyResult<Self> {
        let data_type = arrow::data_type(data_type)?;
        let inner = Box::new(self.expr.clone());
        let expr = match try_ {
            true => Logical::TryCast(TryCast::new(inner, data_type)),
            false => Logical::Cast(Cast::new(inner, data_type)),
        };
        Ok(Self { expr, session: self.session })
    }

    fn is_in(&self, values: Vec<Py<Self>>) -> PyResult<Self> {
        let list = InList::new(Box::new(self.expr.clone()), logical(&values), false);
        Self::made_of(values.iter().map(Py::get).chain([self]), Logical::InList(list))
    }

    /// A call of one of DataFusion's functions.
    #[staticmethod]
    fn call(name: &str, arguments: Vec<Py<Self>>) -> PyResult<Self> {
        let function = SCALARS.get(name).ok_or_else(|| unknown(name))?;
        let call = ScalarFunction::new_udf(Arc::clone(function), logical(&arguments));
        Self::made_of(arguments.iter().map(Py::get), Logical::ScalarFunction(call))
    }

    /// A call of one of DataFusion's aggregates, over the values that are not null if they are to be
    /// left out.
    #[staticmethod]
    #[pyo3(signature = (name, argument, distinct=false, skip_nulls=false))]
    fn aggregate(name: &str, argument: &Self, distinct: bool, skip_nulls: bool) -> PyResult<Self> {
        let function = AGGREGATES.get(name).ok_or_else(|| unknown(name))?;
        let mut expr = function.call(vec![argument.expr.clone()]);
        if distinct {
            expr = expr.distinct().build().map_err(raise)?;
        }
        if skip_nulls {
            let kept = argument.expr.clone().is_not_null();
            expr = expr.filter(kept).build().map_err(raise)?;
        }
        Ok(Self { expr, session: argument.session })
    }

    /// The value beside the first condition that is true.
    #[staticmethod]
    #[pyo3(signature = (branches, otherwise))]
    fn case(branches: Vec<(Py<Self>, Py<Self>)>, otherwise: Option<Py<Self>>) -> PyResult<Self> {
        let parts = branches.iter().flat_map(|(when, then)| [when.get(), then.get()]);
        let parts: Vec<_> = parts.chain(otherwise.as_ref().map(Py::get)).collect();
        let pair = |part: &Py<Self>| Box::new(part.get().expr.clone());
        let pairs = branches.iter().map(|(when, then)| (pair(when), pair(then))).collect();
        let case = datafusion::logical_expr::Case::new(None, pairs, otherwise.as_ref().map(pair));
        Self::made_of(parts, Logical::Case(case))
    }

    /// Whether it is the column of this name, and nothing else.
    fn is_column(&self, name: &str) -> bool {
        matches!(&self.expr, Logical::Column(column) if column.name == name)
    }

    /// The expression as text.
    fn text(&self) -> String {
        let casts = |expr: &Logical| Ok(matches!(expr, Logical::Cast(_) | Logical::TryCast(_)));
        // The short form leaves casts out.
        match self.expr.exists(casts) {
            Ok(false) => self.expr.human_display().to_string(),
            _ => self.expr.to_string(),
        }
    }
}

fn unknown(name: &str) -> PyErr {
    raise(Error::invalid(format!("there is no function '{name}'")))
}

/// Settles what operators mean once their operands' types are known: `/` of integers is a fraction, `//`
/// rounds down, `%` has the sign of the divisor, and `+` puts strings together.
///
/// # Errors
/// `invalid` if a column is not there, or if strings and numbers were made one.
pub(crate) fn bind(expr: Logical, schema: &DFSchema) -> Result<Logical> {
    check_columns(&expr, schema)?;
    let bound = expr.transform_up(|expr| match expr {
        Logical::BinaryExpr(BinaryExpr { left, op, right }) => operation(*left, op, *right, schema),
        Logical::ScalarFunction(call) if call.func.name() == "character_length" => {
            Ok(Transformed::yes(length(call, schema)?))
        }
        Logical::ScalarFunction(call) if call.func.name() == "coalesce" => {
            check_alike(&call.args, schema)?;
            Ok(Transformed::no(Logical::ScalarFunction(call)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(bound.data)
}

fn operation(
    left: Logical,
    op: Operator,
    right: Logical,
    schema: &DFSchema,
) -> datafusion::error::Result<Transformed<Logical>> {
    let types = (left.get_type(schema)?, right.get_type(schema)?);
    let strings = types.0.is_string() && types.1.is_string();
    let numbers = Numbers::of(&types.0, &types.1);
    Ok(match (op, numbers) {
        (Operator::Divide, Numbers::Unsigned | Numbers::Signed) => {
            Transformed::yes(cast(left, DataType::Float64) / right)
        }
        (Operator::IntegerDivide, Numbers::Unsigned) => Transformed::yes(left / right),
        (Operator::Modulo, Numbers::Unsigned) => Transformed::no(left % right),
        (Operator::IntegerDivide | Operator::Modulo, _) => {
            let (left, right) = (numbers.operand(left, types.0), numbers.operand(right, types.1));
            Transformed::yes(match op {
                Operator::Modulo => modulo(left, right, numbers)?,
                _ => floor_divide(left, right, numbers)?,
            })
        }
        (Operator::Plus, _) if strings => {
            Transformed::yes(binary_expr(left, Operator::StringConcat, right))
        }
        _ => Transformed::no(binary_expr(left, op, right)),
    })
}

/// What two operands are, as far as rounding down is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    /// Integers, none of which can be below zero.
    Unsigned,
    /// Integers, some of which can.
    Signed,
    /// Anything else.
    Others,
}

impl Numbers {
    fn of(left: &DataType, right: &DataType) -> Self {
        match (
            left.is_integer() && right.is_integer(),
            left.is_signed_integer(),
            right.is_signed_integer(),
        ) {
            (false, ..) => Self::Others,
            (true, false, false) => Self::Unsigned,
            (true, ..) => Self::Signed,
        }
    }

    /// An operand as it can be computed with exactly: DataFusion would make decimals of unsigned
    /// integers of 64 bits and signed ones.
    fn operand(self, expr: Logical, data_type: DataType) -> Logical {
        match (self, data_type) {
            (Self::Signed, DataType::UInt64) => cast(expr, DataType::Int64),
            _ => expr,
        }
    }

    /// Zero from above and from below. DataFusion orders -0.0 before 0.0.
    fn zeros(self) -> (Logical, Logical) {
        match self {
            Self::Others => (lit(0.0), lit(-0.0)),
            Self::Signed | Self::Unsigned => (lit(0_i64), lit(0_i64)),
        }
    }
}

fn cast(expr: Logical, data_type: DataType) -> Logical {
    Logical::Cast(Cast::new(Box::new(expr), data_type))
}

/// The quotient rounded down. That of integers is exact.
fn floor_divide(
    left: Logical,
    right: Logical,
    numbers: Numbers,
) -> datafusion::error::Result<Logical> {
    if numbers == Numbers::Others {
        return Ok(floor(left / right));
    }
    let rest = left.clone() % right.clone();
    let quotient = left / right.clone();
    let lower = quotient.clone() - lit(1_i64);
    when(signs_differ(&rest, &right, numbers), lower).otherwise(quotient)
}

/// The rest of the quotient that is rounded down: it has the sign of the divisor.
fn modulo(left: Logical, right: Logical, numbers: Numbers) -> datafusion::error::Result<Logical> {
    let rest = left % right.clone();
    when(signs_differ(&rest, &right, numbers), rest.clone() + right).otherwise(rest)
}

/// Whether one is above and the other below zero.
fn signs_differ(one: &Logical, other: &Logical, numbers: Numbers) -> Logical {
    let (above, below) = numbers.zeros();
    let differ = |one: &Logical, other: &Logical| {
        one.clone().gt(above.clone()).and(other.clone().lt(below.clone()))
    };
    differ(one, other).or(differ(other, one))
}

/// The number of characters of strings, of bytes, or of the elements of lists.
fn length(call: ScalarFunction, schema: &DFSchema) -> datafusion::error::Result<Logical> {
    let [value] = call.args.as_slice() else { return Ok(Logical::ScalarFunction(call)) };
    let data_type = value.get_type(schema)?;
    if data_type.is_list() {
        // DataFusion knows no length of an empty list.
        let elements = coalesce(vec![array_length(value.clone()), lit(0_u64)]);
        let elements = when(value.clone().is_not_null(), elements).end()?;
        return Ok(cast(elements, DataType::Int64));
    }
    if data_type.is_binary() {
        let bytes = ScalarUDF::from(OctetLength::default()).call(vec![value.clone()]);
        return Ok(cast(bytes, DataType::Int64));
    }
    if data_type.is_string() || data_type.is_null() {
        return Ok(cast(Logical::ScalarFunction(call), DataType::Int64));
    }
    Err(Error::invalid(format!("{data_type} has no length; strings, bytes and lists have")).into())
}

/// DataFusion would make one of strings and numbers, and fail at the first row that is no number.
fn check_alike(values: &[Logical], schema: &DFSchema) -> Result<()> {
    let types = values.iter().map(|value| value.get_type(schema));
    let types = types.collect::<Result<Vec<_>, _>>()?;
    let (mut text, mut number) = (None, None);
    for kind in &types {
        if kind.is_string() {
            text = Some(kind);
        } else if kind.is_numeric() {
            number = Some(kind);
        }
    }
    match text.zip(number) {
        None => Ok(()),
        Some((text, number)) => Err(Error::invalid(format!(
            "values of the types {text} and {number} make no column; cast one of them"
        ))),
    }
}

fn check_columns(expr: &Logical, schema: &DFSchema) -> Result<()> {
    for column in expr.column_refs() {
        if schema.index_of_column_by_name(column.relation.as_ref(), &column.name).is_none() {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let (name, names) = (&column.name, names.join(", "));
            return Err(Error::invalid(format!("column '{name}' not found; there are: {names}")));
        }
    }
    Ok(())
}
