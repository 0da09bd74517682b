//! Where a file is to be, looked at before anything is read.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use datafusion::arrow::datatypes::SchemaRef;
use keyloom_client::Format;
use keyloom_common::input::{is_compressed, is_tab_separated};

use super::{Columns, Lines, OutputFile, OutputWriter, abandoned, file::FileFormat};
use crate::error::Failure;

/// Where rows are to go, as far as can be told before their columns are known.
#[derive(Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    folder: PathBuf,
    format: FileFormat,
}

impl Destination {
    /// Refuses a file that cannot be written.
    pub(crate) fn check(file: OutputFile) -> Result<Self, Failure> {
        let OutputFile { path, arrow_types } = file;
        let shown = path.display().to_string();
        if shown.contains("://") {
            return Err(Failure::mistake(format!(
                "output {shown}: one file is written to this machine, not to a URL"
            ))
            .help(
                "workers write to URLs: to a folder, as s3://BUCKET/FOLDER/, or to a dataset, as \
                   s3://BUCKET/NAME.lance; see [output] in keyloom run --help",
            ));
        }
        // Text is written with commas, and as it is.
        let plain = !is_compressed(&shown) && !is_tab_separated(&shown);
        let format = match (Format::of_path(&shown).filter(|_| plain), arrow_types) {
            (Some(Format::Parquet), false) => FileFormat::Parquet,
            (Some(Format::Parquet), true) => FileFormat::ParquetAsArrow,
            (_, true) => {
                return Err(Failure::mistake(format!(
                    "output {shown}: arrow_types is for .parquet files"
                )));
            }
            (Some(Format::Arrow), false) => FileFormat::Arrow,
            (Some(Format::Csv), false) => FileFormat::Lines(Lines::Csv),
            (Some(Format::Json), false) => FileFormat::Lines(Lines::Json),
            (_, false) => {
                return Err(Failure::mistake(format!(
                    "output {shown}: the format cannot be told from the name; use .parquet, .arrow, \
                     .csv or .json (a JSON object a line)"
                )));
            }
        };
        // The file behind a link is written, and the link stays.
        let path = if path.is_symlink() { fs::canonicalize(&path).unwrap_or(path) } else { path };
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
    pub(crate) fn create(self, schema: &SchemaRef) -> Result<OutputWriter, Failure> {
        let columns = Columns::try_new(schema, self.format.rule())?;
        let mistake = |error: &dyn std::fmt::Display| {
            Failure::mistake(format!("output {}: {error}", self.path.display()))
        };
        abandoned::remove(&self.folder);
        let file = tempfile::Builder::new()
            .prefix(abandoned::PREFIX)
            .suffix(abandoned::SUFFIX)
            // What the user's umask leaves of it, as for any new file.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&self.folder)
            .map_err(|error| mistake(&error))?;
        // Where files cannot be locked, those of writers that are killed may stay.
        let _ = file.as_file().lock();
        OutputWriter::begin(self.path.clone(), file, self.format, columns)
            .map_err(|error| mistake(&error))
    }
}
