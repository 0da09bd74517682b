//! Scenarios: what the scheduler does when this and then that happens.

mod liveness;
mod placement;
mod random;
mod retries;
mod rig;
mod stage_status;
