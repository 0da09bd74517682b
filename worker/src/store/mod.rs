//! Stores as the lookup operator sees them: one small trait, and what opens its implementations.
//!
//! Each kind of store is a folder with a [`factory`], and a line in [`kinds`]. A handle is opened
//! once per worker and shared by all tasks ([`OpenStores`]). Every handle reads one snapshot for as
//! long as it lives.

mod bounded;
mod budget;
#[cfg(test)]
mod contract;
mod factory;
mod found;
mod kept;
mod key_set;
mod keys;
mod kinds;
pub(crate) mod lance;
mod memory;
mod open;
mod open_stores;
mod parts;
mod patience;
mod profiles;
mod settings;
#[cfg(test)]
mod toy;

use std::sync::Arc;

use arrow::{
    array::ArrayRef,
    datatypes::{Schema, SchemaRef},
};
use async_trait::async_trait;
use keyloom_common::{Error, Result, store::Access};

pub(crate) use budget::ReadBudget;
pub(crate) use found::value_bytes;
pub use found::{Found, Place, ReadStats, Values};
pub use key_set::KeySet;
pub(crate) use keys::{Keys, key_nulls};
pub(crate) use kinds::kind_words;
pub use lance::{NewDataset, WrittenDataset};
pub use open::StoreEnv;
pub use open_stores::OpenStores;
pub use parts::BlobSource;
pub(crate) use parts::WorkerParts;
pub(crate) use patience::Patience;
pub use profiles::{InEnvironment, InFile, ProfileValue, StorageProfile};
pub(crate) use profiles::{ProfileVersion, ReadProfile, is_credential};
pub use settings::StoreSettings;

/// An open store at one snapshot.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Finds the rows of the keys in one request.
    ///
    /// # Errors
    /// `store` if the store could not be read, `timeout` if its storage does not answer (another
    /// attempt may help), `invalid` if the answer is ambiguous (a key that stands in several rows).
    /// Never a partial answer.
    async fn lookup(&self, request: Request) -> Result<Found>;

    /// About how many bytes the values of these columns take in a row.
    ///
    /// # Errors
    /// `store` if the store could not be read, `timeout` if its storage does not answer.
    async fn row_bytes(&self, columns: &[usize]) -> Result<u64>;

    /// The same store, which has looked for the rows of these keys at once, all that a job will ask
    /// for with these columns, and what it read for that; none if it had better look for them as
    /// they are asked for.
    ///
    /// # Errors
    /// As [`Store::lookup`].
    async fn knowing(
        &self,
        _keys: &dyn KeySet,
        _columns: &[usize],
        _access: Access,
    ) -> Result<Option<(Arc<dyn Store>, ReadStats)>> {
        Ok(None)
    }
}

/// Keys to find, and the columns wanted of their rows.
#[derive(Clone, Debug)]
pub struct Request {
    /// Distinct keys without nulls, of the store's key type.
    pub keys: ArrayRef,
    /// Indices into the store's schema, in the order wanted. Empty: only existence is asked, and
    /// no value column is read.
    pub columns: Vec<usize>,
    /// The way to take, where the store knows several.
    pub access: Access,
    /// Which rows of a key are wanted that stands in several.
    pub rows: KeyRows,
}

/// Which rows of a key are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyRows {
    /// One: that which the store's policy goes by.
    #[default]
    One,
    /// Any: only whether there is one is asked, and no policy has to choose.
    Any,
    /// All, in the order in which they are stored: of as many of the first keys as have so many
    /// rows. A store whose keys may stand in several rows leaves the keys behind these out
    /// ([`Found::is_cut`]).
    All(MostRows),
}

/// The most rows that are found together where all of a key's rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MostRows {
    /// Of several keys.
    pub at_once: usize,
    /// Of one key, which cannot be answered in parts. More are an error.
    pub of_a_key: usize,
}

impl MostRows {
    /// No bound.
    #[cfg(test)]
    pub(crate) const ANY: Self = Self { at_once: usize::MAX, of_a_key: usize::MAX };

    /// The bounds for each of so many parts of a request.
    fn shared_by(self, parts: usize) -> Self {
        Self { at_once: (self.at_once / parts.max(1)).max(1), ..self }
    }
}

/// The columns of a request. Schema metadata is dropped: it is no column's.
fn requested_schema(schema: &SchemaRef, columns: &[usize]) -> Result<SchemaRef> {
    let fields = columns.iter().map(|column| schema.fields().get(*column).cloned());
    let fields: Vec<_> = fields.collect::<Option<_>>().ok_or_else(|| {
        Error::internal(format!("columns {columns:?} of a store with {}", schema.fields().len()))
    })?;
    Ok(Arc::new(Schema::new(fields)))
}
