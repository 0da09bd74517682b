//! `keyloom sql`: a statement, its inputs and its stores from the command line.

use std::collections::BTreeMap;

use crate::{cli::SqlArguments, error::Failure, request::Request, run, watch::Watch};

/// Runs a statement.
pub(crate) async fn statement(arguments: SqlArguments, watch: &Watch) -> Result<(), Failure> {
    let SqlArguments { sql, inputs, stores, current, output, place, show } = arguments;
    let (inputs, stores) = (named("--input", inputs)?, named("--store", stores)?);
    let only = stores.keys().next().filter(|_| stores.len() == 1);
    let current_store = current.or_else(|| only.cloned());
    let request = Request { inputs, stores, current_store, sql, output };
    run::statement(request, &place, false, show, watch).await
}

/// What flags gave, by name.
fn named<T>(flag: &str, given: Vec<(String, T)>) -> Result<BTreeMap<String, T>, Failure> {
    let mut named = BTreeMap::new();
    for (name, value) in given {
        if named.contains_key(&name) {
            return Err(Failure::mistake(format!("{flag} names '{name}' twice")));
        }
        named.insert(name, value);
    }
    Ok(named)
}
