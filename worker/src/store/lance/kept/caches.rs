//! What a worker keeps of datasets between requests, each kind within its bound: maps from keys to
//! rows, blocks of columns, what columns weigh, and open readers.
//!
//! Maps and blocks take of the memory that tasks share, and are let go where it is short: blocks
//! first, also for maps, each of which stands for all keys of some fragments. What was found for
//! the keys of a job gives way to both once the job has ended.
//!
//! Of readers and of what was found for the keys of a job, those of one open dataset are kept. All
//! else is kept by the file that it was read from ([`FileColumn`]), and maps by the files of their
//! [`Runs`], so that a later version finds those of its unchanged fragments. Maps may stay in a
//! [`MapFolder`] as well, where later processes find them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use arrow::array::ArrayRef;
use keyloom_common::{
    memory::{MemoryBudget, Reserved},
    store::KEY_MAP_BYTES_A_ROW,
};
use lance::{cache::LanceCache, dataset::fragment::FragmentReader};
use lance_file::reader::FileReader;
use quick_cache::sync::Cache;

use super::room::{IDLE, Room};
use crate::store::lance::{
    files::read::ReaderKey,
    keys::{
        coder::Coder, learned::Learned, run::RunMap, runs::Runs, scans::Scans,
        stored::folder::MapFolder,
    },
    name::{ColumnName, FileColumn, LearnedName},
    values::{
        blocks::Block,
        known::{KnownName, KnownValues},
        widths::Varying,
    },
};
use crate::{
    memory::Keeper,
    store::{StoreSettings, kept::KeptCache},
};

/// The fewest fragments of columns of which it is kept what values weigh: in some hundred bytes
/// each.
const LEARNT_WIDTHS: usize = 1 << 16;

/// The most keys of stores of which it is kept how often they were scanned.
const SCANNED_KEYS: usize = 1 << 10;

/// The caches of a worker, and the coder that made the codes in its maps.
#[derive(Debug)]
pub(crate) struct Caches {
    pub(in crate::store::lance) coder: Coder,
    /// Maps by the ids of their runs.
    pub(in crate::store::lance) maps: KeptCache<u64, RunMap>,
    /// Which fragments share a map.
    pub(in crate::store::lance) runs: Runs,
    /// The rows of the keys of jobs.
    pub(in crate::store::lance) learned: KeptCache<LearnedName, Learned>,
    /// How often keys were scanned for these.
    pub(in crate::store::lance) scans: Scans,
    /// The values at these rows.
    pub(in crate::store::lance) known: KeptCache<KnownName, KnownValues>,
    /// Where maps stay for other processes.
    pub(in crate::store::lance) stored: Option<MapFolder>,
    pub(in crate::store::lance) blocks: KeptCache<Block, ArrayRef>,
    /// How columns share the room for blocks.
    pub(in crate::store::lance) room: Room,
    /// What values weigh where their type does not tell.
    pub(in crate::store::lance) widths: Cache<FileColumn, Arc<Varying>>,
    pub(in crate::store::lance) readers: Cache<ReaderKey, Arc<FragmentReader>>,
    /// Open data files by their names.
    pub(in crate::store::lance) files: Cache<Arc<str>, Arc<FileReader>>,
    /// The bytes of data files' columns, by the names of the files.
    pub(in crate::store::lance) column_bytes: Cache<Arc<str>, Arc<[u64]>>,
    /// What Lance keeps of the pages of data files.
    pub(in crate::store::lance) pages: LanceCache,
    /// When unused rows and values of jobs were last let go.
    looked: Mutex<Option<Instant>>,
    memory: MemoryBudget,
}

impl Caches {
    pub(crate) fn new(settings: &StoreSettings, memory: &MemoryBudget) -> Self {
        // What one read gives is about what one item holds.
        let item = settings.read_bytes as u64;
        let maps = KeptCache::new(settings.max_key_map_bytes, item, memory);
        let blocks = KeptCache::new(settings.column_cache_bytes, item, memory);
        let files = settings.max_open_readers.max(1);
        Self {
            coder: Coder::default(),
            room: Room::new(blocks.most()),
            maps,
            runs: Runs::default(),
            // Those of a running job are kept wherever there is memory: each task would look for
            // them again.
            learned: KeptCache::new(u64::MAX, item, memory),
            scans: Scans::new(SCANNED_KEYS),
            known: KeptCache::new(settings.column_cache_bytes, item, memory),
            stored: MapFolder::new(settings),
            blocks,
            widths: Cache::new(files.max(LEARNT_WIDTHS)),
            readers: Cache::new(files),
            files: Cache::new(files),
            column_bytes: Cache::new(files),
            pages: LanceCache::with_capacity(settings.lance_page_cache_bytes),
            looked: Mutex::default(),
            memory: memory.clone(),
        }
    }

    /// How many bytes a column may keep that has so many, or could if it claimed room.
    pub(in crate::store::lance) fn offer(
        &self,
        column: &ColumnName,
        bytes: u64,
        now: Instant,
    ) -> u64 {
        if self.memory.free() < bytes.min(self.blocks.most()) {
            self.let_go_of_ended(now);
        }
        self.room.fit(self.blocks.there_is());
        self.room.offer(column, bytes, now)
    }

    /// Lets go of the rows and values of jobs that were not asked for in a while. They cost more
    /// than blocks while a job runs, and are of no use when it has ended.
    fn let_go_of_ended(&self, now: Instant) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|looked| now.saturating_duration_since(looked) < IDLE) {
            return;
        }
        *looked = Some(now);
        self.known.let_go_unused();
        self.learned.let_go_unused();
    }

    /// The most bytes of maps that there could be now.
    pub(in crate::store::lance) fn there_is_for_maps(&self) -> u64 {
        let others = self.blocks.bytes() + self.known.bytes() + self.learned.bytes();
        self.maps.most().min(self.maps.there_is().saturating_add(others))
    }

    /// The most bytes of maps of integer keys that the folder for stored maps holds: none while it
    /// cannot be written to.
    pub(in crate::store::lance) fn folder_bytes(&self) -> u64 {
        self.stored.as_ref().map_or(0, |folder| folder.max_bytes(Instant::now()))
    }

    /// Room for what a stored map takes in memory: where its pages end, which is little. What the
    /// system keeps of its file is not counted, for it gives way to all else.
    pub(in crate::store::lance) fn room_for_stored_map(&self, bytes: u64) -> Reserved {
        self.maps.room_or_force(bytes)
    }

    /// Room to make a map of so many rows in, which takes half as much again as the map. There is
    /// some in any case: whoever wants a map has seen that it fits.
    pub(in crate::store::lance) fn room_for_map(&self, rows: u32) -> Reserved {
        let bytes = u64::from(rows) * KEY_MAP_BYTES_A_ROW;
        self.make_room(bytes);
        let room = self.maps.room_or_force(bytes);
        room.grow(bytes / 2);
        room
    }

    /// Room to find the rows of so many keys in. There is some in any case: the job's keys are few.
    pub(in crate::store::lance) fn room_for_learned(&self, keys: usize) -> Reserved {
        const BYTES_A_KEY: u64 = 64;
        let bytes = keys as u64 * BYTES_A_KEY;
        self.make_room(bytes);
        self.learned.room_or_force(bytes)
    }

    /// Lets go of all but maps until so many bytes are free. What running jobs use goes last, as
    /// they ask for it, and they have it until they are done.
    fn make_room(&self, bytes: u64) {
        let missing = || bytes.saturating_sub(self.memory.free());
        self.blocks.let_go(missing());
        self.known.let_go(missing());
        self.learned.let_go(missing());
    }
}

impl Keeper for Caches {
    /// What is read again most cheaply goes first.
    fn let_go(&self, bytes: u64) {
        let kept =
            || self.blocks.bytes() + self.known.bytes() + self.learned.bytes() + self.maps.bytes();
        let least = kept().saturating_sub(bytes);
        let left = || kept().saturating_sub(least);
        self.blocks.let_go(left());
        self.known.let_go(left());
        self.learned.let_go(left());
        self.maps.let_go(left());
    }
}
