//! A job as it was asked for, in a file or on the command line.

use std::collections::BTreeMap;

use keyloom_client::{Format, LanceOptions, OnDuplicateKey};
use keyloom_common::store::ForcedAccess;
use serde::Deserialize;

use crate::output::OutputFile;

/// What to read, what to look up, what to run.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// Inputs by the table's name.
    pub(crate) inputs: BTreeMap<String, Input>,
    /// Stores by alias.
    pub(crate) stores: BTreeMap<String, Store>,
    /// The store of calls without a source.
    pub(crate) current_store: Option<String>,
    /// The statement.
    pub(crate) sql: String,
    /// Where the rows go.
    pub(crate) output: Option<OutputFile>,
}

/// Files that are a table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// A file, a folder or a glob.
    pub(crate) path: String,
    /// Their format, if the names do not tell.
    pub(crate) format: Option<Format>,
}

/// A store to attach.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// A Lance dataset.
    Lance(LanceOptions),
    /// Rows that are read when the session opens.
    Memory { input: Input, key: String },
}

/// The kinds of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Lance,
    Memory,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lance => "lance",
            Self::Memory => "memory",
        }
    }

    /// The options that stores of the kind take.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Lance => &[
                "uri",
                "key",
                "version",
                "tag",
                "storage_options",
                "on_duplicate_key",
                "key_path",
                "row_path",
            ],
            Self::Memory => &["path", "key", "format"],
        }
    }
}

/// The options of all kinds of stores, as users write them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreOptions {
    pub(crate) kind: Kind,
    pub(crate) uri: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) format: Option<Format>,
    pub(crate) version: Option<u64>,
    pub(crate) tag: Option<String>,
    pub(crate) storage_options: Option<String>,
    pub(crate) on_duplicate_key: Option<OnDuplicateKey>,
    pub(crate) key_path: Option<String>,
    pub(crate) row_path: Option<String>,
}

impl StoreOptions {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            uri: None,
            path: None,
            key: None,
            format: None,
            version: None,
            tag: None,
            storage_options: None,
            on_duplicate_key: None,
            key_path: None,
            row_path: None,
        }
    }

    /// The store, if the options suit its kind.
    pub(crate) fn store(self) -> Result<Store, String> {
        let (kind, choices) = (self.kind.name(), self.kind.options());
        if let Some(foreign) = self.given().into_iter().find(|given| !choices.contains(given)) {
            return Err(format!(
                "{foreign} is no option of a {kind} store; its options are {}",
                choices.join(", ")
            ));
        }
        let missing = |option: &str| format!("a {kind} store needs {option}");
        if self.kind == Kind::Memory {
            let path = self.path.ok_or_else(|| missing("path"))?;
            let key = self.key.ok_or_else(|| missing("key, the column that holds its keys"))?;
            return Ok(Store::Memory { input: Input { path, format: self.format }, key });
        }
        if self.version.is_some() && self.tag.is_some() {
            return Err("a lance store is read at a version or at a tag; give one".to_owned());
        }
        let forced = self.forced().map_err(|error| error.message().to_owned())?;
        Ok(Store::Lance(LanceOptions {
            uri: self.uri.ok_or_else(|| missing("uri"))?,
            key: self.key,
            version: self.version,
            tag: self.tag,
            storage_options: self.storage_options,
            on_duplicate_key: self.on_duplicate_key.unwrap_or_default(),
            key_path: forced.keys,
            row_path: forced.rows,
        }))
    }

    fn forced(&self) -> keyloom_client::Result<ForcedAccess> {
        Ok(ForcedAccess {
            keys: ForcedAccess::parse_keys(self.key_path.as_deref().unwrap_or("auto"))?,
            rows: ForcedAccess::parse_rows(self.row_path.as_deref().unwrap_or("auto"))?,
        })
    }

    /// The options that were given.
    fn given(&self) -> Vec<&'static str> {
        let options = [
            ("uri", self.uri.is_some()),
            ("path", self.path.is_some()),
            ("key", self.key.is_some()),
            ("format", self.format.is_some()),
            ("version", self.version.is_some()),
            ("tag", self.tag.is_some()),
            ("storage_options", self.storage_options.is_some()),
            ("on_duplicate_key", self.on_duplicate_key.is_some()),
            ("key_path", self.key_path.is_some()),
            ("row_path", self.row_path.is_some()),
        ];
        options.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }
}
