//! Plans and inputs for tests.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::ExecutionPlan;
use keyloom_common::{
    input::{CsvOptions, InputSpec},
    output::{
        FileFormat, FilesOutput, IfExists, OutputKind, OutputSpec, PreparedOutput, WriteExec,
    },
};

/// The one column `id`.
pub(crate) fn ids() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]))
}

/// Files at a path of which nothing more is said.
pub(crate) fn input(path: &str) -> InputSpec {
    InputSpec {
        path: path.to_owned(),
        format: None,
        columns: Arc::new(Schema::empty()),
        csv: CsvOptions::default(),
        given: Vec::new(),
        infer_bytes: 1 << 20,
        storage_profile: None,
        hive_partitioning: true,
        pin: None,
        piece_bytes: 1 << 20,
    }
}

/// Files of a format, of any size, as they usually are.
pub(crate) fn files(format: FileFormat) -> FilesOutput {
    FilesOutput {
        format,
        if_exists: IfExists::Error,
        partition_by: Vec::new(),
        target_file_bytes: 1 << 30,
        compression: None,
    }
}

/// What writes rows as files below a path.
pub(crate) fn written(rows: Arc<dyn ExecutionPlan>, path: &str, files: FilesOutput) -> WriteExec {
    let kind = OutputKind::Files(files);
    let spec = OutputSpec { path: path.to_owned(), storage_profile: None, kind };
    let output = PreparedOutput { spec, schema: rows.schema(), version: None };
    WriteExec::new(rows, Arc::new(output))
}
