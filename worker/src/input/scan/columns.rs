//! Where the wanted columns come from: those of files, and those that the names of folders tell.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use datafusion::common::ScalarValue;
use keyloom_common::{Result, plan::ScanTable};

/// Which columns are read from files, which are told by folders, and in which order they are
/// wanted.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) wanted: SchemaRef,
    /// The wanted columns of the files, as indices into the files' columns.
    pub(super) of_files: Vec<usize>,
    /// The wanted columns of the files.
    pub(super) file_schema: SchemaRef,
    /// For each wanted column, where it comes from.
    sources: Vec<Source>,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// This column of those that are read from files.
    File(usize),
    /// This column of those that folders tell.
    Folder(usize),
}

impl Columns {
    pub(super) fn new(table: &ScanTable, projection: &[usize]) -> Result<Self> {
        let files = table.file_schema.fields().len();
        let mut of_files = Vec::new();
        let sources = projection.iter().map(|&column| {
            if column >= files {
                return Source::Folder(column - files);
            }
            of_files.push(column);
            Source::File(of_files.len() - 1)
        });
        let sources = sources.collect();
        Ok(Self {
            wanted: Arc::new(table.schema().project(projection)?),
            file_schema: Arc::new(table.file_schema.project(&of_files)?),
            of_files,
            sources,
        })
    }

    /// The wanted columns of rows of a file.
    pub(super) fn complete(&self, rows: &RecordBatch, told: &[ScalarValue]) -> Result<RecordBatch> {
        let column = |source: &Source| match *source {
            Source::File(column) => Ok(Arc::clone(rows.column(column))),
            Source::Folder(column) => told[column].to_array_of_size(rows.num_rows()),
        };
        let columns = self.sources.iter().map(column).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.wanted), columns, &options)?)
    }
}
