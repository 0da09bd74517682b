//! Names for the columns of calls: a call without an alias is called as its store.

use std::{collections::HashSet, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, Ident, OrderBy, Query, Select, SelectItem, SetExpr, visit_expressions,
};

use super::{Arguments, called};
use crate::session::{Session, key::KeyReader};

/// Gives the calls among a query's columns names. One whose store's name is that of another column,
/// or of something that the query is ordered by, is called as it is written.
///
/// Whether any has a name now.
pub(super) fn name_calls(query: &mut Query, session: &Session, reader: KeyReader) -> bool {
    let ordered_by = query.order_by.as_ref().map(|order| names_in(order, reader));
    in_body(&mut query.body, session, reader, &ordered_by.unwrap_or_default())
}

fn in_body(
    body: &mut SetExpr,
    session: &Session,
    reader: KeyReader,
    ordered_by: &HashSet<String>,
) -> bool {
    match body {
        SetExpr::Select(select) => in_select(select, session, reader, ordered_by),
        SetExpr::SetOperation { left, .. } => in_body(left, session, reader, ordered_by),
        _ => false,
    }
}

fn in_select(
    select: &mut Select,
    session: &Session,
    reader: KeyReader,
    ordered_by: &HashSet<String>,
) -> bool {
    let stores: Vec<_> = select.projection.iter().map(|item| store(item, session)).collect();
    let mut taken: Vec<String> =
        select.projection.iter().filter_map(|item| name(item, reader)).collect();
    taken.extend(stores.iter().flatten().cloned());
    let mut any = false;
    for (item, store) in select.projection.iter_mut().zip(stores) {
        let Some(store) = store else { continue };
        let is_only = taken.iter().filter(|name| **name == store).count() == 1;
        if let SelectItem::UnnamedExpr(expr) = item
            && is_only
            && !ordered_by.contains(&store)
        {
            let alias = Ident::with_quote('"', store);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            any = true;
        }
    }
    any
}

/// The store that a column asks which is a call and nothing else, and has no name.
fn store(item: &SelectItem, session: &Session) -> Option<String> {
    let SelectItem::UnnamedExpr(Expr::Function(call)) = item else { return None };
    let function = called(call)?;
    let FunctionArguments::List(list) = &call.args else { return None };
    // What is wrong with a call is told when it is settled.
    let source = Arguments::read(function, list.args.clone()).ok()?.source;
    session.source(source.as_deref()).ok().map(|store| store.alias.clone())
}

/// The name that a column has.
fn name(item: &SelectItem, reader: KeyReader) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(reader.name(alias)),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(reader.name(name)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(path)) => {
            path.last().map(|name| reader.name(name))
        }
        _ => None,
    }
}

/// All names that the keys of an order hold.
fn names_in(order: &OrderBy, reader: KeyReader) -> HashSet<String> {
    let mut names = HashSet::new();
    let _ = visit_expressions(order, |expr| {
        match expr {
            Expr::Identifier(name) => names.extend([reader.name(name)]),
            Expr::CompoundIdentifier(path) => names.extend(path.iter().map(|n| reader.name(n))),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    names
}
