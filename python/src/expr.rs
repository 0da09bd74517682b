//! Expressions: DataFusion's, and what Python means by its operators.

use std::sync::LazyLock;

use datafusion::{
    common::{
        Column, DFSchema,
        tree_node::{Transformed, TreeNode},
    },
    execution::SessionStateDefaults,
    functions::math::expr_fn::floor,
    logical_expr::{
        AggregateUDF, BinaryExpr, Cast, Expr as Logical, ExprFunctionExt, ExprSchemable, Operator,
        ScalarUDF, TryCast, binary_expr, expr::InList, expr::ScalarFunction, when,
    },
    prelude::lit,
    scalar::ScalarValue,
};
use keyloom_common::{Error, Result};
use pyo3::prelude::*;
use std::{collections::HashMap, sync::Arc};

use crate::{arrow, error::raise, session::SessionId};

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

    /// The expression as text.
    fn text(&self) -> String {
        self.expr.human_display().to_string()
    }
}

fn unknown(name: &str) -> PyErr {
    raise(Error::invalid(format!("there is no function '{name}'")))
}

/// Settles what operators mean once their operands' types are known: `/` of integers is a fraction,
/// and `//` rounds down.
///
/// # Errors
/// `invalid` if a column is not there.
pub(crate) fn bind(expr: Logical, schema: &DFSchema) -> Result<Logical> {
    check_columns(&expr, schema)?;
    let bound = expr.transform_up(|expr| match expr {
        Logical::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right })
            if is_integer(&left, schema)? && is_integer(&right, schema)? =>
        {
            let left =
                Logical::Cast(Cast::new(left, datafusion::arrow::datatypes::DataType::Float64));
            Ok(Transformed::yes(left / *right))
        }
        Logical::BinaryExpr(BinaryExpr { left, op: Operator::IntegerDivide, right }) => {
            let whole = is_integer(&left, schema)? && is_integer(&right, schema)?;
            Ok(Transformed::yes(floor_divide(*left, *right, whole)?))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(bound.data)
}

fn is_integer(expr: &Logical, schema: &DFSchema) -> datafusion::error::Result<bool> {
    Ok(expr.get_type(schema)?.is_integer())
}

/// The quotient rounded down. That of integers is exact.
fn floor_divide(left: Logical, right: Logical, whole: bool) -> datafusion::error::Result<Logical> {
    if !whole {
        return Ok(floor(left / right));
    }
    let rest = left.clone() % right.clone();
    let signs_differ =
        binary_expr(left.clone().lt(lit(0_i64)), Operator::NotEq, right.clone().lt(lit(0_i64)));
    let quotient = left / right;
    let lower = quotient.clone() - lit(1_i64);
    when(rest.not_eq(lit(0_i64)).and(signs_differ), lower).otherwise(quotient)
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
