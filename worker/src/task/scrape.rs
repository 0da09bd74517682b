//! What a worker tells of itself: what it has counted, and what is the case now.

use keyloom_common::rpc::{PortName, Reloads};

use super::TasksShared;

impl TasksShared {
    /// Whether a coordinator has the worker registered and gives it tasks.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn ready(&self) -> std::result::Result<(), String> {
        self.metrics.ready()
    }

    /// What was counted and what is the case now, in the format of OpenMetrics, of all workers that
    /// share this; with how often the files of its ports were read again.
    pub fn metrics(&self, reloads: impl IntoIterator<Item = (PortName, Reloads)>) -> String {
        let (gauges, memory) = (&self.metrics.gauges, &self.memory);
        gauges.set_slots(self.metrics.free_and_taken());
        let own = [
            ("operators", memory.operators.used()),
            ("lookup_windows", memory.windows.used()),
            ("rows_out", self.rows_out.used()),
        ];
        gauges.set_memory(own.into_iter().chain(self.stores.memory()));
        gauges.set_limits([
            ("operators", memory.operators.bytes()),
            ("lookup_windows", memory.windows.bytes()),
            ("reads", self.stores.read_bytes()),
            ("shared", memory.commons.budget().bytes()),
        ]);
        gauges.set_spilled(self.runtime.disk_manager.used_disk_space());
        gauges.set_open_stores(self.stores.open_count());
        self.metrics.reloads.set(reloads);
        self.metrics.text()
    }
}
