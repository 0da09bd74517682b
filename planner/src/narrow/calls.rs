//! Calls that ask for less than others do.
//!
//! A key that raises where it is missing still does, and one that counts still counts: with
//! `kv_exists` neither would, so of such a call whose answer is only tested for null, one column
//! stays.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    error::Result,
    functions::core::nullif,
    logical_expr::{Expr, lit},
};
use keyloom_common::functions::{CallOptions, Function, KvCall, KvFunction, OnError};

/// The call for those of its columns that are fields; `None` if that is all of them or none.
pub(crate) fn with_fields(
    call: &KvCall,
    key: &Expr,
    fields: &BTreeSet<String>,
) -> Result<Option<Expr>> {
    let columns = call.column_indices();
    let names = columns.iter().map(|&column| call.store().schema().field(column).name());
    let names: Vec<_> = names.filter(|name| fields.contains(*name)).cloned().collect();
    if names.is_empty() || names.len() == columns.len() {
        return Ok(None);
    }
    with_columns(call, key, names).map(Some)
}

/// The call for these columns of the store.
fn with_columns(call: &KvCall, key: &Expr, columns: Vec<String>) -> Result<Expr> {
    let options = CallOptions {
        columns: Some(columns),
        on_error: call.on_error(),
        batch_size: call.batch_size().map(Into::into),
    };
    let narrow = KvCall::try_new(call.function(), Arc::clone(call.store()), options)?;
    Ok(KvFunction::expr(narrow.joined(call.why_joined()), key.clone()))
}

/// The same call, of which no missing key is missed.
pub(crate) fn without_misses(call: &KvCall) -> Result<KvCall> {
    let schema = call.store().schema();
    let columns = call.column_indices().into_iter();
    let options = CallOptions {
        columns: Some(columns.map(|column| schema.field(column).name().clone()).collect()),
        on_error: OnError::Unmatched,
        batch_size: call.batch_size().map(Into::into),
    };
    let quiet = KvCall::try_new(call.function(), Arc::clone(call.store()), options)?;
    Ok(quiet.joined(call.why_joined()))
}

/// A column that is null where the answer of `kv_get` is.
pub(super) fn found(call: &KvCall, key: &Expr) -> Result<Expr> {
    let is_found = match call.on_error() {
        OnError::Null | OnError::Unmatched => exists(call, key)?,
        OnError::Raise | OnError::AtMost(_) => {
            let call = match cheapest(call, key)? {
                Some(call) => call,
                None => KvFunction::expr(call.clone(), key.clone()),
            };
            call.is_not_null()
        }
    };
    Ok(nullif().call(vec![is_found, lit(false)]))
}

/// Whether there is a row for the key of a call.
pub(super) fn exists(call: &KvCall, key: &Expr) -> Result<Expr> {
    let options = CallOptions { on_error: OnError::Null, ..CallOptions::default() };
    let exists = KvCall::try_new(Function::Exists, Arc::clone(call.store()), options)?;
    Ok(KvFunction::expr(exists.joined(call.why_joined()), key.clone()))
}

/// The call for the one column of the store whose values are smallest; `None` if it is that.
pub(super) fn cheapest(call: &KvCall, key: &Expr) -> Result<Option<Expr>> {
    let store = call.store();
    let figures = store.description.figures.as_ref();
    let bytes = |column: &usize| {
        let known = figures.and_then(|figures| figures.value_bytes.get(*column).copied());
        let width = || store.schema().field(*column).data_type().primitive_width();
        known.or_else(|| width().map(|width| width as u64)).unwrap_or(u64::MAX)
    };
    let Some(least) = (0..store.schema().fields().len()).min_by_key(bytes) else {
        return Ok(None);
    };
    if call.column_indices() == [least] {
        return Ok(None);
    }
    let name = store.schema().field(least).name().clone();
    with_columns(call, key, vec![name]).map(Some)
}
