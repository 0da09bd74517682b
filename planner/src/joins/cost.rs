//! Whether a join with a store is cheaper as a lookup or as a scan, by the rows that are expected.

use std::sync::Arc;

use datafusion::{
    datasource::source_as_provider,
    logical_expr::{
        Expr, FetchType, Filter, Join, JoinType, LogicalPlan, TableScan, utils::split_conjunction,
    },
};
use keyloom_common::store::{AttachedStore, JoinPath};

use crate::estimate::passing;

/// So many keys for each of a store's rows make a scan of it cheaper, and a join by a hash table,
/// though lookups find each row's place on all workers, and what they read of the store stays in
/// memory.
const DENSE_KEYS_A_ROW: u64 = 16;

/// The same where something speaks for the scan: see [`Asked::leanings`].
const DENSE_KEYS_A_ROW_TO_SCAN: u64 = 1;

/// Of fewer keys than this, none of it takes long in one process.
const MANY_KEYS: u64 = 10_000;

/// So many rows for each key do where several things speak for it.
const DENSE_ROWS_A_KEY: u64 = 2;

/// How a store's rows are reached, and the figures that decide, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) is_lookup: bool,
    pub(super) why: Arc<str>,
}

/// The keys that a lookup is expected to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// How many, if that is known.
    pub(super) keys: Option<u64>,
    /// Whether there would be more without a limit above.
    pub(super) is_limited: bool,
    /// Whether the store's rows have a condition of their own, which a scan may decide of all.
    pub(super) are_sifted: bool,
    /// Whether the rows that ask come out of a join that is none with a store's keys.
    pub(super) are_gathered: bool,
    /// Whether all of it runs in one process, where a lookup could not save more than it costs.
    pub(super) is_together: bool,
}

impl Asked {
    /// So many keys, of all rows of a store.
    pub(super) fn some(keys: u64) -> Self {
        Self { keys: Some(keys), ..Self::default() }
    }

    /// How much speaks for a scan. In one process rows come together at no cost: there a hash join
    /// of four keys for each row takes half the time of lookups. Rows that come out of a hash join
    /// are at one place anyhow, and lookups send them to workers and back: TPC-H's query 7 takes a
    /// third longer by them. And a scan decides a condition once a row, a lookup once a key.
    fn leanings(self, keys: u64) -> usize {
        let is_together = self.is_together && keys >= MANY_KEYS;
        [is_together, self.are_gathered, self.are_sifted].into_iter().filter(|&is| is).count()
    }

    /// Whether so many keys are too many for a store of so many rows to look them up.
    fn is_dense(self, keys: u64, rows: u64) -> bool {
        let most = match self.leanings(keys) {
            0 => rows.saturating_mul(DENSE_KEYS_A_ROW),
            1 => rows.saturating_mul(DENSE_KEYS_A_ROW_TO_SCAN),
            _ => rows / DENSE_ROWS_A_KEY,
        };
        keys > most
    }
}

/// Whether to look keys up.
pub(super) fn choose(path: JoinPath, asked: Asked, store: &AttachedStore) -> Choice {
    if !store.spec.can_be_scanned() {
        let why = format!("a {} store is never scanned", store.spec.kind);
        return Choice { is_lookup: true, why: why.into() };
    }
    let figures = (asked.keys, store_rows(store));
    let is_lookup = match (path, figures) {
        (JoinPath::Lookup, _) => true,
        (JoinPath::Scan, _) => false,
        (JoinPath::Auto, (Some(keys), Some(rows))) => !asked.is_dense(keys, rows),
        // Where nothing is known, the store is what is large.
        (JoinPath::Auto, _) => true,
    };
    let why = match (path, figures) {
        (JoinPath::Lookup | JoinPath::Scan, _) => format!("join_path = {path}"),
        (JoinPath::Auto, (keys, rows)) => {
            let keys = keys.map_or("any number of".to_owned(), |keys| format!("about {keys}"));
            let rows = rows.map_or("any number of".to_owned(), |rows| rows.to_string());
            let limit = if asked.is_limited { " for the limit above" } else { "" };
            format!("{keys} keys{limit}, {rows} rows")
        }
    };
    Choice { is_lookup, why: why.into() }
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
        LogicalPlan::Filter(filter) => sifted(filter),
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
        // A key finds one row, mostly.
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Distinct(_) => plan.inputs().first().and_then(|input| rows(input)),
        LogicalPlan::Sort(sort) => least(rows(&sort.input), sort.fetch.map(|fetch| fetch as u64)),
        LogicalPlan::Union(union) => union.inputs.iter().map(|input| rows(input)).sum(),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty().then_some(1),
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => rows(&join.left).map(passing),
            JoinType::RightSemi | JoinType::RightAnti => rows(&join.right).map(passing),
            JoinType::LeftMark => rows(&join.left),
            JoinType::RightMark => rows(&join.right),
            _ => joined(join),
        },
        _ => None,
    }
}

/// Nearly all rows have a value, and what is asked of the others is where they find one.
fn sifted(filter: &Filter) -> Option<u64> {
    let keeps_values = |condition: &&Expr| matches!(condition, Expr::IsNotNull(_));
    let all = rows(&filter.input);
    if split_conjunction(&filter.predicate).iter().all(keeps_values) {
        all
    } else {
        all.map(passing)
    }
}

/// Each row of the larger side is expected to find one of the other.
fn joined(join: &Join) -> Option<u64> {
    let (left, right) = (rows(&join.left)?, rows(&join.right)?);
    Some(if join.on.is_empty() { left.saturating_mul(right) } else { left.max(right) })
}

/// Whether rows come out of a join, and so all at one place.
pub(super) fn are_gathered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(_) => true,
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Unnest(_) => plan.inputs().into_iter().all(are_gathered),
        _ => false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::joins::samples::{attached, store};

    #[test]
    fn dense_joins_are_scans_unless_a_way_is_forced() {
        let known = attached(store("s", &["id"]), Some(10), &[]);
        let large = attached(store("s", &["id"]), Some(20_000), &[]);
        let unknown = attached(store("s", &["id"]), None, &[]);
        let check = |path, keys, store: &AttachedStore, is_lookup, why: &str| {
            let asked = Asked { keys, ..Asked::default() };
            assert_eq!(choose(path, asked, store), Choice { is_lookup, why: why.into() });
        };
        check(JoinPath::Auto, Some(160), &known, true, "about 160 keys, 10 rows");
        check(JoinPath::Auto, Some(161), &known, false, "about 161 keys, 10 rows");
        check(JoinPath::Auto, None, &known, true, "any number of keys, 10 rows");
        check(JoinPath::Auto, Some(1), &unknown, true, "about 1 keys, any number of rows");
        check(JoinPath::Lookup, Some(161), &known, true, "join_path = lookup");
        check(JoinPath::Scan, Some(1), &known, false, "join_path = scan");
        let why = "about 5 keys for the limit above, 10 rows".into();
        let lean = |store, are_sifted, are_gathered, is_together, most| {
            for (keys, is_lookup) in [(most, true), (most + 1, false)] {
                let asked = Asked { are_sifted, are_gathered, is_together, ..Asked::some(keys) };
                let choice = choose(JoinPath::Auto, asked, store);
                assert_eq!(choice.is_lookup, is_lookup, "{asked:?}");
            }
        };
        lean(&known, false, false, false, 160);
        lean(&known, true, false, false, 10);
        lean(&known, false, true, false, 10);
        lean(&known, true, true, false, 5);
        lean(&known, true, false, true, 10);
        lean(&known, false, false, true, 160);
        lean(&large, false, false, true, 20_000);
        lean(&large, false, true, true, 10_000);
        let limited = Asked { is_limited: true, ..Asked::some(5) };
        assert_eq!(choose(JoinPath::Auto, limited, &known), Choice { is_lookup: true, why });
    }
}
