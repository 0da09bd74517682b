//! Files as a table: the scan that workers will make of them, cut into slices of similar size.

use std::{fmt, ops::Range, sync::Arc};

use arrow::{datatypes::SchemaRef, temporal_conversions::timestamp_ms_to_datetime};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Statistics, stats::Precision},
    datasource::{
        TableType,
        file_format::{
            FileFormat, arrow::ArrowFormat, csv::CsvFormat, json::JsonFormat,
            parquet::ParquetFormat,
        },
        listing::PartitionedFile,
        physical_plan::{FileGroup, FileGroupPartitioner, FileScanConfigBuilder},
        table_schema::TableSchema,
    },
    error::Result,
    execution::object_store::ObjectStoreUrl,
    logical_expr::Expr,
    object_store::{ObjectMeta, path::Path},
    physical_plan::{ExecutionPlan, empty::EmptyExec},
};
use keyloom_common::input::{Format, InputDescription, InputFile};

use crate::settings::Settings;

/// Files that workers read.
pub(super) struct FileTable {
    description: InputDescription,
    settings: Settings,
}

impl FileTable {
    pub(super) fn new(description: InputDescription, settings: Settings) -> Self {
        Self { description, settings }
    }

    fn format(&self) -> Arc<dyn FileFormat> {
        match self.description.format {
            Format::Parquet => Arc::new(ParquetFormat::default().with_force_view_types(false)),
            Format::Csv => {
                Arc::new(CsvFormat::default().with_has_header(true).with_newlines_in_values(true))
            }
            Format::Json => Arc::new(JsonFormat::default()),
            Format::Arrow => Arc::new(ArrowFormat),
        }
    }

    /// Slices of similar size, in the order of the rows. The number of workers plays no part: the
    /// same query gives the same tasks everywhere.
    fn slices(&self) -> Vec<FileGroup> {
        let files = self.description.files.iter().filter(|file| file.size > 0);
        let files: Vec<_> = files.map(whole).collect();
        let total: u64 = files.iter().map(|file| file.object_meta.size).sum();
        match self.description.format {
            Format::Parquet => return self.row_group_slices(),
            // A line of CSV cannot be found from the middle: it may be within quotes.
            Format::Csv => {
                return files.into_iter().map(|file| FileGroup::new(vec![file])).collect();
            }
            Format::Json | Format::Arrow => {}
        }
        let slices = total.div_ceil(self.settings.task_bytes.max(1));
        let slices = usize::try_from(slices).unwrap_or(usize::MAX);
        let whole = FileGroup::new(files);
        FileGroupPartitioner::new()
            .with_target_partitions(slices.clamp(1, self.settings.max_tasks.max(1)))
            .with_repartition_file_min_size(0)
            .repartition_file_groups(std::slice::from_ref(&whole))
            .unwrap_or_else(|| vec![whole])
    }

    /// Row groups of Parquet files, small ones together. A large one is a slice of its own, which
    /// says how many rows it holds: the coordinator may cut it by rows.
    fn row_group_slices(&self) -> Vec<FileGroup> {
        let mut slices: Vec<(FileGroup, u64)> = Vec::new();
        for file in &self.description.files {
            for (index, group) in file.row_groups.iter().enumerate() {
                let next = file.row_groups.get(index + 1);
                let end = next.map_or(file.size, |next| next.start);
                let start = if index == 0 { 0 } else { group.start };
                let piece = self.piece(file, start..end, group.rows);
                match slices.last_mut() {
                    Some((slice, rows)) if *rows + group.rows <= self.settings.task_rows as u64 => {
                        slice.push(piece);
                        *rows += group.rows;
                    }
                    _ => slices.push((FileGroup::new(vec![piece]), group.rows)),
                }
            }
        }
        slices.into_iter().map(|(slice, _)| slice).collect()
    }

    fn piece(&self, file: &InputFile, bytes: Range<u64>, rows: u64) -> PartitionedFile {
        let mut statistics = Statistics::new_unknown(&self.description.schema);
        statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
        whole(file)
            .with_range(bytes.start.cast_signed(), bytes.end.cast_signed())
            .with_statistics(Arc::new(statistics))
    }
}

/// A file as the worker saw it: a worker must not take a rewritten one for what it has in its cache.
fn whole(file: &InputFile) -> PartitionedFile {
    // The path is one already: what looks like an escape in it is not to be escaped again.
    let location = Path::parse(&file.path).unwrap_or_else(|_| Path::from(file.path.as_str()));
    let modified = timestamp_ms_to_datetime(file.modified_ms).unwrap_or_default();
    PartitionedFile::new_from_meta(ObjectMeta {
        location,
        last_modified: modified.and_utc(),
        size: file.size,
        e_tag: None,
        version: None,
    })
}

#[async_trait]
impl TableProvider for FileTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.description.schema)
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
        let slices = self.slices();
        if slices.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.description.schema.project(columns)?),
                None => self.schema(),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let format = self.format();
        let source = format.file_source(TableSchema::from_file_schema(self.schema()));
        let object_store = ObjectStoreUrl::parse(&self.description.object_store)?;
        let config = FileScanConfigBuilder::new(object_store, source)
            .with_file_groups(slices)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        format.create_physical_plan(state, config).await
    }
}

impl fmt::Debug for FileTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileTable")
            .field("format", &self.description.format)
            .field("files", &self.description.files.len())
            .finish_non_exhaustive()
    }
}
