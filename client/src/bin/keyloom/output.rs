//! Output files: written batch by batch under another name, and renamed when they are whole.

use std::{
    fs::{self, File, Permissions},
    io::{BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::{
    arrow::{
        array::{RecordBatch, new_empty_array},
        csv,
        datatypes::{Schema, SchemaRef},
        error::ArrowError,
        ipc::writer::FileWriter,
        json::{
            LineDelimitedWriter,
            writer::{EncoderOptions, WriterBuilder, make_encoder},
        },
    },
    parquet::{
        arrow::ArrowWriter, basic::Compression, errors::ParquetError,
        file::properties::WriterProperties,
    },
};
use keyloom_client::Format;
use tempfile::NamedTempFile;

use crate::error::Failure;

/// How many bytes of Parquet are held before a row group is written.
const ROW_GROUP_BYTES: usize = 128 << 20;

/// Where rows are to go, as far as can be told before their columns are known.
#[derive(Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    folder: PathBuf,
    format: Format,
}

impl Destination {
    /// Refuses a path that cannot be written.
    pub(crate) fn check(path: PathBuf) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        if shown.contains("://") {
            return Err(Failure::mistake(format!(
                "output {shown}: rows are written to files of this machine, not to URLs"
            )));
        }
        let format = Format::of_path(&shown).filter(|format| *format != Format::Lance);
        let format = format.ok_or_else(|| {
            Failure::mistake(format!(
                "output {shown}: the format cannot be told from the name; use .parquet, .arrow, \
                 .csv or .json (a JSON object a line)"
            ))
        })?;
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        if path.is_dir() {
            return Err(Failure::mistake(format!("output {shown} is a folder; name a file")));
        }
        if !folder.is_dir() {
            return Err(Failure::mistake(format!(
                "output {shown}: there is no folder {}",
                folder.display()
            ))
            .help("make the folder first"));
        }
        Ok(Self { path, folder, format })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins the file, unless its format cannot hold the columns.
    pub(crate) fn create(self, schema: SchemaRef) -> Result<Output, Failure> {
        check_names(&schema)?;
        check_types(self.format, &schema)?;
        let mistake = |error: &dyn std::fmt::Display| {
            Failure::mistake(format!("output {}: {error}", self.path.display()))
        };
        let file = tempfile::Builder::new()
            .prefix(".keyloom-")
            .suffix(".partial")
            // What the user's umask leaves of it, as for any new file.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&self.folder)
            .map_err(|error| mistake(&error))?;
        let handle = file.as_file().try_clone().map_err(|error| mistake(&error))?;
        let writer = Writer::new(self.format, BufWriter::new(handle), &schema);
        let writer = writer.map_err(|error| mistake(&error))?;
        Ok(Output { path: self.path, file, writer, schema })
    }
}

/// Parquet and JSON readers find columns by name.
fn check_names(schema: &Schema) -> Result<(), Failure> {
    let fields = schema.fields();
    let twice = fields.iter().enumerate().find(|(index, field)| {
        fields.iter().take(*index).any(|before| before.name() == field.name())
    });
    match twice {
        None => Ok(()),
        Some((_, field)) => {
            let message = format!("two columns of the result are called '{}'", field.name());
            Err(Failure::mistake(message).help("rename one of them with AS"))
        }
    }
}

/// Names the column that a format cannot hold.
fn check_types(format: Format, schema: &Schema) -> Result<(), Failure> {
    let refused = schema.fields().iter().find(|field| match format {
        Format::Csv => field.data_type().is_nested(),
        Format::Json => {
            let array = new_empty_array(field.data_type());
            make_encoder(field, &array, &EncoderOptions::default()).is_err()
        }
        Format::Parquet | Format::Arrow | Format::Lance => false,
    });
    let Some(field) = refused else { return Ok(()) };
    let (name, data_type) = (field.name(), field.data_type());
    let message = format!(
        "column '{name}' has type {data_type}, which {} cannot hold",
        format.name().to_uppercase()
    );
    let fields = if format == Format::Csv {
        format!("write .parquet or .json, or take single fields: {name}['field']")
    } else {
        "write .parquet or .arrow".to_owned()
    };
    Err(Failure::mistake(message).help(fields))
}

/// A file that is being written. Dropping it leaves nothing behind.
pub(crate) struct Output {
    path: PathBuf,
    file: NamedTempFile,
    writer: Writer,
    schema: SchemaRef,
}

impl Output {
    pub(crate) fn write(&mut self, batch: RecordBatch) -> Result<(), Failure> {
        let batch = if batch.schema_ref() == &self.schema {
            Ok(batch)
        } else {
            RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())
        };
        let written = batch.map_err(Error::from).and_then(|batch| self.writer.write(&batch));
        written.map_err(|error| failed(&self.path, &error))
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

fn failed(path: &Path, error: &Error) -> Failure {
    Failure::failed(format!("output {} cannot be written: {error}", path.display()))
}

/// Whatever a writer says.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Sink = BufWriter<File>;

enum Writer {
    Parquet(Box<ArrowWriter<Sink>>),
    Arrow(Box<FileWriter<Sink>>),
    Csv(Box<csv::Writer<Sink>>),
    Json(Box<LineDelimitedWriter<Sink>>),
}

impl Writer {
    fn new(format: Format, sink: Sink, schema: &SchemaRef) -> Result<Self, Error> {
        Ok(match format {
            Format::Parquet => Self::Parquet(Box::new(parquet(sink, schema)?)),
            Format::Arrow => Self::Arrow(Box::new(FileWriter::try_new(sink, schema)?)),
            Format::Lance => return Err("rows are not written to Lance datasets".into()),
            Format::Csv => Self::Csv(Box::new(with_header(sink, schema)?)),
            Format::Json => {
                // A null stays in sight: readers that infer columns find them all.
                let builder = WriterBuilder::new().with_explicit_nulls(true);
                Self::Json(Box::new(builder.build(sink)))
            }
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        match self {
            Self::Parquet(writer) => {
                writer.write(batch)?;
                if writer.in_progress_size() > ROW_GROUP_BYTES {
                    writer.flush()?;
                }
            }
            Self::Arrow(writer) => writer.write(batch)?,
            Self::Csv(writer) => writer.write(batch)?,
            Self::Json(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Error> {
        let mut sink = match self {
            Self::Parquet(writer) => writer.into_inner()?,
            Self::Arrow(mut writer) => {
                writer.finish()?;
                writer.into_inner()?
            }
            Self::Csv(writer) => writer.into_inner(),
            Self::Json(mut writer) => {
                writer.finish()?;
                writer.into_inner()
            }
        };
        Ok(sink.flush()?)
    }
}

fn parquet(sink: Sink, schema: &SchemaRef) -> Result<ArrowWriter<Sink>, ParquetError> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    ArrowWriter::try_new(sink, Arc::clone(schema), Some(properties))
}

/// The header stands even above no rows.
fn with_header(sink: Sink, schema: &SchemaRef) -> Result<csv::Writer<Sink>, ArrowError> {
    let mut writer = csv::WriterBuilder::new().with_header(true).build(sink);
    writer.write(&RecordBatch::new_empty(Arc::clone(schema)))?;
    Ok(writer)
}
