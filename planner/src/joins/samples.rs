//! Stores as tables, for tests.

use std::{collections::BTreeSet, sync::Mutex};

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, LogicalTableSource, lit};
use keyloom_common::{
    BlobId,
    store::{
        Figures, JoinPath, LANCE, MEMORY, Pin, Snapshot, StoreDescription, StoreKey, StoreSpec,
    },
};

use super::*;

/// A store of contents, keyed by these of its columns `id`, `day`, `name` and `size`.
pub(super) fn memory(name: &str, key: &[&str]) -> StoreSpec {
    let key = Some(StoreKey::parse(key.iter().copied()).unwrap());
    let content = Some(BlobId::of(name.as_bytes()));
    StoreSpec { key, content, ..StoreSpec::new(name, MEMORY, "") }
}

/// A dataset keyed by these of its columns, of which keys may stand in several rows.
pub(super) fn store(name: &str, key: &[&str]) -> StoreSpec {
    let key = Some(StoreKey::parse(key.iter().copied()).unwrap());
    StoreSpec { key, ..StoreSpec::new(name, LANCE, format!("/{name}.lance")) }
}

/// The same at one version.
pub(super) fn pinned(spec: StoreSpec) -> StoreSpec {
    StoreSpec { pin: Some(Pin::Version(3)), ..spec }
}

/// A store that was opened; of a dataset, so many rows and these unique keys may be known.
pub(super) fn attached(
    spec: StoreSpec,
    rows: Option<u64>,
    unique: &[&[&str]],
) -> Arc<AttachedStore> {
    let names = |key: &&[&str]| key.iter().map(|&name| name.to_owned()).collect();
    let unique: BTreeSet<Vec<String>> = unique.iter().map(names).collect();
    let column = |name: &str, data_type| Field::new(name, data_type, true);
    let schema = Arc::new(Schema::new(vec![
        column("id", DataType::Int64),
        column("day", DataType::Int32),
        column("name", DataType::Utf8),
        column("size", DataType::Int64),
    ]));
    let figures = rows.map(|rows| Figures {
        rows,
        unique,
        value_bytes: vec![8, 4, 20, 8],
        ..Figures::default()
    });
    let description = StoreDescription {
        schema,
        snapshot: Snapshot::Immutable,
        figures,
        primary_key: None,
        repeats_keys: spec.content.is_none(),
    };
    AttachedStore::try_new(spec.name.clone(), spec, description).unwrap()
}

type Table = (Arc<dyn TableSource>, Arc<AttachedStore>);

/// Tables of stores, and why they are scanned.
#[derive(Default)]
pub(super) struct Tables {
    stores: Mutex<Vec<Table>>,
    notes: Mutex<Vec<String>>,
}

impl Tables {
    /// A scan of a store under its name.
    pub(super) fn scan(&self, store: Arc<AttachedStore>) -> LogicalPlanBuilder {
        let table: Arc<dyn TableSource> =
            Arc::new(LogicalTableSource::new(Arc::clone(store.schema())));
        let name = store.alias.clone();
        self.stores.lock().unwrap().push((Arc::clone(&table), store));
        LogicalPlanBuilder::scan(name, table, None).unwrap()
    }

    /// Why scans are made, in turn.
    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }
}

impl StoreTables for Tables {
    fn store(&self, table: &Arc<dyn TableSource>) -> Option<Arc<AttachedStore>> {
        let stores = self.stores.lock().unwrap();
        let found = stores.iter().find(|(known, _)| place(known) == place(table));
        found.map(|(_, store)| Arc::clone(store))
    }

    fn noted(&self, _: &Arc<dyn TableSource>, why: &str) -> Option<Arc<dyn TableSource>> {
        self.notes.lock().unwrap().push(why.to_owned());
        None
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").field("notes", &self.notes).finish_non_exhaustive()
    }
}

/// Where a table is: tables have no names of their own.
fn place(table: &Arc<dyn TableSource>) -> usize {
    Arc::as_ptr(table).cast::<()>() as usize
}

/// Rows of numbers and words, which ask: `t.column1`, `t.column2`.
pub(super) fn asking(rows: i64) -> LogicalPlanBuilder {
    let row = |number| vec![lit(number), lit("word")];
    let values = LogicalPlanBuilder::values((0..rows).map(row).collect()).unwrap();
    values.alias("t").unwrap()
}

/// What the rule makes of a plan.
pub(super) fn planned(tables: &Arc<Tables>, plan: LogicalPlan, path: JoinPath) -> LogicalPlan {
    let options = PlanOptions { join_path: path, ..PlanOptions::default() };
    planned_by(tables, plan, options, Vec::new())
}

/// What the rule makes of a plan, and others after it.
pub(super) fn planned_by(
    tables: &Arc<Tables>,
    plan: LogicalPlan,
    options: PlanOptions,
    others: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
) -> LogicalPlan {
    use datafusion::{
        config::ConfigOptions,
        optimizer::{Optimizer, OptimizerContext},
    };

    let mut config = ConfigOptions::new();
    config.extensions.insert(options);
    let rule = JoinStores::new(Arc::clone(tables) as Arc<dyn StoreTables>);
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![Arc::new(rule)];
    rules.extend(others);
    let context = OptimizerContext::new_with_config_options(Arc::new(config));
    let before = Arc::clone(plan.schema());
    let after = Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {});
    let after = after.unwrap();
    let names = |plan: &datafusion::common::DFSchemaRef| plan.columns();
    assert_eq!(names(after.schema()), names(&before));
    after
}
