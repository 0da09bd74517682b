//! A snapshot of a dataset that is open, and what was learned about it so far.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::datatypes::SchemaRef;
use keyloom_common::{Error, ErrorKind, Result, error::redact, store::cost::Storage};
use lance::{
    Dataset, dataset::fragment::FileFragment, index::DatasetIndexExt, table::format::IndexMetadata,
};
use lance_table::format::Fragment;
use tokio::sync::OnceCell;

use super::{
    column::Column,
    error::{Scrub, from_lance},
    files::{blobs, watch::Watch},
    identity::manifest_id,
    kept::caches::Caches,
    keys::{coder::Coder, runs::Cover},
    layout::Layout,
    spec::LanceSpec,
    tasks,
};
use crate::store::{ReadBudget, StoreSettings};

/// A snapshot of a dataset.
pub(crate) struct LanceHandle {
    /// Tells its readers from those of others.
    pub(super) id: u64,
    pub(super) spec: LanceSpec,
    pub(super) dataset: Arc<Dataset>,
    /// Its indices, if it is keyed by a column.
    pub(super) indices: Arc<Vec<IndexMetadata>>,
    /// The dataset as caches name it.
    pub(super) uri: Arc<str>,
    /// The columns that lookups can return.
    pub(super) schema: SchemaRef,
    pub(super) settings: StoreSettings,
    pub(super) scrub: Scrub,
    pub(super) caches: Arc<Caches>,
    /// What all reads of the worker may bring at once.
    pub(super) reads: Arc<ReadBudget>,
    pub(super) coder: Coder,
    pub(super) storage: Storage,
    pub(super) watch: Watch,
    pub(super) layout: OnceCell<Arc<Layout>>,
    pub(super) columns: Mutex<HashMap<String, Arc<Column>>>,
    /// By key which maps hold its fragments, as far as they are still there.
    pub(super) covers: Mutex<HashMap<Arc<str>, Cover>>,
}

impl LanceHandle {
    /// The fragments and their deletions, read when they are first needed.
    pub(super) async fn layout(&self) -> Result<&Arc<Layout>> {
        let load = async || {
            let layout = Layout::load(&self.dataset, self.settings.reads_in_flight);
            self.watch.read(layout).await.map(Arc::new)
        };
        self.layout.get_or_try_init(load).await
    }

    /// A column by its name.
    ///
    /// # Errors
    /// `invalid` if its files do not hold what it is to be.
    pub(super) fn column(&self, name: &str) -> Result<Arc<Column>> {
        let mut columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(column) = columns.get(name) {
            return Ok(column.clone());
        }
        let field = self.dataset.schema().fields.iter().find(|field| field.name == name);
        let missing = || Error::internal(format!("the dataset has no column '{name}'"));
        let field = field.ok_or_else(missing)?;
        if blobs::has_lost_lists(&self.dataset, field) {
            return Err(Error::invalid(format!(
                "column '{name}' holds blobs within lists in files that do not say which blob is in \
                 which list; Lance keeps these from data storage version 2.2 on"
            )));
        }
        let column = Arc::new(Column::new(field));
        columns.insert(name.to_owned(), column.clone());
        Ok(column)
    }

    /// What is read of a fragment and cannot be shared with other versions is kept under this name.
    pub(super) fn versioned(&self, fragment: u32) -> Arc<str> {
        format!("fragment {fragment} of {}", manifest_id(&self.dataset.manifest)).into()
    }

    /// Refuses a search if Lance has other indices than those of the snapshot. It forgets them when
    /// room is short, and reads them again from where the manifest was, be it gone or not.
    pub(super) async fn check_indices(&self) -> Result<()> {
        let now = self.watch.read(self.dataset.load_indices()).await.map_err(from_lance)?;
        let ids =
            |indices: &[IndexMetadata]| indices.iter().map(|index| index.uuid).collect::<Vec<_>>();
        if Arc::ptr_eq(&now, &self.indices) || ids(&now) == ids(&self.indices) {
            return Ok(());
        }
        Err(Error::not_found("the indices of the snapshot are gone"))
    }

    /// An error that says that the snapshot is gone, if it is: the dataset was removed, or written
    /// anew, or the version cleaned up.
    pub(in crate::store) async fn gone(&self) -> Option<Error> {
        let (dataset, number) = (self.dataset.clone(), self.dataset.version_id());
        let now = tasks::run(async move {
            let now = dataset.checkout_version(number).await.map_err(from_lance)?;
            Ok(manifest_id(&now.manifest))
        });
        let doing = || "looking for its version".to_owned();
        let gone = match self.watch.bounded(doing, self.watch.read(now)).await {
            Ok(now) => now != manifest_id(&self.dataset.manifest),
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        let uri = redact(&self.spec.uri);
        gone.then(|| {
            Error::not_found(format!(
                "version {number} of the Lance dataset at {uri} was removed or written anew while \
                 the job ran; run the job again"
            ))
        })
    }

    /// A fragment as the manifest has it.
    pub(super) fn stored_fragment(&self, id: u32) -> Option<&Fragment> {
        let fragments = self.dataset.manifest.fragments.as_slice();
        let at = fragments.binary_search_by_key(&u64::from(id), |fragment| fragment.id).ok()?;
        fragments.get(at)
    }

    pub(super) fn fragment(&self, id: u32) -> Result<FileFragment> {
        let fragment = self.dataset.get_fragment(id as usize);
        fragment.ok_or_else(|| Error::internal(format!("the snapshot has no fragment {id}")))
    }
}

impl fmt::Debug for LanceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanceHandle")
            .field("uri", &redact(&self.spec.uri))
            .field("version", &self.dataset.version_id())
            .finish_non_exhaustive()
    }
}
