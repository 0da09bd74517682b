//! Scenarios: what the scheduler does when this and then that happens.

mod liveness;
mod load;
mod locality;
mod peers;
mod placement;
mod questions;
mod random;
mod reconcile;
mod retries;
mod rig;
mod stage_status;
mod together;
