//! Keyloom's worker: it runs fragments of plans, and makes their lookups in stores that it opens
//! once and shares between tasks.
//!
//! Only workers open stores and read input files. In reading order: `access` says what jobs may
//! touch, and `object_stores` opens what files are in; [`store`] is what lookups ask; [`lookup`] is
//! the operator that asks; [`input`] reads files and `output` writes them; `shuffle` runs plans
//! together with other workers; [`task`] runs one piece of work; [`agent`] takes pieces of work
//! from a coordinator.

// Futures that hold one of DataFusion's expressions are deeply nested types.
#![recursion_limit = "256"]

mod access;
pub mod agent;
#[doc(hidden)]
pub mod fuzzing;
mod input;
mod lookup;
mod memory;
mod metrics;
#[doc(hidden)]
pub mod micro;
mod object_stores;
mod output;
#[cfg(test)]
mod samples;
mod settings;
mod shelf;
mod shuffle;
pub mod store;
mod task;
mod validate;

pub use access::AccessSettings;
pub use agent::{Agent, Dial};
pub use lookup::{Direct, LookupSettings};
pub use output::OutputSettings;
pub use settings::Settings;
pub use shuffle::{ShuffleCompression, ShuffleSettings, Shuffles};
pub use task::{Tasks, TasksShared};
