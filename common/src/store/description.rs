//! What opening a store teaches, and how a plan names the store from then on.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use serde::{Deserialize, Serialize};

use super::{
    AttachedStore, Figures, KEY_TYPES, KeyClass, KeyColumns, KeyOrigin, Snapshot, StoreKey,
    StoreSpec, lance,
};
use crate::{
    error::{Error, Result},
    ipc,
};

/// A store's columns, its current snapshot and its figures.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoreDescription {
    /// All columns that a lookup can return, the key column among them, in the store's order.
    #[serde(with = "ipc::schema_serde")]
    pub schema: SchemaRef,
    /// The newest snapshot, or the pinned one.
    pub snapshot: Snapshot,
    /// The snapshot's figures, of kinds that know them without reading the rows.
    pub figures: Option<Figures>,
    /// The primary key that the dataset declares.
    pub primary_key: Option<KeyColumns>,
    /// Whether a key may stand in several rows.
    pub repeats_keys: bool,
}

/// A store as a plan carries it: the alias, what to open, at which snapshot, and what its keys are.
/// Never a handle.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ResolvedStore {
    /// The name by which the query found it.
    pub alias: String,
    /// What to open.
    pub spec: StoreSpec,
    /// Its columns and the snapshot that every task of the job reads.
    pub description: StoreDescription,
    key: StoreKey,
    key_origin: KeyOrigin,
}

impl ResolvedStore {
    /// Joins an alias, a spec and what opening it taught.
    ///
    /// # Errors
    /// `invalid` if no key is given or declared, a key column does not exist or has a type that
    /// keys cannot have, or if the spec forces a way to the rows that the store does not have.
    pub fn try_new(
        alias: impl Into<String>,
        spec: StoreSpec,
        description: StoreDescription,
    ) -> Result<Arc<Self>> {
        AttachedStore::try_new(alias, spec, description)?.resolve(None)
    }

    /// The store with a key that was settled.
    pub(super) fn with_key(
        alias: String,
        spec: StoreSpec,
        description: StoreDescription,
        key: StoreKey,
        key_origin: KeyOrigin,
    ) -> Result<Arc<Self>> {
        let store = Self { alias, spec, description, key, key_origin };
        store.key.columns().iter().try_for_each(|column| store.check_key_column(column))?;
        // What a kind's options ask of a key is known once that is settled, and here it is.
        lance::check(&store)?;
        Ok(Arc::new(store))
    }

    /// The same store and key, described anew.
    ///
    /// # Errors
    /// As [`Self::try_new`].
    pub fn described(&self, description: StoreDescription) -> Result<Arc<Self>> {
        let Self { alias, spec, key, key_origin, .. } = self.clone();
        Self::with_key(alias, spec, description, key, key_origin)
    }

    fn check_key_column(&self, column: &str) -> Result<()> {
        let field = self.field(column).ok_or_else(|| {
            let names = column_names(self.schema());
            Error::invalid(format!("key column '{column}' not found; the store has {names}"))
        })?;
        if KeyClass::of(field.data_type()).is_none() {
            return Err(Error::invalid(format!(
                "key column '{column}' has type {}; keys are {KEY_TYPES}",
                field.data_type()
            )));
        }
        Ok(())
    }

    /// The store's columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.description.schema
    }

    /// What its keys are.
    pub fn key(&self) -> &StoreKey {
        &self.key
    }

    /// Who said so.
    pub fn key_origin(&self) -> KeyOrigin {
        self.key_origin
    }

    /// The type that keys are compared in: a struct of the columns, if there are several.
    pub fn key_type(&self) -> DataType {
        match self.key_fields().as_slice() {
            [only] => only.data_type().clone(),
            several => DataType::Struct(several.iter().cloned().collect()),
        }
    }

    /// The columns of the key; row ids and offsets pass for a column of their name.
    pub(crate) fn key_fields(&self) -> Vec<Field> {
        match self.key.columns() {
            [] => vec![Field::new(self.key.to_string(), DataType::UInt64, false)],
            columns => columns.iter().filter_map(|name| self.field(name)).cloned().collect(),
        }
    }

    /// The field of a column.
    pub fn field(&self, column: &str) -> Option<&Field> {
        self.schema().fields().find(column).map(|(_, field)| field.as_ref())
    }
}

/// Column names as messages list them.
pub fn column_names(schema: &SchemaRef) -> String {
    quoted(schema.fields().iter().map(|field| field.name()))
}

/// Names as messages list them.
pub(crate) fn quoted<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}
