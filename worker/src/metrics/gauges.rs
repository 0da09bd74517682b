//! What is the case when somebody asks: it is read then, and counted nowhere meanwhile.

use keyloom_common::metrics::{Gauges as ByLabel, gauged, registered, set_each};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

/// The gauges of a worker.
#[derive(Debug)]
pub(crate) struct Gauges {
    slots: ByLabel<1>,
    memory_used: ByLabel<1>,
    memory_limit: ByLabel<1>,
    spilled: Gauge,
    open_stores: Gauge,
}

impl Gauges {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let spilled = "Bytes of operators in temporary files";
        Self {
            slots: registered(registry, "slots", "Slots for tasks"),
            memory_used: registered(registry, "memory_used_bytes", "Memory that is taken"),
            memory_limit: registered(registry, "memory_limit_bytes", "Memory that may be taken"),
            spilled: registered(registry, "spill_used_bytes", spilled),
            open_stores: registered(registry, "open_stores", "Stores that are open"),
        }
    }

    /// So many slots are free, and so many taken.
    pub(crate) fn set_slots(&self, (free, taken): (i64, i64)) {
        set_each(&self.slots, "state", [("free", free), ("taken", taken)]);
    }

    /// So many bytes of memory are taken, by share.
    pub(crate) fn set_memory(&self, used: impl IntoIterator<Item = (&'static str, u64)>) {
        set_each(&self.memory_used, "share", used);
    }

    /// So many may be taken at most.
    pub(crate) fn set_limits(&self, limits: impl IntoIterator<Item = (&'static str, u64)>) {
        set_each(&self.memory_limit, "share", limits);
    }

    /// So many bytes are in temporary files.
    pub(crate) fn set_spilled(&self, bytes: u64) {
        self.spilled.set(gauged(bytes));
    }

    /// So many stores are open.
    pub(crate) fn set_open_stores(&self, stores: usize) {
        self.open_stores.set(gauged(stores));
    }
}
