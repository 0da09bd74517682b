//! Names for derived tables, and for lists that are tables, which have none and stand beside other
//! tables: without, DataFusion does not tell their columns from others that are called alike.
//!
//! A statement gets them only if it cannot be planned as it is written, so that all others keep the
//! names that their columns have.

use std::{iter, ops::ControlFlow};

use datafusion::{
    common::Column,
    execution::context::SessionState,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder},
    sql::{
        parser::Statement as Parsed,
        sqlparser::ast::{
            Ident, Select, TableAlias, TableFactor, TableWithJoins, VisitMut, VisitorMut,
        },
    },
};
use keyloom_common::{Error, Result};

use super::{plan_by_names, using::NAMELESS};
use crate::session::Session;

/// What DataFusion says of columns that it does not tell apart.
const ALIKE: &str = "Schema contains ";

/// Plans a statement that could not be planned as it is written, if names are what it lacks. It is
/// read again for that.
///
/// # Errors
/// Why it failed, or else what is wrong beside that.
pub(super) async fn plan(
    session: &Session,
    state: &SessionState,
    again: impl Fn() -> Result<Parsed>,
    failed: Error,
) -> Result<LogicalPlan> {
    if !failed.message().contains(ALIKE) && failed.message() != NAMELESS {
        return Err(failed);
    }
    let (statement, names) = named(again()?);
    if names.is_empty() {
        return Err(failed);
    }
    let again = || again().map(|statement| named(statement).0);
    match plan_by_names(session, state, statement, again).await {
        Ok(plan) => unnamed(plan, &names),
        Err(error) => {
            let message = without(&names, error.message());
            Err(error.reworded(message))
        }
    }
}

/// The statement with names for its derived tables, and these names.
fn named(mut statement: Parsed) -> (Parsed, Vec<String>) {
    let mut names = Names::default();
    names.give(&mut statement);
    (statement, names.0)
}

/// The plan with its columns called as if the names were not there.
fn unnamed(plan: LogicalPlan, names: &[String]) -> Result<LogicalPlan> {
    let columns: Vec<Column> = plan.schema().columns();
    let called: Vec<String> = columns.iter().map(|column| without(names, &column.name)).collect();
    if columns.iter().zip(&called).all(|(column, called)| column.name == *called) {
        return Ok(plan);
    }
    let columns = columns.into_iter().zip(called).map(|(column, called)| {
        let is_called_so = column.name == called;
        let column = Expr::Column(column);
        if is_called_so { column } else { column.alias(called) }
    });
    Ok(LogicalPlanBuilder::from(plan).project(columns)?.build()?)
}

/// A text in which columns are not called by these names of tables.
fn without(names: &[String], text: &str) -> String {
    names.iter().fold(text.to_owned(), |text, name| {
        text.replace(&format!("\"{name}\"."), "").replace(&format!("{name}."), "")
    })
}

/// The names that were given.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn give(&mut self, statement: &mut Parsed) {
        match statement {
            Parsed::Explain(explain) => self.give(&mut explain.statement),
            Parsed::Statement(statement) => {
                // It breaks nowhere.
                let _ = statement.visit(self);
            }
            // Others are refused as what they are.
            _ => {}
        }
    }

    /// Names the derived tables of a FROM, if they stand beside others.
    fn give_within(&mut self, tables: &mut TableWithJoins, beside_others: bool, is_first: bool) {
        let beside_others = beside_others || !tables.joins.is_empty();
        let joined = tables.joins.iter_mut().map(|join| (&mut join.relation, false));
        for (relation, is_first) in iter::once((&mut tables.relation, is_first)).chain(joined) {
            match relation {
                TableFactor::Derived { alias, .. }
                | TableFactor::Function { alias, .. }
                | TableFactor::UNNEST { alias, .. }
                    if beside_others && alias.is_none() =>
                {
                    *alias = Some(self.next(is_first));
                }
                TableFactor::NestedJoin { table_with_joins, .. } => {
                    self.give_within(table_with_joins, beside_others, is_first);
                }
                _ => {}
            }
        }
    }

    /// A name that no user can have given. Where columns of NATURAL are left to DataFusion, it
    /// keeps the one whose table comes first by name: so that is the first table.
    fn next(&mut self, is_first: bool) -> TableAlias {
        let first = if is_first { '#' } else { '~' };
        let name = format!("{first}derived{}", self.0.len());
        self.0.push(name.clone());
        let name = Ident::with_quote('"', name);
        TableAlias { explicit: true, name, columns: Vec::new(), at: None }
    }
}

impl VisitorMut for Names {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let beside_others = select.from.len() > 1;
        for (place, tables) in select.from.iter_mut().enumerate() {
            self.give_within(tables, beside_others, place == 0);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::{super::parse, *};

    #[test]
    fn derived_tables_are_named_where_they_stand_beside_others() {
        let state = SessionContext::new().state();
        for (from, expected) in [
            ("(SELECT 1)", vec![]),
            ("(SELECT 1) AS a, b", vec![]),
            ("(SELECT 1), b", vec!["#derived0"]),
            ("a JOIN (SELECT 1) USING (k)", vec!["~derived0"]),
            ("((SELECT 1) JOIN b ON true)", vec!["#derived0"]),
            ("a, UNNEST([1])", vec!["~derived0"]),
            ("a JOIN b USING (k) CROSS JOIN UNNEST([1])", vec!["~derived0"]),
            (
                "(SELECT 1 FROM (SELECT 2), b) JOIN (SELECT 3) ON true",
                vec!["#derived0", "~derived1", "#derived2"],
            ),
        ] {
            let (_, names) = named(parse(&state, &format!("SELECT * FROM {from}")).unwrap());
            assert_eq!(names, expected, "{from}");
        }
    }

    #[test]
    fn names_are_not_told() {
        let names = ["#derived0".to_owned(), "~derived1".to_owned()];
        let text = "No field named n. Valid fields are \"#derived0\".k, t.k; #derived0.k + 1";
        let expected = "No field named n. Valid fields are k, t.k; k + 1";
        assert_eq!(without(&names, text), expected);
    }
}
