//! What is meant by calls that are nearly right: functions whose names are misspelt, and stores
//! that stand where another argument does.

use datafusion::{
    common::utils::datafusion_strsim::levenshtein,
    execution::context::SessionState,
    sql::sqlparser::ast::{Function as Call, FunctionArg, FunctionArgExpr},
};
use keyloom_common::{Error, Result, functions::Function};

use super::arguments::text;
use crate::session::Session;

/// How many letters a name may differ in and still be meant.
const MOST_LETTERS: usize = 2;

/// Refuses a function that there is not and whose name is like that of a lookup. Others DataFusion
/// refuses, which does not know of lookups.
pub(super) fn check_spelling(call: &Call, state: &SessionState) -> Result<()> {
    let [part] = call.name.0.as_slice() else { return Ok(()) };
    let Some(ident) = part.as_ident() else { return Ok(()) };
    let name = ident.value.to_ascii_lowercase();
    let is_known = state.scalar_functions().contains_key(&name)
        || state.aggregate_functions().contains_key(&name)
        || state.window_functions().contains_key(&name);
    if is_known {
        return Ok(());
    }
    match meant(&name) {
        Some(function) => Err(Error::invalid(format!(
            "there is no function '{}'; did you mean {}?",
            ident.value,
            function.name()
        ))),
        None => Ok(()),
    }
}

/// The lookup whose name is most like this one.
fn meant(name: &str) -> Option<Function> {
    let plain = |name: &str| name.replace('_', "");
    let distance = |function: &Function| levenshtein(&plain(name), &plain(function.name()));
    let nearest = Function::ALL.into_iter().min_by_key(distance)?;
    (distance(&nearest) <= MOST_LETTERS).then_some(nearest)
}

/// What is wrong with a call that fails, if a store stands where another argument does: stores go
/// by name.
pub(super) fn misplaced_store(
    session: &Session,
    function: Function,
    arguments: &[FunctionArg],
) -> Option<Error> {
    let positions = function.parameters().iter().zip(arguments).enumerate().skip(1);
    positions.filter(|(_, (parameter, _))| **parameter != "source").find_map(|place| {
        let (position, (parameter, argument)) = place;
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = argument else { return None };
        let alias = text(parameter, value).ok().filter(|word| session.has_kv(word))?;
        Some(Error::invalid(format!(
            "argument {} of {} is {parameter}, not a store, which goes by name: source => \
             '{alias}'",
            position + 1,
            function.name()
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_like_those_of_lookups_are_known() {
        for (name, function) in [
            ("kvget", Function::Get),
            ("kv_gets", Function::Get),
            ("kv_batchget", Function::BatchGet),
            ("kv_exist", Function::Exists),
        ] {
            assert_eq!(meant(name), Some(function), "{name}");
        }
        for name in ["lookup", "kv_scan_all", "sum", "nvl"] {
            assert_eq!(meant(name), None, "{name}");
        }
    }
}
