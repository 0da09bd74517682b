//! Expressions: DataFusion's, and what Python means by its operators.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use datafusion::{
    common::{Column, tree_node::TreeNode},
    execution::SessionStateDefaults,
    logical_expr::{
        AggregateUDF, Case, Cast, Expr as Logical, ExprFunctionExt, Operator, ScalarUDF, TryCast,
        binary_expr, expr::InList, expr::ScalarFunction,
    },
    prelude::lit,
    scalar::ScalarValue,
};
use keyloom_client::functions::asked_store;
use keyloom_common::{
    Error,
    stack::{MAX_DEPTH, deep, too_deep},
};
use pyo3::prelude::*;

use crate::{arrow, error::raise, session::SessionId};

/// An expression, and the session whose stores it looks up, if it looks any up.
#[pyclass(frozen, module = "keyloom._keyloom")]
#[derive(Debug)]
pub(crate) struct Expr {
    expr: Logical,
    session: Option<SessionId>,
    /// How many levels of calls it is made of.
    depth: usize,
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
        Self { expr, session: None, depth: 1 }
    }

    /// An expression that looks a key up in the stores of a session.
    pub(crate) fn of_session(key: &Self, expr: Logical, session: SessionId) -> PyResult<Self> {
        Ok(Self { session: Some(session), ..Self::made_of([key], expr)? })
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

    /// An expression made of parts, which must not look up stores of different sessions, nor be so
    /// deep that no query can hold them.
    fn made_of<'a>(parts: impl IntoIterator<Item = &'a Self>, expr: Logical) -> PyResult<Self> {
        let (mut session, mut depth) = (None, 0);
        for part in parts {
            depth = part.depth.max(depth);
            let Some(other) = part.session else { continue };
            if session.replace(other).is_some_and(|one| one != other) {
                return Err(raise(Error::invalid(
                    "an expression looks up the stores of two sessions",
                )));
            }
        }
        if depth >= MAX_DEPTH {
            return Err(raise(too_deep()));
        }
        Ok(Self { expr, session, depth: depth + 1 })
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

    fn invert(&self) -> PyResult<Self> {
        Self::made_of([self], !self.expr.clone())
    }

    fn negate(&self) -> PyResult<Self> {
        Self::made_of([self], -self.expr.clone())
    }

    fn is_null(&self) -> PyResult<Self> {
        Self::made_of([self], self.expr.clone().is_null())
    }

    fn not_null(&self) -> PyResult<Self> {
        Self::made_of([self], self.expr.clone().is_not_null())
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
        Self::made_of([self], expr)
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

    /// A call of one of DataFusion's aggregates, over the values that are not null if they are to
    /// be left out.
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
        Self::made_of([argument], expr)
    }

    /// The value beside the first condition that is true.
    #[staticmethod]
    #[pyo3(signature = (branches, otherwise))]
    fn case(branches: Vec<(Py<Self>, Py<Self>)>, otherwise: Option<Py<Self>>) -> PyResult<Self> {
        let parts = branches.iter().flat_map(|(when, then)| [when.get(), then.get()]);
        let parts: Vec<_> = parts.chain(otherwise.as_ref().map(Py::get)).collect();
        let pair = |part: &Py<Self>| Box::new(part.get().expr.clone());
        let pairs = branches.iter().map(|(when, then)| (pair(when), pair(then))).collect();
        let case = Case::new(None, pairs, otherwise.as_ref().map(pair));
        Self::made_of(parts, Logical::Case(case))
    }

    /// Whether it is the column of this name, and nothing else.
    fn is_column(&self, name: &str) -> bool {
        matches!(&self.expr, Logical::Column(column) if column.name == name)
    }

    /// The alias of the store that it asks, if it is a lookup and nothing else.
    fn store(&self) -> Option<&str> {
        asked_store(&self.expr)
    }

    /// The expression as text.
    fn text(&self) -> String {
        let casts = |expr: &Logical| Ok(matches!(expr, Logical::Cast(_) | Logical::TryCast(_)));
        // The short form leaves casts out.
        deep(|| match self.expr.exists(casts) {
            Ok(false) => self.expr.human_display().to_string(),
            _ => self.expr.to_string(),
        })
    }
}

fn unknown(name: &str) -> PyErr {
    raise(Error::invalid(format!("there is no function '{name}'")))
}
