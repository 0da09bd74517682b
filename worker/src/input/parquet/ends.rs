//! The ends of Parquet files, which say where row groups and pages are: each is read and parsed
//! once for all tasks that read parts of its file, and for those who ask what is in it.

use std::{ops::Range, sync::Arc};

use arrow::datatypes::Schema;
use chrono::{DateTime, Utc};
use datafusion::{
    datasource::physical_plan::parquet::{
        CachedParquetMetaData, Int96Coercer, metadata::DFParquetMetadata,
    },
    error::DataFusionError,
    execution::cache::{
        DefaultFilesMetadataCache,
        cache_manager::{CachedFileMetadataEntry, FileMetadataCache},
    },
    parquet::{
        arrow::parquet_to_arrow_schema,
        file::metadata::{
            PageIndexPolicy, ParquetMetaData, ParquetMetaDataBuilder, RowGroupMetaData,
        },
    },
};
use keyloom_common::{Result, input::Location};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};

use super::INT96;
use crate::{
    input::from_store,
    shelf::{Shelf, Weighed},
};

/// Bytes of ends that are kept.
const KEPT_BYTES: u64 = 64 << 20;

/// How many bytes of a file's end are read at once: most ends are shorter, and small files are read
/// whole.
const READ_BYTES: usize = 64 << 10;

/// The ends of files of all locations.
#[derive(Debug)]
pub(in crate::input) struct Ends(Shelf<Name, Arc<End>>);

/// A file as it was, and what its end says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    location: Location,
    path: Path,
    size: u64,
    e_tag: Option<String>,
    modified: DateTime<Utc>,
    pages: bool,
}

/// The end of a file.
#[derive(Debug)]
pub(super) struct End {
    metadata: Arc<ParquetMetaData>,
    /// Where row groups start, in ascending order, and their places in the file.
    starts: Vec<(u64, usize)>,
}

impl Ends {
    pub(in crate::input) fn new() -> Self {
        Self(Shelf::new(KEPT_BYTES))
    }

    /// An end that says at least where row groups are.
    pub(super) async fn get(
        &self,
        location: &Location,
        store: &Arc<dyn ObjectStore>,
        meta: &ObjectMeta,
    ) -> Result<Arc<End>> {
        if let Some(end) = self.0.get(&Name::of(location, meta, true)) {
            return Ok(end);
        }
        let (name, policy) = (Name::of(location, meta, false), PageIndexPolicy::Skip);
        let read = End::read(location, store, meta, None, policy);
        if name.is_telling() { self.0.get_or_make(&name, read).await } else { Ok(read.await?.0) }
    }

    /// An end that says where pages are, too, if its file does.
    pub(super) async fn with_pages(
        &self,
        location: &Location,
        store: &Arc<dyn ObjectStore>,
        meta: &ObjectMeta,
    ) -> Result<Arc<End>> {
        let (name, policy) = (Name::of(location, meta, true), PageIndexPolicy::Optional);
        if !name.is_telling() {
            return Ok(End::read(location, store, meta, None, policy).await?.0);
        }
        let read = async {
            let without = Name::of(location, meta, false);
            let known = self.0.get(&without);
            let end = End::read(location, store, meta, known.as_deref(), policy).await;
            self.0.remove(&without);
            end
        };
        self.0.get_or_make(&name, read).await
    }
}

impl Name {
    fn of(location: &Location, meta: &ObjectMeta, pages: bool) -> Self {
        Self {
            location: location.clone(),
            path: meta.location.clone(),
            size: meta.size,
            e_tag: meta.e_tag.clone(),
            modified: meta.last_modified,
            pages,
        }
    }

    /// Whether it would be another name if the file were another: some web servers tell nothing.
    fn is_telling(&self) -> bool {
        self.e_tag.is_some() || self.modified != DateTime::UNIX_EPOCH
    }
}

impl End {
    /// Reads what is not known yet.
    async fn read(
        location: &Location,
        store: &Arc<dyn ObjectStore>,
        meta: &ObjectMeta,
        known: Option<&Self>,
        pages: PageIndexPolicy,
    ) -> Result<Weighed<Arc<Self>>> {
        tracing::debug!(path = %meta.location, ?pages, "reads the end of a Parquet file");
        let reader = DFParquetMetadata::new(store.as_ref(), meta)
            .with_file_metadata_cache(known.map(|known| known.told(meta)))
            .with_metadata_size_hint(Some(READ_BYTES))
            .with_page_index_policy(Some(pages));
        let end = Self::new(reader.fetch_metadata().await?);
        if location.url.starts_with("file:") {
            // Reads of local files do not say which content they saw: a pinned one says it here.
            store.head(&meta.location).await.map_err(from_store)?;
        }
        let bytes = end.metadata.memory_size() + size_of_val(end.starts.as_slice());
        Ok(Weighed(Arc::new(end), bytes as u64))
    }

    fn new(metadata: Arc<ParquetMetaData>) -> Self {
        let groups = metadata.row_groups().iter().enumerate();
        let starts = groups.filter_map(|(place, group)| Some((start_of(group)?, place)));
        let mut starts: Vec<_> = starts.collect();
        starts.sort_unstable();
        Self { metadata, starts }
    }

    /// For DataFusion, which adds to what it finds there.
    fn told(&self, meta: &ObjectMeta) -> Arc<dyn FileMetadataCache> {
        let told: Arc<dyn FileMetadataCache> = Arc::new(DefaultFilesMetadataCache::new(usize::MAX));
        let known = Arc::new(CachedParquetMetaData::new(Arc::clone(&self.metadata)));
        told.put(&meta.location, CachedFileMetadataEntry::new(meta.clone(), known));
        told
    }

    pub(super) fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }

    /// The columns of the file.
    pub(super) fn schema(&self) -> Result<Schema> {
        let file = self.metadata.file_metadata();
        let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata());
        let schema = schema.map_err(DataFusionError::from)?;
        let coerced = Int96Coercer::new(file.schema_descr(), &schema, &INT96).coerce();
        Ok(coerced.unwrap_or(schema))
    }

    /// The places of the row groups that start in a part of the file.
    pub(super) fn groups(&self, part: &Range<u64>) -> Vec<usize> {
        let before = |at: u64| self.starts.partition_point(|(start, _)| *start < at);
        let within = self.starts.get(before(part.start)..before(part.end)).unwrap_or_default();
        let mut groups: Vec<_> = within.iter().map(|(_, place)| *place).collect();
        groups.sort_unstable();
        groups
    }

    /// What the end says of these row groups alone. Whoever reads them goes through all that it is
    /// told, for each task.
    pub(super) fn only(&self, groups: &[usize]) -> Arc<ParquetMetaData> {
        let all = &self.metadata;
        if groups.len() == all.num_row_groups() {
            return Arc::clone(all);
        }
        let only = ParquetMetaDataBuilder::new(all.file_metadata().clone())
            .set_row_groups(picked(all.row_groups(), groups))
            .set_column_index(all.column_index().map(|index| picked(index, groups)))
            .set_offset_index(all.offset_index().map(|index| picked(index, groups)));
        Arc::new(only.build())
    }
}

fn picked<T: Clone>(of_groups: &[T], groups: &[usize]) -> Vec<T> {
    groups.iter().filter_map(|place| of_groups.get(*place).cloned()).collect()
}

/// Where DataFusion takes a row group to start: at its first column's first page.
pub(super) fn start_of(group: &RowGroupMetaData) -> Option<u64> {
    let column = group.columns().first()?;
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    u64::try_from(start).ok()
}

#[cfg(test)]
mod tests;
