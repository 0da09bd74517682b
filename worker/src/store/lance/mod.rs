//! Lance datasets as stores: keys → row addresses → rows.
//!
//! Only addresses that stand in the snapshot and are not deleted are ever read, sorted and each
//! once, and every read says which addresses it read: Lance drops, repeats or refuses rows
//! otherwise, and an answer must never be short or shifted.
//!
//! [`open`] opens a snapshot, [`layout`] knows its fragments and deletions, [`scan`] reads its keys
//! into a [`key_map`], [`locate`] turns keys into addresses, and [`fetch`] reads rows.

mod error;
mod fetch;
mod figures;
mod key_map;
mod layout;
mod locate;
mod open;
mod scan;
mod tasks;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, UInt32Array},
    compute::cast,
    datatypes::SchemaRef,
};
use async_trait::async_trait;
use keyloom_common::{
    Error, Result,
    store::{ResolvedStore, StoreKind},
};

use self::fetch::Fetch;
pub(crate) use self::open::{LanceEnv, LanceHandle};
use super::{Fetched, Found, Request, Store, keys::Keys, requested_schema};

/// A snapshot of a dataset under an alias.
pub(super) struct LanceStore {
    alias: String,
    schema: SchemaRef,
    handle: Arc<LanceHandle>,
}

impl LanceHandle {
    /// The store as a plan names it.
    ///
    /// # Errors
    /// `invalid` if the dataset's columns are not those that the plan was made for.
    pub(super) fn bind(self: &Arc<Self>, store: &ResolvedStore) -> Result<LanceStore> {
        let types = |schema: &SchemaRef| -> Vec<_> {
            let fields = schema.fields().iter();
            fields.map(|field| (field.name().clone(), field.data_type().clone())).collect()
        };
        debug_assert!(matches!(store.spec.kind, StoreKind::Lance(_)));
        if types(store.schema()) != types(&self.schema) {
            return Err(Error::invalid(format!(
                "KV store '{}' at {} has other columns than when the query was planned",
                store.alias, store.description.snapshot
            )));
        }
        Ok(LanceStore {
            alias: store.alias.clone(),
            schema: store.schema().clone(),
            handle: self.clone(),
        })
    }
}

#[async_trait]
impl Store for LanceStore {
    async fn lookup(&self, request: Request) -> Result<Found> {
        let found = self.find(&request).await;
        found.map_err(|error| self.handle.scrub.clean(error))
    }
}

impl LanceStore {
    async fn find(&self, request: &Request) -> Result<Found> {
        let output = requested_schema(&self.schema, &request.columns)?;
        let keys = Keys::try_new(&request.keys)?;
        let located = self.locate(&keys).await?;
        if output.fields().is_empty() && located.verify.is_none() {
            return Found::existence(located.addresses.iter().map(Option::is_some));
        }
        let mut columns: Vec<&str> = output.fields().iter().map(|f| f.name().as_str()).collect();
        columns.extend(located.verify.filter(|key| output.fields().find(key).is_none()));
        let mut wanted: Vec<u64> = located.addresses.iter().copied().flatten().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let rows = self.fetch(&columns, &wanted).await?;

        let held =
            located.verify.map(|key| column(&rows, key).and_then(Keys::try_new)).transpose()?;
        let positions = located.addresses.iter().enumerate().map(|(key, address)| {
            let row = wanted.binary_search(address.as_ref()?).ok()?;
            // Another key may have the same hash: then the row is not of this key.
            let right = held.as_ref().is_none_or(|held| keys.equal(key, held, row));
            right.then(|| u32::try_from(row).ok()).flatten()
        });
        let positions: UInt32Array = positions.collect();
        if output.fields().is_empty() {
            return Found::existence(positions.iter().map(|position| position.is_some()));
        }
        let fetched = Fetched::of(&rows);
        Ok(Found { rows: conform(&rows, &output)?, positions, fetched })
    }

    /// The rows at these addresses, which must be sorted, distinct and live.
    async fn fetch(&self, columns: &[&str], addresses: &[u64]) -> Result<RecordBatch> {
        let fetch = Fetch::new(&self.handle.dataset, columns)?;
        let rows = fetch.rows(addresses, &self.handle.settings).await;
        rows.map_err(|error| self.cannot_read(error))
    }

    fn cannot_read(&self, error: Error) -> Error {
        error.context(format_args!("KV store '{}' cannot be read", self.alias))
    }
}

impl fmt::Debug for LanceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanceStore")
            .field("alias", &self.alias)
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    rows.column_by_name(name)
        .ok_or_else(|| Error::internal(format!("column '{name}' was asked of Lance but not given")))
}

/// The columns as the plan knows them: in its order, with its metadata.
fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| {
        let given = column(rows, field.name())?;
        if given.data_type() == field.data_type() {
            return Ok(given.clone());
        }
        Ok(cast(given, field.data_type())?)
    });
    Ok(RecordBatch::try_new(schema.clone(), columns.collect::<Result<_>>()?)?)
}
