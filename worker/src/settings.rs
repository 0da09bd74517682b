//! The worker's settings: bounds, all with defaults.

use std::{path::PathBuf, time::Duration};

use keyloom_common::{
    http::HttpSettings,
    log::LogSettings,
    memory::MemoryBudget,
    rpc::{Limits, PeerSecurity},
};
use serde::{Deserialize, Serialize};

use crate::{
    access::AccessSettings,
    lookup::LookupSettings,
    memory::Commons,
    output::OutputSettings,
    shuffle::ShuffleSettings,
    store::{StorageProfile, StoreSettings},
};

/// All settings of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The coordinator's address, as `tcp://HOST:PORT` or `tls://HOST:PORT`, which the daemon must
    /// be told. Neither this nor the next two are for an embedded session.
    pub coordinator: Option<String>,
    /// How many tasks the daemon runs at once, and threads that compute. Default the number of
    /// cores.
    pub slots: Option<u32>,
    /// The daemon's name for people. Default host and process.
    pub name: Option<String>,
    /// Bounds of connections.
    pub rpc: Limits,
    /// How it knows its coordinator, and what it shows of itself.
    pub security: PeerSecurity,
    /// Bounds of stores, and the profiles with which they are opened.
    pub store: StoreSettings,
    /// Bounds of the lookup operator.
    pub lookup: LookupSettings,
    /// Bounds of outputs.
    pub output: OutputSettings,
    /// The log of the daemon; an embedded session writes that of the program that it is in.
    pub log: LogSettings,
    /// Where the daemon tells how it is, and within which bounds.
    pub http: HttpSettings,
    /// The most memory, in bytes, for all of this together, of all tasks. Set apart at the start
    /// are Lance's caches (a sixteenth each at most), reads in flight (an eighth at most,
    /// `store.read_memory_bytes`) and windows of lookups (a quarter at most,
    /// `lookup.memory_bytes`). The rest is shared by operators, contents of memory stores, rows
    /// that go out or are written, maps of keys, columns and answers that are kept; some have
    /// bounds of their own within it. Where it is full, what is kept gives way, and stores that
    /// nobody uses are closed; then operators spill or fail their tasks by this name, and memory
    /// stores are not opened.
    ///
    /// It is counted and not measured. On top come the program itself, batches between operators,
    /// what readers decode in (Lance's, and those of input files) with what is kept of the ends of
    /// files, plans that are kept (`fragment_cache_bytes`), and freed memory that is kept
    /// (`keep_freed_bytes`). In an embedded session it is the memory of all its workers, beside the
    /// coordinator's. Default 12 GiB.
    pub memory_bytes: u64,
    /// The most bytes of fragments that are kept for their next tasks, each counted as sixteen
    /// times what travels of it; of a larger one, that one. What is not kept is read again for each
    /// task. Default 32 MiB.
    pub fragment_cache_bytes: u64,
    /// The most memory for sorts, joins and aggregations of all tasks, in bytes. Default 2 GiB.
    pub operator_memory_bytes: usize,
    /// Where temporary files are, in a folder of the worker's own that goes with it. Default the
    /// system's folder for such files.
    pub spill_folder: Option<PathBuf>,
    /// Freed memory that each arena of the daemon's allocator keeps for later use, in bytes; 0 for
    /// what the allocator does by itself (glibc only, and not in an embedded session). Less than 2
    /// GiB. Default 64 MiB.
    pub keep_freed_bytes: u64,
    /// How often the worker says that it is alive, in milliseconds. Default 1 s.
    pub heartbeat_ms: u64,
    /// A worker whose threads do nothing for so long, as when all hang, is given up with its tasks,
    /// in milliseconds. Default 2 minutes.
    pub stall_timeout_ms: u64,
    /// How long it rests before it connects again, in milliseconds; doubled each time. At most
    /// `reconnect_max_ms`. Default 200.
    pub reconnect_ms: u64,
    /// The longest such rest, in milliseconds. Default 5 s.
    pub reconnect_max_ms: u64,
    /// How long running tasks may take to end when the worker is told to stop, in milliseconds. 0
    /// stops them at once. Default 60 s.
    pub drain_timeout_ms: u64,
    /// Whether and how it shuffles rows with other workers.
    pub shuffle: ShuffleSettings,
    /// What jobs may make it read, or write to. By default, whatever it can.
    pub access: AccessSettings,
}

/// The parts of [`Settings::memory_bytes`] that tasks take of.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// What is not set apart.
    pub(crate) commons: Commons,
    /// Of that, for operators.
    pub(crate) operators: MemoryBudget,
    /// Of that, too, for rows that are shuffled.
    pub(crate) shuffled: MemoryBudget,
    /// For windows of lookups.
    pub(crate) windows: MemoryBudget,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            coordinator: None,
            slots: None,
            name: None,
            rpc: Limits::default(),
            security: PeerSecurity::default(),
            store: StoreSettings::default(),
            lookup: LookupSettings::default(),
            output: OutputSettings::default(),
            log: LogSettings::default(),
            http: HttpSettings::default(),
            memory_bytes: 12 << 30,
            fragment_cache_bytes: 32 << 20,
            operator_memory_bytes: 2 << 30,
            spill_folder: None,
            keep_freed_bytes: 64 << 20,
            heartbeat_ms: 1_000,
            stall_timeout_ms: 120_000,
            reconnect_ms: 200,
            reconnect_max_ms: 5_000,
            drain_timeout_ms: 60_000,
            shuffle: ShuffleSettings::default(),
            access: AccessSettings::default(),
        }
    }
}

impl Settings {
    /// [`Self::heartbeat_ms`] as a duration.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms.max(1))
    }

    /// [`Self::stall_timeout_ms`] as a duration.
    pub fn stall_timeout(&self) -> Duration {
        Duration::from_millis(self.stall_timeout_ms)
    }

    /// [`Self::drain_timeout_ms`] as a duration.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }

    /// The files that are for the worker's own eyes: certificates, keys and tokens, and credentials
    /// of storage.
    pub(crate) fn own_files(&self) -> Vec<PathBuf> {
        let HttpSettings { token_file, cert_file, key_file, .. } = &self.http;
        let http = [token_file, cert_file, key_file].into_iter().flatten();
        let profiles = self.store.storage_profiles.values().flat_map(StorageProfile::files);
        self.security.files().chain(http).chain(profiles).cloned().collect()
    }

    /// What may be wrong with these, though it is no mistake for certain, to be told at the start:
    /// roots that are not there, and storage profiles that cannot be used as they are. It looks at
    /// the disk, and may take as long as that.
    pub fn doubts(&self) -> Vec<String> {
        let profiles = self.store.profile_names().into_iter();
        let unusable = profiles.filter_map(|name| self.store.profile(Some(name)).err());
        let unusable = unusable.map(|error| error.message().to_owned());
        self.access.doubts().into_iter().chain(unusable).collect()
    }

    /// The same, where what is set apart of the memory fits into it.
    pub(crate) fn fitted(mut self) -> Self {
        let part = |bytes: u64, parts: u64| bytes.min(self.memory_bytes / parts);
        let cache = |bytes: usize| part(bytes as u64, 16) as usize;
        let store = &mut self.store;
        store.lance_index_cache_bytes = cache(store.lance_index_cache_bytes);
        store.lance_metadata_cache_bytes = cache(store.lance_metadata_cache_bytes);
        store.lance_page_cache_bytes = cache(store.lance_page_cache_bytes);
        store.read_memory_bytes = part(store.read_memory_bytes, 8);
        self.lookup.memory_bytes = part(self.lookup.memory_bytes, 4);
        self
    }

    /// The memory of a process that has these settings, which are [`Self::fitted`]. What may be
    /// waited for is set apart, so that it never waits for what others take.
    pub(crate) fn memory(&self) -> Memory {
        let Self { store, lookup, .. } = self;
        let apart = [
            store.lance_index_cache_bytes as u64,
            store.lance_metadata_cache_bytes as u64,
            store.lance_page_cache_bytes as u64,
            store.read_memory_bytes,
            lookup.memory_bytes,
        ];
        let shared = apart.into_iter().fold(self.memory_bytes, u64::saturating_sub);
        let shared = MemoryBudget::new("memory_bytes beside its fixed parts", shared);
        let operators = shared.part("operator_memory_bytes", self.operator_memory_bytes as u64);
        let shuffled = shared.part("shuffle.memory_bytes", self.shuffle.memory_bytes as u64);
        let windows = MemoryBudget::new("lookup.memory_bytes", lookup.memory_bytes);
        Memory { commons: Commons::new(shared), operators, shuffled, windows }
    }

    /// How long to rest after so many failures in a row.
    pub(crate) fn reconnect(&self, failures: u32) -> Duration {
        let rest = self.reconnect_ms.saturating_mul(2_u64.saturating_pow(failures.min(16)));
        Duration::from_millis(rest.min(self.reconnect_max_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a mebibyte.
    const MIB: u64 = 1 << 20;

    #[test]
    fn profiles_that_cannot_be_used_are_told_by_name() {
        let profiles = serde_json::json!({
            "lake": {"aws_region": "r", "aws_access_key_id": {"env": "KEYLOOM_NO_SUCH_VARIABLE"},
                "aws_secret_access_key": {"env": "KEYLOOM_NONE_EITHER"}},
            "good": {"aws_region": "r", "path": {"env": "PATH"}},
        });
        let mut settings = Settings::default();
        settings.store.storage_profiles = serde_json::from_value(profiles).unwrap();
        let expected = "storage profile 'lake': aws_access_key_id: the worker's environment has no \
                        variable KEYLOOM_NO_SUCH_VARIABLE, or it is no text; \
                        aws_secret_access_key: the worker's environment has no variable \
                        KEYLOOM_NONE_EITHER, or it is no text";
        assert_eq!(settings.doubts(), [expected]);
        assert_eq!(Settings::default().doubts(), [""; 0]);
    }

    #[test]
    fn the_workers_own_files_are_all_that_the_settings_name() {
        let settings = serde_json::json!({
            "security": {"ca_file": "/ca", "cert_file": "/cert", "key_file": "/key",
                "token_file": "/token"},
            "http": {"token_file": "/metrics", "cert_file": "/http", "key_file": "/http-key"},
            "store": {"storage_profiles": {"p": {"a": "b", "c": {"file": "/secret"}}}},
        });
        let settings: Settings = serde_json::from_value(settings).unwrap();
        let own = ["/ca", "/cert", "/key", "/token", "/metrics", "/http", "/http-key", "/secret"];
        assert_eq!(settings.own_files(), own.map(PathBuf::from));
    }

    #[test]
    fn by_default_the_memory_has_room_for_all_its_parts() {
        let settings = Settings::default();
        let Settings { store, lookup, .. } = settings.clone().fitted();
        assert_eq!((&store, &lookup), (&settings.store, &settings.lookup));
        let Memory { commons, operators, shuffled, windows } = settings.memory();
        assert_eq!(operators.bytes(), settings.operator_memory_bytes as u64);
        assert_eq!(shuffled.bytes(), settings.shuffle.memory_bytes as u64);
        assert_eq!(windows.bytes(), lookup.memory_bytes);
        let shared = operators.bytes() + shuffled.bytes();
        let shared = shared + store.max_key_map_bytes + store.column_cache_bytes;
        assert!(shared <= commons.budget().bytes());
    }

    #[test]
    fn of_little_memory_most_is_shared_or_for_windows() {
        let settings = Settings { memory_bytes: 64 * MIB, ..Settings::default() }.fitted();
        let Settings { store, .. } = &settings;
        let caches = [store.lance_index_cache_bytes, store.lance_metadata_cache_bytes];
        assert_eq!((caches, store.lance_page_cache_bytes), ([4 << 20; 2], 4 << 20));
        assert_eq!(store.read_memory_bytes, 8 * MIB);
        let Memory { commons, operators, windows, .. } = settings.memory();
        let shared = (commons.budget().bytes(), operators.bytes());
        assert_eq!((shared, windows.bytes()), ((28 * MIB, 28 * MIB), 16 * MIB));
    }
}
