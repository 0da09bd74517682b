//! The columns of tables, as far as they are known before a statement is planned: those of tables
//! that have names of their own, stores and files among them, and of queries that name what they
//! select. What is not certain is unknown.

mod queries;

use std::{collections::BTreeMap, ops::ControlFlow};

use datafusion::{
    execution::context::SessionState,
    sql::{
        parser::Statement as Parsed,
        sqlparser::ast::{
            Ident, ObjectName, Query, Select, Statement, TableAlias, TableFactor, Visit, Visitor,
        },
    },
};
use keyloom_common::Result;

use super::{has_using, quoted};
use crate::session::key::KeyReader;

/// Names of columns in their order, unless they are not known.
pub(super) type Columns = Option<Vec<String>>;

/// What is known of the tables that a statement names.
#[derive(Debug)]
pub(in crate::session::sql) struct Known {
    reader: KeyReader,
    /// By the parts of their names. The columns of a name that means several tables are not known.
    tables: BTreeMap<Vec<String>, Columns>,
}

impl Known {
    /// Looks the tables of a statement up, if it merges columns of theirs.
    ///
    /// # Errors
    /// If a table cannot be asked for.
    pub(in crate::session::sql) async fn read(
        state: &SessionState,
        reader: KeyReader,
        statement: &Parsed,
    ) -> Result<Self> {
        let mut known = Self { reader, tables: BTreeMap::new() };
        let Some(merging) = query(statement).filter(|statement| merges(statement)) else {
            return Ok(known);
        };
        // What is wrong with the names of a statement is told when it is planned.
        for reference in state.resolve_table_references(statement).unwrap_or_default() {
            let Ok(tables) = state.schema_for_ref(reference.clone()) else { continue };
            if let Some(table) = tables.table(reference.table()).await? {
                let schema = table.schema();
                let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
                known.tables.insert(reference.to_vec(), Some(columns));
            }
        }
        known.add_queries(merging);
        Ok(known)
    }

    /// Adds the queries that WITH names.
    fn add_queries(&mut self, statement: &Statement) {
        // It breaks nowhere.
        let _ = statement.visit(&mut With(self));
    }

    /// What a name means.
    pub(super) fn name(&self, ident: &Ident) -> String {
        self.reader.name(ident)
    }

    /// The name of a column that stands without a table.
    pub(super) fn single(&self, name: &ObjectName) -> Option<String> {
        match name.0.as_slice() {
            [part] => part.as_ident().map(|ident| self.name(ident)),
            _ => None,
        }
    }

    /// What the columns of a table are qualified by, if it has a name.
    pub(super) fn path(&self, table: &TableFactor) -> Option<Vec<Ident>> {
        let called = |alias: &TableAlias| vec![quoted(self.name(&alias.name))];
        match table {
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::TableFunction { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. }
            | TableFactor::NestedJoin { alias: Some(alias), .. } => Some(called(alias)),
            TableFactor::Table { name, args: None, .. } => self.parts(name),
            // DataFusion calls it so.
            TableFactor::Table { name, args: Some(_), .. } => {
                let function = name.0.first()?.as_ident()?;
                Some(vec![quoted(format!("{function}()"))])
            }
            _ => None,
        }
    }

    /// The parts of a table's name.
    pub(super) fn parts(&self, name: &ObjectName) -> Option<Vec<Ident>> {
        name.0.iter().map(|part| Some(quoted(self.name(part.as_ident()?)))).collect()
    }

    /// The columns of a table.
    pub(super) fn columns(&self, table: &TableFactor) -> Columns {
        let (columns, alias) = match table {
            TableFactor::Table { name, args: None, alias, .. } => (self.of_table(name), alias),
            TableFactor::Derived { subquery, alias, .. } => (self.of_query(subquery), alias),
            TableFactor::Table { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => (None, alias),
            _ => return None,
        };
        self.called(columns, alias.as_ref())
    }

    fn of_table(&self, name: &ObjectName) -> Columns {
        let parts = self.parts(name)?;
        let parts: Vec<String> = parts.into_iter().map(|part| part.value).collect();
        self.tables.get(&parts)?.clone()
    }

    /// Columns under the names that an alias gives them.
    fn called(&self, columns: Columns, alias: Option<&TableAlias>) -> Columns {
        match alias {
            Some(TableAlias { columns: names, .. }) if !names.is_empty() => {
                Some(names.iter().map(|column| self.name(&column.name)).collect())
            }
            _ => columns,
        }
    }
}

/// The statement that is planned.
fn query(statement: &Parsed) -> Option<&Statement> {
    match statement {
        Parsed::Explain(explain) => query(&explain.statement),
        Parsed::Statement(statement) => Some(statement.as_ref()),
        // Others are refused as what they are.
        _ => None,
    }
}

/// Whether any query of a statement merges columns.
fn merges(statement: &Statement) -> bool {
    statement.visit(&mut Merging).is_break()
}

struct Merging;

impl Visitor for Merging {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        match select.from.iter().any(has_using) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Gathers the queries of WITH, each of which may read those before it.
struct With<'a>(&'a mut Known);

impl Visitor for With<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for one in query.with.iter().flat_map(|with| &with.cte_tables) {
            let columns = self.0.called(self.0.of_query(&one.query), Some(&one.alias));
            let name = vec![self.0.name(&one.alias.name)];
            // Where which of them is meant is not looked at.
            let columns = columns.filter(|_| !self.0.tables.contains_key(&name));
            self.0.tables.insert(name, columns);
        }
        ControlFlow::Continue(())
    }
}
