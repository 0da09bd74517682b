//! Whether a join with a store is cheaper as a lookup or as a scan, by the rows that are expected.

use std::sync::Arc;

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

/// The same of rows that have a condition of their own. A scan decides it once a row of the store,
/// and a lookup once a key: TPC-H's queries 2 and 16 take a sixth longer by lookups.
const DENSE_KEYS_A_SIFTED_ROW: u64 = 1;

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
}

impl Asked {
    /// So many keys, of all rows of a store.
    pub(super) fn some(keys: u64) -> Self {
        Self { keys: Some(keys), ..Self::default() }
    }

    /// So many keys for each of a store's rows are too many to look them up.
    fn dense_keys_a_row(self) -> u64 {
        if self.are_sifted { DENSE_KEYS_A_SIFTED_ROW } else { DENSE_KEYS_A_ROW }
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
        (JoinPath::Auto, (Some(keys), Some(rows))) => {
            keys <= rows.saturating_mul(asked.dense_keys_a_row())
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::joins::samples::{attached, store};

    #[test]
    fn dense_joins_are_scans_unless_a_way_is_forced() {
        let known = attached(store("s", &["id"]), Some(10), &[]);
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
        for (are_sifted, is_lookup) in [(false, true), (true, false)] {
            let (asked, why) = (Asked { are_sifted, ..Asked::some(11) }, "about 11 keys, 10 rows");
            let expected = Choice { is_lookup, why: why.into() };
            assert_eq!(choose(JoinPath::Auto, asked, &known), expected);
        }
        let limited = Asked { is_limited: true, ..Asked::some(5) };
        assert_eq!(choose(JoinPath::Auto, limited, &known), Choice { is_lookup: true, why });
    }
}
