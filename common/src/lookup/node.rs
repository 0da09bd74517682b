//! The parts of a lookup node.

use std::{fmt, num::NonZeroUsize, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr::{PhysicalExpr, expressions::Column};
use serde::{Deserialize, Serialize};

use crate::{
    BlobId,
    error::Result,
    functions::{OnError, list_element, list_item, row_fields},
    misses::MaxMisses,
    store::{Access, KeyOrigin, ResolvedStore},
};

/// Fetches that can be made at the same time: none needs another's answer.
#[derive(Clone, Debug)]
pub struct Wave {
    /// At most one for each store and key expression.
    pub fetches: Vec<Fetch>,
}

/// One question to one store: the rows of these keys.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Which store.
    pub store: Arc<ResolvedStore>,
    /// The keys, or lists of keys, over the node's input and the answers of earlier waves.
    pub key: Arc<dyn PhysicalExpr>,
    /// The answers wanted of the rows fetched.
    pub calls: Vec<Call>,
    /// The most keys that one request to the store carries, if the user said so.
    pub batch_size: Option<NonZeroUsize>,
    /// How the rows are reached.
    pub access: Access,
    /// The figures that decided, in words; none if the store has one way only.
    pub reason: Option<String>,
    /// Why a join or a condition looks rows up, in words, if it is made for one.
    pub joined: Option<String>,
    /// Rows of one column with all keys of the job, if these were collected before.
    pub key_set: Option<BlobId>,
}

/// One answer, which becomes one column.
#[derive(Clone, Debug)]
pub struct Call {
    /// The name of the column, unique within the node.
    pub name: String,
    /// What is answered.
    pub answer: Answer,
    /// Which rows need the answer: those where this boolean expression is true; all if absent.
    /// Other rows get null, and their key is never computed.
    pub guard: Option<Arc<dyn PhysicalExpr>>,
}

/// What a call answers for each key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// A struct of these columns (indices into the store's schema), in this order.
    Row {
        /// The columns.
        columns: Vec<usize>,
        /// What a missing key means.
        on_error: OnError,
    },
    /// A list of such structs: of all rows that hold the key, in storage order.
    All {
        /// The columns.
        columns: Vec<usize>,
        /// What a missing key means; its list is null.
        on_error: OnError,
    },
    /// Whether the store holds the key.
    Exists,
}

impl Answer {
    /// The columns (indices into the store's schema) that it is made of.
    fn columns(&self) -> &[usize] {
        match self {
            Self::Row { columns, .. } | Self::All { columns, .. } => columns,
            Self::Exists => &[],
        }
    }

    /// What a missing key means; none if it is an answer as any other.
    pub fn on_missing(&self) -> Option<OnError> {
        match self {
            Self::Row { on_error, .. } | Self::All { on_error, .. } => {
                Some(*on_error).filter(|on_error| *on_error != OnError::Unmatched)
            }
            Self::Exists => None,
        }
    }

    /// The same of which no key counts as missing.
    #[must_use]
    pub fn without_misses(&self) -> Self {
        let mut answer = self.clone();
        if let Self::Row { on_error, .. } | Self::All { on_error, .. } = &mut answer {
            *on_error = OnError::Unmatched;
        }
        answer
    }

    /// The most keys that may be missing, if there is such a bound.
    pub fn max_misses(&self) -> Option<MaxMisses> {
        self.on_missing().and_then(OnError::max_misses)
    }
}

impl Fetch {
    /// The columns (indices into the store's schema) that the answers are made of, sorted; none if
    /// only existence is asked for.
    pub fn columns(&self) -> Vec<usize> {
        let columns = self.calls.iter().flat_map(|call| call.answer.columns());
        let mut columns: Vec<_> = columns.copied().collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// The bytes of an average row's answers, by the store's figures; 0 if it has none.
    pub fn answer_bytes(&self) -> u64 {
        let Some(figures) = &self.store.description.figures else { return 0 };
        let columns = self.calls.iter().flat_map(|call| call.answer.columns());
        columns.filter_map(|&column| figures.value_bytes.get(column)).sum()
    }

    /// What the key is compared with, unless a column is compared with a column of the same name
    /// because the user said so.
    fn fmt_key(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.store.key();
        let asked = self.key.downcast_ref::<Column>().map(Column::name);
        match self.store.key_origin() {
            KeyOrigin::Given if asked.is_some_and(|asked| key.columns() == [asked]) => Ok(()),
            origin => write!(f, " = {key}{}", origin.note()),
        }
    }
}

impl Wave {
    /// The schema after this wave: the given one and a column for each call.
    ///
    /// # Errors
    /// If a key expression does not fit the schema.
    pub fn extend_schema(&self, before: &SchemaRef) -> Result<SchemaRef> {
        let mut fields = before.fields().to_vec();
        for fetch in &self.fetches {
            let key = fetch.key.data_type(before)?;
            fields.extend(fetch.calls.iter().map(|call| Arc::new(call.field(&fetch.store, &key))));
        }
        Ok(Arc::new(Schema::new_with_metadata(fields, before.metadata().clone())))
    }
}

impl Call {
    /// The column that it becomes, for keys of the given type.
    pub fn field(&self, store: &ResolvedStore, key: &DataType) -> Field {
        let answer = match &self.answer {
            Answer::Row { columns, .. } => DataType::Struct(row_fields(store, columns)),
            Answer::All { columns, .. } => {
                DataType::List(list_item(DataType::Struct(row_fields(store, columns))))
            }
            Answer::Exists => DataType::Boolean,
        };
        let data_type = match list_element(key) {
            Some(_) => DataType::List(list_item(answer)),
            None => answer,
        };
        Field::new(&self.name, data_type, true)
    }
}

impl fmt::Display for Wave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fetches: Vec<_> = self.fetches.iter().map(ToString::to_string).collect();
        f.write_str(&fetches.join("; "))
    }
}

impl fmt::Display for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} by {}", self.store.alias, self.store.description.snapshot, self.key)?;
        self.fmt_key(f)?;
        if let (Some(way), Some(reason)) = (&self.access.says, &self.reason) {
            write!(f, " via {way} ({reason})")?;
        }
        if let Some(size) = self.batch_size {
            write!(f, " (batch_size {size})")?;
        }
        // What cannot be read was refused when the store was described.
        if let Ok(pace) = self.store.spec.pace()
            && let Some(pace) = pace.in_words()
        {
            write!(f, " ({pace})")?;
        }
        if let Some(why) = &self.joined {
            write!(f, " (joined by lookup: {why})")?;
        }
        let calls: Vec<_> = self.calls.iter().map(|call| call.display(&self.store)).collect();
        write!(f, " [{}]", calls.join(", "))
    }
}

impl Call {
    fn display(&self, store: &ResolvedStore) -> String {
        let answer = match &self.answer {
            Answer::Exists => "exists".to_owned(),
            Answer::Row { columns, on_error } | Answer::All { columns, on_error } => {
                let names: Vec<_> = columns
                    .iter()
                    .map(|&column| store.schema().field(column).name().as_str())
                    .collect();
                let missing = match on_error {
                    OnError::Raise => String::new(),
                    OnError::Null | OnError::Unmatched => " or null".to_owned(),
                    OnError::AtMost(max) => format!(" or null, max_misses {max}"),
                };
                let all = if matches!(self.answer, Answer::All { .. }) { "all " } else { "" };
                format!("{all}{{{}}}{missing}", names.join(", "))
            }
        };
        match &self.guard {
            Some(guard) => format!("{} = {answer} if {guard}", self.name),
            None => format!("{} = {answer}", self.name),
        }
    }
}
