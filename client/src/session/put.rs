//! Putting rows into attached stores: those whose keys are there are replaced, others come to it.

use datafusion::dataframe::DataFrame;
use keyloom_common::{
    Error, Result,
    described::{Mode, Output, OutputFormat},
    store::{AttachedStore, LANCE, STORAGE_OPTIONS, StoreKey},
};

use super::Session;
use crate::query::{Job, JobOptions};

impl Session {
    /// Puts rows into the Lance store under an alias: a row whose key stands in the store replaces
    /// the one that is there, and others come to it. The rows have the store's columns. All of them
    /// can be seen when the job is done, or none.
    ///
    /// Queries that are submitted afterwards read them, unless the store was attached at a version
    /// or at a tag.
    ///
    /// # Errors
    /// `not_found` if nothing is attached under the alias; `invalid` if it is no Lance store, has no
    /// key of columns, or is one version; otherwise as [`Self::submit_with`].
    pub async fn put(&self, rows: DataFrame, alias: &str) -> Result<Job> {
        let store = self.find_kv(alias).await?;
        let output = Some(output(&store)?);
        self.submit_with(rows, JobOptions { output, ..JobOptions::default() }).await
    }
}

/// The output that puts rows into a store.
///
/// # Errors
/// `invalid`, naming what the store lacks.
pub(super) fn output(store: &AttachedStore) -> Result<Output> {
    let refusal = |why: &str| Error::invalid(format!("KV store '{}' {why}", store.alias));
    let spec = &store.spec;
    if spec.kind != LANCE {
        let kind = &spec.kind;
        return Err(refusal(&format!("is a {kind} store; rows are put into Lance stores alone")));
    }
    if spec.pin.is_some() {
        return Err(refusal("is attached at one version; attach it without, to put rows into it"));
    }
    let key = match store.key() {
        Some((StoreKey::Columns(key), _)) => key.names().to_vec(),
        Some((StoreKey::RowId | StoreKey::Offset, _)) => {
            return Err(refusal(
                "is looked up by row ids or positions, which rows that are put do \
                                not have; attach it with key, the columns that tell rows apart",
            ));
        }
        None => {
            return Err(refusal(
                "has no key; attach it with key, the columns that tell rows apart",
            ));
        }
    };
    let output = Output::new(spec.place.as_str()).format(OutputFormat::Lance);
    let output = output.if_exists(Mode::Upsert).key(key);
    Ok(match spec.options.text(STORAGE_OPTIONS) {
        Some(profile) => output.storage_options(profile),
        None => output,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use keyloom_common::{
        output::OutputKind,
        store::{KeyColumns, Pin, Snapshot, StoreDescription, StoreSpec},
    };

    use super::*;

    fn attached(spec: StoreSpec) -> Arc<AttachedStore> {
        let description = StoreDescription {
            schema: Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)])),
            snapshot: Snapshot::Immutable,
            figures: None,
            primary_key: None,
            repeats_keys: true,
        };
        AttachedStore::try_new("products", spec, description).unwrap()
    }

    fn lance(key: Option<StoreKey>) -> StoreSpec {
        StoreSpec { key, ..StoreSpec::new("own", LANCE, "/data/products.lance") }
    }

    fn refusal(spec: StoreSpec) -> String {
        output(&attached(spec)).unwrap_err().message().to_owned()
    }

    #[test]
    fn rows_are_put_by_the_key_of_the_store() {
        let mut spec = lance(Some(StoreKey::column("id")));
        spec.options.set(STORAGE_OPTIONS, Some("shop"));
        let output = output(&attached(spec)).unwrap().spec().unwrap();
        assert_eq!(output.path, "/data/products.lance");
        assert_eq!(output.storage_profile.as_deref(), Some("shop"));
        assert_eq!(output.kind, OutputKind::Upsert { key: KeyColumns::one("id") });
    }

    #[test]
    fn a_store_that_rows_cannot_be_put_into_is_refused_by_name() {
        let key = || Some(StoreKey::column("id"));
        let other = StoreSpec { key: key(), ..StoreSpec::new("own", "redis", "redis://h/0") };
        let expected = "KV store 'products' is a redis store; rows are put into Lance stores alone";
        assert_eq!(refusal(other), expected);
        let pinned = StoreSpec { pin: Some(Pin::Version(3)), ..lance(key()) };
        assert!(refusal(pinned).starts_with("KV store 'products' is attached at one version"));
        assert!(refusal(lance(None)).starts_with("KV store 'products' has no key; attach it"));
        let by_row = refusal(lance(Some(StoreKey::RowId)));
        assert!(by_row.starts_with("KV store 'products' is looked up by row ids"), "{by_row}");
    }
}
