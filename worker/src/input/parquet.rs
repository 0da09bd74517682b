//! Parquet: row groups are pieces, and what cannot hold the wanted rows is passed over.
//!
//! DataFusion's source does the reading. What it does not know is told here: what the ends of files
//! say ([`ends`]), which rows of a row group a task is to read, and which file and row groups were
//! at fault.

mod ends;
mod known;

use std::{ops::Range, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Schema, TimeUnit},
};
use datafusion::{
    common::{
        config::TableParquetOptions,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    datasource::{
        listing::PartitionedFile,
        physical_plan::{
            FileGroup, FileScanConfigBuilder, ParquetSource,
            parquet::{ParquetAccessPlan, RowGroupAccess},
        },
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    execution::{TaskContext, object_store::ObjectStoreUrl},
    parquet::{
        arrow::arrow_reader::{RowSelection, RowSelector},
        file::metadata::{ParquetMetaData, RowGroupMetaData},
    },
    physical_expr::{
        PhysicalExpr, conjunction_opt, expressions::Column, split_conjunction,
        utils::collect_columns,
    },
    physical_plan::{ExecutionPlan, metrics::MetricsSet},
};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use keyloom_common::{
    Error, Result,
    input::{Location, Piece},
    plan::{FileSlice, ScanTable},
};
use object_store::{ObjectMeta, ObjectStore};

pub(super) use self::ends::Ends;
use self::{ends::start_of, known::KnownEnds};
use super::{adapt::check_fits, hive, object_meta};

/// The unit of INT96 timestamps. Nanoseconds, which Arrow takes them for, end in the year 2262.
const INT96: TimeUnit = TimeUnit::Microsecond;
const INT96_NAME: &str = "us";

/// The columns of a file, and its row groups.
pub(super) async fn look(
    ends: &Ends,
    location: &Location,
    store: &Arc<dyn ObjectStore>,
    meta: &ObjectMeta,
) -> Result<(Schema, Vec<Piece>)> {
    let end = ends.get(location, store, meta).await?;
    let metadata = end.metadata();
    if metadata.file_metadata().schema_descr().num_columns() == 0 {
        return Err(Error::invalid("it has no columns"));
    }
    let schema = end.schema()?.with_metadata(Default::default());
    let piece = |(index, group): (usize, &RowGroupMetaData)| {
        let start = if index == 0 { 0 } else { start_of(group)? };
        Some(Piece { start, rows: u64::try_from(group.num_rows()).ok(), lines_before: 0 })
    };
    Ok((schema, metadata.row_groups().iter().enumerate().filter_map(piece).collect()))
}

/// How the slices of a partition are read.
pub(super) struct Reader {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) ends: Arc<Ends>,
    pub(super) table: Arc<ScanTable>,
    /// The wanted columns of the table.
    pub(super) projection: Vec<usize>,
    /// Over the wanted columns.
    pub(super) predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Finds the store above under any URL.
    pub(super) context: Arc<TaskContext>,
}

/// A slice that is to be opened.
pub(super) struct Looked {
    pub(super) file: PartitionedFile,
    /// Its row groups, by their places in the file.
    groups: Vec<usize>,
    /// What the end of the file says of these, which goes with the file.
    metadata: Arc<ParquetMetaData>,
}

/// The rows of a slice.
pub(super) struct Opened {
    pub(super) batches: BoxStream<'static, Result<RecordBatch>>,
    /// Whether they are just the rows that were selected.
    pub(super) selected: bool,
    plan: Arc<dyn ExecutionPlan>,
}

impl Opened {
    /// What was counted, once the rows have come.
    pub(super) fn metrics(plan: &Arc<dyn ExecutionPlan>) -> MetricsSet {
        plan.metrics().unwrap_or_default()
    }

    pub(super) fn plan(&self) -> &Arc<dyn ExecutionPlan> {
        &self.plan
    }
}

impl Reader {
    /// Opens a slice. If its rows are those of one row group, only the selected ones are read.
    pub(super) async fn open(
        &self,
        slice: &FileSlice,
        rows: Option<Range<usize>>,
    ) -> Result<Opened> {
        let Looked { mut file, groups, metadata } = self.look(slice).await?;
        let counted = rows.is_some();
        let access = rows.and_then(|rows| access_plan(&metadata, rows));
        let selected = access.is_some();
        // Rows that are counted afterwards must all be there.
        let predicate = self.predicate.as_ref().filter(|_| selected || !counted);
        if let Some(access) = access {
            file = file.with_extension(access);
        }
        let plan = self.plan(vec![file], predicate)?;
        let batches = plan.execute(0, Arc::clone(&self.context))?;
        let batches = batches
            .map(move |batch| batch.map_err(|error| Error::from(error).context(named(&groups))));
        Ok(Opened { batches: batches.boxed(), selected, plan })
    }

    /// Opens slices that are read one after the other. Errors do not tell which of them is at
    /// fault.
    pub(super) fn open_all(&self, files: Vec<PartitionedFile>) -> Result<Opened> {
        let plan = self.plan(files, self.predicate.as_ref())?;
        let batches = plan.execute(0, Arc::clone(&self.context))?.map_err(Error::from);
        Ok(Opened { batches: batches.boxed(), selected: false, plan })
    }

    /// Looks whether a slice is of a file that fits the table.
    pub(super) async fn look(&self, slice: &FileSlice) -> Result<Looked> {
        let meta = object_meta(slice)?;
        let end = self.ends.with_pages(&self.table.location, &self.store, &meta).await?;
        if slice.rows.is_none() {
            check_fits(&end.schema()?, &self.table.file_schema)?;
        }
        let groups = end.groups(&slice.bytes);
        let metadata = end.only(&groups);
        let mut file = PartitionedFile::new_from_meta(meta)
            .with_range(slice.bytes.start.cast_signed(), slice.bytes.end.cast_signed())
            .with_partition_values(hive::scalars(&self.table.partition_schema, slice)?);
        file.extensions.insert_arc(Arc::clone(&metadata));
        Ok(Looked { file, groups, metadata })
    }

    fn plan(
        &self,
        files: Vec<PartitionedFile>,
        predicate: Option<&Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partition_columns = self.table.partition_schema.fields().iter().cloned().collect();
        let schema = TableSchema::new(Arc::clone(&self.table.file_schema), partition_columns);
        let mut options = TableParquetOptions::default();
        options.global.coerce_int96 = Some(INT96_NAME.to_owned());
        options.global.schema_force_view_types = false;
        let mut source = ParquetSource::new(schema)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(KnownEnds::of(&self.store)));
        let pruning = predicate.map(|predicate| self.pruning(predicate)).transpose()?;
        if let Some(pruning) = pruning.flatten() {
            source = source.with_predicate(pruning);
        }
        // The store is found under any URL.
        let url = ObjectStoreUrl::parse("input://task")?;
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(vec![FileGroup::new(files)])
            .with_projection_indices(Some(self.projection.clone()))?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// The parts of a predicate by which row groups and pages may be passed over. Statistics know
    /// nothing of NaN, which is greater than all numbers where conditions are asked.
    fn pruning(&self, predicate: &Arc<dyn PhysicalExpr>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let schema = self.table.schema();
        let parts = split_conjunction(predicate).into_iter().map(|part| self.over_table(part));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let has_floats = |part: &Arc<dyn PhysicalExpr>| {
            let columns = collect_columns(part);
            columns.iter().any(|column| has_floats(schema.field(column.index()).data_type()))
        };
        Ok(conjunction_opt(parts.into_iter().filter(|part| !has_floats(part))))
    }

    /// A predicate over the wanted columns as one over the table's.
    fn over_table(&self, predicate: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let column = |expr: Arc<dyn PhysicalExpr>| {
            let Some(column) = expr.downcast_ref::<Column>() else {
                return Ok(Transformed::no(expr));
            };
            let index = self.projection[column.index()];
            Ok(Transformed::yes(Arc::new(Column::new(column.name(), index)) as _))
        };
        Ok(Arc::clone(predicate).transform_up(column).data()?)
    }
}

fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        DataType::Dictionary(_, value) => has_floats(value),
        other => other.is_floating(),
    }
}

fn named(groups: &[usize]) -> String {
    match groups {
        [] => "no row group".to_owned(),
        [only] => format!("row group {only}"),
        [first, .., last] => format!("row groups {first} to {last}"),
    }
}

/// Reads only some rows of a row group, if that is all that is read.
fn access_plan(metadata: &ParquetMetaData, wanted: Range<usize>) -> Option<ParquetAccessPlan> {
    let [group] = metadata.row_groups() else { return None };
    let rows = usize::try_from(group.num_rows()).ok()?;
    let (start, end) = (wanted.start.min(rows), wanted.end.min(rows));
    let selection = RowSelection::from(vec![
        RowSelector::skip(start),
        RowSelector::select(end.saturating_sub(start)),
        RowSelector::skip(rows - end.max(start)),
    ]);
    Some(ParquetAccessPlan::new(vec![RowGroupAccess::Selection(selection)]))
}
