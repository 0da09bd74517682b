//! Whether a join with a store is cheaper as a lookup or as a scan, by the rows that are expected.

use datafusion::{
    datasource::source_as_provider,
    logical_expr::{FetchType, JoinType, LogicalPlan, TableScan},
};
use keyloom_common::store::{AttachedStore, JoinPath};

use crate::estimate::passing;

/// So many keys for each of a store's rows make a scan of it cheaper, and a join by a hash table.
/// Lookups find each row's place in a map, as the join would in its table, but on all workers; what
/// they read of the store they read once, too. Not measured yet.
const DENSE_KEYS_A_ROW: u64 = 16;

/// Whether to look so many keys up.
pub(super) fn prefers_lookup(path: JoinPath, keys: Option<u64>, store: &AttachedStore) -> bool {
    match path {
        JoinPath::Lookup => true,
        JoinPath::Scan => false,
        JoinPath::Auto => match (keys, store_rows(store)) {
            (Some(keys), Some(rows)) => keys <= rows.saturating_mul(DENSE_KEYS_A_ROW),
            // Where nothing is known, the store is what is large.
            _ => true,
        },
    }
}

/// How many rows a store has, if that is known.
pub(super) fn store_rows(store: &AttachedStore) -> Option<u64> {
    store.description.figures.as_ref().map(|figures| figures.rows)
}

/// How many rows a plan is expected to give, if its tables say how many they hold.
pub(super) fn rows(plan: &LogicalPlan) -> Option<u64> {
    match plan {
        LogicalPlan::TableScan(scan) => scanned(scan),
        LogicalPlan::EmptyRelation(empty) => Some(u64::from(empty.produce_one_row)),
        LogicalPlan::Values(values) => Some(values.values.len() as u64),
        LogicalPlan::Filter(filter) => rows(&filter.input).map(passing),
        LogicalPlan::Limit(limit) => {
            let most = match limit.get_fetch_type() {
                Ok(FetchType::Literal(most)) => most.map(|most| most as u64),
                _ => None,
            };
            least(rows(&limit.input), most)
        }
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Distinct(_) => plan.inputs().first().and_then(|input| rows(input)),
        LogicalPlan::Sort(sort) => least(rows(&sort.input), sort.fetch.map(|fetch| fetch as u64)),
        LogicalPlan::Union(union) => union.inputs.iter().map(|input| rows(input)).sum(),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty().then_some(1),
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => rows(&join.left).map(passing),
            JoinType::RightSemi | JoinType::RightAnti => rows(&join.right).map(passing),
            JoinType::LeftMark => rows(&join.left),
            JoinType::RightMark => rows(&join.right),
            _ => None,
        },
        _ => None,
    }
}

fn scanned(scan: &TableScan) -> Option<u64> {
    let table = source_as_provider(&scan.source).ok()?;
    let rows = table.statistics()?.num_rows.get_value().map(|rows| *rows as u64);
    least(rows, scan.fetch.map(|fetch| fetch as u64))
}

fn least(rows: Option<u64>, most: Option<u64>) -> Option<u64> {
    match (rows, most) {
        (Some(rows), Some(most)) => Some(rows.min(most)),
        (rows, most) => rows.or(most),
    }
}
