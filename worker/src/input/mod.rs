//! Inputs: which files there are, what is in them, and their rows.
//!
//! Files are looked at once, when a job is submitted ([`describe`]), and read as they were then
//! ([`scan`]): what changed meanwhile fails the job by the file's name. In reading order:
//! [`stores`] opens object stores by location, [`list`] finds files, [`hive`] reads the names of
//! folders, [`pinned`] watches over files that a task reads; then the formats.

mod adapt;
mod describe;
mod hive;
mod ipc;
mod lance;
mod list;
mod parquet;
mod pinned;
mod scan;
mod stores;
mod text;

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use chrono::DateTime;
use datafusion::{error::DataFusionError, execution::runtime_env::RuntimeEnv};
use keyloom_common::{Error, ErrorKind, Result, input::Location, plan::FileSlice};
use object_store::{ObjectMeta, path::Path};

use self::{parquet::Ends, stores::ObjectStores};
use crate::{
    access::Access,
    store::{OpenStores, Patience, StorageProfile},
};

/// How long one read of a mebibyte or two of local files may take, where they are read past the
/// object store: disks that spin up, and file systems of other machines that restart, take less.
const LOCAL_READ: Duration = Duration::from_secs(60);

/// What reading inputs needs of its worker.
#[derive(Debug)]
pub(crate) struct Inputs {
    stores: ObjectStores,
    /// Lance datasets that are open, stores among them.
    lance: Arc<OpenStores>,
    runtime: Arc<RuntimeEnv>,
    ends: Arc<Ends>,
}

impl Inputs {
    pub(crate) fn new(
        profiles: HashMap<String, StorageProfile>,
        access: Access,
        lance: Arc<OpenStores>,
        runtime: Arc<RuntimeEnv>,
    ) -> Self {
        let stores = ObjectStores::new(profiles, Patience::of(lance.settings())).limited(access);
        Self { stores, lance, runtime, ends: Arc::new(Ends::new()) }
    }
}

/// Whether files are of this machine.
fn is_local(location: &Location) -> bool {
    location.url.starts_with("file:")
}

/// A file of this machine by its path within the object store.
fn local_file(path: &str) -> PathBuf {
    PathBuf::from(format!("/{path}"))
}

fn from_store(error: object_store::Error) -> Error {
    DataFusionError::from(error).into()
}

/// What an object store's error was made of, step by step.
fn causes(error: &object_store::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first = std::error::Error::source(error);
    std::iter::successors(first, |cause| (*cause).source())
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
