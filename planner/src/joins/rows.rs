//! How many rows a plan is expected to give, if its tables say how many they hold, and where.
//!
//! It is asked of what is below a join: joins with stores there are lookups by now, or scans.

use datafusion::{
    datasource::source_as_provider,
    logical_expr::{
        FetchType, Join, JoinType, Limit, LogicalPlan, TableScan, Unnest, utils::split_conjunction,
    },
};

use super::{ROW, kept::keeps_found};
use crate::estimate::passing;

/// Of several conditions that must all hold, so many are taken to say something of their own.
const MOST_CONDITIONS: usize = 3;

/// How many rows a plan is expected to give, if that can be told.
pub(super) fn rows(plan: &LogicalPlan) -> Option<u64> {
    expected(plan).map(|expected| expected.rows)
}

/// Whether the coordinator makes a plan's rows: workers make those that no others bear on.
pub(super) fn are_gathered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Window(_) => true,
        other => other.inputs().into_iter().any(are_gathered),
    }
}

/// Rows that are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expected {
    rows: u64,
    /// How many they would be without conditions.
    of: u64,
}

impl Expected {
    fn all(rows: u64) -> Self {
        Self { rows, of: rows }
    }

    /// Those that pass a condition.
    fn passing(self) -> Self {
        Self { rows: passing(self.rows), ..self }
    }

    fn and(self, other: Self) -> Self {
        let add = |one: u64, other: u64| one.saturating_add(other);
        Self { rows: add(self.rows, other.rows), of: add(self.of, other.of) }
    }

    /// With their matches among others. The smaller table is taken to be that of the key, of whose
    /// rows each of the larger one's has one, unless a condition has dropped that.
    fn matched(self, other: Self) -> Self {
        let keys = u128::from(self.of.min(other.of).max(1));
        let rows = u128::from(self.rows) * u128::from(other.rows) / keys;
        Self { rows: u64::try_from(rows).unwrap_or(u64::MAX), of: self.of.max(other.of) }
    }

    /// The same, but no fewer than those.
    fn at_least(self, least: Self) -> Self {
        Self { rows: self.rows.max(least.rows), ..self }
    }
}

fn expected(plan: &LogicalPlan) -> Option<Expected> {
    match plan {
        LogicalPlan::TableScan(scan) => scanned(scan),
        LogicalPlan::EmptyRelation(empty) => Some(Expected::all(u64::from(empty.produce_one_row))),
        LogicalPlan::Values(values) => Some(Expected::all(values.values.len() as u64)),
        // What a join asks for is there, most often.
        LogicalPlan::Filter(filter) if keeps_found(&filter.predicate) => expected(&filter.input),
        LogicalPlan::Filter(filter) => {
            let conditions = split_conjunction(&filter.predicate).len().min(MOST_CONDITIONS);
            let input = expected(&filter.input)?;
            Some((0..conditions).fold(input, |rows, _| rows.passing()))
        }
        LogicalPlan::Limit(limit) => at_most(expected(&limit.input), limit_of(limit)),
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Distinct(_) => plan.inputs().first().and_then(|input| expected(input)),
        LogicalPlan::Unnest(unnest) if is_of_join(unnest) => expected(&unnest.input),
        LogicalPlan::Sort(sort) => {
            at_most(expected(&sort.input), sort.fetch.map(|fetch| fetch as u64))
        }
        LogicalPlan::Union(union) => union
            .inputs
            .iter()
            .try_fold(Expected::all(0), |sum, input| Some(sum.and(expected(input)?))),
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.is_empty().then(|| Expected::all(1))
        }
        LogicalPlan::Join(join) => joined(join),
        _ => None,
    }
}

fn scanned(scan: &TableScan) -> Option<Expected> {
    let table = source_as_provider(&scan.source).ok()?;
    let statistics = table.statistics();
    let rows = statistics.and_then(|known| known.num_rows.get_value().map(|rows| *rows as u64));
    at_most(rows.map(Expected::all), scan.fetch.map(|fetch| fetch as u64))
}

fn limit_of(limit: &Limit) -> Option<u64> {
    match limit.get_fetch_type() {
        Ok(FetchType::Literal(most)) => most.map(|most| most as u64),
        _ => None,
    }
}

fn at_most(expected: Option<Expected>, most: Option<u64>) -> Option<Expected> {
    match (expected, most) {
        (Some(expected), Some(most)) => {
            Some(Expected { rows: expected.rows.min(most), of: expected.of.min(most) })
        }
        (expected, most) => expected.or(most.map(Expected::all)),
    }
}

/// Whether what is unnested are the rows of a join's keys: most keys have one.
fn is_of_join(unnest: &Unnest) -> bool {
    unnest.exec_columns.iter().all(|column| column.name.starts_with(ROW))
}

fn joined(join: &Join) -> Option<Expected> {
    let (left, right) = (expected(&join.left), expected(&join.right));
    match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => left.map(Expected::passing),
        JoinType::RightSemi | JoinType::RightAnti => right.map(Expected::passing),
        JoinType::LeftMark => left,
        JoinType::RightMark => right,
        // Pairs of rows that need not be equal are not counted.
        _ if join.on.is_empty() => None,
        JoinType::Inner => Some(left?.matched(right?)),
        JoinType::Left => Some(left?.matched(right?).at_least(left?)),
        JoinType::Right => Some(left?.matched(right?).at_least(right?)),
        JoinType::Full => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};

    use super::*;
    use crate::joins::samples::asking;

    fn check(plan: LogicalPlanBuilder, expected: Option<u64>) {
        let plan = plan.build().unwrap();
        assert_eq!(rows(&plan), expected, "{}", plan.display_indent());
    }

    /// A join of rows that ask with so many others.
    fn join(asking: LogicalPlanBuilder, others: i64, join_type: JoinType) -> LogicalPlanBuilder {
        let held = (0..others).map(|number| vec![lit(number)]).collect();
        let held = LogicalPlanBuilder::values(held).unwrap().alias("held").unwrap();
        let on = (vec!["t.column1"], vec!["held.column1"]);
        asking.join(held.build().unwrap(), join_type, on, None).unwrap()
    }

    #[test]
    fn conditions_let_some_rows_pass_and_limits_cut_them() {
        let small = || asking(100).filter(col("column1").lt(lit(7))).unwrap();
        check(asking(100), Some(100));
        check(small(), Some(20));
        check(small().limit(0, Some(5)).unwrap(), Some(5));
        let range = col("column1").gt(lit(3)).and(col("column1").lt(lit(7)));
        check(asking(100).filter(range).unwrap(), Some(4));
        check(LogicalPlanBuilder::empty(true), Some(1));
    }

    #[test]
    fn rows_that_others_bear_on_are_the_coordinators() {
        let is_gathered = |plan: LogicalPlanBuilder| are_gathered(&plan.build().unwrap());
        assert!(!is_gathered(asking(3).filter(col("column1").lt(lit(7))).unwrap()));
        assert!(is_gathered(asking(3).limit(0, Some(2)).unwrap()));
        assert!(is_gathered(join(asking(3), 2, JoinType::Inner).project([lit(1)]).unwrap()));
    }

    #[test]
    fn a_row_of_the_larger_table_has_one_match_unless_a_condition_drops_it() {
        check(join(asking(100), 10, JoinType::Inner), Some(100));
        check(join(asking(10), 100, JoinType::Inner), Some(100));
        let few = || asking(100).filter(col("column1").lt(lit(7))).unwrap();
        check(join(few(), 10, JoinType::Inner), Some(20));
        check(join(few(), 1000, JoinType::Inner), Some(200));
        check(join(asking(100), 10, JoinType::Left), Some(100));
        check(join(asking(100), 10, JoinType::LeftSemi), Some(20));
        check(join(asking(100), 10, JoinType::Full), None);
    }
}
