//! The scheduler's state alone: no process, no connection, and no rows.

use std::time::Instant;

use anyhow::{Result, ensure};
use keyloom_coordinator::micro;

use super::Measurement;

const WORKERS: u32 = 1_000;
const SLOTS: u32 = 4;
const TASKS: u32 = 1_000_000;

/// `one-stage` and `hundred-stages` are all that happens to the tasks, of so many stages at once.
pub(super) fn measure() -> Result<Measurement> {
    let mut measured = Measurement::default();
    for (name, stages) in [("one-stage", 1), ("hundred-stages", 100)] {
        let clock = Instant::now();
        let done = micro::Cluster::new(WORKERS, SLOTS).run(stages, TASKS / stages);
        measured.add_seconds(name, clock.elapsed().as_secs_f64());
        ensure!(done == u64::from(TASKS), "{done} of {TASKS} tasks were done");
    }
    measured.add_own_peak()?;
    Ok(measured)
}
