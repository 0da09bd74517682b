//! Stores as tables: what a query reads of one that it does not look up is a scan of the store's
//! rows at its snapshot.

use std::{fmt, sync::Arc};

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Statistics, stats::Precision},
    datasource::{TableType, provider_as_source, source_as_provider},
    error::Result,
    logical_expr::{Expr, TableSource},
    physical_plan::{ExecutionPlan, empty::EmptyExec},
};
use keyloom_common::{
    BlobId, Error,
    input::{CsvOptions, Format, InputDescription, InputInspection, InputSpec},
    plan::{FramePartition, FrameScanExec, InputScanExec},
    store::{AttachedStore, LANCE, STORAGE_OPTIONS, StoreKey, StoreSpec},
};
use keyloom_planner::StoreTables;

use super::{file_table::scan_table, partitions::partitions};
use crate::{link::Link, query::Scanned};

/// A store under its alias.
#[derive(Clone)]
pub(crate) struct StoreTable {
    store: Arc<AttachedStore>,
    schema: SchemaRef,
    link: Arc<Link>,
    /// Why a join scans it, in words.
    why_scanned: Option<Arc<str>>,
}

impl StoreTable {
    pub(crate) fn new(store: Arc<AttachedStore>, link: Arc<Link>) -> Self {
        let schema = nullable(store.schema());
        Self { store, schema, link, why_scanned: None }
    }

    /// The rows of a Lance dataset, at the snapshot at which the table is planned.
    async fn scan_dataset(
        &self,
        planning: &dyn Session,
        projection: Vec<usize>,
        limit: Option<usize>,
    ) -> keyloom_common::Result<Arc<dyn ExecutionPlan>> {
        let description = self.describe(planning).await?;
        let partitions = partitions(&description, &self.link.settings);
        if partitions.is_empty() {
            return Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(&projection)?))));
        }
        let table = Arc::new(scan_table(&description));
        let scan = InputScanExec::try_new(table, projection, limit, partitions)?;
        let scan = scan.with_pin(self.store.spec.pin.clone());
        Ok(Arc::new(scan.with_note(self.why_scanned.clone())))
    }

    async fn describe(
        &self,
        planning: &dyn Session,
    ) -> keyloom_common::Result<Arc<InputDescription>> {
        let spec = self.input_spec();
        let look = || async {
            let inspection = self.link.connection.describe_input(spec.clone(), None).await?;
            let InputInspection::Described(description) = inspection else {
                return Err(Error::internal("a store was compared with nothing"));
            };
            Ok::<_, Error>(*description)
        };
        let description = Scanned::describe(planning, &spec, look).await?;
        let columns = |schema: &Schema| -> Vec<_> {
            let fields = schema.fields().iter();
            fields.map(|field| (field.name().clone(), field.data_type().clone())).collect()
        };
        if columns(&scan_table(&description).schema()) != columns(&self.schema) {
            return Err(Error::invalid(
                "it has other columns than when it was attached; attach it again",
            ));
        }
        Ok(description)
    }

    fn input_spec(&self) -> InputSpec {
        let StoreSpec { place, pin, options, .. } = &self.store.spec;
        InputSpec {
            path: place.clone(),
            format: Some(Format::Lance),
            columns: Arc::new(Schema::empty()),
            csv: CsvOptions::default(),
            given: Vec::new(),
            infer_bytes: 0,
            storage_profile: options.text(STORAGE_OPTIONS).map(ToOwned::to_owned),
            hive_partitioning: false,
            pin: pin.clone(),
            piece_bytes: self.link.settings.task_bytes.max(1),
        }
    }

    /// The rows of contents that travel beside the plan.
    fn scan_contents(
        &self,
        blob: BlobId,
        projection: Vec<usize>,
    ) -> keyloom_common::Result<Arc<dyn ExecutionPlan>> {
        let partitions = vec![FramePartition { blob, rows: self.link.contents.rows(blob)? }];
        let schema = Arc::clone(self.store.schema());
        let scan = FrameScanExec::try_new(partitions, schema, Some(projection))?;
        Ok(Arc::new(scan.with_note(self.why_scanned.clone())))
    }
}

impl StoreTable {
    /// What to write in the place of a scan, for stores that are asked by their keys alone.
    fn never_scanned(&self, kind: &str) -> Error {
        let alias = &self.store.alias;
        let join = match self.store.key() {
            Some((StoreKey::Columns(key), _)) => {
                let equal = |name: &String| format!("t.{name} = {alias}.{name}");
                let equal: Vec<_> = key.names().iter().map(equal).collect();
                format!(
                    ", a join on all of its key: t JOIN {alias} ON {}, or a condition that names \
                     its keys",
                    equal.join(" AND ")
                )
            }
            _ => String::new(),
        };
        let why = self.why_scanned.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        Error::invalid(format!(
            "a {kind} store cannot be scanned{why}, it is asked by its keys alone; write \
             kv_get(key, source => '{alias}'){join}"
        ))
    }
}

/// The columns of a store as those of rows that may not be found. It is all the same to scans, and
/// a join may become a lookup without a change of its columns.
fn nullable(schema: &Schema) -> SchemaRef {
    let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    Arc::new(Schema::new(schema.fields().iter().map(nullable).collect::<Vec<_>>()))
}

#[async_trait]
impl TableProvider for StoreTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.schema.fields().len()).collect();
        let projection = projection.cloned().unwrap_or_else(all);
        let StoreSpec { kind, content, .. } = &self.store.spec;
        let scan = match (content, kind.as_str()) {
            (Some(content), _) => self.scan_contents(*content, projection),
            // Its datasets are inputs, too.
            (None, LANCE) => self.scan_dataset(state, projection, limit).await,
            (None, kind) => Err(self.never_scanned(kind)),
        };
        let context = |error: Error| error.context(format!("KV store '{}'", self.store.alias));
        Ok(scan.map_err(context)?)
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows = usize::try_from(self.store.description.figures.as_ref()?.rows).ok()?;
        let unknown = Statistics::new_unknown(&self.schema);
        Some(Statistics { num_rows: Precision::Inexact(rows), ..unknown })
    }
}

impl fmt::Debug for StoreTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreTable").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Knows the tables of stores among others.
#[derive(Debug)]
pub(crate) struct TablesOfStores;

impl StoreTables for TablesOfStores {
    fn store(&self, table: &Arc<dyn TableSource>) -> Option<Arc<AttachedStore>> {
        let table = source_as_provider(table).ok()?;
        table.downcast_ref::<StoreTable>().map(|table| Arc::clone(&table.store))
    }

    fn noted(&self, table: &Arc<dyn TableSource>, why: &str) -> Option<Arc<dyn TableSource>> {
        let table = source_as_provider(table).ok()?;
        let table = table.downcast_ref::<StoreTable>()?;
        if table.why_scanned.as_deref() == Some(why) {
            return None;
        }
        let noted = StoreTable { why_scanned: Some(why.into()), ..table.clone() };
        Some(provider_as_source(Arc::new(noted)))
    }
}
