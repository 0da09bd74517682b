//! The functions that users write: `kv_get`, `kv_batch_get`, `kv_get_all` and `kv_exists`.
//!
//! A [`KvCall`] is one use of a function with everything settled: the store it found when the
//! expression was built, the columns, the options. [`KvFunction`] carries it through DataFusion's
//! planner as a marker: its type is known, and it is never invoked, because planning replaces it
//! by a lookup. [`GetField`] reads a field of an answer. [`SingleRow`] and [`SingleValue`] hold a
//! subquery to the one value that it stands for, and [`Nullable`] lets that be null.

mod call;
mod conditional;
mod field;
mod marker;
mod nullable;
mod octet_length;
mod single;

pub use call::list_element;
pub(crate) use call::list_item;
pub use call::row_fields;
pub use call::{CallOptions, DEFAULT_BATCH_SIZE, Function, KvCall, OnError};
pub use conditional::{CHOOSE, Conditional, MOST_NESTED_CASES, keep_name, keep_nested_cases};
pub(crate) use conditional::{ConditionalFunction, as_function, as_lazy};
pub use field::{GET_FIELD, GetField};
pub use marker::KvFunction;
pub(crate) use nullable::NULLABLE;
pub use nullable::Nullable;
pub use octet_length::OctetLength;
pub(crate) use single::{SINGLE_ROW, SINGLE_VALUE};
pub use single::{SingleRow, SingleValue};
