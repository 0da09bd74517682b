//! Writing out the names and stars of a query.

use std::{collections::BTreeSet, mem, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    AccessExpr, ExcludeSelectItem, Expr, Ident, ObjectName, OrderBy, OrderByKind, Query,
    ReplaceSelectElement, ReplaceSelectItem, Select, SelectItem, SelectItemQualifiedWildcardKind,
    Value, VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use keyloom_common::{Error, Result};

use super::{
    NAMELESS, quoted, refused,
    tables::{Table, Tables},
};
use crate::session::key::KeyReader;

/// Writes out the merged columns of a query, whose FROM is left as it is.
pub(super) fn write(
    tables: &Tables,
    reader: KeyReader,
    select: &mut Select,
    order_by: Option<&mut OrderBy>,
) -> Result<()> {
    let mut names = Names::new(tables, reader);
    let from = mem::take(&mut select.from);
    let projection = mem::take(&mut select.projection);
    names.write(select)?;
    select.from = from;
    for item in &projection {
        names.keep(item);
    }
    if let Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) = order_by {
        exprs.iter_mut().try_for_each(|by| names.write(&mut by.expr))?;
    }
    (names.kept, names.keeps_more) = (BTreeSet::new(), false);
    for item in projection {
        names.write_item(item, &mut select.projection)?;
    }
    Ok(())
}

/// Writes out the merged columns of what a FROM holds.
pub(super) fn write_within(
    tables: &Tables,
    reader: KeyReader,
    part: &mut impl VisitMut,
) -> Result<()> {
    Names::new(tables, reader).write(part)
}

/// Writes out names that stand without a table.
struct Names<'a> {
    tables: &'a Tables,
    reader: KeyReader,
    /// How many queries within the one at hand hold what is visited.
    depth: usize,
    /// Names that mean what is selected under them.
    kept: BTreeSet<String>,
    /// Whether there may be more of them.
    keeps_more: bool,
    /// Of each access to fields that holds what is visited, the names behind its dots.
    fields: Vec<Vec<(usize, Expr)>>,
}

impl VisitorMut for Names<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
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
    fn new(tables: &'a Tables, reader: KeyReader) -> Self {
        let (kept, fields) = (BTreeSet::new(), Vec::new());
        Self { tables, reader, depth: 0, kept, keeps_more: false, fields }
    }

    fn write(&mut self, part: &mut impl VisitMut) -> Result<()> {
        match part.visit(self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }

    /// What a name means, if DataFusion would take it for something else.
    fn meant(&self, ident: &Ident) -> Result<Option<Expr>> {
        let name = self.reader.name(ident);
        // Within another query it is of that one's tables: DataFusion finds no column around it of
        // which there are two.
        if self.depth > 0 || self.kept.contains(&name) {
            return Ok(None);
        }
        if self.tables.hides_names {
            return Err(refused("a column without its table beside a NATURAL RIGHT or FULL JOIN"));
        }
        let mut merged = self.tables.merged.iter().filter(|one| one.name == name);
        let (Some(one), other) = (merged.next(), merged.next()) else { return Ok(None) };
        if one.is_plain && other.is_none_or(|other| other.is_plain) {
            return Ok(None);
        }
        if other.is_some() || self.keeps_more {
            return Err(Error::invalid(format!(
                "which column {ident} is meant is not known beside an outer JOIN … USING; write \
                 its table before it, as in a.{ident}"
            )));
        }
        one.value().cloned().map(Some)
    }

    /// Notes under which names columns are selected.
    fn keep(&mut self, item: &SelectItem) {
        let last = match item {
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => Some(ident),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(path)) => path.last(),
            SelectItem::ExprWithAlias { alias, .. } => Some(alias),
            SelectItem::Wildcard(_) => {
                self.kept.extend(self.tables.merged.iter().map(|one| one.name.clone()));
                None
            }
            SelectItem::QualifiedWildcard(..) => {
                self.keeps_more = true;
                None
            }
            _ => None,
        };
        self.kept.extend(last.map(|ident| self.reader.name(ident)));
    }

    /// What becomes of an item that is selected.
    fn write_item(&mut self, mut item: SelectItem, written: &mut Vec<SelectItem>) -> Result<()> {
        match &mut item {
            SelectItem::Wildcard(options) => {
                if self.tables.has_unknown {
                    let what = "* beside outer and NATURAL JOINs, or JOIN … USING of many tables,";
                    return Err(refused(what));
                }
                if *options == WildcardAdditionalOptions::default() {
                    for table in &self.tables.each {
                        written.push(star(table)?);
                    }
                    return Ok(());
                }
                self.replace(options)?;
            }
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => {
                if let Some(expr) = self.meant(ident)? {
                    let alias = quoted(self.reader.name(ident));
                    item = SelectItem::ExprWithAlias { expr, alias };
                }
            }
            other => self.write(other)?,
        }
        written.push(item);
        Ok(())
    }

    /// Puts the merged columns into a star that leaves out or replaces others.
    fn replace(&self, options: &mut WildcardAdditionalOptions) -> Result<()> {
        let mut items = options.opt_replace.take().map_or_else(Vec::new, |replace| replace.items);
        for merged in &self.tables.merged {
            let is_replaced = |item: &ReplaceSelectElement| item.column_name.value == merged.name;
            if items.iter().any(|item| is_replaced(item)) {
                continue;
            }
            let expr = match merged.is_plain {
                true => Expr::Identifier(quoted(merged.name.clone())),
                false => merged.value()?.clone(),
            };
            items.push(Box::new(replacement(&merged.name, expr)));
        }
        options.opt_replace = Some(ReplaceSelectItem { items });
        Ok(())
    }
}

/// The star of a table, with the columns that are merged into its own, and without those that are
/// merged into others.
fn star(table: &Table) -> Result<SelectItem> {
    let path = table.path.clone().ok_or_else(|| Error::invalid(NAMELESS))?;
    let left_out = table.left_out.iter();
    let left_out: Vec<_> =
        left_out.map(|name| ObjectName::from(vec![quoted(name.clone())])).collect();
    let replaced = table.replaced.iter();
    let items: Vec<_> =
        replaced.map(|(name, expr)| Box::new(replacement(name, expr.clone()))).collect();
    let options = WildcardAdditionalOptions {
        opt_exclude: (!left_out.is_empty()).then_some(ExcludeSelectItem::Multiple(left_out)),
        opt_replace: (!items.is_empty()).then_some(ReplaceSelectItem { items }),
        ..WildcardAdditionalOptions::default()
    };
    let path = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(path));
    Ok(SelectItem::QualifiedWildcard(path, options))
}

fn replacement(name: &str, expr: Expr) -> ReplaceSelectElement {
    ReplaceSelectElement { expr, column_name: quoted(name.to_owned()), as_keyword: true }
}
