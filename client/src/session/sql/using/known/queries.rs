//! The columns of queries, by what they select.

use std::{collections::BTreeSet, iter};

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor,
    TableWithJoins, WildcardAdditionalOptions,
};

use super::{Columns, Known};

impl Known {
    /// The columns of a query, if it names them all.
    pub(super) fn of_query(&self, query: &Query) -> Columns {
        if query.with.is_some() || !query.pipe_operators.is_empty() {
            return None;
        }
        let select = match query.body.as_ref() {
            SetExpr::Select(select) => select,
            SetExpr::Query(query) => return self.of_query(query),
            _ => return None,
        };
        let mut columns = Vec::new();
        for item in &select.projection {
            columns.extend(self.of_item(item, select)?);
        }
        Some(columns)
    }

    fn of_item(&self, item: &SelectItem, select: &Select) -> Columns {
        match item {
            SelectItem::UnnamedExpr(Expr::Identifier(ident))
            | SelectItem::ExprWithAlias { alias: ident, .. } => Some(vec![self.name(ident)]),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(path)) => {
                // It may be the field of a column.
                let (column, table) = path.split_last()?;
                self.find(select, table).map(|_| vec![self.name(column)])
            }
            SelectItem::Wildcard(options) if is_plain(options) => match select.from.as_slice() {
                [TableWithJoins { relation, joins }] if joins.is_empty() => self.columns(relation),
                _ => None,
            },
            SelectItem::QualifiedWildcard(kind, options) if is_plain(options) => {
                let SelectItemQualifiedWildcardKind::ObjectName(name) = kind else { return None };
                self.columns(self.find(select, &self.parts(name)?)?)
            }
            _ => None,
        }
    }

    /// The table of a query that is called so.
    fn find<'a>(&self, select: &'a Select, path: &[Ident]) -> Option<&'a TableFactor> {
        let names = |path: &[Ident]| path.iter().map(|part| self.name(part)).collect::<Vec<_>>();
        let is_called = |table: &TableFactor| {
            self.path(table).is_some_and(|called| names(&called) == names(path))
        };
        select.from.iter().flat_map(tables).find(|table| is_called(table))
    }

    /// The names that have a meaning in a query by its own tables and columns, if all are known.
    pub(in super::super) fn names_of(&self, query: &Query) -> Option<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        self.add_names(query, &query.body, &mut names)?;
        Some(names)
    }

    /// Nothing, if not all are known.
    fn add_names(&self, query: &Query, body: &SetExpr, names: &mut BTreeSet<String>) -> Option<()> {
        match body {
            SetExpr::Select(select) if query.pipe_operators.is_empty() => {
                for table in select.from.iter().flat_map(tables) {
                    names.extend(self.columns(table)?);
                }
                names.extend(select.projection.iter().filter_map(|item| match item {
                    SelectItem::ExprWithAlias { alias, .. } => Some(self.name(alias)),
                    _ => None,
                }));
                Some(())
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.add_names(query, left, names)?;
                self.add_names(query, right, names)
            }
            _ => None,
        }
    }
}

/// The tables of an item of FROM. Joined ones in parentheses are one, whose columns are not known.
fn tables(from: &TableWithJoins) -> impl Iterator<Item = &TableFactor> {
    iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    *options == WildcardAdditionalOptions::default()
}
