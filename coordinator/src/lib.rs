//! Keyloom's coordinator: it has plans cut into tasks, schedules the tasks on workers, and gathers
//! their rows in order.
//!
//! It opens no store, reads no input file, and holds no credentials. In reading order: [`metrics`]
//! is what is counted; [`scheduler`] is a pure state machine; [`spool`] holds the rows that wait
//! for their turn; [`dispatch`] is the loop around both; [`history`] remembers jobs, and what it
//! takes to go on with them; [`output`] ends what jobs write; [`gather`] brings fragments' rows into
//! a plan, which [`keyloom_planner`] has cut; [`catalog`] knows what clients may read; [`jobs`] run
//! plans; [`server`] takes connections. No module imports one that imports it.

mod blobs;
mod catalog;
mod dispatch;
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod history;
mod jobs;
mod metrics;
#[doc(hidden)]
pub mod micro;
mod output;
mod owner;
#[cfg(test)]
mod samples;
mod scheduler;
mod server;
mod settings;
mod spool;
mod supervise;
mod validate;

pub use catalog::CatalogSettings;
pub use scheduler::Settings as SchedulerSettings;
pub use server::{Coordinator, Local};
pub use settings::Settings;
