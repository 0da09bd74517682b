//! Keyloom's coordinator: it plans lookups, cuts plans into tasks, schedules the tasks on workers,
//! and gathers their rows in order.
//!
//! It opens no store, reads no input file, and holds no credentials. In reading order:
//! [`planner`] is pure; [`scheduler`] is a pure state machine; [`dispatch`] is the loop around it;
//! [`gather`] brings fragments' rows into a plan; [`jobs`] run plans; [`server`] takes connections.

mod blobs;
pub mod command;
mod dispatch;
mod gather;
mod jobs;
#[doc(hidden)]
pub mod micro;
mod owner;
pub mod planner;
mod scheduler;
mod server;
mod settings;
mod supervise;
mod validate;

pub use blobs::{blob_is_gone, part_is_gone};
pub use scheduler::Settings as SchedulerSettings;
pub use server::{Coordinator, Local};
pub use settings::Settings;
