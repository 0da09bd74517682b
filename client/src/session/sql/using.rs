//! The columns of `USING`, and of `NATURAL` where the columns of both sides are known.
//!
//! SQL has one column of the two sides, in the place of the left one: of a row that stands on one
//! side alone, its value there. DataFusion takes one side's column, null or not: the left one for a
//! name, unless it finds several, and for `*` that whose table comes first by name. So names and
//! stars are written out before it plans them: `k` as the column of the side that keeps all its
//! rows or as `coalesce(a.k, b.k)`, and `*` as the stars of the tables. What cannot be written out
//! is refused beside outer joins, and left to DataFusion beside others.

mod known;
mod merged;
mod names;
mod tables;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, JoinConstraint, JoinOperator, OrderBy, PipeOperator, Query, Select, SetExpr, Statement,
    TableFactor, TableWithJoins, VisitMut, VisitorMut,
};
use keyloom_common::{Error, Result};

pub(super) use known::Known;
use merged::Kind;
use tables::Tables;

/// What is wrong where a table has no name. Derived tables are given one then.
pub(super) const NAMELESS: &str = "a query or function in FROM beside a JOIN … USING needs a \
                                   name: write (SELECT …) AS name";

/// Writes out the columns of USING in all queries of a statement.
pub(super) fn write_out(statement: &mut Statement, known: &Known) -> Result<()> {
    match statement.visit(&mut Queries { known }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Queries<'a> {
    known: &'a Known,
}

impl VisitorMut for Queries<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        broken(self.write_query(query))
    }
}

fn broken(written: Result<()>) -> ControlFlow<Error> {
    match written {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl Queries<'_> {
    fn write_query(&self, query: &mut Query) -> Result<()> {
        for operator in &query.pipe_operators {
            if let PipeOperator::Join(join) = operator
                && merges(&join.join_operator)
                && Kind::of(&join.join_operator).is_outer()
            {
                return Err(refused("an outer JOIN … USING or NATURAL after |>"));
            }
        }
        self.write_body(&mut query.body, query.order_by.as_mut())
    }

    fn write_body(&self, body: &mut SetExpr, order_by: Option<&mut OrderBy>) -> Result<()> {
        match body {
            SetExpr::Select(select) => self.write_select(select, order_by),
            SetExpr::SetOperation { left, right, .. } => {
                self.write_body(left, None)?;
                self.write_body(right, None)
            }
            // Others are queries of their own, or hold none.
            _ => Ok(()),
        }
    }

    fn write_select(&self, select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<()> {
        if !select.from.iter().any(has_using) {
            return Ok(());
        }
        let mut all = Tables::default();
        for tables in &mut select.from {
            all = all.beside(Tables::read(tables, self.known)?);
        }
        names::write(&all, self.known, select, order_by)
    }
}

/// Whether tables are joined so that two columns become one.
fn has_using(tables: &TableWithJoins) -> bool {
    let is_nested = |table: &TableFactor| match table {
        TableFactor::NestedJoin { table_with_joins, .. } => has_using(table_with_joins),
        _ => false,
    };
    let mut joins = tables.joins.iter();
    is_nested(&tables.relation)
        || joins.any(|join| merges(&join.join_operator) || is_nested(&join.relation))
}

fn merges(operator: &JoinOperator) -> bool {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => {
            matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural)
        }
        _ => false,
    }
}

fn quoted(name: String) -> Ident {
    Ident::with_quote('"', name)
}

fn refused(what: &str) -> Error {
    Error::invalid(format!(
        "{what} is not understood; write ON a.k = b.k, and coalesce(a.k, b.k) for the column of \
         both sides"
    ))
}

#[cfg(test)]
mod tests;
