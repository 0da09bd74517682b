//! What is done about missing keys: how many there may be, and a file of the rows that missed them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use datafusion::arrow::array::RecordBatch;
use keyloom_client::{MaxMisses, missed_schema};

use crate::{
    cli::Show,
    error::Failure,
    output::{Destination, OutputFile, OutputWriter},
};

/// What a job says, or flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Misses {
    /// The most misses of each store.
    pub(crate) max: Option<MaxMisses>,
    /// Where the rows that missed their keys go.
    pub(crate) file: Option<OutputFile>,
}

impl Misses {
    /// What the flags say goes before what the job says.
    pub(crate) fn choose(self, show: &Show) -> Self {
        let given = show.misses.clone().map(OutputFile::new);
        Self { max: show.max_misses.or(self.max), file: given.or(self.file) }
    }

    /// The file, unless it cannot be written, or the rows themselves go there.
    pub(crate) fn destination(&self, rows: Option<&Path>) -> Result<Option<Destination>, Failure> {
        let Some(file) = self.file.clone() else { return Ok(None) };
        let destination = Destination::check(file)?;
        if rows.is_some_and(|rows| is_same(rows, destination.path())) {
            return Err(Failure::mistake(format!(
                "{} is to hold the rows and those that missed their keys; name another file for \
                 these",
                destination.path().display()
            )));
        }
        Ok(Some(destination))
    }
}

/// Whether two paths name one file, which need not be there.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| -> PathBuf {
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).unwrap_or_default();
        folder.join(path.file_name().unwrap_or_default())
    };
    one == other || place(one) == place(other)
}

/// Begins the file.
pub(crate) fn begin(destination: Option<Destination>) -> Result<Option<OutputWriter>, Failure> {
    destination.map(|destination| destination.create(&missed_schema())).transpose()
}

/// Writes the rows that missed their keys, and gives the file its name.
pub(crate) fn write(
    writer: Option<OutputWriter>,
    rows: Vec<RecordBatch>,
) -> Result<Option<PathBuf>, Failure> {
    let Some(mut writer) = writer else { return Ok(None) };
    for batch in rows {
        writer.write(batch)?;
    }
    writer.finish().map(Some)
}
