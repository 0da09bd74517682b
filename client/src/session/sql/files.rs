//! Files in a statement: `FROM 'items.parquet'` reads what an input of that path would, by the
//! defaults of all options.

use std::{collections::BTreeSet, ops::ControlFlow, path::Path};

use datafusion::{
    dataframe::DataFrame,
    execution::context::SessionState,
    sql::{
        parser::Statement as Parsed,
        sqlparser::ast::{Statement, TableFactor, Visit, Visitor},
    },
};
use keyloom_common::Result;

use super::{named, tables::Tables};
use crate::{input::Input, session::Session};

/// Adds the files that a statement reads to its other tables, by their paths, which are relative to
/// this folder.
///
/// # Errors
/// As [`Session::read`].
pub(super) async fn add(
    session: &Session,
    state: &SessionState,
    statement: &Parsed,
    folder: &Path,
    tables: &[(String, DataFrame)],
    others: &mut Tables,
) -> Result<()> {
    let is_table = |name: &str| others.contains_key(name) || named::is_table(session, tables, name);
    let paths = paths(statement, state, is_table);
    for path in paths {
        let table = session.file_table(&Input::new(from_folder(folder, &path))).await?;
        others.insert(path, table);
    }
    Ok(())
}

/// The paths that a statement reads: names of tables in single quotes, unless there is such a
/// table, or a query in WITH.
fn paths(statement: &Parsed, state: &SessionState, is_table: impl Fn(&str) -> bool) -> Vec<String> {
    let quoted = quoted(statement);
    if quoted.is_empty() {
        return Vec::new();
    }
    let names = named::tables(state, statement).into_iter();
    names.filter(|name| quoted.contains(name) && !is_table(name)).collect()
}

/// A path from this folder; a URI and an absolute path as they are.
pub(super) fn from_folder(folder: &Path, path: &str) -> String {
    if path.contains("://") { path.to_owned() } else { folder.join(path).display().to_string() }
}

/// The names of tables that stand in single quotes.
fn quoted(statement: &Parsed) -> BTreeSet<String> {
    let mut names = Quoted::default();
    match statement {
        Parsed::Explain(explain) => return quoted(&explain.statement),
        Parsed::Statement(statement)
            if matches!(
                **statement,
                Statement::Query(_) | Statement::Explain { .. } | Statement::Insert(_)
            ) =>
        {
            let _ = statement.visit(&mut names);
        }
        // Others are refused as what they are.
        _ => {}
    }
    names.0
}

#[derive(Default)]
struct Quoted(BTreeSet<String>);

impl Visitor for Quoted {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = table
            && let [part] = name.0.as_slice()
            && let Some(ident) = part.as_ident()
            && ident.quote_style == Some('\'')
        {
            self.0.insert(ident.value.clone());
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    fn check(statement: &str, expected: &[&str]) {
        let state = SessionContext::new().state();
        let dialect = state.config().options().sql_parser.dialect;
        let parsed = state.sql_to_statement(statement, &dialect).unwrap();
        assert_eq!(paths(&parsed, &state, |name| name == "items"), expected, "{statement}");
    }

    #[test]
    fn names_in_single_quotes_are_paths() {
        check("SELECT * FROM 'a.parquet'", &["a.parquet"]);
        check("SELECT * FROM 'B/*.csv' AS b JOIN 'a.parquet' USING (k)", &["B/*.csv", "a.parquet"]);
        check("SELECT 1 WHERE 1 IN (SELECT n FROM 's3://b/x.csv')", &["s3://b/x.csv"]);
        check(
            "EXPLAIN SELECT * FROM (SELECT * FROM 'a.csv' UNION ALL SELECT * FROM t)",
            &["a.csv"],
        );
        check("EXPLAIN ANALYZE SELECT * FROM 'a.csv'", &["a.csv"]);
    }

    #[test]
    fn paths_are_relative_to_a_folder() {
        let from = |folder: &str, path| from_folder(Path::new(folder), path);
        assert_eq!(from("", "a.csv"), "a.csv");
        assert_eq!(from("jobs", "../a/*.csv"), "jobs/../a/*.csv");
        assert_eq!(from("jobs", "/a.csv"), "/a.csv");
        assert_eq!(from("jobs", "s3://b/a.csv"), "s3://b/a.csv");
    }

    #[test]
    fn tables_and_queries_in_with_are_no_paths() {
        check("SELECT * FROM a JOIN \"b.csv\" ON true", &[]);
        check("SELECT * FROM 'items'", &[]);
        check("WITH w AS (SELECT 1) SELECT * FROM 'w'", &[]);
        check("SELECT 'a.csv' AS path FROM t", &[]);
    }
}
