//! Planning: from what DataFusion plans to what workers run. Pure: no I/O, no clock.
//!
//! 1. [`ReadFields`], on logical plans, lets fields be null where their structs are.
//! 2. [`LiftCalls`], after it, moves calls out of sorts, aggregates, windows and joins into a
//!    projection below them, and out of conditions that DataFusion would move. [`KeepNested`], the
//!    last analyzer rule, keeps conditionals that are nested deep from doubling with each level.
//! 3. [`PlanLookups`], the first physical rule, turns the calls of projections and filters into
//!    lookup nodes; [`KeepOrder`], the second, keeps the sorts that limits count by.
//! 4. [`ChooseAccess`], the last physical rule, chooses how each fetch reaches its store's rows.
//! 5. [`cut`] divides the physical plan into fragments for workers and the part above them, and
//!    [`chains`] a fragment into tasks.

mod access;
mod calls;
mod choose;
mod coalesce;
mod conditions;
mod cut;
mod estimate;
mod fields;
mod guard;
mod hoist;
mod lazy;
mod lift;
mod narrow;
mod offset;
mod rule;
mod slice;
mod waves;

pub use choose::{ChooseAccess, choose_access, set_access};
pub use coalesce::KeepNested;
pub(crate) use cut::cut;
pub use fields::ReadFields;
pub use lift::LiftCalls;
pub use offset::KeepOrder;
pub use rule::PlanLookups;
pub(crate) use slice::{Chain, Grain, chains};
