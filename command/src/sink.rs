//! Where a job's rows go.

use std::path::{Path, PathBuf};

use datafusion::arrow::{array::RecordBatch, datatypes::SchemaRef};

use crate::{
    cli::{RowForm, Show},
    error::Failure,
    output::{Columns, Destination, Lines, OutputFile, OutputWriter},
    table::Table,
    text,
    watch::Watch,
};

const SUMMARY: &str = "--summary shows as JSON what the job did";

/// Where rows are to go, as far as can be told before their columns are known.
#[derive(Debug)]
pub(crate) enum Goal {
    File(Destination),
    Print { form: RowForm, all: bool },
    Drop,
}

impl Goal {
    /// What the flags say goes before what the job says.
    pub(crate) fn choose(
        job: Option<OutputFile>,
        show: &Show,
        discard: bool,
    ) -> Result<Self, Failure> {
        let named = show.output.as_deref().and_then(form);
        let form = match (named, show.format) {
            (Some(named), Some(format)) if named != format => {
                return Err(Failure::mistake(
                    "--output and --format name two forms; leave out one",
                ));
            }
            (named, format) => named.or(format),
        };
        let given = show.output.clone().filter(|_| named.is_none()).map(OutputFile::new);
        if discard {
            if given.is_some() || form.is_some() {
                let message = "--discard drops the rows; leave out --output and --format";
                return Err(Failure::mistake(message).help(SUMMARY));
            }
            return Ok(Self::Drop);
        }
        match (given.or(job), form) {
            (Some(file), Some(_)) => Err(Failure::mistake(format!(
                "the rows go to {}; --format is for rows that are printed",
                file.path.display()
            ))
            .help(format!("leave out one of them; {SUMMARY}"))),
            (Some(file), None) => {
                let arrow_types = file.arrow_types || show.arrow_types;
                Ok(Self::File(Destination::check(OutputFile { arrow_types, ..file })?))
            }
            (None, _) if show.arrow_types => Err(Failure::mistake(
                "--arrow-types is for rows that are written to a .parquet file",
            )
            .help("name one with --output")),
            (None, form) => Ok(Self::Print { form: form.unwrap_or(RowForm::Table), all: show.all }),
        }
    }

    /// The file that is to hold the rows, if one is.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(destination) => Some(destination.path()),
            Self::Print { .. } | Self::Drop => None,
        }
    }

    /// Ready for rows, unless columns do not fit.
    pub(crate) fn begin(self, schema: &SchemaRef) -> Result<Sink, Failure> {
        Ok(match self {
            Self::File(destination) => Sink::File(Box::new(destination.create(schema)?)),
            Self::Print { form: RowForm::Table, all } => Sink::Table(Table::new(all, schema)),
            Self::Print { form: RowForm::Json, .. } => printed(Lines::Json, schema)?,
            Self::Print { form: RowForm::Csv, .. } => printed(Lines::Csv, schema)?,
            Self::Drop => Sink::Nothing,
        })
    }
}

/// A form that stands where a file is named: no such file could be written.
fn form(output: &Path) -> Option<RowForm> {
    match output.to_str()? {
        "table" => Some(RowForm::Table),
        "json" => Some(RowForm::Json),
        "csv" => Some(RowForm::Csv),
        _ => None,
    }
}

fn printed(lines: Lines, schema: &SchemaRef) -> Result<Sink, Failure> {
    let columns = Columns::try_new(schema, lines.rule())?;
    Ok(Sink::Lines { lines, head: Some(lines.head(columns.written())), columns })
}

/// What takes the rows.
pub(crate) enum Sink {
    File(Box<OutputWriter>),
    Table(Table),
    /// Printed as they come.
    Lines {
        lines: Lines,
        /// What is to be printed above the first of them.
        head: Option<Vec<u8>>,
        columns: Columns,
    },
    Nothing,
}

impl Sink {
    pub(crate) fn take(&mut self, batch: RecordBatch, watch: &Watch) -> Result<(), Failure> {
        match self {
            Self::File(output) => output.write(batch),
            Self::Table(table) => {
                table.take(batch);
                Ok(())
            }
            Self::Lines { lines, head, columns } => {
                let mut text = head.take().unwrap_or_default();
                lines.rows(&columns.convert(batch)?, &mut text)?;
                watch.aside(|| text::print_lines(&text))
            }
            Self::Nothing => Ok(()),
        }
    }

    /// All rows were taken: the file that holds them.
    pub(crate) fn finish(self, watch: &Watch) -> Result<Option<PathBuf>, Failure> {
        let file = match self {
            Self::File(output) => Some(output.finish()?),
            Self::Table(table) => {
                watch.end();
                text::print(&table.render()?)?;
                None
            }
            Self::Lines { head, .. } => {
                watch.end();
                text::print_lines(&head.unwrap_or_default())?;
                None
            }
            Self::Nothing => None,
        };
        watch.end();
        Ok(file)
    }
}
