//! Lance datasets as users describe them.

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{KeyNames, absolute, pinned::pin};
use crate::{
    error::{Error, ErrorCode, Result, redact},
    store::{
        ForcedAccess, KeyPath, LANCE, OnDuplicateKey, Options, Pace, RowPath, STORAGE_OPTIONS,
        StoreKey, StoreSpec,
    },
    units,
};

/// A Lance dataset.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanceOptions {
    /// A path, or a URI that the workers can open (`file://`, `s3://`).
    pub uri: String,
    /// The key: a column, several columns, `_rowid` or `_offset`. If absent, the primary key that
    /// the dataset declares; if it declares none, the column of the same name as the column looked
    /// up.
    pub key: Option<KeyNames>,
    /// The version to read; the newest at submission if absent.
    pub version: Option<u64>,
    /// The tag to read, instead of a version.
    pub tag: Option<String>,
    /// The name of a profile in the workers' settings with options for the object store.
    pub storage_options: Option<String>,
    /// What a key means that stands in several rows.
    #[serde(default)]
    pub on_duplicate_key: OnDuplicateKey,
    /// The way from keys to rows; chosen by cost if absent.
    #[serde(default, deserialize_with = "key_path")]
    pub key_path: Option<KeyPath>,
    /// The way from rows to values; chosen by cost if absent.
    #[serde(default, deserialize_with = "row_path")]
    pub row_path: Option<RowPath>,
    /// The most requests to its storage, and reads of one lookup, that a worker has in flight; as
    /// the worker's settings say if absent, or if these allow less.
    pub requests_in_flight: Option<u64>,
    /// How long a request to remote storage may bring nothing before it is made again, in
    /// milliseconds; as the workers' settings say if absent.
    #[serde(default, deserialize_with = "request_timeout_ms")]
    pub request_timeout_ms: Option<u64>,
    /// How often a request to remote storage is made until it fails; as the workers' settings say
    /// if absent.
    pub request_attempts: Option<u64>,
}

impl LanceOptions {
    /// A dataset.
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), ..Self::default() }
    }

    /// Sets the key: a column, several columns, `_rowid` or `_offset`.
    #[must_use]
    pub fn key(mut self, key: impl Into<KeyNames>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Reads this version.
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// Reads the version with this tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Opens it with this profile of the workers' settings.
    #[must_use]
    pub fn storage_options(mut self, profile: impl Into<String>) -> Self {
        self.storage_options = Some(profile.into());
        self
    }

    /// Sets what a key means that stands in several rows.
    #[must_use]
    pub fn on_duplicate_key(mut self, policy: OnDuplicateKey) -> Self {
        self.on_duplicate_key = policy;
        self
    }

    /// Forces the way from keys to rows: a map, a scan or the dataset's BTree index.
    #[must_use]
    pub fn key_path(mut self, path: KeyPath) -> Self {
        self.key_path = Some(path);
        self
    }

    /// Forces the way from rows to values.
    #[must_use]
    pub fn row_path(mut self, path: RowPath) -> Self {
        self.row_path = Some(path);
        self
    }

    /// Sets the most requests to its storage that a worker has in flight, if its settings allow as
    /// many.
    #[must_use]
    pub fn requests_in_flight(mut self, most: u64) -> Self {
        self.requests_in_flight = Some(most);
        self
    }

    /// Sets how long a request to remote storage may bring nothing, in milliseconds, before it is
    /// made again.
    #[must_use]
    pub fn request_timeout_ms(mut self, time: u64) -> Self {
        self.request_timeout_ms = Some(time);
        self
    }

    /// Sets how often a request to remote storage is made until it fails.
    #[must_use]
    pub fn request_attempts(mut self, attempts: u64) -> Self {
        self.request_attempts = Some(attempts);
        self
    }
}

/// Reads `key_path`, with `auto` as none.
fn key_path<'de, D: Deserializer<'de>>(word: D) -> Result<Option<KeyPath>, D::Error> {
    ForcedAccess::parse_keys(&String::deserialize(word)?).map_err(D::Error::custom)
}

/// Reads `row_path`, with `auto` as none.
fn row_path<'de, D: Deserializer<'de>>(word: D) -> Result<Option<RowPath>, D::Error> {
    ForcedAccess::parse_rows(&String::deserialize(word)?).map_err(D::Error::custom)
}

/// Reads `request_timeout_ms`, which may have a unit.
fn request_timeout_ms<'de, D: Deserializer<'de>>(time: D) -> Result<Option<u64>, D::Error> {
    units::read("request_timeout_ms", time)
}

impl LanceOptions {
    /// The store under a name.
    ///
    /// # Errors
    /// `invalid` if the options contradict each other.
    pub fn spec(self, name: String) -> Result<StoreSpec> {
        if self.uri.is_empty() {
            return Err(Error::invalid(format!("KV store '{name}' needs a uri")));
        }
        if self.uri.contains("://") && self.uri.contains('?') {
            return Err(Error::invalid(format!(
                "KV store '{name}': the URI {} has a query, which may hold a secret and names no \
                 dataset; options stand in a storage profile of the workers",
                redact(&self.uri)
            ))
            .with_code(ErrorCode::StorageProfile));
        }
        let pin = pin(&format!("KV store '{name}'"), self.version, self.tag)?;
        let pace = Pace {
            requests_in_flight: self.requests_in_flight,
            request_timeout_ms: self.request_timeout_ms,
            request_attempts: self.request_attempts,
        };
        pace.check(&self.uri).map_err(|error| error.context(format!("KV store '{name}'")))?;
        let key = self.key.map(|key| StoreKey::parse(key.names())).transpose();
        let place = absolute(&self.uri)?;
        let key = key.map_err(|error| error.context(format!("KV store '{name}'")))?;
        let mut options = Options::default();
        options.set(STORAGE_OPTIONS, self.storage_options);
        self.on_duplicate_key.set(&mut options);
        ForcedAccess { keys: self.key_path, rows: self.row_path }.set(&mut options);
        pace.set(&mut options);
        Ok(StoreSpec { key, pin, options, ..StoreSpec::new(name, LANCE, place) })
    }
}
