//! The tables that a statement names, and whether there are such.

use std::collections::BTreeSet;

use datafusion::{
    dataframe::DataFrame,
    execution::context::SessionState,
    sql::{TableReference, parser::Statement as Parsed},
};

use crate::session::Session;

/// The names of tables, but for those that WITH gives.
pub(super) fn tables(state: &SessionState, statement: &Parsed) -> BTreeSet<String> {
    // What is wrong with the names of a statement is told when it is planned.
    let references = state.resolve_table_references(statement).unwrap_or_default();
    let names = references.into_iter().filter_map(|reference| match reference {
        TableReference::Bare { table } => Some(table.to_string()),
        _ => None,
    });
    names.collect()
}

/// Whether a table of the statement's own, or one that is registered, has a name.
pub(super) fn is_table(session: &Session, tables: &[(String, DataFrame)], name: &str) -> bool {
    let is_registered = || session.context.table_exist(TableReference::bare(name));
    // One that cannot be asked for is told of when the statement is planned.
    tables.iter().any(|(table, _)| table == name) || is_registered().unwrap_or_default()
}
