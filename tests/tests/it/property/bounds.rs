//! Bounds of a worker and a coordinator, drawn at random: small ones or the usual, of which none
//! changes an answer.

use keyloom_client::EmbeddedSettings;
use keyloom_coordinator::Settings as CoordinatorSettings;
use keyloom_worker::{LookupSettings, store::StoreSettings};
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(super) struct Bounds {
    lookup: LookupSettings,
    store: StoreSettings,
    coordinator: CoordinatorSettings,
}

/// A small bound, or what it is by default.
fn bound<T: Copy + std::fmt::Debug + 'static>(
    usual: T,
    small: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = T> {
    prop_oneof![2 => Just(usual), 1 => small]
}

fn lookup() -> impl Strategy<Value = LookupSettings> {
    let usual = LookupSettings::default();
    (
        bound(usual.window_rows, 1..5_usize),
        bound(usual.window_bytes, 1..100_u64),
        bound(usual.memory_bytes, 1..5000_u64),
        bound(usual.windows_in_flight, 1..4_usize),
        bound(usual.requests_in_flight, 1..4_usize),
    )
        .prop_map(|(window_rows, window_bytes, memory_bytes, windows, requests)| {
            LookupSettings {
                window_rows,
                window_bytes,
                memory_bytes,
                windows_in_flight: windows,
                requests_in_flight: requests,
                ..LookupSettings::default()
            }
        })
}

fn store() -> impl Strategy<Value = StoreSettings> {
    let usual = StoreSettings::default();
    let reads = (
        bound(usual.take_chunk_rows, 1..4_usize),
        bound(usual.read_bytes, 1..50_usize),
        bound(usual.reads_in_flight, 1..3_usize),
        bound(usual.read_memory_bytes, 1..5000_u64),
    );
    let kept = (
        bound(usual.lance_page_cache_bytes, Just(0)),
        bound(usual.max_open_readers, 1..3_usize),
        bound(usual.max_open_stores, 1..2_usize),
        bound(usual.max_key_map_bytes, 0..100_u64),
        bound(usual.column_cache_bytes, 0..200_u64),
    );
    (reads, kept).prop_map(|(reads, kept)| StoreSettings {
        take_chunk_rows: reads.0,
        read_bytes: reads.1,
        reads_in_flight: reads.2,
        remote_reads_in_flight: reads.2,
        read_memory_bytes: reads.3,
        lance_page_cache_bytes: kept.0,
        max_open_readers: kept.1,
        max_open_stores: kept.2,
        max_key_map_bytes: kept.3,
        column_cache_bytes: kept.4,
        ..StoreSettings::default()
    })
}

fn coordinator() -> impl Strategy<Value = CoordinatorSettings> {
    let usual = CoordinatorSettings::default();
    (
        bound(usual.gather_memory_bytes, 0..2000_u64),
        bound(usual.answer_bytes, 1..100_u64),
        bound(usual.answer_slices, 1..4_usize),
    )
        .prop_map(|(gather_memory_bytes, answer_bytes, answer_slices)| CoordinatorSettings {
            gather_memory_bytes,
            answer_bytes,
            answer_slices,
            ..CoordinatorSettings::default()
        })
}

pub(super) fn bounds() -> impl Strategy<Value = Bounds> {
    let bounds = (lookup(), store(), coordinator());
    bounds.prop_map(|(lookup, store, coordinator)| Bounds { lookup, store, coordinator })
}

impl Bounds {
    /// Room for maps of any size: a map that is forced and does not fit fails the job.
    pub(super) fn with_room_for_maps(mut self) -> Self {
        self.store.max_key_map_bytes = StoreSettings::default().max_key_map_bytes;
        self
    }

    /// Whether all rows of a small table are looked up together.
    pub(super) fn are_wide(&self) -> bool {
        let (usual, coordinator) = (LookupSettings::default(), CoordinatorSettings::default());
        let wide = |lookup: &LookupSettings| {
            (lookup.window_rows, lookup.window_bytes, lookup.memory_bytes)
        };
        wide(&self.lookup) == wide(&usual)
            && self.coordinator.answer_bytes == coordinator.answer_bytes
    }

    /// One worker with these bounds.
    pub(super) fn settings(&self) -> EmbeddedSettings {
        let mut settings = EmbeddedSettings { workers: Some(1), ..EmbeddedSettings::default() };
        settings.worker.lookup = self.lookup.clone();
        settings.worker.store = self.store.clone();
        settings.coordinator = self.coordinator.clone();
        settings
    }
}
