//! `keyloom stores list`: the stores of the catalog and of the cluster, as they stand there.

use std::{collections::BTreeMap, iter::once};

use keyloom_client::{ClusterCatalog, KeyNames};
use keyloom_common::{
    error::{holds_credentials, redact},
    store::{StoreKey, StoreSpec},
};
use serde::Serialize;

use super::{CLUSTER, no_catalog};
use crate::{
    catalog::Catalog,
    cli::{Form, ListArguments, Place},
    error::Failure,
    open,
    request::Store,
    text,
    watch::Watch,
};

/// What a store that no cluster describes is from, in a shell.
const HERE: &str = "here";

/// Where its origin stands in a line.
const ORIGIN: usize = 3;

/// A store as `-o json` shows it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Listed {
    alias: String,
    kind: String,
    /// The columns of its key, if the catalog says them.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Vec<String>>,
    /// Who describes it, where there may be several.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// Where it is, without what may be a secret: a store of such a place is refused when it is
    /// opened, and none is opened here.
    source: String,
}

/// Lists the stores of the catalog, and of the cluster, if one is named.
pub(super) async fn list(arguments: &ListArguments, watch: &Watch) -> Result<(), Failure> {
    let catalog = Catalog::open(&arguments.catalog)?;
    let of_cluster = of_cluster(&arguments.place, watch).await?;
    watch.end();
    let path = catalog.as_ref().map(|catalog| catalog.path.display().to_string());
    if path.is_none() && of_cluster.is_none() {
        return Err(no_catalog());
    }
    let own = catalog.unwrap_or_default().stores;
    let origin = path.clone().filter(|_| of_cluster.is_some());
    let stores = all(own, origin.as_deref(), of_cluster.unwrap_or_default().stores);
    match arguments.print.format {
        // A tree of strings can always be written.
        Form::Json => text::print(&serde_json::to_string(&stores).unwrap_or_default()),
        Form::Table if stores.is_empty() => {
            let catalog = path.as_deref().unwrap_or("the cluster's catalog");
            text::print(&format!("{catalog} has no stores"))
        }
        Form::Table => text::print(&table(&stores)),
    }
}

/// What the cluster offers, if one is named.
async fn of_cluster(place: &Place, watch: &Watch) -> Result<Option<ClusterCatalog>, Failure> {
    if place.cluster().is_none() {
        return Ok(None);
    }
    let session = open::session(place, watch).await?;
    watch.step(session.cluster_catalog()).await.map(Some)
}

/// Stores in columns, those of a session before those of its cluster.
pub(crate) fn in_columns(
    own: BTreeMap<String, Store>,
    of_cluster: BTreeMap<String, StoreSpec>,
) -> String {
    let origin = (!of_cluster.is_empty()).then_some(HERE);
    table(&all(own, origin, of_cluster))
}

/// All stores, by their aliases.
fn all(
    own: BTreeMap<String, Store>,
    origin: Option<&str>,
    of_cluster: BTreeMap<String, StoreSpec>,
) -> Vec<Listed> {
    let mut stores = BTreeMap::new();
    for (alias, store) in own {
        let listed = Listed { origin: origin.map(ToOwned::to_owned), ..listed(alias, store) };
        stores.insert(listed.alias.clone(), listed);
    }
    for (alias, spec) in of_cluster {
        stores.entry(alias.clone()).or_insert_with(|| listed_of_cluster(alias, spec));
    }
    stores.into_values().collect()
}

fn listed(alias: String, store: Store) -> Listed {
    let names = |key: KeyNames| key.names().to_vec();
    let (kind, key, source) = match store {
        Store::Lance(options) => ("lance".to_owned(), options.key.map(names), options.uri),
        Store::Memory { input, key } => ("memory".to_owned(), Some(names(key)), input.path),
        Store::Other(options) => (options.kind, options.key.map(names), options.uri),
    };
    Listed { alias, kind, key, origin: None, source: shown(source) }
}

fn listed_of_cluster(alias: String, spec: StoreSpec) -> Listed {
    let names = |key: StoreKey| match key.columns() {
        [] => vec![key.to_string()],
        columns => columns.to_vec(),
    };
    let StoreSpec { kind, place, key, .. } = spec;
    let origin = Some(CLUSTER.to_owned());
    Listed { alias, kind, key: key.map(names), origin, source: shown(place) }
}

fn shown(source: String) -> String {
    if holds_credentials(&source) { redact(&source) } else { source }
}

fn table(stores: &[Listed]) -> String {
    let head = ["ALIAS", "KIND", "KEY", "ORIGIN", "SOURCE"].map(ToOwned::to_owned);
    let row = |store: &Listed| {
        let key = store.key.as_ref().map_or("-".to_owned(), |key| key.join(", "));
        let origin = store.origin.clone().unwrap_or_default();
        [store.alias.clone(), store.kind.clone(), key, origin, store.source.clone()]
    };
    let mut rows: Vec<_> = once(head).chain(stores.iter().map(row)).map(Vec::from).collect();
    if stores.iter().all(|store| store.origin.is_none()) {
        rows.iter_mut().for_each(|row| drop(row.remove(ORIGIN)));
    }
    let last = rows[0].len() - 1;
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..last).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}  "));
        cells.collect::<String>() + &row[last]
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use keyloom_client::{Input, LanceOptions};

    use super::*;

    #[test]
    fn places_are_listed_without_secrets() {
        let source = |store: Store| listed("s".to_owned(), store).source;
        let lance = |uri: &str| source(Store::Lance(LanceOptions::new(uri)));
        assert_eq!(lance("s3://key:hunter2@bucket/a.lance"), "s3://bucket/a.lance");
        assert_eq!(lance("s3://bucket/a b.lance"), "s3://bucket/a b.lance");
        let input = |path: &str| {
            source(Store::Memory { input: Input::new(path), key: KeyNames::from("id") })
        };
        assert_eq!(input("https://host/a.csv?token=hunter2"), "https://host/a.csv");
        assert_eq!(input("s3://bucket/a-?.csv"), "s3://bucket/a-?.csv");
    }

    #[test]
    fn stores_are_listed_in_columns() {
        let store = |alias: &str, key: Option<&[&str]>| Listed {
            alias: alias.to_owned(),
            kind: "lance".to_owned(),
            key: key.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
            origin: None,
            source: format!("{alias}.lance"),
        };
        let stores = [store("stock", Some(&["store", "article"])), store("p", None)];
        assert_eq!(
            table(&stores),
            "ALIAS  KIND   KEY             SOURCE\n\
             stock  lance  store, article  stock.lance\n\
             p      lance  -               p.lance"
        );
    }

    #[test]
    fn a_cluster_s_stores_come_after_others_of_their_names() {
        let own = |alias: &str| {
            let store = Store::Lance(LanceOptions::new(format!("{alias}.lance")));
            (alias.to_owned(), store)
        };
        let of_cluster = |alias: &str, key: StoreKey| {
            let spec = StoreSpec::new(alias, "lance", format!("/data/{alias}.lance"));
            (alias.to_owned(), StoreSpec { key: Some(key), ..spec })
        };
        let (own, of_cluster) = (
            [own("p")].into(),
            [of_cluster("p", StoreKey::RowId), of_cluster("q", StoreKey::column("id"))].into(),
        );
        assert_eq!(
            in_columns(own, of_cluster),
            "ALIAS  KIND   KEY  ORIGIN   SOURCE\n\
             p      lance  -    here     p.lance\n\
             q      lance  id   cluster  /data/q.lance"
        );
    }
}
