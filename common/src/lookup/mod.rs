//! The lookup node of a plan: what calls become once DataFusion has planned them.
//!
//! A [`KvLookupExec`] passes its input's columns through and appends one column a [`Call`]. Calls
//! that share store and key are one [`Fetch`]; fetches that depend on no other's answer share a
//! [`Wave`]. It keeps row order and row count. What it holds is plain data: a worker gives it life
//! (see [`crate::plan::FragmentRuntime`]).

mod codec;
mod exec;
mod node;

pub(crate) use codec::{decode, encode};
pub use exec::KvLookupExec;
pub use node::{Answer, Call, Fetch, Wave};
