//! `keyloom stores list`: the stores of the catalog, as they stand there.

use std::collections::BTreeMap;

use keyloom_client::KeyNames;
use keyloom_common::error::{holds_credentials, redact};
use serde::Serialize;

use super::no_catalog;
use crate::{
    catalog::Catalog,
    cli::{Form, ListArguments},
    error::Failure,
    request::Store,
    text,
};

/// A store as `-o json` shows it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Listed {
    alias: String,
    kind: String,
    /// The columns of its key, if the catalog says them.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Vec<String>>,
    /// Where it is, without what may be a secret: a store of such a place is refused when it is
    /// opened, and none is opened here.
    source: String,
}

/// Lists the stores of the catalog.
pub(super) fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let catalog = Catalog::open(&arguments.catalog)?.ok_or_else(no_catalog)?;
    let path = catalog.path.display().to_string();
    let stores: Vec<_> =
        catalog.stores.into_iter().map(|(alias, store)| listed(alias, store)).collect();
    match arguments.print.format {
        // A tree of strings can always be written.
        Form::Json => text::print(&serde_json::to_string(&stores).unwrap_or_default()),
        Form::Table if stores.is_empty() => text::print(&format!("{path} has no stores")),
        Form::Table => text::print(&table(&stores)),
    }
}

/// Stores in columns.
pub(crate) fn in_columns(stores: BTreeMap<String, Store>) -> String {
    let stores = stores.into_iter().map(|(alias, store)| listed(alias, store));
    table(&stores.collect::<Vec<_>>())
}

fn listed(alias: String, store: Store) -> Listed {
    let names = |key: KeyNames| key.names().to_vec();
    let (kind, key, source) = match store {
        Store::Lance(options) => ("lance".to_owned(), options.key.map(names), options.uri),
        Store::Memory { input, key } => ("memory".to_owned(), Some(names(key)), input.path),
        Store::Other(options) => (options.kind, options.key.map(names), options.uri),
    };
    let source = if holds_credentials(&source) { redact(&source) } else { source };
    Listed { alias, kind, key, source }
}

fn table(stores: &[Listed]) -> String {
    let head = ["ALIAS", "KIND", "KEY"].map(ToOwned::to_owned);
    let key = |store: &Listed| store.key.as_ref().map_or("-".to_owned(), |key| key.join(", "));
    let rows = stores.iter().map(|store| [store.alias.clone(), store.kind.clone(), key(store)]);
    let rows: Vec<_> = [head].into_iter().chain(rows).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2].map(width);
    let sources = ["SOURCE"].into_iter().chain(stores.iter().map(|store| store.source.as_str()));
    let line = |([alias, kind, key], source): (&[String; 3], &str)| {
        let [a, b, c] = widths;
        format!("{alias:a$}  {kind:b$}  {key:c$}  {source}")
    };
    rows.iter().zip(sources).map(line).collect::<Vec<_>>().join("\n")
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
}
