//! Frames: plans under construction. Each method answers another frame.

use datafusion::{
    common::{
        Column, UnnestOptions,
        tree_node::{Transformed, TreeNode},
    },
    dataframe::DataFrame,
    functions_nested::expr_fn::cardinality,
    logical_expr::{Expr as Logical, SortExpr, utils::find_aggregate_exprs, when},
    prelude::lit,
    scalar::ScalarValue,
};
use keyloom_common::{Error, Result};
use pyo3::prelude::*;

use crate::{
    arrow,
    error::raise,
    expr::{Expr, bind},
    job::Job,
    join,
    runtime::{OfProcess, wait},
    session::SessionId,
};

/// A query and the session that runs it.
#[pyclass(frozen, module = "keyloom._keyloom")]
#[derive(Debug)]
pub(crate) struct Frame {
    plan: OfProcess<Plan>,
    session: SessionId,
}

#[derive(Clone, Debug)]
struct Plan {
    frame: DataFrame,
    session: keyloom_client::Session,
}

impl Frame {
    pub(crate) fn new(
        frame: DataFrame,
        session: keyloom_client::Session,
        id: SessionId,
    ) -> PyResult<Self> {
        Ok(Self { plan: OfProcess::new(Plan { frame, session }), session: id })
    }

    /// The query.
    pub(crate) fn get(&self) -> PyResult<&DataFrame> {
        Ok(&self.plan.get().map_err(raise)?.frame)
    }

    /// # Errors
    /// `invalid` if the frame is of another session.
    pub(crate) fn check_session(&self, session: SessionId) -> PyResult<()> {
        if self.session != session {
            return Err(raise(Error::invalid("frames of two sessions cannot be combined")));
        }
        Ok(())
    }

    fn with(&self, change: impl FnOnce(DataFrame) -> Result<DataFrame>) -> PyResult<Self> {
        let Plan { frame, session } = self.plan.get().map_err(raise)?.clone();
        Self::new(change(frame).map_err(raise)?, session, self.session)
    }

    fn with_other(
        &self,
        other: &Self,
        change: impl FnOnce(DataFrame, DataFrame) -> Result<DataFrame>,
    ) -> PyResult<Self> {
        other.check_session(self.session)?;
        let other = other.get()?.clone();
        self.with(|frame| change(frame, other))
    }

    /// An expression over the frame's columns.
    fn bind(&self, expr: &Py<Expr>) -> PyResult<Logical> {
        let expr = expr.get().of(self.session)?.clone();
        bind(expr, self.get()?.schema()).map_err(raise)
    }

    /// Expressions under names.
    fn bind_named(&self, exprs: Vec<(String, Py<Expr>)>) -> PyResult<Vec<Logical>> {
        let bind = |(name, expr): (String, Py<Expr>)| Ok(named(self.bind(&expr)?, &name));
        exprs.into_iter().map(bind).collect()
    }
}

/// An expression whose column has a name.
pub(crate) fn named(expr: Logical, name: &str) -> Logical {
    match &expr {
        Logical::Column(column) if column.name == name => expr,
        _ => expr.alias(name),
    }
}

/// All columns of a frame.
pub(crate) fn columns(frame: &DataFrame) -> Vec<Column> {
    frame.schema().iter().map(Column::from).collect()
}

#[pymethods]
impl Frame {
    fn schema<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        arrow::schema(py, self.get()?.schema().as_arrow())
    }

    fn select(&self, exprs: Vec<(String, Py<Expr>)>) -> PyResult<Self> {
        let exprs = self.bind_named(exprs)?;
        if exprs.iter().any(|expr| !find_aggregate_exprs([expr]).is_empty()) {
            return self.with(|frame| aggregate(frame, Vec::new(), exprs));
        }
        self.with(|frame| Ok(frame.select(exprs)?))
    }

    /// Adds columns at the end, or puts them in the place of those of the same name.
    fn with_columns(&self, exprs: Vec<(String, Py<Expr>)>) -> PyResult<Self> {
        let names: Vec<_> = exprs.iter().map(|(name, _)| name.clone()).collect();
        let mut added: Vec<_> = names
            .iter()
            .zip(self.bind_named(exprs)?)
            .map(|(name, expr)| (name, Some(expr)))
            .collect();
        let mut all = Vec::new();
        for column in columns(self.get()?) {
            let new = added.iter_mut().find(|(name, _)| **name == column.name);
            all.push(new.and_then(|(_, expr)| expr.take()).unwrap_or(Logical::Column(column)));
        }
        all.extend(added.into_iter().filter_map(|(_, expr)| expr));
        self.with(|frame| Ok(frame.select(all)?))
    }

    fn filter(&self, predicate: Py<Expr>) -> PyResult<Self> {
        let predicate = self.bind(&predicate)?;
        self.with(|frame| Ok(frame.filter(predicate)?))
    }

    #[pyo3(signature = (skip, rows))]
    fn limit(&self, skip: usize, rows: Option<usize>) -> PyResult<Self> {
        self.with(|frame| Ok(frame.limit(skip, rows)?))
    }

    /// Sorts by expressions, each with whether it descends and whether nulls come first.
    fn sort(&self, by: Vec<(Py<Expr>, bool, bool)>) -> PyResult<Self> {
        let by = by.into_iter().map(|(expr, descending, nulls_first)| {
            Ok(SortExpr::new(self.bind(&expr)?, !descending, nulls_first))
        });
        let by = by.collect::<PyResult<Vec<_>>>()?;
        self.with(|frame| Ok(frame.sort(by)?))
    }

    /// One row of each that are equal, or equal in some expressions.
    fn distinct(&self, on: Vec<Py<Expr>>) -> PyResult<Self> {
        let on = on.iter().map(|expr| self.bind(expr)).collect::<PyResult<Vec<_>>>()?;
        self.with(|frame| {
            if on.is_empty() {
                return Ok(frame.distinct()?);
            }
            let all = columns(&frame).into_iter().map(Logical::Column).collect();
            Ok(frame.distinct_on(on, all, None)?)
        })
    }

    /// The rows of another frame with the same columns after this one's.
    fn concat(&self, other: &Self) -> PyResult<Self> {
        self.with_other(other, |frame, other| Ok(frame.union(other)?))
    }

    /// A row for each element of lists, and one of nulls for a list that has none.
    fn explode(&self, names: Vec<String>) -> PyResult<Self> {
        self.with(|frame| {
            let exprs = columns(&frame).into_iter().map(|column| {
                let name = column.name.clone();
                let list = Logical::Column(column);
                if !names.contains(&name) {
                    return Ok(list);
                }
                let empty = cardinality(list.clone()).eq(lit(0_u64));
                let list = when(empty, lit(ScalarValue::Null)).otherwise(list)?;
                Ok(list.alias(name))
            });
            let frame = frame.select(exprs.collect::<Result<Vec<_>>>()?)?;
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            Ok(frame.unnest_columns_with_options(
                &names,
                UnnestOptions { preserve_nulls: true, ..UnnestOptions::default() },
            )?)
        })
    }

    fn aggregate(
        &self,
        groups: Vec<(String, Py<Expr>)>,
        aggregates: Vec<(String, Py<Expr>)>,
    ) -> PyResult<Self> {
        let (groups, aggregates) = (self.bind_named(groups)?, self.bind_named(aggregates)?);
        self.with(|frame| aggregate(frame, groups, aggregates))
    }

    /// The rows of both whose keys are equal, as `how` says. Columns of the other frame whose names
    /// are taken get the prefix and the suffix.
    fn join(
        &self,
        other: &Self,
        left_on: Vec<String>,
        right_on: Vec<String>,
        how: &str,
        prefix: &str,
        suffix: &str,
    ) -> PyResult<Self> {
        let names = join::Names { left: left_on, right: right_on, prefix, suffix };
        let how = join::How::parse(how).map_err(raise)?;
        self.with_other(other, |left, right| join::join(left, right, &names, how))
    }

    /// The physical plan as text.
    fn explain(&self, py: Python<'_>, analyze: bool) -> PyResult<String> {
        let Plan { frame, session } = self.plan.get().map_err(raise)?.clone();
        wait(py, async move { session.explain(frame, analyze).await.map_err(raise) })
    }

    /// Starts the query.
    fn submit(&self, py: Python<'_>) -> PyResult<Job> {
        let Plan { frame, session } = self.plan.get().map_err(raise)?.clone();
        wait(py, async move { session.submit(frame).await.map_err(raise) }).map(Job::new)
    }
}

/// Groups rows. An aggregate may stand within a larger expression.
fn aggregate(frame: DataFrame, groups: Vec<Logical>, outputs: Vec<Logical>) -> Result<DataFrame> {
    let calls = find_aggregate_exprs(&outputs);
    let grouped: Vec<_> =
        groups.iter().map(|group| Column::from_name(group.schema_name().to_string())).collect();
    let frame = frame.aggregate(groups, calls.clone())?;
    let all = columns(&frame);
    let groups = all.iter().take(grouped.len()).cloned().map(Logical::Column);
    let results = &all[grouped.len()..];
    let outputs = outputs.into_iter().map(|output| {
        let replaced = output.transform_down(|expr| {
            let place = calls.iter().position(|call| *call == expr);
            Ok(match place {
                Some(place) => Transformed::yes(Logical::Column(results[place].clone())),
                None => Transformed::no(expr),
            })
        })?;
        Ok(replaced.data)
    });
    let outputs = groups.map(Ok).chain(outputs).collect::<Result<Vec<_>>>()?;
    Ok(frame.select(outputs)?)
}
