//! Inputs: which files there are, what is in them, and their rows.
//!
//! Files are looked at once, when a job is submitted ([`describe`]), and read as they were then
//! ([`scan`]): what changed meanwhile fails the job by the file's name. In reading order: [`list`]
//! finds files, [`hive`] reads the names of folders, [`pinned`] watches over files that a task
//! reads, and [`unchanged`] looks at all those of a job that is resumed; then the formats.

mod adapt;
mod describe;
mod hive;
mod ipc;
mod lance;
mod list;
mod parquet;
mod pinned;
mod scan;
mod text;
mod unchanged;

use std::{sync::Arc, time::Duration};

use chrono::DateTime;
use datafusion::execution::runtime_env::RuntimeEnv;
use keyloom_common::{Error, ErrorKind, Result, input::Location, plan::FileSlice};
use object_store::{ObjectMeta, path::Path};

use self::parquet::Ends;
#[cfg(test)]
pub(crate) use self::pinned::Pinned;
use crate::{
    object_stores::{ObjectStores, causes, from_store, is_local, local_file},
    store::OpenStores,
};

/// How long one read of a mebibyte or two of local files may take, where they are read past the
/// object store: disks that spin up, and file systems of other machines that restart, take less.
const LOCAL_READ: Duration = Duration::from_secs(60);

/// What reading inputs needs of its worker.
#[derive(Debug)]
pub(crate) struct Inputs {
    stores: Arc<ObjectStores>,
    /// Lance datasets that are open, stores among them.
    lance: Arc<OpenStores>,
    runtime: Arc<RuntimeEnv>,
    ends: Arc<Ends>,
}

impl Inputs {
    pub(crate) fn new(
        stores: Arc<ObjectStores>,
        lance: Arc<OpenStores>,
        runtime: Arc<RuntimeEnv>,
    ) -> Self {
        Self { stores, lance, runtime, ends: Arc::new(Ends::new()) }
    }
}

/// Whether an object store was waited for as long as it may be.
fn timed_out(error: &object_store::Error) -> bool {
    let own = causes(error).find_map(|cause| cause.downcast_ref::<Error>());
    own.is_some_and(|own| own.kind() == ErrorKind::Timeout)
}

/// A file as it was when its job was submitted.
fn object_meta(slice: &FileSlice) -> Result<ObjectMeta> {
    let location = Path::parse(&slice.path).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(ObjectMeta {
        location,
        last_modified: DateTime::from_timestamp_nanos(slice.modified_ns),
        size: slice.size,
        e_tag: slice.e_tag.clone(),
        version: None,
    })
}

/// The error with the file as users name it: what is below knows its path within the store alone.
fn in_file(error: Error, location: &Location, path: &str) -> Error {
    let shown = location.shown(path);
    match error.message() {
        message if message.contains(&shown) => error,
        message if message.contains(path) => {
            let message = message.replace(path, &shown);
            error.reworded(message)
        }
        _ => error.context(format!("input file {shown}")),
    }
}
