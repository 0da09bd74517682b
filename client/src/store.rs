//! Describing stores: [`load_kv`] and its options. Nothing is opened before a store is attached.

use std::{collections::HashSet, path::Path};

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    compute::concat_batches,
    row::{RowConverter, SortField},
    util::display::array_value_to_string,
};
use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use keyloom_common::{
    BlobId, Error, ErrorCode, Result,
    error::{has_user, redact},
    ipc,
    store::{
        ForcedAccess, KEY_TYPES, KeyClass, KeyColumns, KeyPath, LANCE, MEMORY, OnDuplicateKey,
        Options, Pace, Pin, RowPath, STORAGE_OPTIONS, StoreKey, StoreSpec, column_names,
    },
    units,
};
use serde::{Deserialize, Deserializer, de::Error as _};

/// A store that can be attached.
#[derive(Clone, Debug)]
pub struct KvStore {
    pub(crate) spec: StoreSpec,
    /// What a memory store holds.
    pub(crate) contents: Option<Bytes>,
}

impl KvStore {
    /// The store's own name, which is its alias if no other is given.
    pub fn name(&self) -> &str {
        &self.spec.name
    }
}

/// What [`load_kv`] takes.
pub trait StoreOptions {
    /// The store under a name.
    ///
    /// # Errors
    /// `invalid` if the options contradict each other or the contents are not fit for lookups.
    fn load(self, name: String) -> Result<KvStore>;
}

/// Describes a store under a name of its own.
///
/// # Errors
/// `invalid` if the options contradict each other or the contents are not fit for lookups.
pub fn load_kv(name: impl Into<String>, options: impl StoreOptions) -> Result<KvStore> {
    options.load(name.into())
}

/// The columns of a key, or words that stand for one: a name, or a list of names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "key is the name of a column or a list of names")]
pub enum KeyNames {
    /// One column; of a Lance dataset, `_rowid` or `_offset`, too.
    One(String),
    /// Several columns, which are a key together.
    Several(Vec<String>),
}

impl KeyNames {
    /// The names.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

impl From<&str> for KeyNames {
    fn from(name: &str) -> Self {
        Self::One(name.to_owned())
    }
}

impl From<&String> for KeyNames {
    fn from(name: &String) -> Self {
        Self::One(name.clone())
    }
}

impl From<String> for KeyNames {
    fn from(name: String) -> Self {
        Self::One(name)
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for KeyNames {
    fn from(names: [S; N]) -> Self {
        Self::Several(names.into_iter().map(Into::into).collect())
    }
}

impl<S: Into<String>> From<Vec<S>> for KeyNames {
    fn from(names: Vec<S>) -> Self {
        Self::Several(names.into_iter().map(Into::into).collect())
    }
}

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

impl StoreOptions for LanceOptions {
    fn load(self, name: String) -> Result<KvStore> {
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
        let pin = match (self.version, self.tag) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid(format!(
                    "KV store '{name}' names both a version and a tag; give one"
                )));
            }
            (Some(version), None) => Some(Pin::Version(version)),
            (None, tag) => tag.map(Pin::Tag),
        };
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
        let spec = StoreSpec { key, pin, options, ..StoreSpec::new(name, LANCE, place) };
        Ok(KvStore { spec, contents: None })
    }
}

/// A path as workers in other folders find it; a URI as it is.
///
/// # Errors
/// `invalid` if the path is empty or the URI holds credentials, which would travel with plans.
pub(crate) fn absolute(path: &str) -> Result<String> {
    if let Some((_, rest)) = path.split_once("://") {
        if has_user(rest) {
            return Err(Error::invalid(format!(
                "the URI {} holds credentials; keep them on the workers, in their environment or \
                 in a storage profile",
                redact(path)
            ))
            .with_code(ErrorCode::StorageProfile));
        }
        return Ok(path.to_owned());
    }
    let absolute = std::path::absolute(Path::new(path))
        .map_err(|error| Error::invalid(format!("path '{path}': {error}")))?;
    // Folders keep their trailing slash: it says that they are folders.
    let slash = if path.ends_with('/') { "/" } else { "" };
    Ok(format!("{}{slash}", absolute.display().to_string().trim_end_matches('/')))
}

/// Contents that travel with the session. Keys must be unique and not null.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    contents: Contents,
}

#[derive(Clone, Debug)]
enum Contents {
    Pairs(Vec<(ScalarValue, ScalarValue)>),
    Batches(Vec<RecordBatch>, KeyNames),
}

impl MemoryOptions {
    /// Pairs of keys and values; the columns are called `key` and `value`.
    pub fn pairs<K: Into<ScalarValue>, V: Into<ScalarValue>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let pairs = pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Self { contents: Contents::Pairs(pairs) }
    }

    /// Rows, keyed by a column or by several together.
    pub fn batch(batch: RecordBatch, key: impl Into<KeyNames>) -> Self {
        Self::batches(vec![batch], key)
    }

    /// Rows of several batches with one schema, keyed by a column or by several together.
    pub fn batches(batches: Vec<RecordBatch>, key: impl Into<KeyNames>) -> Self {
        Self { contents: Contents::Batches(batches, key.into()) }
    }
}

impl StoreOptions for MemoryOptions {
    fn load(self, name: String) -> Result<KvStore> {
        let context = |error: Error| error.context(format!("KV store '{name}'"));
        let (batch, key) = match self.contents {
            Contents::Pairs(pairs) => (from_pairs(pairs).map_err(context)?, "key".into()),
            Contents::Batches(batches, key) => {
                let schema = batches.first().map(RecordBatch::schema).ok_or_else(|| {
                    Error::invalid(format!("KV store '{name}' needs at least one batch"))
                })?;
                (concat_batches(&schema, &batches)?, key)
            }
        };
        let key = KeyColumns::try_new(key.names().to_vec()).map_err(context)?;
        check_keys(&batch, &key).map_err(context)?;
        let contents = ipc::encode_all(&batch.schema(), &[batch])?;
        let (content, key) = (Some(BlobId::of(&contents)), Some(StoreKey::Columns(key)));
        let spec = StoreSpec { content, key, ..StoreSpec::new(name, MEMORY, "") };
        Ok(KvStore { spec, contents: Some(contents) })
    }
}

fn from_pairs(pairs: Vec<(ScalarValue, ScalarValue)>) -> Result<RecordBatch> {
    if pairs.is_empty() {
        return Err(Error::invalid(
            "needs at least one pair, whose types become its columns' types",
        ));
    }
    let (keys, values): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let column = |scalars, what: &str| {
        ScalarValue::iter_to_array(scalars)
            .map_err(|error| Error::from(error).context(format!("the {what} differ in type")))
    };
    let (keys, values) = (column(keys, "keys")?, column(values, "values")?);
    if keys.null_count() > 0 {
        return Err(Error::invalid("key column 'key' holds nulls"));
    }
    let columns: [(&str, ArrayRef, bool); 2] = [("key", keys, false), ("value", values, true)];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// Refuses keys that lookups could not tell apart.
fn check_keys(batch: &RecordBatch, key: &KeyColumns) -> Result<()> {
    let columns = key.names().iter().map(|name| key_column(batch, name));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let types = columns.iter().map(|column| SortField::new(column.data_type().clone()));
    let rows = RowConverter::new(types.collect())?.convert_columns(&columns)?;
    let mut seen = HashSet::with_capacity(rows.num_rows());
    for (index, row) in rows.iter().enumerate() {
        if !seen.insert(row) {
            let parts = columns.iter().map(|column| array_value_to_string(column, index));
            let twice = parts.collect::<Result<Vec<_>, _>>()?.join(", ");
            let message = format!("key '{twice}' stands in several rows");
            return Err(Error::invalid(message).with_code(ErrorCode::KeyRepeated));
        }
    }
    Ok(())
}

fn key_column(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let column = batch.column_by_name(name).ok_or_else(|| {
        let names = column_names(&batch.schema());
        Error::invalid(format!("key column '{name}' not found; the rows have {names}"))
    })?;
    if KeyClass::of(column.data_type()).is_none() {
        return Err(Error::invalid(format!(
            "key column '{name}' has type {}; keys are {KEY_TYPES}",
            column.data_type()
        )));
    }
    refuse_nulls(column, name)?;
    Ok(column.clone())
}

fn refuse_nulls(keys: &ArrayRef, column: &str) -> Result<()> {
    if keys.null_count() > 0 {
        return Err(Error::invalid(format!("key column '{column}' holds nulls")));
    }
    Ok(())
}
