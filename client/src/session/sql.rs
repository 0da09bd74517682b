//! SQL: `kv_get`, `kv_batch_get` and `kv_exists` with named arguments.
//!
//! The statement is parsed first. Each call's options are taken out of the syntax tree and settled
//! against the session's stores; what is left is a call of a function of one argument, under a name
//! that only this statement knows.

mod arguments;
mod cases;
mod clauses;
mod depth;
mod derived;
mod distinct;
mod distinct_on;
mod fields;
mod files;
mod lent;
mod named;
mod names;
mod relations;
mod stars;
mod summarize;
mod tables;
mod using;
mod values;
mod words;
mod writes;

use std::{ops::ControlFlow, path::Path, sync::Arc};

use datafusion::{
    dataframe::DataFrame,
    execution::{FunctionRegistry, context::SessionState},
    logical_expr::LogicalPlan,
    sql::{
        parser::Statement as Parsed,
        sqlparser::{
            ast::{
                Expr, Function as Call, FunctionArg, FunctionArgExpr, FunctionArgumentList,
                FunctionArguments, Ident, ObjectName, Query, Select, Statement, VisitMut,
                VisitorMut,
            },
            dialect::dialect_from_str,
        },
    },
};
use keyloom_common::{
    Error, Result,
    functions::{Conditional, Function, KvCall, KvFunction},
};

use super::{Session, key::KeyReader};
use crate::query;
use arguments::Arguments;
use cases::Cases;
use relations::PlanRelations;
use values::Values;

/// Plans a statement; with values, all its placeholders are replaced by them.
pub(super) async fn plan(
    session: &Session,
    text: &str,
    folder: &Path,
    tables: Vec<(String, DataFrame)>,
    values: Option<&Values>,
) -> Result<DataFrame> {
    let Some(subject) = summarize::subject(text) else {
        return plan_statement(session, text, folder, tables, values).await;
    };
    let rows = plan_statement(session, &subject, folder, tables.clone(), values).await?;
    let text = summarize::statement(&subject, rows.schema().as_arrow())?;
    plan_statement(session, &text, folder, tables, values).await
}

async fn plan_statement(
    session: &Session,
    text: &str,
    folder: &Path,
    tables: Vec<(String, DataFrame)>,
    given: Option<&Values>,
) -> Result<DataFrame> {
    let state = session.context.state();
    let (statement, output) = writes::read(&state, text, folder)?;
    lent::open(session, &state, &statement, &tables).await?;
    let mut others = session.tables_by_name();
    files::add(session, &state, &statement, folder, &tables, &mut others).await?;
    let state = tables::with_tables(state, tables, others)?;
    let again = || writes::read(&state, text, folder).map(|(statement, _)| statement);
    let plan = match plan_by_names(session, &state, statement, again).await {
        Err(failed) => derived::plan(session, &state, again, failed).await?,
        Ok(plan) => plan,
    };
    let plan = match given {
        Some(given) => values::bind(plan, given)?,
        None => plan,
    };
    let plan = query::seal(writes::plan(plan, output.as_ref())?);
    Ok(DataFrame::new(session.context.state(), plan))
}

/// Plans a statement, which is parsed again if need be.
async fn plan_by_names(
    session: &Session,
    state: &SessionState,
    statement: Parsed,
    again: impl Fn() -> Result<Parsed>,
) -> Result<LogicalPlan> {
    let plan = match plan_with(session, state, statement, Naming::ByStores).await {
        // The columns' names alone may be what is wrong.
        Err(Unplanned { is_named: true, .. }) => {
            plan_with(session, state, again()?, Naming::AsWritten).await
        }
        planned => planned,
    };
    plan.map_err(|unplanned| unplanned.error)
}

/// What the columns of calls are called that have no alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    ByStores,
    AsWritten,
}

/// Why a statement is not planned.
struct Unplanned {
    error: Error,
    /// Whether columns of it were given names.
    is_named: bool,
}

impl From<Error> for Unplanned {
    /// An error before the planner could object to a name.
    fn from(error: Error) -> Self {
        Self { error, is_named: false }
    }
}

/// Reads a statement that is not nested too deep.
fn parse(state: &SessionState, text: &str) -> Result<Parsed> {
    let dialect = state.config().options().sql_parser.dialect;
    depth::check_operators(text, &dialect)?;
    let read = |text: &str| state.sql_to_statement(text, &dialect).map_err(Error::from);
    let statement =
        read(text).or_else(|error| match stars::readable(text, dialect_from_str(dialect)) {
            Some(text) => read(&text).map_err(stars::as_written),
            None => Err(error),
        })?;
    depth::check(&statement)?;
    Ok(statement)
}

/// Plans a statement in a state of its own.
async fn plan_with(
    session: &Session,
    state: &SessionState,
    mut statement: Parsed,
    naming: Naming,
) -> Result<LogicalPlan, Unplanned> {
    let folds = state.config().options().sql_parser.enable_ident_normalization;
    let reader = KeyReader { folds };
    let known = using::Known::read(state, reader, &statement).await?;
    let (cases, bound) = (Cases::default(), Vec::new());
    let mut binder =
        Binder { session, reader, state, naming, is_named: false, cases, depth: 0, bound };
    bind(&mut statement, &known, &mut binder)?;
    let Binder { cases, bound, is_named, .. } = binder;
    let mut planning = state.clone();
    planning.register_relation_planner(Arc::<PlanRelations>::default()).map_err(Error::from)?;
    let are_kept = cases.are_kept();
    if are_kept {
        planning.register_udf(Arc::new(Conditional::Choose.udf())).map_err(Error::from)?;
    }
    let mut names = Vec::new();
    for (index, call) in bound.into_iter().enumerate() {
        let (function, name) = (call.function(), bound_name(call.function(), index));
        names.push((function, name.clone()));
        let udf = Arc::new(KvFunction::named_udf(call, name));
        planning.register_udf(udf).map_err(Error::from)?;
    }
    let plan = planning.statement_to_plan(statement).await;
    let plan =
        plan.map_err(|error| Unplanned { error: in_users_words(error.into(), &names), is_named })?;
    query::check_depth(&plan)?;
    Ok(if are_kept { cases::keep_names(plan)? } else { plan })
}

/// A name that no user can have given.
fn bound_name(function: Function, index: usize) -> String {
    format!("{}#{index}", function.name())
}

/// The error with the functions under the names by which the user called them.
fn in_users_words(error: Error, names: &[(Function, String)]) -> Error {
    // From the last, because the first name may start others.
    let message =
        names.iter().rev().fold(error.message().to_owned(), |message, (function, name)| {
            message.replace(name, function.name())
        });
    error.reworded(message)
}

fn bind(statement: &mut Parsed, known: &using::Known, binder: &mut Binder<'_>) -> Result<()> {
    match statement {
        Parsed::Statement(statement) => match statement.as_mut() {
            Statement::Query(_) | Statement::Explain { .. } | Statement::Insert(_) => {
                distinct::settle(statement.as_mut());
                clauses::check(statement, &binder.session.context.state())?;
                writes::check_values(statement)?;
                distinct_on::write_out(statement, binder.reader)?;
                using::write_out(statement, known)?;
                match statement.visit(binder) {
                    ControlFlow::Continue(()) => Ok(()),
                    ControlFlow::Break(error) => Err(error),
                }
            }
            _ => Err(only_queries()),
        },
        Parsed::Explain(explain) => bind(&mut explain.statement, known, binder),
        _ => Err(only_queries()),
    }
}

fn only_queries() -> Error {
    Error::invalid(
        "only SELECT, INSERT INTO a store, COPY to a folder and EXPLAIN are understood; inputs are \
         registered and other outputs written outside SQL",
    )
}

/// How many levels deep functions are left with the names by which they were called.
const MOST_NAMED: usize = 8;

/// Settles the calls of one statement.
struct Binder<'a> {
    session: &'a Session,
    reader: KeyReader,
    /// Knows which functions there are.
    state: &'a SessionState,
    naming: Naming,
    /// Whether columns have names of stores now.
    is_named: bool,
    cases: Cases,
    /// How many expressions hold the one at hand.
    depth: usize,
    bound: Vec<KvCall>,
}

impl VisitorMut for Binder<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if self.naming == Naming::ByStores {
            self.is_named |= names::name_calls(query, self.session, self.reader);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        stars::expand(select, self.session);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, _: &mut Expr) -> ControlFlow<Error> {
        self.depth += 1;
        self.cases.enter();
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        self.depth -= 1;
        if let Expr::Function(call) = expr
            && self.depth > MOST_NAMED
        {
            self.call_by_own_name(call);
        }
        if let Expr::Function(call) = expr
            && let Err(error) = self.bind_call(call)
        {
            return ControlFlow::Break(error);
        }
        if let Err(error) = stars::check(expr) {
            return ControlFlow::Break(error);
        }
        fields::name_fields(expr, self.reader);
        self.cases.leave(expr);
        ControlFlow::Continue(())
    }
}

/// Which of the three functions is called, if any.
fn called(call: &Call) -> Option<Function> {
    let [part] = call.name.0.as_slice() else { return None };
    let ident = part.as_ident()?;
    Function::ALL.into_iter().find(|function| ident.value.eq_ignore_ascii_case(function.name()))
}

impl Binder<'_> {
    /// Calls a function by its own name, if it was called by another. DataFusion would name the
    /// call's column by that other name and all that stands in it, and do so at each level: a
    /// little of that is left, so that equal calls in several clauses stay equal.
    fn call_by_own_name(&self, call: &mut Call) {
        if let [part] = call.name.0.as_slice()
            && let Some(ident) = part.as_ident()
            && let Some(function) = self.state.scalar_functions().get(&self.reader.name(ident))
            && function.name() != ident.value
        {
            call.name = ObjectName::from(vec![Ident::new(function.name())]);
        }
    }

    /// Settles a call, if it is one of the three functions or nearly so.
    fn bind_call(&mut self, call: &mut Call) -> Result<()> {
        let Some(function) = called(call) else {
            return words::check_spelling(call, self.state);
        };
        let arguments = match &mut call.args {
            FunctionArguments::List(list) => std::mem::take(&mut list.args),
            _ => Vec::new(),
        };
        let misplaced = words::misplaced_store(self.session, function, &arguments);
        self.settle(function, call, arguments).map_err(|error| misplaced.unwrap_or(error))
    }

    fn settle(
        &mut self,
        function: Function,
        call: &mut Call,
        arguments: Vec<FunctionArg>,
    ) -> Result<()> {
        let mut arguments = Arguments::read(function, arguments)?;
        self.reader.name_parts(&mut arguments.key);
        let key = self.reader.columns(&arguments.key);
        let attached = self.session.source(arguments.source.as_deref())?;
        let store = function.resolve(&attached, key.as_ref())?;
        let bound = KvCall::try_new(function, store, arguments.options)?;
        // Equal calls get equal names, so that `GROUP BY kv_get(…)` finds its column.
        let index = self.bound.iter().position(|known| *known == bound).unwrap_or_else(|| {
            self.bound.push(bound);
            self.bound.len() - 1
        });
        let alias = bound_name(function, index);
        call.name = ObjectName::from(vec![Ident::with_quote('"', alias)]);
        call.args = FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(arguments.key))],
            clauses: Vec::new(),
        });
        Ok(())
    }
}
