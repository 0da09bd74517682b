//! Writing out the names and stars of a query.

mod stars;

use std::{collections::BTreeSet, mem, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Distinct, Expr, GroupByExpr, Ident, OrderBy, OrderByKind, Query, Select,
    SelectItem, Value, VisitMut, VisitorMut,
};
use keyloom_common::{Error, Result};

use super::{known::Known, quoted, refused, tables::Tables};

/// Writes out the merged columns of a query, whose FROM is left as it is.
pub(super) fn write(
    tables: &Tables,
    known: &Known,
    select: &mut Select,
    order_by: Option<&mut OrderBy>,
) -> Result<()> {
    let mut names = Names::new(tables, known);
    let from = mem::take(&mut select.from);
    let projection = mem::take(&mut select.projection);
    names.write(select)?;
    select.from = from;
    for item in &projection {
        names.keep(item);
    }
    if let Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) = order_by {
        let is_on = matches!(select.distinct, Some(Distinct::On(_)));
        let is_grouped = !matches!(
            &select.group_by,
            GroupByExpr::Expressions(exprs, _) if exprs.is_empty()
        );
        for by in exprs {
            // DISTINCT ON compares it with its own columns, and groups are ordered by their rows.
            names.keeps_columns = !is_on && (!is_grouped || name_alone(&by.expr).is_some());
            names.write(&mut by.expr)?;
        }
    }
    (names.kept, names.columns, names.keeps_more) = (BTreeSet::new(), BTreeSet::new(), false);
    for item in projection {
        names.write_item(item, &mut select.projection)?;
    }
    Ok(())
}

/// Writes out the merged columns of what a FROM holds.
pub(super) fn write_within(tables: &Tables, known: &Known, part: &mut impl VisitMut) -> Result<()> {
    Names::new(tables, known).write(part)
}

/// Writes out names that stand without a table.
struct Names<'a> {
    tables: &'a Tables,
    known: &'a Known,
    /// Of each query within the one at hand that holds what is visited, the names that have a
    /// meaning there, if all are known.
    within: Vec<Option<BTreeSet<String>>>,
    /// Names that mean what is selected under them.
    kept: BTreeSet<String>,
    /// Those of them under which the column of that name is selected.
    columns: BTreeSet<String>,
    /// Whether these are kept.
    keeps_columns: bool,
    /// Whether there may be more of them.
    keeps_more: bool,
    /// Of each access to fields that holds what is visited, the names behind its dots.
    fields: Vec<Vec<(usize, Expr)>>,
}

impl VisitorMut for Names<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.within.push(self.known.names_of(query));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.within.pop();
        ControlFlow::Continue(())
    }

    /// Takes the names behind a dot aside: they are of fields, or stand behind their table.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Expr::CompoundFieldAccess { access_chain, .. } = expr {
            let mut fields = Vec::new();
            for (at, access) in access_chain.iter_mut().enumerate() {
                if let AccessExpr::Dot(field @ Expr::Identifier(_)) = access {
                    fields.push((at, mem::replace(field, Expr::value(Value::Null))));
                }
            }
            self.fields.push(fields);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Expr::CompoundFieldAccess { access_chain, .. } = expr {
            for (at, field) in self.fields.pop().unwrap_or_default() {
                if let Some(access) = access_chain.get_mut(at) {
                    *access = AccessExpr::Dot(field);
                }
            }
        }
        let Expr::Identifier(ident) = expr else { return ControlFlow::Continue(()) };
        match self.meant(ident) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(value)) => {
                *expr = value;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl<'a> Names<'a> {
    fn new(tables: &'a Tables, known: &'a Known) -> Self {
        Self {
            tables,
            known,
            within: Vec::new(),
            kept: BTreeSet::new(),
            columns: BTreeSet::new(),
            keeps_columns: true,
            keeps_more: false,
            fields: Vec::new(),
        }
    }

    fn write(&mut self, part: &mut impl VisitMut) -> Result<()> {
        match part.visit(self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }

    /// What a name means, if it is a merged column.
    fn meant(&self, ident: &Ident) -> Result<Option<Expr>> {
        let name = self.known.name(ident);
        let is_taken = match self.within.as_slice() {
            [] => self.is_kept(&name),
            within => within.iter().any(|names| may_have(names.as_ref(), &name)),
        };
        if is_taken {
            return Ok(None);
        }
        if self.tables.hides_names {
            return Err(refused("a column without its table beside a NATURAL RIGHT or FULL JOIN"));
        }
        let mut merged = self.tables.merged.iter().filter(|one| one.name == name);
        let (Some(one), other) = (merged.next(), merged.next()) else { return Ok(None) };
        let is_kept_perhaps = self.keeps_more && self.within.is_empty();
        if other.is_none() && one.is_plain && (one.value.is_none() || is_kept_perhaps) {
            return Ok(None);
        }
        if other.is_some() || is_kept_perhaps {
            return Err(Error::invalid(format!(
                "which column {ident} is meant is not known beside a JOIN … USING; write its table \
                 before it, as in a.{ident}"
            )));
        }
        one.value().cloned().map(Some)
    }

    fn is_kept(&self, name: &str) -> bool {
        self.kept.contains(name) && (self.keeps_columns || !self.columns.contains(name))
    }

    /// Notes under which names columns are selected.
    fn keep(&mut self, item: &SelectItem) {
        let name = |ident: &Ident| self.known.name(ident);
        let (kept, column) = match item {
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(path)) => {
                (path.last().map(name), None)
            }
            SelectItem::UnnamedExpr(expr) => {
                let column = name_alone(expr).map(name);
                (column.clone(), column)
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                let alias = name(alias);
                let column = name_alone(expr).map(name).filter(|column| *column == alias);
                (Some(alias), column)
            }
            SelectItem::Wildcard(_) => {
                let merged = self.tables.merged.iter().map(|one| &one.name);
                self.kept.extend(merged.clone().cloned());
                self.columns.extend(merged.cloned());
                return;
            }
            SelectItem::QualifiedWildcard(table, options) => {
                match self.kept_by_star(table, options) {
                    Some(columns) => self.kept.extend(columns),
                    None => self.keeps_more = true,
                }
                return;
            }
            _ => return,
        };
        self.kept.extend(kept);
        self.columns.extend(column);
    }

    /// What becomes of an item that is selected.
    fn write_item(&mut self, mut item: SelectItem, written: &mut Vec<SelectItem>) -> Result<()> {
        match &mut item {
            SelectItem::Wildcard(options) => return self.write_star(mem::take(options), written),
            SelectItem::UnnamedExpr(expr) => {
                let meant = match name_alone(expr) {
                    Some(ident) => self.meant(ident)?.map(|meant| (meant, self.known.name(ident))),
                    None => None,
                };
                match meant {
                    Some((expr, name)) => {
                        item = SelectItem::ExprWithAlias { expr, alias: quoted(name) };
                    }
                    None => self.write(expr)?,
                }
            }
            other => self.write(other)?,
        }
        written.push(item);
        Ok(())
    }
}

/// Whether a name has a meaning among these, if they are known.
fn may_have(names: Option<&BTreeSet<String>>, name: &str) -> bool {
    names.is_none_or(|names| names.contains(name))
}

/// The name that an expression consists of.
fn name_alone(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(ident) => Some(ident),
        Expr::Nested(inner) => name_alone(inner),
        _ => None,
    }
}
