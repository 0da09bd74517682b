//! The columns of `USING` where outer joins make them.
//!
//! SQL has one column of the two sides: of a row that stands on one side alone, its value there.
//! DataFusion takes one side's column, null or not: the left one for a name, and for `*` that whose
//! table comes first by name. So names and stars are written out before it plans them: `k` as the
//! column of the side that keeps all its rows or as `coalesce(a.k, b.k)`, and `*` as the stars of
//! the tables. What cannot be written out is refused.

mod merged;
mod names;
mod tables;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, JoinConstraint, JoinOperator, OrderBy, PipeOperator, Query, Select, SetExpr, Statement,
    TableFactor, TableWithJoins, VisitMut, VisitorMut,
};
use keyloom_common::{Error, Result};

use crate::session::key::KeyReader;
use tables::Tables;

/// What is wrong where a table has no name. Derived tables are given one then.
pub(super) const NAMELESS: &str = "a query or function in FROM beside an outer JOIN … USING needs \
                                   a name: write (SELECT …) AS name";

/// Writes out the columns of USING in all queries of a statement.
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
        broken(self.write_query(query))
    }
}

fn broken(written: Result<()>) -> ControlFlow<Error> {
    match written {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl Queries {
    fn write_query(&self, query: &mut Query) -> Result<()> {
        for operator in &query.pipe_operators {
            if let PipeOperator::Join(join) = operator
                && is_outer(&join.join_operator)
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
        if !select.from.iter().any(has_outer) {
            return Ok(());
        }
        let mut all = Tables::default();
        for tables in &mut select.from {
            all = all.beside(Tables::read(tables, self.reader)?);
        }
        names::write(&all, self.reader, select, order_by)
    }
}

/// Whether tables are joined so that a column of USING may be null on one side.
fn has_outer(tables: &TableWithJoins) -> bool {
    let is_nested = |table: &TableFactor| match table {
        TableFactor::NestedJoin { table_with_joins, .. } => has_outer(table_with_joins),
        _ => false,
    };
    let mut joins = tables.joins.iter();
    is_nested(&tables.relation)
        || joins.any(|join| is_outer(&join.join_operator) || is_nested(&join.relation))
}

fn is_outer(operator: &JoinOperator) -> bool {
    match operator {
        JoinOperator::Left(constraint)
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
