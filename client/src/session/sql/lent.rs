//! What a statement names and the session does not have: a catalog may have it.

use std::{collections::BTreeSet, ops::ControlFlow};

use datafusion::{
    dataframe::DataFrame,
    execution::context::SessionState,
    sql::{
        parser::Statement as Parsed,
        sqlparser::ast::{Expr, FunctionArguments, Statement, Visit, Visitor},
    },
};
use keyloom_common::Result;

use super::{Arguments, called, named};
use crate::session::{Session, Unknown};

/// Opens what a statement names, beside these tables, that only a catalog has.
///
/// # Errors
/// Why something cannot be opened.
pub(super) async fn open(
    session: &Session,
    state: &SessionState,
    statement: &Parsed,
    tables: &[(String, DataFrame)],
) -> Result<()> {
    let Some(query) = query(statement) else { return Ok(()) };
    let is_table = |name: &str| session.has_table(name) || named::is_table(session, tables, name);
    let tables = named::tables(state, statement);
    let mut unknown = Unknown { tables, sources: sources(query) };
    unknown.tables.retain(|name| !is_table(name));
    unknown.sources.retain(|alias| !session.has_kv(alias));
    session.lend(&unknown).await
}

/// The query that a statement is, explains, or puts the rows of into a store. Others are refused as
/// what they are.
fn query(statement: &Parsed) -> Option<&Statement> {
    match statement {
        Parsed::Explain(explain) => query(&explain.statement),
        Parsed::Statement(statement) => {
            let is_query = matches!(
                **statement,
                Statement::Query(_) | Statement::Explain { .. } | Statement::Insert(_)
            );
            is_query.then_some(&**statement)
        }
        _ => None,
    }
}

/// The stores that calls name.
fn sources(statement: &Statement) -> BTreeSet<String> {
    let mut sources = Sources::default();
    // It breaks nowhere.
    let _ = statement.visit(&mut sources);
    sources.0
}

#[derive(Default)]
struct Sources(BTreeSet<String>);

impl Visitor for Sources {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(call) = expr
            && let Some(function) = called(call)
            && let FunctionArguments::List(list) = &call.args
            // What is wrong with a call is told when it is settled.
            && let Ok(arguments) = Arguments::read(function, list.args.clone())
        {
            self.0.extend(arguments.source);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    fn check(statement: &str, tables: &[&str], stores: &[&str]) {
        let state = SessionContext::new().state();
        let dialect = state.config().options().sql_parser.dialect;
        let parsed = state.sql_to_statement(statement, &dialect).unwrap();
        let found = named::tables(&state, &parsed);
        assert_eq!(found.iter().collect::<Vec<_>>(), tables, "{statement}");
        let found = query(&parsed).map(sources).unwrap_or_default();
        assert_eq!(found.iter().collect::<Vec<_>>(), stores, "{statement}");
    }

    #[test]
    fn tables_and_the_stores_of_calls_are_found() {
        check("SELECT 1", &[], &[]);
        check(
            "SELECT kv_get(kv_get(k, source => 'a')['x'], source => 'b') FROM Items JOIN p ON true",
            &["items", "p"],
            &["a", "b"],
        );
        check(
            "EXPLAIN SELECT * FROM (SELECT n FROM \"T\") WHERE kv_exists(n, source => 'c')",
            &["T"],
            &["c"],
        );
        check(
            "WITH w AS (SELECT 1 FROM t) SELECT kv_get(k, on_error => 'null') FROM w",
            &["t"],
            &[],
        );
        // A name of a column or a text is none of a store.
        check("SELECT a, 'b' AS c FROM t WHERE d = 'e'", &["t"], &[]);
    }
}
