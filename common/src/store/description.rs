//! What opening a store teaches, and how a plan names the store from then on.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use serde::{Deserialize, Serialize};

use super::{Figures, KeyClass, LanceKey, Snapshot, StoreKind, StoreSpec};
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
    /// The snapshot's figures, where there are several ways to its rows.
    pub figures: Option<Figures>,
}

/// A store as a plan carries it: the alias, what to open, and at which snapshot. Never a handle.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ResolvedStore {
    /// The name by which the query found it.
    pub alias: String,
    /// What to open.
    pub spec: StoreSpec,
    /// Its columns and the snapshot that every task of the job reads.
    pub description: StoreDescription,
}

impl ResolvedStore {
    /// Joins an alias, a spec and what opening it taught.
    ///
    /// # Errors
    /// `invalid` if the key column does not exist or has a type that keys cannot have, or if the
    /// spec forces a way to the rows that the store does not have.
    pub fn try_new(
        alias: impl Into<String>,
        spec: StoreSpec,
        description: StoreDescription,
    ) -> Result<Arc<Self>> {
        let store = Self { alias: alias.into(), spec, description };
        if let Some(column) = store.key_column() {
            let field = store.field(column).ok_or_else(|| {
                let names = column_names(store.schema());
                Error::invalid(format!("key column '{column}' not found; the store has {names}"))
            })?;
            if KeyClass::of(field.data_type()).is_none() {
                return Err(Error::invalid(format!(
                    "key column '{column}' has type {}; keys are integers, strings or binary",
                    field.data_type()
                )));
            }
        }
        if let (StoreKind::Lance(lance), Some(figures)) =
            (&store.spec.kind, &store.description.figures)
        {
            lance.access.check(&lance.key, figures)?;
        }
        Ok(Arc::new(store))
    }

    /// The store's columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.description.schema
    }

    /// The type that keys are compared in.
    pub fn key_type(&self) -> &DataType {
        let field = self.key_column().and_then(|column| self.field(column));
        field.map_or(&DataType::UInt64, Field::data_type)
    }

    /// The column that holds the keys, unless they are row ids or offsets.
    pub fn key_column(&self) -> Option<&str> {
        match &self.spec.kind {
            StoreKind::Lance(lance) => match &lance.key {
                LanceKey::Column(column) => Some(column),
                LanceKey::RowId | LanceKey::Offset => None,
            },
            StoreKind::Memory(memory) => Some(&memory.key),
        }
    }

    /// The field of a column.
    pub fn field(&self, column: &str) -> Option<&Field> {
        self.schema().fields().find(column).map(|(_, field)| field.as_ref())
    }
}

/// Column names as messages list them.
pub(crate) fn column_names(schema: &SchemaRef) -> String {
    let names: Vec<_> = schema.fields().iter().map(|field| format!("'{}'", field.name())).collect();
    names.join(", ")
}
