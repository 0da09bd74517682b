//! Where a job's rows go.

use std::path::{Path, PathBuf};

use datafusion::arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{SchemaRef, UInt64Type},
};
use keyloom_client::Error;
use keyloom_common::{described::Output, output::Committed};

use crate::{
    cli::{RowForm, ShowRows},
    error::Failure,
    output::{Columns, Destination, Lines, OutputFile, OutputWriter},
    request::Target,
    store_flag,
    table::Table,
    text,
    watch::Watch,
};

const SUMMARY: &str = "--summary shows as JSON what the job did";

/// Where rows are to go, as far as can be told before their columns are known.
#[derive(Debug)]
pub(crate) enum Goal {
    File(Destination),
    /// To where the workers write them.
    Workers(Box<Output>),
    Print {
        form: RowForm,
        all: bool,
    },
    Drop,
}

impl Goal {
    /// What the flags say goes before what the job says.
    pub(crate) fn choose(
        job: Option<Target>,
        show: &ShowRows,
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
        let given = show.output.as_deref().filter(|_| named.is_none()).map(target).transpose()?;
        if discard {
            if given.is_some() || form.is_some() {
                let message = "--discard drops the rows; leave out --output and --format";
                return Err(Failure::mistake(message).help(SUMMARY));
            }
            return Ok(Self::Drop);
        }
        match (given.or(job), form) {
            (Some(target), Some(_)) => Err(Failure::mistake(format!(
                "the rows go to {}; --format is for rows that are printed",
                target.path().display()
            ))
            .help(format!("leave out one of them; {SUMMARY}"))),
            (Some(Target::Workers(_)) | None, _) if show.arrow_types => Err(Failure::mistake(
                "--arrow-types is for rows that are written to a .parquet file by this command",
            )
            .help("name one with --output")),
            (Some(Target::Workers(output)), None) => {
                output.spec().map_err(Failure::before)?;
                Ok(Self::Workers(output))
            }
            (Some(Target::File(file)), None) => {
                let arrow_types = file.arrow_types || show.arrow_types;
                Ok(Self::File(Destination::check(OutputFile { arrow_types, ..file })?))
            }
            (None, form) => Ok(Self::Print { form: form.unwrap_or(RowForm::Table), all: show.all }),
        }
    }

    /// The file that is to hold the rows, if one is.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(destination) => Some(destination.path()),
            Self::Workers(_) | Self::Print { .. } | Self::Drop => None,
        }
    }

    /// Ready for rows, unless columns do not fit.
    pub(crate) fn begin(self, schema: &SchemaRef) -> Result<Sink, Failure> {
        Ok(match self {
            Self::File(destination) => Sink::File(Box::new(destination.create(schema)?)),
            Self::Workers(_) => Sink::Told(None),
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

/// Where a flag says that rows go. A folder is told by the slash behind it: what is written there
/// are several files, and so is a dataset.
fn target(output: &Path) -> Result<Target, Failure> {
    let file = || Target::File(OutputFile::new(output));
    let Some(text) = output.to_str() else { return Ok(file()) };
    let (path, options) = store_flag::split_options(text);
    if !path.ends_with('/') && !path.ends_with(".lance") {
        return Ok(file());
    }
    let output = store_flag::output_options(path, options);
    let output =
        output.map_err(|message| Failure::mistake(format!("--output {text}: {message}")))?;
    Ok(Target::Workers(Box::new(output)))
}

fn printed(lines: Lines, schema: &SchemaRef) -> Result<Sink, Failure> {
    let columns = Columns::try_new(schema, lines.rule())?;
    Ok(Sink::Lines { lines, head: Some(lines.head(columns.written())), columns })
}

/// What takes the rows.
pub(crate) enum Sink {
    File(Box<OutputWriter>),
    /// The workers write them; the job's one row tells what they wrote.
    Told(Option<Committed>),
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
            Self::Told(told) => {
                if batch.num_rows() > 0 {
                    *told = Some(committed(&batch).ok_or_else(|| {
                        let message = "a job that writes answered rows that do not tell what";
                        Failure::running(Error::internal(message))
                    })?);
                }
                Ok(())
            }
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

    /// All rows were taken: what holds them now.
    pub(crate) fn finish(self, watch: &Watch) -> Result<Kept, Failure> {
        let kept = match self {
            Self::File(output) => Kept::File(output.finish()?),
            Self::Told(told) => Kept::ByWorkers(told.unwrap_or_default()),
            Self::Table(table) => {
                watch.end();
                text::print(&table.render()?)?;
                Kept::Nowhere
            }
            Self::Lines { head, .. } => {
                watch.end();
                text::print_lines(&head.unwrap_or_default())?;
                Kept::Nowhere
            }
            Self::Nothing => Kept::Nowhere,
        };
        watch.end();
        Ok(kept)
    }
}

/// What holds the rows of a job that is done.
#[derive(Debug)]
pub(crate) enum Kept {
    File(PathBuf),
    ByWorkers(Committed),
    Nowhere,
}

/// What the one row of a job that writes tells.
fn committed(batch: &RecordBatch) -> Option<Committed> {
    let number = |name: &str| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<UInt64Type>()?;
        Some(column.is_valid(0).then(|| column.value(0)))
    };
    Some(Committed {
        rows: number("rows")??,
        bytes: number("bytes")??,
        files: number("files")??,
        version: number("version")?,
    })
}

#[cfg(test)]
mod tests {
    use keyloom_common::described::{Mode, OutputFormat};

    use super::*;

    #[test]
    fn folders_and_datasets_are_written_by_workers() {
        let workers = |output: Output| Target::Workers(Box::new(output));
        for (flag, expected) in [
            ("out.parquet", Target::File(OutputFile::new("out.parquet"))),
            ("out", Target::File(OutputFile::new("out"))),
            ("out/", workers(Output::new("out/"))),
            ("s3://bucket/out/", workers(Output::new("s3://bucket/out/"))),
            ("out.lance", workers(Output::new("out.lance"))),
            (
                "out/?format=csv&if_exists=append&partition_by=day,hour&target_file_bytes=1MiB",
                workers(
                    Output::new("out/")
                        .format(OutputFormat::Csv)
                        .if_exists(Mode::Append)
                        .partition_by(["day", "hour"])
                        .target_file_bytes(1 << 20),
                ),
            ),
            (
                "a.lance?if_exists=upsert&key=store,article",
                workers(Output::new("a.lance").if_exists(Mode::Upsert).key(["store", "article"])),
            ),
        ] {
            assert_eq!(target(Path::new(flag)).unwrap(), expected, "{flag}");
        }
        let refused = target(Path::new("out/?formt=csv")).unwrap_err().message.unwrap_or_default();
        let words = "--output out/?formt=csv: 'formt' is no option of an output; the options are ";
        assert!(refused.starts_with(words), "{refused}");
    }

    #[test]
    fn the_row_of_a_job_that_writes_is_read() {
        for version in [None, Some(7)] {
            let told = Committed { rows: 3, bytes: 100, files: 2, version };
            assert_eq!(committed(&told.batch("/out/").unwrap()), Some(told));
        }
    }
}
