//! Frames: plans under construction. Each method answers another frame.

use std::{collections::HashSet, path::PathBuf};

use datafusion::{
    arrow::datatypes::DataType,
    common::{Column, UnnestOptions},
    dataframe::DataFrame,
    functions_nested::expr_fn::{array_length, range},
    logical_expr::{
        Expr as Logical, ExprSchemable, LogicalPlanBuilder, SortExpr, utils::find_aggregate_exprs,
        when,
    },
    prelude::lit,
    scalar::ScalarValue,
};
use keyloom_client::{
    GroupKeys, JobOptions, JoinPath, Shuffle, ShuffleChoice, listed_with, read_inputs,
    with_group_keys, with_join_path, with_shuffle,
};
use keyloom_common::{Error, Result, described::Output, stack::deep};
use pyo3::prelude::*;

use crate::{
    aggregate::{aggregate, refuse_aggregates},
    arrow,
    bind::bind,
    error::raise,
    expr::Expr,
    handle::{JobHandle, Terms},
    job::Job,
    join,
    runtime::{OfProcess, wait},
    session::SessionId,
    store::options_from_json,
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

    /// The query and its session, of one's own.
    fn plan(&self) -> PyResult<Plan> {
        let plan = self.plan.get().map_err(raise)?;
        Ok(deep(|| plan.clone()))
    }

    fn with(&self, change: impl FnOnce(DataFrame) -> Result<DataFrame>) -> PyResult<Self> {
        let Plan { frame, session } = self.plan.get().map_err(raise)?;
        // Without Python: it would take such a stack for one that overflows.
        let changed = deep(|| change(frame.clone())).map_err(raise)?;
        Self::new(changed, session.clone(), self.session)
    }

    fn with_other(
        &self,
        other: &Self,
        change: impl FnOnce(DataFrame, DataFrame) -> Result<DataFrame>,
    ) -> PyResult<Self> {
        other.check_session(self.session)?;
        let other = other.get()?;
        self.with(|frame| change(frame, other.clone()))
    }

    /// An expression over the frame's columns.
    fn bind(&self, expr: &Py<Expr>) -> PyResult<Logical> {
        let (expr, schema) = (expr.get().of(self.session)?, self.get()?.schema());
        deep(|| bind(expr.clone(), schema)).map_err(raise)
    }

    fn start(&self, py: Python<'_>, options: JobOptions) -> PyResult<Job> {
        let Plan { frame, session } = self.plan()?;
        wait(py, async move { session.submit_with(frame, options).await.map_err(raise) })
            .map(Job::new)
    }

    /// Expressions under names.
    fn bind_named(&self, exprs: Vec<(String, Py<Expr>)>) -> PyResult<Vec<Logical>> {
        check_names(exprs.iter().map(|(name, _)| name.as_str())).map_err(raise)?;
        let bind = |(name, expr): (String, Py<Expr>)| Ok(named(self.bind(&expr)?, &name));
        exprs.into_iter().map(bind).collect()
    }
}

/// # Errors
/// `invalid` if a name stands there twice.
fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::invalid(format!(
                "two columns would be called '{name}'; give one another name with alias"
            )));
        }
    }
    Ok(())
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
        if !find_aggregate_exprs(&exprs).is_empty() {
            return self.with(|frame| aggregate(frame, Vec::new(), exprs));
        }
        self.with(|frame| Ok(frame.select(exprs)?))
    }

    /// The same rows, whose joins with stores are made this way.
    fn with_join_path(&self, path: &str) -> PyResult<Self> {
        let path = JoinPath::parse(path).map_err(raise)?;
        self.with(|frame| Ok(with_join_path(frame, path)))
    }

    /// The same rows, which workers shuffle among themselves where this says so.
    #[pyo3(signature = (shuffle, min_rows, partitions))]
    fn with_shuffle(
        &self,
        shuffle: &str,
        min_rows: Option<u64>,
        partitions: Option<usize>,
    ) -> PyResult<Self> {
        let shuffle = Some(Shuffle::parse(shuffle).map_err(raise)?);
        let choice = ShuffleChoice { shuffle, min_rows, partitions };
        self.with(|frame| with_shuffle(frame, choice))
    }

    /// The same rows, which are grouped by their keys below lookups where this says so.
    fn with_group_keys(&self, group_keys: &str) -> PyResult<Self> {
        let group_keys = GroupKeys::parse(group_keys).map_err(raise)?;
        self.with(|frame| Ok(with_group_keys(frame, group_keys)))
    }

    /// Adds columns at the end, or puts them in the place of those of the same name.
    fn with_columns(&self, exprs: Vec<(String, Py<Expr>)>) -> PyResult<Self> {
        let names: Vec<_> = exprs.iter().map(|(name, _)| name.clone()).collect();
        let exprs = self.bind_named(exprs)?;
        refuse_aggregates(&exprs).map_err(raise)?;
        let mut added: Vec<_> =
            names.iter().zip(exprs).map(|(name, expr)| (name, Some(expr))).collect();
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
        refuse_aggregates([&predicate]).map_err(raise)?;
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
        refuse_aggregates(by.iter().map(|key| &key.expr)).map_err(raise)?;
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

    /// A row for each element of lists, and one of nulls for a list that has none unless these are
    /// left out. The elements' places, from 0, may become a column.
    #[pyo3(signature = (names, place, keep_empty))]
    fn explode(
        &self,
        names: Vec<String>,
        place: Option<String>,
        keep_empty: bool,
    ) -> PyResult<Self> {
        if let Some(place) = &place {
            let all = columns(self.get()?);
            let names = all.iter().map(|column| column.name.as_str());
            check_names(names.chain([place.as_str()])).map_err(raise)?;
        }
        self.with(|frame| explode(frame, &names, place.as_deref(), keep_empty))
    }

    fn aggregate(
        &self,
        groups: Vec<(String, Py<Expr>)>,
        aggregates: Vec<(String, Py<Expr>)>,
    ) -> PyResult<Self> {
        let names = groups.iter().chain(&aggregates).map(|(name, _)| name.as_str());
        check_names(names).map_err(raise)?;
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

    /// The query as it was asked, and as it is after optimizing, as text.
    fn logical_plans(&self) -> PyResult<(String, String)> {
        let frame = self.get()?;
        let plans = deep(|| -> Result<_> {
            let asked = frame.logical_plan().display_indent().to_string();
            let optimized = frame.clone().into_optimized_plan()?;
            Ok((asked, optimized.display_indent().to_string()))
        });
        plans.map_err(raise)
    }

    /// Why nobody should write this file who reads the query's inputs again; none if it is no
    /// matter.
    fn listed_with(&self, path: PathBuf) -> PyResult<Option<String>> {
        let frame = self.get()?;
        let inputs = deep(|| read_inputs(frame.logical_plan()));
        Ok(listed_with(&path, &inputs))
    }

    /// The physical plan as text.
    fn explain(&self, py: Python<'_>, analyze: bool) -> PyResult<String> {
        let Plan { frame, session } = self.plan()?;
        wait(py, async move { session.explain(frame, analyze).await.map_err(raise) })
    }

    /// What each way of the lookups is estimated to cost, as text; none if stores have one each.
    fn advise(&self, py: Python<'_>) -> PyResult<String> {
        let Plan { frame, session } = self.plan()?;
        wait(py, async move {
            let advice = session.advise(frame).await.map_err(raise)?;
            Ok(advice.iter().map(ToString::to_string).collect::<String>())
        })
    }

    /// Starts the query, which may keep the rows that miss their keys.
    #[pyo3(signature = (keep_missed=false))]
    fn submit(&self, py: Python<'_>, keep_missed: bool) -> PyResult<Job> {
        self.start(py, JobOptions { keep_missed, ..JobOptions::default() })
    }

    /// Starts the query, whose rows workers write, by the options of job files in JSON. Its result
    /// is the one row that says what was written.
    fn write(&self, py: Python<'_>, output: &str) -> PyResult<Job> {
        let output = Some(options_from_json::<Output>(output, "output")?);
        self.start(py, JobOptions { output, ..JobOptions::default() })
    }

    /// Starts the query, whose rows replace those of the same keys in the store under an alias, or
    /// come to them.
    fn put(&self, py: Python<'_>, alias: &str) -> PyResult<Job> {
        let Plan { frame, session } = self.plan()?;
        wait(py, async move { session.put(frame, alias).await.map_err(raise) }).map(Job::new)
    }

    /// Hands the query in as a job that has an id, by terms and, if workers write its rows, an
    /// output in JSON.
    #[pyo3(signature = (terms, output))]
    fn hand_in(&self, py: Python<'_>, terms: &str, output: Option<&str>) -> PyResult<JobHandle> {
        let terms = options_from_json::<Terms>(terms, "terms")?;
        let output = output.map(|output| options_from_json(output, "output")).transpose()?;
        let options = terms.options(output).map_err(raise)?;
        let Plan { frame, session } = self.plan()?;
        wait(py, async move { JobHandle::submit(session, frame, options).await.map_err(raise) })
    }
}

fn explode(
    frame: DataFrame,
    names: &[String],
    place: Option<&str>,
    keep_empty: bool,
) -> Result<DataFrame> {
    let (mut exprs, mut lists, mut places) = (Vec::new(), Vec::new(), None);
    for (column, field) in columns(&frame).into_iter().zip(frame.schema().fields()) {
        let name = column.name.clone();
        if !names.contains(&name) {
            exprs.push(Logical::Column(column));
            continue;
        }
        if !field.data_type().is_list() {
            let kind = field.data_type();
            return Err(Error::invalid(format!("column '{name}' is {kind} and no list")));
        }
        let list = Logical::Column(column);
        if let Some(place) = place.filter(|_| lists.is_empty()) {
            let length = array_length(list.clone()).cast_to(&DataType::Int64, frame.schema())?;
            places = Some(range(lit(0_i64), length, lit(1_i64)).alias(place));
        }
        let empty = array_length(list.clone()).eq(lit(0_u64));
        let list = when(empty, lit(ScalarValue::Null)).otherwise(list)?;
        exprs.push(list.alias(&name));
        lists.push(Column::from_name(name));
    }
    if let Some(place) = place.filter(|_| places.is_some()) {
        lists.push(Column::from_name(place));
    }
    exprs.extend(places);
    let (state, plan) = frame.select(exprs)?.into_parts();
    let options = UnnestOptions { preserve_nulls: keep_empty, ..UnnestOptions::default() };
    let plan = LogicalPlanBuilder::from(plan).unnest_columns_with_options(lists, options)?;
    Ok(DataFrame::new(state, plan.build()?))
}
