//! What the condition of a join that is a lookup says of the rows that it keeps: whether the store
//! holds the key that they ask for.

use std::sync::Arc;

use datafusion::{
    common::ScalarValue,
    error::Result,
    logical_expr::{Case, Expr, expr::ScalarFunction, utils::split_conjunction},
};
use keyloom_common::functions::{Function, KvCall, OnError};

use super::ROW;
use crate::{
    holds::as_call,
    narrow::{unaliased, without_misses},
};

/// Which rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// Those whose key was found.
    Found,
    /// Some of those whose key was found.
    Matched,
    /// All whose key was not found, and maybe some of the others.
    Unmatched,
}

/// A join's condition, passed on the way to the call that it reads.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    rows: Rows,
    /// Whether it tests for being true what it reads, or for not being null.
    is_true: bool,
    /// What it reads to know whether the key was found.
    pub(super) found: Expr,
}

impl Kept {
    /// What a condition keeps, if it is one of a join.
    pub(super) fn by(condition: &Expr) -> Option<Self> {
        match condition {
            Expr::IsNotTrue(matches) => {
                Some(Self { rows: Rows::Unmatched, ..Self::where_matched(matches)? })
            }
            matches => Self::where_matched(matches),
        }
    }

    /// What is kept where rows match, as [`matches`](super::matches::matches) writes it.
    fn where_matched(matches: &Expr) -> Option<Self> {
        if let Expr::Case(Case { expr: Some(operand), when_then_expr, else_expr: None }) = matches {
            let is_of_true =
                matches!(operand.as_ref(), Expr::Literal(ScalarValue::Boolean(Some(true)), _));
            return match when_then_expr.as_slice() {
                [(plain, _)] if is_of_true => {
                    Some(Self { rows: Rows::Matched, ..Self::where_matched(plain)? })
                }
                _ => None,
            };
        }
        let parts = split_conjunction(matches);
        let rows = if parts.len() == 1 { Rows::Found } else { Rows::Matched };
        parts.into_iter().find_map(|part| {
            let (is_true, found) = match part {
                Expr::IsTrue(found) => (true, found),
                Expr::IsNotNull(found) => (false, found),
                _ => return None,
            };
            let is_row =
                matches!(found.as_ref(), Expr::Column(column) if column.name.starts_with(ROW));
            is_row.then(|| Self { rows, is_true, found: (**found).clone() })
        })
    }

    /// The same, where what it reads is said over another plan.
    pub(super) fn reading(&self, found: Expr) -> Self {
        Self { rows: self.rows, is_true: self.is_true, found }
    }

    /// A call that is made above the condition, as it is to be made below it; none if it would miss
    /// other keys there.
    pub(super) fn below(&self, call: KvCall) -> Result<Option<KvCall>> {
        Ok(match self.rows {
            _ if call.function() == Function::Exists => Some(call),
            // Above, all keys are there.
            Rows::Found | Rows::Matched => Some(without_misses(&call)?),
            // Above, all keys are missed that are missed below, but of fewer rows: where misses are
            // counted, that tells.
            Rows::Unmatched => Some(call)
                .filter(|call| matches!(call.on_error(), OnError::Raise | OnError::Unmatched)),
        })
    }

    /// Whether what tells whether the key was found asks the same question as a call, which may
    /// then be made for the rows that are not kept, too.
    pub(super) fn allows(&self, call: &KvCall, key: &Expr) -> bool {
        let Some((asked, asked_key)) = self.question() else { return false };
        let is_harmless = match (self.rows, call.function()) {
            (Rows::Found, _) | (_, Function::Exists) | (Rows::Matched, Function::GetAll) => true,
            // A key of several rows would fail for rows that are not kept, and if none are read of
            // these, none are to be.
            (Rows::Matched | Rows::Unmatched, _) => asked.function() == Function::Get,
        };
        is_harmless && asked.store() == call.store() && asked_key == key
    }

    /// The call that tells whether the key was found, and the key.
    fn question(&self) -> Option<(&Arc<KvCall>, &Expr)> {
        let found = unaliased(&self.found);
        let exists = as_null_of_false(found);
        let (call, key) = as_call(exists.unwrap_or(found))?;
        let is_true = self.is_true || exists.is_some();
        let tells = match call.function() {
            Function::Exists => is_true,
            Function::Get | Function::GetAll => !is_true,
            Function::BatchGet => false,
        };
        tells.then_some((call, key))
    }
}

/// What an expression is that is null where that is false, as calls are narrowed of which only
/// nulls are read.
fn as_null_of_false(expr: &Expr) -> Option<&Expr> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    match args.as_slice() {
        [value, Expr::Literal(ScalarValue::Boolean(Some(false)), _)] if func.name() == "nullif" => {
            Some(value)
        }
        _ => None,
    }
}
