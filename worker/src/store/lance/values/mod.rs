//! From rows to values: [`fetch`].
//!
//! Each column is read row by row ([`take`]) or in [`blocks`], as [`cost`] advises, cut by the
//! [`widths`] of its values, and given as it is [`answered`]. Those of a job may be [`known`]
//! before it asks.

pub(super) mod answered;
pub(super) mod blocks;
mod cost;
mod fetch;
pub(super) mod known;
mod one_piece;
mod take;
pub(super) mod widths;
