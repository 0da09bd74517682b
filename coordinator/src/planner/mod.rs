//! Planning: from what DataFusion plans to what workers run. Pure: no I/O, no clock.
//!
//! 1. [`LiftCalls`], on logical plans, moves calls out of sorts, aggregates and windows into a
//!    projection below them.
//! 2. [`PlanLookups`], the first physical rule, turns the calls of projections and filters into
//!    lookup nodes.
//! 3. [`ChooseAccess`], the last physical rule, chooses how each fetch reaches its store's rows.
//! 4. [`cut`] divides the physical plan into fragments for workers and the part above them, and
//!    [`slices`] a fragment into tasks.

mod access;
mod calls;
mod choose;
mod cut;
mod estimate;
mod guard;
mod hoist;
mod lazy;
mod lift;
mod narrow;
mod rule;
mod slice;
mod waves;

pub use choose::{ChooseAccess, choose_access};
pub(crate) use cut::cut;
pub use lift::LiftCalls;
pub use rule::PlanLookups;
pub(crate) use slice::{Grain, Slice, cut_out, slices};
