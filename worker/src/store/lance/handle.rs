//! A snapshot of a dataset that is open, and what was learned about it so far.

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::{concat, concat_batches},
    datatypes::{SchemaRef, UInt64Type},
};
use futures::{StreamExt, TryStreamExt};
use keyloom_common::{Error, Result, error::redact, store::LanceSpec};
use lance::{
    Dataset,
    dataset::{
        ROW_ID,
        fragment::{FileFragment, FragReadConfig, FragmentReader},
    },
};
use tokio::sync::OnceCell;

use super::{
    caches::{Caches, ReaderKey},
    coder::Coder,
    column::{Column, projection},
    cost::Costs,
    error::{Scrub, from_lance},
    layout::Layout,
};
use crate::store::StoreSettings;

/// The name under which Lance gives a row's address.
pub(super) const ROW_ADDRESS: &str = "_rowaddr";

/// A snapshot of a dataset.
pub(crate) struct LanceHandle {
    /// Tells its readers from those of others.
    pub(super) id: u64,
    pub(super) spec: LanceSpec,
    pub(super) dataset: Arc<Dataset>,
    /// The dataset as caches name it.
    pub(super) uri: Arc<str>,
    /// The columns that lookups can return.
    pub(super) schema: SchemaRef,
    pub(super) settings: StoreSettings,
    pub(super) scrub: Scrub,
    pub(super) caches: Arc<Caches>,
    pub(super) coder: Coder,
    pub(super) costs: Costs,
    pub(super) layout: OnceCell<Arc<Layout>>,
    pub(super) columns: Mutex<HashMap<String, Arc<Column>>>,
}

impl LanceHandle {
    /// The fragments and their deletions, read when they are first needed.
    pub(super) async fn layout(&self) -> Result<&Arc<Layout>> {
        let load =
            async || Layout::load(&self.dataset, self.settings.reads_in_flight).await.map(Arc::new);
        self.layout.get_or_try_init(load).await
    }

    /// A column by its name.
    pub(super) fn column(&self, name: &str) -> Result<Arc<Column>> {
        let mut columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(column) = columns.get(name) {
            return Ok(column.clone());
        }
        let field = self.dataset.schema().fields.iter().find(|field| field.name == name);
        let missing = || Error::internal(format!("the dataset has no column '{name}'"));
        let column = Arc::new(Column::new(field.ok_or_else(missing)?));
        columns.insert(name.to_owned(), column.clone());
        Ok(column)
    }

    /// What is read of a fragment and cannot be shared with other versions is kept under this name.
    /// The files belong to it: a dataset that is written anew in the same place counts its versions
    /// from 1 again.
    pub(super) fn versioned(&self, fragment: u32) -> Arc<str> {
        let version = self.dataset.version_id();
        let of_fragment = self.dataset.get_fragment(fragment as usize);
        let files = of_fragment.iter().flat_map(|fragment| &fragment.metadata().files);
        let files: Vec<&str> = files.map(|file| file.path.as_str()).collect();
        format!("fragment {fragment} at version {version} of {}", files.join(", ")).into()
    }

    fn fragment(&self, id: u32) -> Result<FileFragment> {
        let fragment = self.dataset.get_fragment(id as usize);
        fragment.ok_or_else(|| Error::internal(format!("the snapshot has no fragment {id}")))
    }

    /// A reader of these columns of a fragment, which may have been used before.
    ///
    /// It reads deleted rows as if they were there, so that a row stands where its offset says;
    /// whoever asks it leaves them out.
    async fn reader(&self, columns: &[&Column], fragment: u32) -> Result<Arc<FragmentReader>> {
        let fields = columns.iter().map(|column| column.field_id()).collect();
        let key = ReaderKey { handle: self.id, fragment, fields };
        let open = async {
            let config =
                FragReadConfig::default().with_row_address(true).with_ignore_deletions(true);
            let projection = projection(columns.iter().copied());
            let fragment = self.fragment(fragment)?;
            let reader = fragment.open(&projection, config).await.map_err(from_lance)?;
            Ok::<_, Error>(Arc::new(reader))
        };
        self.caches.readers.get_or_insert_async(&key, open).await
    }

    /// The values of consecutive rows of a fragment, deleted ones among them.
    pub(super) async fn read_range(
        &self,
        column: &Column,
        fragment: u32,
        rows: Range<u32>,
    ) -> Result<ArrayRef> {
        let reader = self.reader(&[column], fragment).await?;
        let batches = reader.take_range(rows.clone(), rows.len() as u32).await;
        let batches: Vec<_> =
            batches.map_err(from_lance)?.buffered(1).try_collect().await.map_err(from_lance)?;
        let batch = match batches.as_slice() {
            [batch] => batch.clone(),
            [first, ..] => concat_batches(&first.schema(), &batches)?,
            [] => return Err(Error::store("Lance gave no rows")),
        };
        let first = u64::from(fragment) << 32;
        check(&batch, rows.map(|row| first | u64::from(row)))?;
        Ok(given(&batch, column.name())?.clone())
    }

    /// The stable row ids of a fragment, those of deleted rows among them.
    pub(super) async fn read_row_ids(&self, fragment: u32, rows: u32) -> Result<ArrayRef> {
        let config = FragReadConfig::default().with_row_id(true).with_ignore_deletions(true);
        let reader = self.fragment(fragment)?.open(&projection([]), config).await;
        let batches = reader.map_err(from_lance)?.take_range(0..rows, rows).await;
        let batches: Vec<_> =
            batches.map_err(from_lance)?.buffered(1).try_collect().await.map_err(from_lance)?;
        let ids = batches.iter().map(|batch| given(batch, ROW_ID).map(AsRef::as_ref));
        let ids = concat(&ids.collect::<Result<Vec<_>>>()?)?;
        if ids.len() != rows as usize {
            return Err(Error::store(format!(
                "asked for {rows} row ids, Lance gave {}",
                ids.len()
            )));
        }
        Ok(ids)
    }

    /// The values of some rows of a fragment, by column. Rows are sorted and distinct.
    pub(super) async fn take_rows(
        &self,
        columns: &[&Column],
        fragment: u32,
        rows: &[u32],
    ) -> Result<Vec<ArrayRef>> {
        let reader = self.reader(columns, fragment).await?;
        let batch = reader.take_as_batch(rows, None).await.map_err(from_lance)?;
        let first = u64::from(fragment) << 32;
        check(&batch, rows.iter().map(|row| first | u64::from(*row)))?;
        columns.iter().map(|column| given(&batch, column.name()).cloned()).collect()
    }
}

/// Refuses rows that are not exactly those asked for.
fn check(batch: &RecordBatch, expected: impl ExactSizeIterator<Item = u64>) -> Result<()> {
    let addresses = given(batch, ROW_ADDRESS)?.as_primitive::<UInt64Type>();
    let asked = expected.len();
    if asked == addresses.len() && addresses.values().iter().copied().eq(expected) {
        return Ok(());
    }
    Err(Error::store(format!("asked for {asked} rows, Lance gave {} others", batch.num_rows())))
}

pub(super) fn given<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    rows.column_by_name(name)
        .ok_or_else(|| Error::internal(format!("column '{name}' was asked of Lance but not given")))
}

impl fmt::Debug for LanceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanceHandle")
            .field("uri", &redact(&self.spec.uri))
            .field("version", &self.dataset.version_id())
            .finish_non_exhaustive()
    }
}
