//! One use of a function, checked against the store that it names.

use std::{
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    num::NonZeroUsize,
    sync::Arc,
};

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    misses::MaxMisses,
    store::{AskedKey, AttachedStore, KeyColumns, ResolvedStore, column_names},
};

/// The most keys that one request carries, unless `batch_size` says otherwise.
pub const DEFAULT_BATCH_SIZE: usize = 1000;

/// The functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// `kv_get`: one key, one struct.
    Get,
    /// `kv_batch_get`: a list of keys, a list of structs.
    BatchGet,
    /// `kv_get_all`: one key, a list of structs: of all rows that hold it.
    GetAll,
    /// `kv_exists`: one key, true or false.
    Exists,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Get, Self::BatchGet, Self::GetAll, Self::Exists];

    /// The store with its key, for a call that looks up these columns: see
    /// [`AttachedStore::resolve`].
    ///
    /// # Errors
    /// `invalid`, naming what to write, if nothing says what the key is.
    pub fn resolve(
        self,
        store: &AttachedStore,
        asked: Option<&KeyColumns>,
    ) -> Result<Arc<ResolvedStore>> {
        match self {
            Self::Get | Self::GetAll | Self::Exists => store.resolve(asked),
            Self::BatchGet => store.resolve_lists(asked),
        }
    }

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "kv_get",
            Self::BatchGet => "kv_batch_get",
            Self::GetAll => "kv_get_all",
            Self::Exists => "kv_exists",
        }
    }

    /// The place of a parameter by its name, whatever its case. The key may be called so, too.
    pub fn parameter(self, name: &str) -> Option<usize> {
        let is_key = name.eq_ignore_ascii_case("key") || name.eq_ignore_ascii_case("keys");
        let named = |parameter: &&str| name.eq_ignore_ascii_case(parameter);
        if is_key { Some(0) } else { self.parameters().iter().position(named) }
    }

    /// The names of its parameters in SQL, in order.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Get | Self::GetAll => &["row_ids", "columns", "on_error", "source", "max_misses"],
            Self::BatchGet => {
                &["row_ids", "columns", "batch_size", "on_error", "source", "max_misses"]
            }
            Self::Exists => &["row_ids", "on_error", "source"],
        }
    }
}

/// What a key means that the store does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OnError {
    /// The job fails.
    #[default]
    Raise,
    /// The answer is null.
    Null,
    /// The answer is null, and the job fails if there are more of them.
    AtMost(MaxMisses),
    /// The answer is null, as is due where a join finds no match: the key is not missed.
    Unmatched,
}

impl OnError {
    /// Whether nothing fails, however many keys are missing.
    pub fn never_fails(self) -> bool {
        matches!(self, Self::Null | Self::Unmatched)
    }

    /// The most keys that may be missing, if there is such a bound.
    pub fn max_misses(self) -> Option<MaxMisses> {
        match self {
            Self::AtMost(max) => Some(max),
            Self::Raise | Self::Null | Self::Unmatched => None,
        }
    }

    /// Reads `raise` or `null`.
    ///
    /// # Errors
    /// `invalid`, naming the choices.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "raise" => Ok(Self::Raise),
            "null" => Ok(Self::Null),
            other => Err(Error::invalid(format!("on_error is 'raise' or 'null', not '{other}'"))),
        }
    }
}

/// The options of a call, as the user gave them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// The columns wanted; all if absent.
    pub columns: Option<Vec<String>>,
    /// What a missing key means.
    pub on_error: OnError,
    /// The most keys of one request.
    pub batch_size: Option<usize>,
}

/// One use of a function on one store.
#[derive(Clone, PartialEq, Eq)]
pub struct KvCall {
    function: Function,
    store: Arc<ResolvedStore>,
    columns: Option<Vec<String>>,
    on_error: OnError,
    batch_size: Option<NonZeroUsize>,
    joined: Option<Arc<str>>,
}

impl KvCall {
    /// Checks the options against the store.
    ///
    /// # Errors
    /// `invalid` if a column is unknown, named twice or the list is empty, `batch_size` is 0, or
    /// `kv_exists` has a bound on missing keys.
    pub fn try_new(
        function: Function,
        store: Arc<ResolvedStore>,
        options: CallOptions,
    ) -> Result<Self> {
        if let Some(columns) = &options.columns {
            check_columns(&store, columns)?;
        }
        if function == Function::Exists && options.on_error.max_misses().is_some() {
            return Err(Error::invalid(
                "kv_exists takes no max_misses: that a key is missing is its answer",
            ));
        }
        let batch_size = match (function, options.batch_size) {
            (_, Some(0)) => return Err(Error::invalid("batch_size must be at least 1, not 0")),
            (_, Some(size)) => NonZeroUsize::new(size),
            (Function::BatchGet, None) => NonZeroUsize::new(DEFAULT_BATCH_SIZE),
            (_, None) => None,
        };
        let CallOptions { columns, on_error, .. } = options;
        Ok(Self { function, store, columns, on_error, batch_size, joined: None })
    }

    /// The same call, made for a join or a condition: why these look the store's rows up.
    #[must_use]
    pub fn joined(self, why: Option<Arc<str>>) -> Self {
        Self { joined: why, ..self }
    }

    /// Why a join or a condition looks the store's rows up, if it is made for one.
    pub fn why_joined(&self) -> Option<Arc<str>> {
        self.joined.clone()
    }

    /// Which function.
    pub fn function(&self) -> Function {
        self.function
    }

    /// The store it asks.
    pub fn store(&self) -> &Arc<ResolvedStore> {
        &self.store
    }

    /// What a missing key means.
    pub fn on_error(&self) -> OnError {
        self.on_error
    }

    /// The most keys of one request, if it is bounded.
    pub fn batch_size(&self) -> Option<NonZeroUsize> {
        self.batch_size
    }

    /// The wanted columns as indices into the store's schema, in the requested order.
    pub fn column_indices(&self) -> Vec<usize> {
        let schema = self.store.schema();
        match &self.columns {
            None => (0..schema.fields().len()).collect(),
            Some(columns) => {
                columns.iter().filter_map(|column| schema.index_of(column).ok()).collect()
            }
        }
    }

    /// The type of the answer for a key column.
    ///
    /// # Errors
    /// `invalid` if the store cannot be asked for such keys.
    pub fn return_type(&self, key_column: &Field) -> Result<DataType> {
        let key = key_column.data_type();
        let (list, element) = match list_element(key) {
            Some(element) => (true, element.data_type()),
            None => (false, key),
        };
        if list && self.function != Function::BatchGet {
            return Err(Error::invalid(format!(
                "{} takes one key a row, not {key}; kv_batch_get takes lists",
                self.function.name()
            )));
        }
        let function = self.function.name();
        let asked = AskedKey { function, name: key_column.name(), data_type: element };
        asked.check(&self.store)?;
        let answer = self.answer_type();
        Ok(if list { DataType::List(list_item(answer)) } else { answer })
    }

    /// The type of the answer for one key.
    pub fn answer_type(&self) -> DataType {
        match self.function {
            Function::Exists => DataType::Boolean,
            Function::Get | Function::BatchGet => self.row_type(),
            Function::GetAll => DataType::List(list_item(self.row_type())),
        }
    }

    fn row_type(&self) -> DataType {
        DataType::Struct(row_fields(&self.store, &self.column_indices()))
    }

    /// The options as SQL shows them, after the key.
    fn fmt_options(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source => '{}'", self.store.alias)?;
        if let Some(columns) = &self.columns {
            let quoted: Vec<_> = columns.iter().map(|column| format!("'{column}'")).collect();
            write!(f, ", columns => [{}]", quoted.join(", "))?;
        }
        if let (Function::BatchGet, Some(size)) = (self.function, self.batch_size)
            && size.get() != DEFAULT_BATCH_SIZE
        {
            write!(f, ", batch_size => {size}")?;
        }
        match self.on_error {
            OnError::Raise => Ok(()),
            OnError::Null | OnError::Unmatched => f.write_str(", on_error => 'null'"),
            OnError::AtMost(max) => write!(f, ", max_misses => '{max}'"),
        }
    }

    /// The call as SQL shows it, for a key that is shown as given.
    pub fn display(&self, key: &str) -> String {
        struct Options<'a>(&'a KvCall);
        impl fmt::Display for Options<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt_options(f)
            }
        }
        format!("{}({key}, {})", self.function.name(), Options(self))
    }
}

/// The store counts by its alias: planning hashes each call many times, and a store's columns and
/// figures are many.
impl Hash for KvCall {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
        self.store.alias.hash(state);
        self.columns.hash(state);
        self.on_error.hash(state);
        self.batch_size.hash(state);
    }
}

impl fmt::Debug for KvCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display("_"))
    }
}

/// The fields of an answer. All are nullable: reading a field of a null struct gives null.
pub fn row_fields(store: &ResolvedStore, columns: &[usize]) -> Fields {
    let field =
        |&column: &usize| -> Field { store.schema().field(column).clone().with_nullable(true) };
    columns.iter().map(field).collect()
}

/// The field of a list's elements in answers.
pub(crate) fn list_item(answer: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(answer, true))
}

/// The element of a type that is a list.
pub fn list_element(data_type: &DataType) -> Option<&FieldRef> {
    match data_type {
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::FixedSizeList(element, _)
        | DataType::ListView(element)
        | DataType::LargeListView(element) => Some(element),
        _ => None,
    }
}

fn check_columns(store: &ResolvedStore, columns: &[String]) -> Result<()> {
    let alias = &store.alias;
    if columns.is_empty() {
        return Err(Error::invalid(format!(
            "columns names no column of KV store '{alias}'; leave it out for all of them"
        )));
    }
    let mut seen = HashSet::new();
    for column in columns {
        if store.field(column).is_none() {
            let names = column_names(store.schema());
            return Err(Error::invalid(format!(
                "column '{column}' not found in KV store '{alias}'; it has {names}"
            )));
        }
        if !seen.insert(column) {
            return Err(Error::invalid(format!("columns names '{column}' twice")));
        }
    }
    Ok(())
}
