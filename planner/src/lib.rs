//! Keyloom's planner: from what DataFusion plans to what workers run.
//!
//! It is pure: no I/O, no clock, no settings but those it is given; the same plan and the same
//! figures give the same tasks. It knows plans as [`keyloom_common`] carries them, and depends
//! neither on who runs them nor on Lance.
//!
//! In the client, rules:
//!
//! 1. [`RefuseLostNulls`] and [`RefuseRowsOfOthers`], on logical plans, refuse what DataFusion
//!    would answer wrongly of subqueries, [`KeepInstants`] compares timestamps of different units
//!    as they are, [`ReadFields`] lets fields be null where their structs are, and [`OneValue`]
//!    holds scalar subqueries to one value: null without a row, an error with several.
//!    [`KeepSliding`] has `min` forget values that have left a frame, and [`DropRepeated`] sorts
//!    by a term once. [`ResolveGrouping`], before them, computes `grouping(…)`.
//!    [`logical_rules`], DataFusion's own, leave alone groups by constants, decide no constant below
//!    totals, and know of no column
//!    that others determine it; nor do relations of a statement, by [`forget_dependencies`].
//! 2. [`LiftCalls`], after it, moves calls out of sorts, aggregates, windows and joins into a
//!    projection below them, and out of conditions that DataFusion would move. [`KeepNested`], the
//!    last analyzer rule, keeps conditionals that are nested deep from doubling with each level.
//!    [`JoinStores`], an optimizer rule, makes calls of joins with stores.
//! 3. [`DelayCalls`] and [`NarrowCalls`], the last optimizer rules, move calls behind limits and
//!    groups that need no answer of theirs, and let them ask only for what is read of them. Between
//!    them, [`ShareFetches`] makes calls that have stayed above a join one fetch with it.
//! 4. [`PlanLookups`], the first physical rule, turns the calls of projections and filters into
//!    lookup nodes; [`KeepVarying`] and [`KeepOrder`], after it, keep the sorts above outer joins,
//!    and those by which limits count and unions and unnested lists come; [`physical_rules`],
//!    DataFusion's own, count on no order across a shuffle, leave gathered what must be, and hold
//!    the smaller side of a join; and
//!    [`KeepFetch`] and [`KeepCounted`], after DataFusion's own, keep limits, and joins
//!    of which no column is read, that would be lost on the way.
//! 5. [`ChooseAccess`], the last physical rule, chooses how each fetch reaches its store's rows;
//!    [`advise()`] says what the other ways are estimated to cost. Which ways there are, each kind
//!    of stores knows in a module of its own, `ways`. When a job has pinned its stores,
//!    [`single_rows`] makes plain lookups of joins whose keys are known to stand once.
//!    [`ChooseShuffle`], after DataFusion's own rules too, leaves shuffles to large inputs, and
//!    [`GroupByKeys`], after it, groups rows by their keys below the lookups of what they are
//!    grouped by.
//!
//! In the coordinator, cutting, once [`check_write`] has no objection:
//!
//! 6. [`cut()`] divides the physical plan into [`Fragment`]s for workers, each cut into tasks as
//!    finely as a [`Grain`] says, and the part above them, in which the coordinator's own operators
//!    stand for them: it brings these by [`Gather`].

mod advise;
mod among;
mod around;
mod build_side;
mod by_keys;
mod calls;
mod choose;
mod coalesce;
mod columns;
mod conditions;
mod constants;
mod counted;
mod cut;
mod delay;
mod dependencies;
mod estimate;
mod fetch;
mod fields;
mod first;
mod fragment;
mod grouping;
mod guard;
mod hoist;
mod holds;
mod instants;
mod joins;
mod key_sets;
mod lazy;
mod lift;
mod local;
mod narrow;
mod offset;
mod one_value;
mod options;
mod prune;
mod repeated;
mod rows;
mod rule;
mod rules;
#[cfg(test)]
mod samples;
mod shuffle;
mod single;
mod slice;
mod sliding;
mod sorts;
mod totals;
mod varying;
mod waves;
mod ways;
mod write;

pub use advise::advise;
pub use among::RefuseLostNulls;
pub use around::RefuseRowsOfOthers;
pub use by_keys::GroupByKeys;
pub use choose::{ChooseAccess, choose_access, set_access};
pub use coalesce::KeepNested;
pub use counted::KeepCounted;
pub use cut::{Gather, cut};
pub use delay::DelayCalls;
pub use dependencies::forget_dependencies;
pub use fetch::KeepFetch;
pub use fields::ReadFields;
pub use fragment::{Fragment, KeySet, Reading, Source};
pub use grouping::ResolveGrouping;
pub use instants::KeepInstants;
pub use joins::{JoinStores, ShareFetches, StoreTables};
pub use lift::LiftCalls;
pub use narrow::NarrowCalls;
pub use offset::KeepOrder;
pub use one_value::OneValue;
pub use options::PlanOptions;
pub use repeated::DropRepeated;
pub use rule::PlanLookups;
pub use rules::{logical_rules, physical_rules};
pub use shuffle::{ChooseShuffle, shuffled_partitions};
pub use single::single_rows;
pub use slice::{Chain, Grain, WriteGrain};
pub use sliding::KeepSliding;
pub use varying::KeepVarying;
pub use ways::report_way;
pub use write::check_write;
