//! Describing stores: [`load_kv`] and its options. Nothing is opened before a store is attached.

use std::collections::HashSet;

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    compute::concat_batches,
    row::{RowConverter, SortField},
    util::display::array_value_to_string,
};
use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use keyloom_common::{
    BlobId, Error, ErrorCode, Result, ipc,
    store::{KEY_TYPES, KeyClass, KeyColumns, MEMORY, StoreKey, StoreSpec, column_names},
};

pub use keyloom_common::described::{KeyNames, LanceOptions, OtherOptions};

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

impl StoreOptions for LanceOptions {
    fn load(self, name: String) -> Result<KvStore> {
        Ok(KvStore { spec: self.spec(name)?, contents: None })
    }
}

impl StoreOptions for OtherOptions {
    fn load(self, name: String) -> Result<KvStore> {
        let context = format!("KV store '{name}'");
        let spec = self.spec(name).map_err(|error| error.context(context))?;
        Ok(KvStore { spec, contents: None })
    }
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
