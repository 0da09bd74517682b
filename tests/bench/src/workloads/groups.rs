//! Rows grouped by what they look up, in so many groups that workers shuffle them.

use super::{Variant, Workload, get};
use crate::data::{
    keys::KeyKind,
    requests::{Keys, Requests},
};

/// The name of the workload.
const GROUPS: &str = "groups";

/// Rows at scale 1.
const ROWS: u64 = 10_000_000;
const NAMES: u64 = 1_000_000;

pub(super) fn all() -> Vec<Workload> {
    let number = |name, of| Keys { kind: KeyKind::Integer, ..Keys::uniform(name, of) };
    let columns = vec![number("id", NAMES), number("delay", 1_000)];
    let requests = Requests { rows: ROWS, fixed: false, columns };
    vec![Workload {
        about: "10 M rows of Parquet files grouped by 1 M names that they look up",
        requests_of: Some("tasks"),
        variants: vec![Variant::DataFusion, Variant::Embedded, Variant::TwoWorkers],
        most_runs: 3,
        ..Workload::new(GROUPS, requests, vec![get("item", "items_int_1m", "id", &["name"])])
    }]
}

impl Workload {
    /// Whether its rows are grouped by what they look up.
    pub(crate) fn is_grouped(&self) -> bool {
        self.name == GROUPS
    }

    /// The groups of the rows that a statement gives.
    pub(crate) fn groups_sql(&self, rows: &str) -> String {
        format!("SELECT item_name, count(*) AS n, sum(delay) AS delay FROM ({rows}) GROUP BY 1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_groups_are_asked_for_by_lookups_and_by_joins() -> anyhow::Result<()> {
        let workload = Workload::named(GROUPS)?;
        assert_eq!(
            workload.groups_sql(&workload.joins_sql()),
            "SELECT item_name, count(*) AS n, sum(delay) AS delay FROM (SELECT r.id, r.delay, \
             item.name AS item_name FROM requests AS r LEFT JOIN items_int_1m AS item ON r.id = \
             item.id) GROUP BY 1"
        );
        assert_eq!(
            workload.groups_sql(&workload.fields_sql()),
            "SELECT item_name, count(*) AS n, sum(delay) AS delay FROM (SELECT id, delay, \
             item['name'] AS item_name FROM (SELECT id, delay, kv_get(id, source => \
             'items_int_1m', columns => ['name'], on_error => 'null') AS item FROM requests)) \
             GROUP BY 1"
        );
        Ok(())
    }
}
