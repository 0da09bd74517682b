//! Calls of which a node only tests whether they are null: whether the store holds the key is
//! enough, or what the node reads of the same call anyway.

use std::{mem, sync::Arc};

use datafusion::{
    common::tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    error::Result,
    logical_expr::Expr,
};
use keyloom_common::functions::{Function, KvCall, OnError};

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
    let read = reads.iter().find(|read| read.call == *call && read.key == *key);
    let narrowed = match read.map(|read| &read.used) {
        Some(Use::All) => None,
        // The answer that the node reads is then the one that is tested.
        Some(Use::Fields(fields)) => {
            with_fields(call, key, &fields.iter().take(1).cloned().collect())?
        }
        _ if call.on_error() == OnError::Null => {
            let exists = exists(call, key)?;
            let tested = if is_not { exists.is_true() } else { exists.is_not_true() };
            return Ok(Transformed::yes(tested));
        }
        _ => cheapest(call, key)?,
    };
    Ok(match narrowed {
        Some(call) => Transformed::yes(if is_not { call.is_not_null() } else { call.is_null() }),
        None => Transformed::no(node),
    })
}
