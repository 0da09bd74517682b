//! The outputs that `DISTINCT ON`, and `ORDER BY` beside it, mean.
//!
//! A name or a number that stands alone there is an output. DataFusion takes a name for the input's
//! column, if there is one, and cannot order such a query by what it computes: so outputs are
//! written out as what they are computed of, before it plans them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr,
    Statement, Value, VisitMut, VisitorMut,
};
use keyloom_common::{Error, Result};

use crate::session::key::KeyReader;

/// Writes out the outputs in all queries of a statement.
pub(super) fn write_out(statement: &mut Statement, reader: KeyReader) -> Result<()> {
    match statement.visit(&mut Queries { reader }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Queries {
    reader: KeyReader,
}

impl VisitorMut for Queries {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let SetExpr::Select(select) = query.body.as_mut() else {
            return ControlFlow::Continue(());
        };
        match self.write_select(select, query.order_by.as_mut()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Queries {
    fn write_select(&self, select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<()> {
        let Some(Distinct::On(on)) = &mut select.distinct else { return Ok(()) };
        let outputs = Outputs { items: &select.projection, reader: self.reader };
        on.iter_mut().try_for_each(|expr| outputs.write(expr))?;
        let Some(OrderBy { kind: OrderByKind::Expressions(terms), .. }) = order_by else {
            return Ok(());
        };
        terms.iter_mut().try_for_each(|term| outputs.write(&mut term.expr))?;
        on.sort_by_key(|expr| place(expr, terms));
        Ok(())
    }
}

/// Where rows are ordered by an expression: DataFusion wants both in one order.
fn place(expr: &Expr, terms: &[OrderByExpr]) -> usize {
    terms.iter().position(|term| term.expr == *expr).unwrap_or(terms.len())
}

/// What a query selects.
struct Outputs<'a> {
    items: &'a [SelectItem],
    reader: KeyReader,
}

impl Outputs<'_> {
    /// Makes a term that is an output what that is computed of.
    fn write(&self, term: &mut Expr) -> Result<()> {
        let output = match term {
            Expr::Identifier(name) => self.named(&self.reader.name(name)),
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => Some(self.at(number)?),
                _ => None,
            },
            _ => None,
        };
        if let Some(output) = output {
            *term = output.clone();
        }
        Ok(())
    }

    fn named(&self, name: &str) -> Option<&Expr> {
        self.items.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } => {
                (self.reader.name(alias) == name).then_some(expr)
            }
            _ => None,
        })
    }

    /// The output at a place, from 1.
    fn at(&self, number: &str) -> Result<&Expr> {
        let refused = |why: String| {
            Error::invalid(format!("DISTINCT ON, or its ORDER BY, names column {number}, {why}"))
        };
        let count = self.items.len();
        let place = number.parse().ok().and_then(|place: usize| place.checked_sub(1));
        for (at, item) in self.items.iter().enumerate() {
            match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    if place == Some(at) {
                        return Ok(expr);
                    }
                }
                _ => return Err(refused("which is of a *: write the column's name".to_owned())),
            }
        }
        Err(refused(format!("and there are {count}")))
    }
}
