//! `keyloom stores`: what stores there are, how they are, and new ones.

mod check;
mod create;
mod keys;
mod list;

use std::collections::BTreeMap;

use crate::{
    catalog::Catalog,
    cli::{StoresArguments, StoresCommand},
    describe,
    error::Failure,
    request::Store,
    sql,
    watch::Watch,
};

pub(crate) use list::in_columns;

/// Runs a command on stores.
pub(crate) async fn run(command: StoresCommand, watch: &Watch) -> Result<(), Failure> {
    match command {
        StoresCommand::List(arguments) => list::list(&arguments),
        StoresCommand::Describe(arguments) => {
            let stores = chosen(&arguments)?;
            describe::stores(stores, &arguments.place, arguments.print.format, watch).await
        }
        StoresCommand::Check(arguments) => {
            let stores = chosen(&arguments)?;
            check::check(stores, &arguments.place, arguments.print.format, watch).await
        }
        StoresCommand::Create(arguments) => create::create(arguments, watch).await,
    }
}

/// The stores that are meant: those of the flags go before those of the catalog.
fn chosen(arguments: &StoresArguments) -> Result<BTreeMap<String, Store>, Failure> {
    let mut stores = sql::named("--store", arguments.stores.clone())?;
    let catalog = Catalog::open(&arguments.catalog)?;
    if stores.is_empty() && catalog.is_none() {
        return Err(no_catalog());
    }
    for (alias, store) in catalog.unwrap_or_default().stores {
        stores.entry(alias).or_insert(store);
    }
    let aliases = &arguments.aliases;
    if let Some(unknown) = aliases.iter().find(|alias| !stores.contains_key(*alias)) {
        let known: Vec<_> = stores.keys().map(String::as_str).collect();
        return Err(Failure::mistake(match known.as_slice() {
            [] => format!("there is no store '{unknown}', nor any other"),
            known => format!("there is no store '{unknown}'; there are: {}", known.join(", ")),
        }));
    }
    stores.retain(|alias, _| aliases.is_empty() || aliases.contains(alias));
    Ok(stores)
}

/// What to do where no catalog is.
fn no_catalog() -> Failure {
    Failure::mistake("there is no keyloom.toml in the working folder or above it").help(
        "write one with a section [stores.ALIAS] for each store, or name one with --catalog FILE",
    )
}
