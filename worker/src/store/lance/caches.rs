//! What a worker keeps of datasets between requests, each kind within its bound: maps from keys to
//! rows, blocks of columns, what columns weigh, and open readers.
//!
//! All but readers are kept by the file that they were read from ([`FileColumn`]), so that a later
//! version finds those of its unchanged fragments.

use std::{hash::Hash, sync::Arc};

use arrow::array::ArrayRef;
use lance::{cache::LanceCache, dataset::fragment::FragmentReader};
use lance_file::reader::FileReader;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, sync::Cache};

use super::{coder::Coder, key_map::KeyMap, room::Room, widths::Varying};
use crate::store::{StoreSettings, value_bytes};

/// The caches of a worker, and the coder that made the codes in its maps.
#[derive(Debug)]
pub(crate) struct Caches {
    pub(super) coder: Coder,
    pub(super) maps: Cache<FileColumn, Arc<KeyMap>, MapBytes>,
    pub(super) blocks: Cache<Block, ArrayRef, BlockBytes>,
    /// How columns share the room for blocks.
    pub(super) room: Room,
    /// What values weigh where their type does not tell.
    pub(super) widths: Cache<FileColumn, Arc<Varying>>,
    pub(super) readers: Cache<ReaderKey, Arc<FragmentReader>>,
    /// Open data files by their names.
    pub(super) files: Cache<Arc<str>, Arc<FileReader>>,
    /// The bytes of data files' columns, by the names of the files.
    pub(super) column_bytes: Cache<Arc<str>, Arc<[u64]>>,
    /// What Lance keeps of the pages of data files.
    pub(super) pages: LanceCache,
}

/// A column of a file, whose contents never change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileColumn {
    pub(super) dataset: Arc<str>,
    /// The data file, or the fragment and the manifest if the column is in no one file.
    pub(super) file: Arc<str>,
    /// The ids and names of its fields, those within structs among them: a later version may give
    /// the same file's fields other names, or put others under the same names.
    pub(super) column: Arc<str>,
}

/// Some consecutive rows of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Block {
    pub(super) column: FileColumn,
    pub(super) start: u32,
    pub(super) rows: u32,
}

/// A reader of some columns of a fragment, for one open dataset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ReaderKey {
    pub(super) handle: u64,
    pub(super) fragment: u32,
    pub(super) fields: Vec<i32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct MapBytes;

#[derive(Clone, Copy, Debug)]
pub(super) struct BlockBytes;

// What weighs nothing is never evicted.
impl Weighter<FileColumn, Arc<KeyMap>> for MapBytes {
    fn weight(&self, _column: &FileColumn, map: &Arc<KeyMap>) -> u64 {
        map.bytes().max(1)
    }
}

impl Weighter<Block, ArrayRef> for BlockBytes {
    fn weight(&self, _block: &Block, values: &ArrayRef) -> u64 {
        value_bytes(values).max(1)
    }
}

impl Caches {
    pub(crate) fn new(settings: &StoreSettings) -> Self {
        let maps = bounded(settings.max_key_map_bytes, settings, MapBytes);
        let blocks = bounded(settings.column_cache_bytes, settings, BlockBytes);
        let files = settings.max_open_readers.max(1);
        Self {
            coder: Coder::default(),
            maps,
            blocks,
            room: Room::new(settings.column_cache_bytes),
            widths: Cache::new(files),
            readers: Cache::new(files),
            files: Cache::new(files),
            column_bytes: Cache::new(files),
            pages: LanceCache::with_capacity(settings.lance_page_cache_bytes),
        }
    }
}

/// One shard: with several, an item may be larger than its shard while the whole has room.
fn bounded<Key, Value, W>(bytes: u64, settings: &StoreSettings, weighter: W) -> Cache<Key, Value, W>
where
    Key: Eq + Hash,
    Value: Clone,
    W: Weighter<Key, Value> + Clone,
{
    // What one read gives is about what one item holds.
    let items = (bytes / settings.read_bytes.max(1) as u64).clamp(64, 1 << 16) as usize;
    let mut options = OptionsBuilder::new();
    options.shards(1).estimated_items_capacity(items).weight_capacity(bytes);
    let options = options.build().expect("both capacities are set");
    Cache::with_options(options, weighter, DefaultHashBuilder::default(), Default::default())
}
