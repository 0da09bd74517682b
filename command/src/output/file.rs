//! Files that are written batch by batch under another name, and renamed when they are whole.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::{
    arrow::{array::RecordBatch, datatypes::SchemaRef, ipc::writer::FileWriter},
    parquet::{
        arrow::ArrowWriter, basic::Compression, errors::ParquetError,
        file::properties::WriterProperties,
    },
};
use keyloom_common::formats::{Refused, Rule, types};
use tempfile::NamedTempFile;

use super::{Columns, Lines};
use crate::error::Failure;

/// How users keep Arrow's types.
const KEEP: &str = "or keep the type, for readers that know it, with arrow_types = true or \
                    --arrow-types";

/// How many bytes of Parquet are held before a row group is written.
const ROW_GROUP_BYTES: usize = 128 << 20;

/// The formats of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileFormat {
    /// Parquet that others can read.
    Parquet,
    /// Parquet for readers that know Arrow's types.
    ParquetAsArrow,
    /// An Arrow IPC file.
    Arrow,
    /// Lines of text.
    Lines(Lines),
}

impl FileFormat {
    /// The columns that it can hold.
    pub(super) fn rule(self) -> Rule {
        match self {
            Self::Parquet => types::parquet,
            Self::ParquetAsArrow => types::parquet_as_arrow,
            Self::Arrow => types::arrow,
            Self::Lines(lines) => lines.rule(),
        }
    }
}

/// A file that is being written. Dropping it leaves nothing behind.
pub(crate) struct OutputWriter {
    path: PathBuf,
    file: NamedTempFile,
    columns: Columns,
    writer: Writer,
}

impl OutputWriter {
    /// Begins a file that is to have the path in the end.
    pub(super) fn begin(
        path: PathBuf,
        file: NamedTempFile,
        format: FileFormat,
        columns: Columns,
    ) -> Result<Self, Error> {
        let sink = BufWriter::new(file.as_file().try_clone()?);
        let writer = Writer::new(format, sink, columns.written())?;
        Ok(Self { path, file, columns, writer })
    }

    pub(crate) fn write(&mut self, batch: RecordBatch) -> Result<(), Failure> {
        let batch = self.columns.convert(batch)?;
        self.writer.write(&batch, &self.path)
    }

    /// Gives the whole file its name.
    pub(crate) fn finish(self) -> Result<PathBuf, Failure> {
        let Self { path, file, writer, .. } = self;
        let renamed = writer
            .finish()
            .and_then(|()| Ok(file.as_file().sync_all()?))
            .and_then(|()| file.persist(&path).map_err(|error| error.error.into()));
        match renamed {
            Ok(_) => Ok(fs::canonicalize(&path).unwrap_or(path)),
            Err(error) => Err(failed(&path, &error)),
        }
    }
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("output {} cannot be written: {error}", path.display()))
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let Refused { is_mistake, message, help, may_be_kept } = refused;
        let failure = match is_mistake {
            true => Self::mistake(message),
            false => Self::failed(message),
        };
        match help {
            Some(help) if may_be_kept => failure.help(format!("{help}; {KEEP}")),
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

/// Whatever a writer says.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Sink = BufWriter<File>;

enum Writer {
    Parquet(Box<ArrowWriter<Sink>>),
    Arrow(Box<FileWriter<Sink>>),
    Lines(Lines, Sink),
}

impl Writer {
    fn new(format: FileFormat, mut sink: Sink, schema: &SchemaRef) -> Result<Self, Error> {
        Ok(match format {
            FileFormat::Parquet => Self::Parquet(Box::new(parquet(sink, schema, true)?)),
            FileFormat::ParquetAsArrow => Self::Parquet(Box::new(parquet(sink, schema, false)?)),
            FileFormat::Arrow => Self::Arrow(Box::new(FileWriter::try_new(sink, schema)?)),
            FileFormat::Lines(lines) => {
                sink.write_all(&lines.head(schema))?;
                Self::Lines(lines, sink)
            }
        })
    }

    fn write(&mut self, batch: &RecordBatch, path: &Path) -> Result<(), Failure> {
        match self {
            Self::Parquet(writer) => {
                let written = writer.write(batch).and_then(|()| {
                    match writer.in_progress_size() > ROW_GROUP_BYTES {
                        true => writer.flush(),
                        false => Ok(()),
                    }
                });
                written.map_err(|error| failed(path, &error))
            }
            Self::Arrow(writer) => writer.write(batch).map_err(|error| failed(path, &error)),
            Self::Lines(lines, sink) => {
                let mut text = Vec::new();
                lines.rows(batch, &mut text)?;
                sink.write_all(&text).map_err(|error| failed(path, &error))
            }
        }
    }

    fn finish(self) -> Result<(), Error> {
        let mut sink = match self {
            Self::Parquet(writer) => writer.into_inner()?,
            Self::Arrow(mut writer) => {
                writer.finish()?;
                writer.into_inner()?
            }
            Self::Lines(_, sink) => sink,
        };
        Ok(sink.flush()?)
    }
}

/// With `own_names`, lists and maps have their parts under the names that Parquet gives them.
fn parquet(
    sink: Sink,
    schema: &SchemaRef,
    own_names: bool,
) -> Result<ArrowWriter<Sink>, ParquetError> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let properties = properties.set_coerce_types(own_names).build();
    ArrowWriter::try_new(sink, Arc::clone(schema), Some(properties))
}
