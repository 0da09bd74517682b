//! Calls of which a node only tests whether they are null: whether the store holds the key is
//! enough, or what the node reads of the same call anyway.

use std::{collections::BTreeSet, mem, sync::Arc};

use datafusion::{
    common::tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    error::Result,
    logical_expr::Expr,
};
use keyloom_common::functions::{Function, KvCall};

use super::{
    calls::{cheapest, exists, with_fields},
    uses::{Use, as_field_access, unaliased},
};
use crate::holds::{as_call, contains_call};

/// What else a node reads of a call's answer than whether it is null.
struct Read {
    call: Arc<KvCall>,
    key: Expr,
    used: Use,
}

/// Lets what the expressions of a node test for null ask for no more than the node reads anyway.
/// Whether anything changed.
pub(super) fn narrow_null_tests(exprs: &mut [Expr]) -> Result<bool> {
    let mut reads = Vec::new();
    exprs.iter().try_for_each(|expr| collect(expr, &mut reads))?;
    let mut is_narrowed = false;
    for expr in exprs.iter_mut().filter(|expr| contains_call(expr)) {
        let narrowed = mem::take(expr).transform_down(|node| narrow_test(node, &reads))?;
        is_narrowed |= narrowed.transformed;
        *expr = narrowed.data;
    }
    Ok(is_narrowed)
}

fn collect(expr: &Expr, reads: &mut Vec<Read>) -> Result<()> {
    expr.apply(|node| {
        if !contains_call(node) {
            return Ok(TreeNodeRecursion::Jump);
        }
        let (value, used) = match (tested(node), as_field_access(node)) {
            (Some(tested), _) => (tested, Use::Nothing),
            (None, Some((structure, field))) if as_call(structure).is_some() => {
                (structure, Use::field(field))
            }
            _ => (node, Use::All),
        };
        let Some((call, key)) = as_call(value) else { return Ok(TreeNodeRecursion::Continue) };
        match reads.iter_mut().find(|read| read.call == *call && read.key == *key) {
            Some(read) => read.used.add(&used),
            None => reads.push(Read { call: Arc::clone(call), key: key.clone(), used }),
        }
        collect(key, reads)?;
        Ok(TreeNodeRecursion::Jump)
    })?;
    Ok(())
}

/// What an expression tests for null.
fn tested(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::IsNull(value) | Expr::IsNotNull(value) => Some(unaliased(value)),
        _ => None,
    }
}

fn narrow_test(node: Expr, reads: &[Read]) -> Result<Transformed<Expr>> {
    let Some((call, key)) = tested(&node).and_then(as_call) else {
        return Ok(Transformed::no(node));
    };
    if call.function() != Function::Get {
        return Ok(Transformed::no(node));
    }
    let is_not = matches!(node, Expr::IsNotNull(_));
    let narrowed = match read_of(call, key, reads) {
        Use::All => None,
        // The answer that the node reads is then the one that is tested.
        Use::Fields(fields) => with_fields(call, key, &fields.into_iter().take(1).collect())?,
        Use::Nothing if call.on_error().never_fails() => {
            let exists = exists(call, key)?;
            let tested = if is_not { exists.is_true() } else { exists.is_not_true() };
            return Ok(Transformed::yes(tested));
        }
        Use::Nothing => cheapest(call, key)?,
    };
    Ok(match narrowed {
        Some(call) => Transformed::yes(if is_not { call.is_not_null() } else { call.is_null() }),
        None => Transformed::no(node),
    })
}

/// What is read of the answer to a call for a key. It may be asked for some of its columns already,
/// and what is read for others of them.
fn read_of(call: &KvCall, key: &Expr, reads: &[Read]) -> Use {
    let columns: BTreeSet<String> = names(call).cloned().collect();
    let mut used = Use::Nothing;
    for read in reads.iter().filter(|read| read.key == *key && is_same(&read.call, call)) {
        let fields: BTreeSet<String> = match &read.used {
            Use::Nothing => continue,
            Use::Fields(fields) => fields.intersection(&columns).cloned().collect(),
            Use::All if read.call.column_indices() == call.column_indices() => return Use::All,
            Use::All => names(&read.call).filter(|name| columns.contains(*name)).cloned().collect(),
        };
        if !fields.is_empty() {
            used.add(&Use::Fields(fields));
        }
    }
    used
}

/// The columns that a call asks for.
fn names(call: &KvCall) -> impl Iterator<Item = &String> {
    let schema = call.store().schema();
    call.column_indices().into_iter().map(|column| schema.field(column).name())
}

/// Whether calls differ at most in the columns that they ask for.
fn is_same(one: &KvCall, other: &KvCall) -> bool {
    one.function() == other.function()
        && one.on_error() == other.on_error()
        && one.batch_size() == other.batch_size()
        && one.store() == other.store()
}
