//! From rows to values: [`fetch`].
//!
//! Each column is read row by row ([`take`]) or in [`blocks`], as [`cost`] advises, cut by the
//! [`widths`] of its values, and given as it is [`answered`]. Those of a job may be [`known`] before it
//! asks.

pub(super) mod answered;
pub(super) mod blocks;
pub(super) mod cost;
pub(super) mod fetch;
pub(super) mod known;
pub(super) mod take;
pub(super) mod widths;
