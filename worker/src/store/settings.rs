//! The bounds under which a worker opens and reads stores, and the storage options that it keeps.
//!
//! Storage options may hold credentials. They never leave the worker: plans name a profile, and
//! `Debug` prints the names of the profiles alone.

use std::{collections::HashMap, fmt, path::PathBuf};

use keyloom_common::{
    Error, ErrorCode, Result,
    store::{Pace, cost::Storage},
};
use serde::{Deserialize, Serialize};

use super::profiles::{ReadProfile, StorageProfile};

/// Bytes in a mebibyte.
const MIB: usize = 1 << 20;

/// Bounds on stores. Of a cache or of maps, 0 keeps nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// Bytes of Lance's index cache, shared by all datasets of the worker (default 256 MiB), set
    /// apart of the worker's `memory_bytes`.
    pub lance_index_cache_bytes: usize,
    /// Bytes of Lance's metadata cache, likewise (default 256 MiB).
    pub lance_metadata_cache_bytes: usize,
    /// Bytes of what is kept of data files beside their values: where columns stand, and of local
    /// files dictionaries and tables of chunks, likewise (default 256 MiB).
    pub lance_page_cache_bytes: usize,
    /// The most rows that one read takes one by one (default 2048).
    pub take_chunk_rows: usize,
    /// About the most bytes of values that one read gives, of rows or of a block (default 4 MiB).
    pub read_bytes: usize,
    /// The most reads of one request to local files in flight (default 8).
    pub reads_in_flight: usize,
    /// The most reads of one request to remote storage in flight (default 64): it answers late, and
    /// many at once. An option of the store may allow fewer.
    pub remote_reads_in_flight: usize,
    /// The most requests to one service of remote storage in flight, which is a bucket with a
    /// profile, of all requests to all stores there together (default 256). A read may make
    /// several. An option of a store may allow its own fewer.
    pub remote_requests_in_flight: usize,
    /// About the most bytes that all reads in flight bring, of all requests to all stores together
    /// (default 256 MiB), set apart of the worker's `memory_bytes`. A read that brings more than
    /// that goes alone. A scan of a dataset as an input holds no more than this beside its batches,
    /// either, but for itself.
    pub read_memory_bytes: u64,
    /// The most open data files, readers of fragments, and sizes of the columns of a file, that are
    /// kept for later requests (default 256 each). Where a file's columns stand is kept beside them
    /// ([`Self::lance_page_cache_bytes`]), so that opening one again is cheap.
    pub max_open_readers: usize,
    /// The most stores that stay open (default 64). Beyond, opening one closes those that were not
    /// used for the longest, but none that is in use.
    pub max_open_stores: usize,
    /// The most bytes of maps from keys to rows, of all stores together, at 13 bytes a row
    /// (default 4 GiB), as far as the worker's `memory_bytes` leave them. A store whose map would
    /// not fit is searched in other ways.
    pub max_key_map_bytes: u64,
    /// A folder on a local disk in which maps of integer keys stay for later processes of the same
    /// build (default none), about 12 bytes a row in files that are the owner's alone. A map of a
    /// million rows or more is made once for the files that it stands for; a process that finds it
    /// there reads of it what its keys need. Any number of processes may share a folder. One that
    /// cannot be written to is warned of, and maps are in memory only.
    pub key_maps_dir: Option<PathBuf>,
    /// The most bytes of that folder (default 64 GiB). Beyond, the maps that were not opened for
    /// the longest are removed.
    pub max_key_maps_dir_bytes: u64,
    /// The most bytes of columns, of all stores together, that are kept in memory for later
    /// requests (default 2 GiB), as far as the worker's `memory_bytes` leave them. Columns that do
    /// not fit together share the room, each of them with always the same part.
    pub column_cache_bytes: u64,
    /// How long a request to remote storage may bring nothing, in milliseconds, before it is made
    /// again (default 10 s). An option of the store may say otherwise, a storage profile only less,
    /// and `answer_timeout_ms` holds in any case. One that is refused because too much is asked
    /// (429 or 503) is made again for about as long, after rests that grow.
    pub request_timeout_ms: u64,
    /// How often a request to remote storage is made until it fails (default 4), likewise. Stores
    /// of other kinds that have the option of this name are asked no more often, and all that is
    /// made of one request takes no longer than `answer_timeout_ms`.
    pub request_attempts: u32,
    /// How long a store, or the storage of an input, may leave all that it is asked unanswered, in
    /// milliseconds (default 20 s). Then what waits for it fails by its name, and its task is tried
    /// again: one that never answers again ends a job after `max_task_attempts` times that. With
    /// the defaults these are 4 × 20 s and the rests between, or 7 × 20 s where tasks take turns on
    /// the slots. Attaching has 240 s for the same attempts (twice `call_timeout_ms`).
    pub answer_timeout_ms: u64,
    /// How long a request rests that is made again because a store failed, or because its storage
    /// was asked too much, in milliseconds; doubled each time. At most `retry_rest_max_ms`. Default
    /// 100.
    pub retry_rest_ms: u64,
    /// The longest such rest, in milliseconds. Default 5 s.
    pub retry_rest_max_ms: u64,
    /// The most bytes of answers, of all stores together whose kind asks for that, that are kept in
    /// memory for later requests for the same keys (default 256 MiB), as far as the worker's
    /// `memory_bytes` leave them; 0 for none.
    pub answer_cache_bytes: u64,
    /// Storage options (endpoint, region, credentials, …) by the name under which stores ask for
    /// them (default none). A value is a string, `{ file = "PATH" }` or `{ env = "VARIABLE" }`;
    /// `credentials = "cloud"` is the machine's own identity.
    pub storage_profiles: HashMap<String, StorageProfile>,
}

impl StoreSettings {
    /// The names of the storage profiles, sorted, as messages list them.
    pub(crate) fn profile_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.storage_profiles.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The options of a storage profile as they are now, if one is named.
    ///
    /// # Errors
    /// `invalid` if there is none of that name, and as [`StorageProfile::read`].
    pub(crate) fn profile(&self, name: Option<&str>) -> Result<Option<ReadProfile>> {
        let Some(name) = name else { return Ok(None) };
        let profile = self.storage_profiles.get(name).ok_or_else(|| {
            let names = self.profile_names();
            let known = match names.as_slice() {
                [] => "none".to_owned(),
                names => format!("'{}'", names.join("', '")),
            };
            Error::invalid(format!("storage profile '{name}' not found; the worker has {known}"))
                .with_code(ErrorCode::StorageProfile)
        })?;
        profile.read(name).map(Some)
    }

    /// Those under which one store is read: as many reads in flight as fit its storage and its own
    /// options, and no profiles, which hold credentials and which nothing reads once it is open.
    pub(crate) fn of_store(&self, storage: Storage, pace: &Pace) -> Self {
        let local = storage == Storage::LOCAL;
        let usual = if local { self.reads_in_flight } else { self.remote_reads_in_flight };
        let reads_in_flight = at_most(usual, pace.requests_in_flight);
        Self { reads_in_flight, storage_profiles: HashMap::new(), ..self.clone() }
    }
}

/// A bound of the worker's settings, or a store's own one if that is smaller.
pub(super) fn at_most(bound: usize, of_store: Option<u64>) -> usize {
    let of_store = of_store.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
    bound.min(of_store.unwrap_or(usize::MAX)).max(1)
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            lance_index_cache_bytes: 256 * MIB,
            lance_metadata_cache_bytes: 256 * MIB,
            lance_page_cache_bytes: 256 * MIB,
            take_chunk_rows: 2048,
            read_bytes: 4 * MIB,
            reads_in_flight: 8,
            remote_reads_in_flight: 64,
            remote_requests_in_flight: 256,
            read_memory_bytes: 256 << 20,
            max_open_readers: 256,
            max_open_stores: 64,
            max_key_map_bytes: 4 << 30,
            key_maps_dir: None,
            max_key_maps_dir_bytes: 64 << 30,
            column_cache_bytes: 2 << 30,
            request_timeout_ms: 10_000,
            request_attempts: 4,
            answer_timeout_ms: 20_000,
            retry_rest_ms: 100,
            retry_rest_max_ms: 5_000,
            answer_cache_bytes: 256 << 20,
            storage_profiles: HashMap::new(),
        }
    }
}

impl fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSettings")
            .field("lance_index_cache_bytes", &self.lance_index_cache_bytes)
            .field("lance_metadata_cache_bytes", &self.lance_metadata_cache_bytes)
            .field("lance_page_cache_bytes", &self.lance_page_cache_bytes)
            .field("take_chunk_rows", &self.take_chunk_rows)
            .field("read_bytes", &self.read_bytes)
            .field("reads_in_flight", &self.reads_in_flight)
            .field("remote_reads_in_flight", &self.remote_reads_in_flight)
            .field("remote_requests_in_flight", &self.remote_requests_in_flight)
            .field("read_memory_bytes", &self.read_memory_bytes)
            .field("max_open_readers", &self.max_open_readers)
            .field("max_open_stores", &self.max_open_stores)
            .field("max_key_map_bytes", &self.max_key_map_bytes)
            .field("key_maps_dir", &self.key_maps_dir)
            .field("max_key_maps_dir_bytes", &self.max_key_maps_dir_bytes)
            .field("column_cache_bytes", &self.column_cache_bytes)
            .field("request_timeout_ms", &self.request_timeout_ms)
            .field("request_attempts", &self.request_attempts)
            .field("answer_timeout_ms", &self.answer_timeout_ms)
            .field("retry_rest_ms", &self.retry_rest_ms)
            .field("retry_rest_max_ms", &self.retry_rest_max_ms)
            .field("answer_cache_bytes", &self.answer_cache_bytes)
            .field("storage_profiles", &self.profile_names())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_flight_fit_the_storage_and_the_smaller_bound_holds() {
        let settings = StoreSettings::default();
        let reads = |storage, requests_in_flight| {
            let pace = Pace { requests_in_flight, ..Pace::default() };
            settings.of_store(storage, &pace).reads_in_flight
        };
        assert_eq!((reads(Storage::LOCAL, None), reads(Storage::REMOTE, None)), (8, 64));
        assert_eq!((reads(Storage::LOCAL, Some(3)), reads(Storage::REMOTE, Some(3))), (3, 3));
        assert_eq!((reads(Storage::LOCAL, Some(20)), reads(Storage::REMOTE, Some(200))), (8, 64));
        assert_eq!(reads(Storage::REMOTE, Some(0)), 1);
    }

    #[test]
    fn debug_never_prints_what_a_profile_holds() {
        let options = HashMap::from([("aws_secret_access_key".to_owned(), "hunter2".to_owned())]);
        let settings = StoreSettings {
            storage_profiles: HashMap::from([("prod".to_owned(), options.into())]),
            ..StoreSettings::default()
        };
        let text = format!("{settings:?}");
        assert!(text.contains("prod"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("secret"), "{text}");
    }
}
