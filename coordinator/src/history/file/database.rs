//! The database in the file: how it is opened and laid out, and how it is read.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use keyloom_common::{Error, Result};
use redb::{Builder, Database, DatabaseError, ReadableDatabase, TableDefinition};

use crate::history::private;

/// How the tables are laid out. Values have a version of their own.
const FORMAT: u32 = 1;

/// The most bytes that redb keeps of the file.
const CACHE_BYTES: usize = 8 << 20;

pub(super) type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

pub(super) const META: Table = TableDefinition::new("meta");
pub(super) const JOBS: Table = TableDefinition::new("jobs");
pub(super) const PLANS: Table = TableDefinition::new("plans");
pub(super) const TASKS: Table = TableDefinition::new("tasks");

pub(super) const FORMAT_KEY: &[u8] = b"format";

/// Opens the database of a file, or makes it.
pub(super) fn open_database(path: &Path) -> Result<Database> {
    let database = guarded(path, || {
        let mut builder = Builder::new();
        // Or a damaged file might be believed, or panic.
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        private::file(path).map_err(|error| unreadable(path, &error))?;
        match builder.create(path) {
            Ok(database) => Ok(database),
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                Err(in_use(path.parent().unwrap_or(Path::new(""))))
            }
            Err(error) => Err(unreadable(path, &error)),
        }
    })?;
    let format = guarded(path, || prepare(&database).map_err(|error| unreadable(path, &error)))?;
    match format {
        FORMAT => Ok(database),
        other => Err(unreadable(
            path,
            &format_args!("it is of format {other}, and this build reads format {FORMAT}"),
        )),
    }
}

/// Makes all tables, and says of which format the file is.
fn prepare(database: &Database) -> Result<u32, redb::Error> {
    let transaction = database.begin_write()?;
    let format = {
        let mut meta = transaction.open_table(META)?;
        for table in [JOBS, PLANS, TASKS] {
            transaction.open_table(table)?;
        }
        let known = redb::ReadableTable::get(&meta, FORMAT_KEY)?.map(|format| {
            let bytes = format.value().try_into().unwrap_or_default();
            u32::from_le_bytes(bytes)
        });
        match known {
            Some(format) => format,
            None => {
                meta.insert(FORMAT_KEY, FORMAT.to_le_bytes().as_slice())?;
                FORMAT
            }
        }
    };
    transaction.commit()?;
    Ok(format)
}

/// Whether redb refuses everything behind this error.
pub(super) fn is_latched(error: &redb::Error) -> bool {
    use redb::Error::{DatabaseClosed, Io, LockPoisoned, PreviousIo};
    matches!(error, Io(_) | PreviousIo | DatabaseClosed | LockPoisoned(_))
}

pub(super) fn get(
    database: &Database,
    table: Table,
    key: &[u8],
) -> Result<Option<Vec<u8>>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(table)?;
    let value = table.get(key)?;
    Ok(value.map(|value| value.value().to_vec()))
}

pub(super) fn range(
    database: &Database,
    table: Table,
    first: &[u8],
    last: &[u8],
) -> Result<Entries, redb::Error> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(table)?;
    let mut entries = Vec::new();
    for entry in table.range(first..=last)? {
        let (key, value) = entry?;
        entries.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(entries)
}

/// Keys and values.
pub(super) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Runs what redb does, of which a file that is damaged in an unforeseen way makes an error.
pub(super) fn guarded<T>(path: &Path, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let ran = catch_unwind(AssertUnwindSafe(run));
    ran.unwrap_or_else(|_| Err(unreadable(path, &"it is damaged")))
}

fn in_use(folder: &Path) -> Error {
    let folder = folder.display();
    Error::invalid(format!(
        "state_folder = {folder} is in use by another coordinator; each has one of its own"
    ))
}

pub(super) fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    let path = path.display();
    Error::invalid(format!(
        "{path} cannot be used: {why}; move it away, and what it says of jobs is not known any \
         more, or name another state_folder"
    ))
}
