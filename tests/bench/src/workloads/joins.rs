//! Workloads written as joins with their stores, and field by field.

use super::{Call, TPCH, Workload};
use crate::data::stores::KEY;

impl Workload {
    /// Whether it is that of TPC-H's queries.
    pub(crate) fn is_tpch(&self) -> bool {
        self.name == TPCH
    }

    /// The rows as left joins with the stores.
    pub(crate) fn joins_sql(&self) -> String {
        let joins = self.calls.iter().map(|Call { name, store, key, .. }| {
            format!(" LEFT JOIN {store} AS {name} ON r.{key} = {name}.{KEY}")
        });
        let fields = self.calls.iter().flat_map(|Call { name, columns, .. }| {
            columns.iter().map(move |column| format!("{name}.{column} AS {name}_{column}"))
        });
        let keys = self.requests.columns.iter().map(|keys| format!("r.{}", keys.name));
        let columns: Vec<_> = keys.chain(fields).collect();
        format!("SELECT {} FROM requests AS r{}", columns.join(", "), joins.collect::<String>())
    }

    /// The same rows by functions.
    pub(crate) fn fields_sql(&self) -> String {
        let fields = self.calls.iter().flat_map(|Call { name, columns, .. }| {
            columns.iter().map(move |column| format!("{name}['{column}'] AS {name}_{column}"))
        });
        let keys = self.requests.columns.iter().map(|keys| keys.name.to_owned());
        let columns: Vec<_> = keys.chain(fields).collect();
        format!("SELECT {} FROM ({})", columns.join(", "), self.sql())
    }
}

#[cfg(test)]
mod tests {
    use super::Workload;

    #[test]
    fn calls_are_written_as_joins() -> anyhow::Result<()> {
        let workload = Workload::named("joins-sparse")?;
        assert_eq!(
            workload.joins_sql(),
            "SELECT r.id, item.name AS item_name, meta.category AS meta_category FROM requests AS \
             r LEFT JOIN items_5m AS item ON r.id = item.id LEFT JOIN meta_5m AS meta ON r.id = \
             meta.id"
        );
        assert_eq!(
            workload.fields_sql(),
            "SELECT id, item['name'] AS item_name, meta['category'] AS meta_category FROM (SELECT \
             id, kv_get(id, source => 'items_5m', columns => ['name'], on_error => 'null') AS \
             item, kv_get(id, source => 'meta_5m', columns => ['category'], on_error => 'null') AS \
             meta FROM requests)"
        );
        Ok(())
    }
}
