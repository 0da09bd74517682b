//! A job as it was asked for, in a file or on the command line.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use keyloom_client::{GroupKeys, Input, JoinPath, ShuffleChoice};
use keyloom_common::described::Output;

use crate::{incremental::Incremental, misses::Misses, output::OutputFile};

pub(crate) use keyloom_common::described::{Store, told};

/// What to read, what to look up, what to run.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// Inputs by the table's name.
    pub(crate) inputs: BTreeMap<String, Input>,
    /// Stores by alias.
    pub(crate) stores: BTreeMap<String, Store>,
    /// Aliases that a catalog has, whether they are among the stores or not.
    pub(crate) offered: BTreeSet<String>,
    /// The store of calls without a source.
    pub(crate) current_store: Option<String>,
    /// How the statement's joins with stores are made; as the session says if absent.
    pub(crate) join_path: Option<JoinPath>,
    /// Whether its rows are shuffled; as the session says where this does not.
    pub(crate) shuffle: ShuffleChoice,
    /// Whether its rows are grouped by keys below lookups; as is usual if absent.
    pub(crate) group_keys: Option<GroupKeys>,
    /// The statement.
    pub(crate) sql: String,
    /// The folder to which the statement's paths are relative; empty for the working folder.
    pub(crate) folder: PathBuf,
    /// Values of parameters by name: defaults at first, and then those of the statement.
    pub(crate) params: BTreeMap<String, String>,
    /// Where the rows go.
    pub(crate) output: Option<Target>,
    /// Whether it reads only what is new.
    pub(crate) incremental: Option<Incremental>,
    /// What is done about missing keys.
    pub(crate) misses: Misses,
}

/// What holds the rows in the end, and who writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A file of this machine, which this command writes.
    File(OutputFile),
    /// Files or a dataset, which the workers write.
    Workers(Box<Output>),
}

impl Target {
    /// The file, the folder or the dataset.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(file) => &file.path,
            Self::Workers(output) => Path::new(&output.path),
        }
    }
}
