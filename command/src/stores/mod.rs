//! `keyloom stores`: what stores there are, how they are, and new ones.

mod check;
mod create;
mod keys;
mod list;

use std::collections::BTreeMap;

use keyloom_client::Session;

use crate::{
    catalog::Catalog,
    cli::{StoresArguments, StoresCommand},
    describe,
    error::Failure,
    open,
    request::Store,
    sql,
    watch::Watch,
};

pub(crate) use list::in_columns;

/// What stands for the cluster's catalog where it is told who describes a store.
pub(crate) const CLUSTER: &str = "cluster";

/// A store that is meant by its alias.
pub(crate) enum Meant {
    /// A flag or the project's catalog describes it.
    Own(Box<Store>),
    /// The cluster's catalog describes it.
    OfCluster,
}

/// Runs a command on stores.
pub(crate) async fn run(command: StoresCommand, watch: &Watch) -> Result<(), Failure> {
    match command {
        StoresCommand::List(arguments) => list::list(&arguments, watch).await,
        StoresCommand::Describe(arguments) => {
            let (session, stores) = chosen(&arguments, watch).await?;
            describe::stores(&session, stores, arguments.print.format, watch).await
        }
        StoresCommand::Check(arguments) => {
            let (session, stores) = chosen(&arguments, watch).await?;
            check::check(&session, stores, arguments.print.format, watch).await
        }
        StoresCommand::Create(arguments) => create::create(arguments, watch).await,
    }
}

/// A session, and the stores that are meant: those of the flags go before those of the catalog, and
/// these before the cluster's.
async fn chosen(
    arguments: &StoresArguments,
    watch: &Watch,
) -> Result<(Session, BTreeMap<String, Meant>), Failure> {
    let own = sql::named("--store", arguments.stores.clone())?;
    let catalog = Catalog::open(&arguments.catalog)?;
    let is_none = own.is_empty() && catalog.is_none();
    let of_catalog = catalog.unwrap_or_default().stores;
    let mut stores = BTreeMap::new();
    for (alias, store) in own.into_iter().chain(of_catalog) {
        stores.entry(alias).or_insert(Meant::Own(Box::new(store)));
    }
    let on_cluster = match arguments.place.cluster() {
        Some(_) => Some(open::session(&arguments.place, watch).await?),
        None => None,
    };
    if let Some(session) = &on_cluster {
        let of_cluster = watch.step(session.cluster_catalog()).await?;
        for alias in of_cluster.stores.into_keys() {
            stores.entry(alias).or_insert(Meant::OfCluster);
        }
    }
    if stores.is_empty() && is_none {
        return Err(no_catalog());
    }
    let stores = only(stores, &arguments.aliases)?;
    let session = match on_cluster {
        Some(session) => session,
        None => open::session(&arguments.place, watch).await?,
    };
    Ok((session, stores))
}

/// The stores of these aliases; all if there are none.
fn only(
    mut stores: BTreeMap<String, Meant>,
    aliases: &[String],
) -> Result<BTreeMap<String, Meant>, Failure> {
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
