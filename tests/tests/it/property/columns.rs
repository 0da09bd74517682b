//! Which columns stores are asked for: those alone that a query reads, wherever it does.

use std::collections::BTreeSet;

use keyloom_client::report::JobSummary;
use proptest::{prelude::*, test_runner::TestCaseError};

use super::query::{COLUMNS, Call, Case, Expr, Query, Record, SelectItem, Store, What};

/// What a query reads of a store.
#[derive(Debug)]
struct Reads {
    store: Store,
    columns: BTreeSet<&'static str>,
    /// How many calls that raise may be asked for one more column, because they are tested for
    /// null: any will do.
    tests: usize,
}

/// Checks the lookups of a job's plan.
pub(super) fn check_columns(case: &Case, summary: &JobSummary) -> Result<(), TestCaseError> {
    for store in [Store::Numbers, Store::Words] {
        let mut reads = Reads { store, columns: BTreeSet::new(), tests: 0 };
        reads.case(case);
        let asked = asked(&summary.plan, store);
        let unread = asked.iter().filter(|column| !reads.columns.contains(column.as_str())).count();
        prop_assert!(unread <= reads.tests, "asked for {asked:?}, but {reads:?}: {}", case.sql());
    }
    Ok(())
}

/// The columns that a plan asks a store for.
fn asked(plan: &str, store: Store) -> BTreeSet<String> {
    let start = format!("{}@", store.alias());
    let fetches = plan.split(start.as_str()).skip(1);
    let calls = fetches.filter_map(|fetch| {
        let calls = fetch.split_once("[__kv")?.1.lines().next()?;
        // Other fetches and other waves stand in the same line.
        let end = ["]; ", "] | "].into_iter().filter_map(|end| calls.find(end)).min();
        Some(&calls[..end.unwrap_or(calls.len())])
    });
    let answers = calls.flat_map(|calls| calls.split("= {").skip(1));
    let columns = answers.filter_map(|answer| Some(answer.split_once('}')?.0));
    columns.flat_map(|names| names.split(", ").map(ToOwned::to_owned)).collect()
}

impl Reads {
    fn case(&mut self, case: &Case) {
        self.query(&case.query);
        let of_join = case.join.as_ref().and_then(|join| join.condition.as_ref());
        of_join.into_iter().chain(&case.filter).for_each(|condition| self.expr(condition));
    }

    fn query(&mut self, query: &Query) {
        match query {
            Query::Rows(items) | Query::First { items, .. } => {
                items.iter().for_each(|item| self.item(item));
            }
            Query::Behind { key, .. } => self.expr(key),
            Query::Lead { value, partition } => {
                self.expr(value);
                partition.iter().for_each(|partition| self.expr(partition));
            }
            Query::Outside { call, fields, .. } if fields.is_empty() => self.tested(call),
            Query::Outside { call, fields, .. } => self.call(call, fields),
            Query::Groups { call, field, .. } => self.call(call, &[*field]),
            Query::Least { .. } => {}
        }
    }

    fn item(&mut self, item: &SelectItem) {
        item.guard.iter().for_each(|guard| self.expr(guard));
        match &item.what {
            What::Scalar(expr) => self.expr(expr),
            What::Row(call, columns) | What::Rows(call, columns, _) => self.call(call, columns),
        }
    }

    fn call(&mut self, call: &Call, columns: &[&'static str]) {
        self.expr(&call.key);
        if call.store == self.store {
            self.columns.extend(columns);
        }
    }

    fn tested(&mut self, call: &Call) {
        self.call(call, &[]);
        self.tests += usize::from(call.store == self.store && !call.null_on_error);
    }

    fn record(&mut self, record: &Record, columns: &[&'static str]) {
        match record {
            Record::Found(call) => self.call(call, columns),
            Record::When(condition, record) => {
                self.expr(condition);
                self.record(record, columns);
            }
            Record::Coalesce(one, other) => {
                self.record(one, columns);
                self.record(other, columns);
            }
            // Whole rows are compared, with the column by which some are deleted.
            Record::Nullif(one, other) => {
                let whole = [&COLUMNS[..], &["deleted"]].concat();
                self.record(one, &whole);
                self.record(other, &whole);
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Column(_) | Expr::Inner(_) | Expr::Literal(_) => {}
            Expr::Field(record, field) => self.record(record, &[*field]),
            Expr::Exists(call) => self.call(call, &[]),
            Expr::Found(call) => self.tested(call),
            Expr::Case(branches, otherwise) => self.branches(branches, otherwise.as_deref()),
            Expr::Match(operand, branches, otherwise) => {
                self.expr(operand);
                self.branches(branches, otherwise.as_deref());
            }
            Expr::Coalesce(args) => args.iter().for_each(|arg| self.expr(arg)),
            Expr::Not(inner) | Expr::IsNull(inner) => self.expr(inner),
            Expr::Nullif(left, right)
            | Expr::And(left, right)
            | Expr::Or(left, right)
            | Expr::Equal(left, right)
            | Expr::Less(left, right) => {
                self.expr(left);
                self.expr(right);
            }
        }
    }

    fn branches(&mut self, branches: &[(Expr, Expr)], otherwise: Option<&Expr>) {
        for (when, then) in branches {
            self.expr(when);
            self.expr(then);
        }
        otherwise.into_iter().for_each(|otherwise| self.expr(otherwise));
    }
}
