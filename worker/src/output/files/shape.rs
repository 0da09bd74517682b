//! What the files of an output hold, and which columns stand in the names of their folders.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use keyloom_common::{
    Error, Result,
    formats::{Columns, Lines, Rule, types},
    output::{Compression, FileFormat, FilesOutput, OutputKind, OutputSpec},
};

/// The columns of an output.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) files: FilesOutput,
    /// Those in files, by their places in the rows.
    pub(super) data: Vec<usize>,
    /// What files make of them.
    pub(super) columns: Columns,
    /// Those in the names of folders, by their places in the rows.
    pub(super) partitions: Vec<usize>,
}

impl Shape {
    /// What is written of rows with these columns.
    ///
    /// # Errors
    /// `invalid`, naming a column or an option that cannot be had.
    pub(super) fn of(spec: &OutputSpec, schema: &SchemaRef) -> Result<Self> {
        let OutputKind::Files(files) = &spec.kind else {
            return Err(Error::internal("an output of files that is none"));
        };
        let partitions = files.partition_by.iter().map(|name| partition(schema, name));
        let partitions = partitions.collect::<Result<Vec<_>>>()?;
        let data: Vec<_> =
            (0..schema.fields().len()).filter(|at| !partitions.contains(at)).collect();
        if data.is_empty() {
            return Err(Error::invalid(match partitions.as_slice() {
                [] => "an output needs a column",
                _ => "partition_by names all columns, and files need one",
            }));
        }
        let own = schema.project(&data)?;
        let columns = Columns::try_new(&own, rule(files.format))?;
        let shape = Self { files: files.clone(), data, columns, partitions };
        shape.check_compression()?;
        Ok(shape)
    }

    fn check_compression(&self) -> Result<()> {
        let (format, compression) = (self.files.format, self.compression());
        match format.compressions().contains(&compression) {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "{} files are not compressed by {}",
                format.name(),
                compression.name()
            ))),
        }
    }

    /// How files are compressed.
    pub(super) fn compression(&self) -> Compression {
        let usual = self.files.format.compressions().first().copied();
        self.files.compression.or(usual).unwrap_or(Compression::None)
    }

    /// The columns of files as they stand in them.
    pub(super) fn schema(&self) -> &SchemaRef {
        self.columns.written()
    }

    /// How the names of files end.
    pub(super) fn ending(&self) -> String {
        let format = self.files.format.name();
        match (self.lines(), self.compression()) {
            (Some(_), Compression::Gzip) => format!("{format}.gz"),
            (Some(_), Compression::Zstd) => format!("{format}.zst"),
            _ => format.to_owned(),
        }
    }

    /// The format of text, if it is one.
    pub(super) fn lines(&self) -> Option<Lines> {
        lines(self.files.format)
    }
}

fn lines(format: FileFormat) -> Option<Lines> {
    match format {
        FileFormat::Parquet | FileFormat::Arrow => None,
        FileFormat::Csv => Some(Lines::Csv),
        FileFormat::Json => Some(Lines::Json),
    }
}

fn rule(format: FileFormat) -> Rule {
    match (format, lines(format)) {
        (_, Some(lines)) => lines.rule(),
        (FileFormat::Parquet, None) => types::parquet,
        (_, None) => types::arrow,
    }
}

/// The place of a column whose values name folders.
fn partition(schema: &Arc<Schema>, name: &str) -> Result<usize> {
    let named = schema.fields().iter().enumerate().filter(|(_, field)| field.name() == name);
    let named: Vec<_> = named.collect();
    let [(at, field)] = named.as_slice() else {
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(Error::invalid(match named.len() {
            0 => format!("partition_by: no column '{name}' among {}", names.join(", ")),
            count => format!("partition_by: {count} columns are called '{name}'"),
        }));
    };
    match can_name(field.data_type()) {
        true => Ok(*at),
        false => Err(Error::invalid(format!(
            "partition_by: column '{name}' holds {}, whose values are no names of folders; take \
             whole numbers, texts, dates or truth values, or CAST({name} AS VARCHAR)",
            field.data_type()
        ))),
    }
}

/// Whether values have one text each, which all readers take for the same.
fn can_name(data_type: &DataType) -> bool {
    match data_type {
        DataType::Boolean
        | DataType::Date32
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => can_name(values),
        other => other.is_integer(),
    }
}
