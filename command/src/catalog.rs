//! The catalog of a project: stores and inputs that statements use by their names alone.
//!
//! It is a file `keyloom.toml` in the working folder or above, with the sections of job files that
//! name things. What a job file or a flag names goes before; what a statement does not name is
//! neither opened nor looked at.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs,
    path::{Path, PathBuf},
};

use datafusion::sql::sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Token, Tokenizer},
};
use keyloom_client::Input;
use serde::Deserialize;
use toml::{Spanned, Table};

use crate::{
    cli::CatalogChoice,
    error::Failure,
    job_file::{self, Mistake},
    request::{Request, Store},
};

/// What a catalog is called.
const NAME: &str = "keyloom.toml";

/// The sections of settings, which some call by the same name. Such a file is no catalog.
const OF_SETTINGS: [&str; 4] = ["coordinator", "session", "worker", "workers"];

/// What may be used by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) path: PathBuf,
    pub(crate) inputs: BTreeMap<String, Input>,
    pub(crate) stores: BTreeMap<String, Store>,
}

/// A catalog as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogFile {
    #[serde(default)]
    inputs: BTreeMap<String, Input>,
    #[serde(default)]
    stores: BTreeMap<String, Spanned<Table>>,
}

/// Inputs and stores by their names.
pub type Named = (BTreeMap<String, Input>, BTreeMap<String, Store>);

/// The inputs and the stores that a catalog names. Paths are from its folder.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn read_catalog(path: &Path) -> Result<Named, String> {
    let read = text(path).and_then(|text| Catalog::read(path.to_owned(), &text));
    match read {
        Ok(Catalog { inputs, stores, .. }) => Ok((inputs, stores)),
        Err(failure) => Err(failure.message.unwrap_or_default()),
    }
}

/// Gives a request what its statement names and the catalog has, if one is meant.
pub(crate) fn complete(choice: &CatalogChoice, request: &mut Request) -> Result<(), Failure> {
    if let Some(catalog) = Catalog::open(choice)? {
        catalog.complete(request);
    }
    Ok(())
}

impl Catalog {
    /// The catalog that is meant: the one that is named, or else the nearest one.
    pub(crate) fn open(choice: &CatalogChoice) -> Result<Option<Self>, Failure> {
        match &choice.catalog {
            Some(path) => Ok(Some(Self::read(path.clone(), &text(path)?)?)),
            None if choice.no_catalog => Ok(None),
            None => {
                let folder = std::env::current_dir().map_err(|error| {
                    Failure::failed(format!("the working folder is not known: {error}"))
                })?;
                let found = nearest(&folder)?;
                found.map(|(path, text)| Self::read(path, &text)).transpose()
            }
        }
    }

    fn read(path: PathBuf, text: &str) -> Result<Self, Failure> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let parsed = Self::parse(text, folder);
        let catalog = parsed.map_err(|mistake| mistake.of_file(&path, text))?;
        tracing::debug!("catalog {}", path.display());
        Ok(Self { path, ..catalog })
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, Mistake> {
        let file: CatalogFile = toml::from_str(text).map_err(|error| Mistake::of_toml(&error))?;
        let (inputs, stores) = job_file::named(folder, file.inputs, file.stores)?;
        Ok(Self { inputs, stores, ..Self::default() })
    }

    /// Gives a request what its statement names and it does not have itself. A call without a
    /// source means the only store of the request, or else of the catalog.
    pub(crate) fn complete(self, request: &mut Request) {
        let Self { inputs, stores, path } = self;
        let mut named = names(&request.sql);
        if request.current_store.is_none() && named.iter().any(|name| name.starts_with("kv_")) {
            let own = if request.stores.is_empty() { &stores } else { &request.stores };
            request.current_store = only(own);
        }
        named.extend(request.current_store.clone());
        request.offered = stores.keys().cloned().collect();
        add("input", &path, &named, inputs, &mut request.inputs);
        add("store", &path, &named, stores, &mut request.stores);
    }
}

/// The alias, if there is exactly one.
fn only(stores: &BTreeMap<String, Store>) -> Option<String> {
    stores.keys().next().filter(|_| stores.len() == 1).cloned()
}

/// Adds those that are named and not there.
fn add<T>(
    what: &str,
    path: &Path,
    named: &BTreeSet<String>,
    catalog: BTreeMap<String, T>,
    request: &mut BTreeMap<String, T>,
) {
    for (name, thing) in catalog.into_iter().filter(|(name, _)| named.contains(name)) {
        match request.entry(name) {
            Entry::Occupied(own) => {
                tracing::debug!("{what} '{}' is not that of {}", own.key(), path.display());
            }
            Entry::Vacant(place) => {
                place.insert(thing);
            }
        }
    }
}

/// All that may be a name in a statement: words, as they are written and as SQL folds them, and
/// texts in quotes, which sources are. One that has no tokens is refused when it is planned.
fn names(sql: &str) -> BTreeSet<String> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap_or_default();
    let names = tokens.into_iter().flat_map(|token| match token {
        Token::Word(word) if word.quote_style.is_some() => vec![word.value],
        Token::Word(word) => vec![word.value.to_lowercase(), word.value],
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => vec![text],
        _ => Vec::new(),
    });
    names.collect()
}

/// The first catalog in a folder or above it, and what it says.
fn nearest(folder: &Path) -> Result<Option<(PathBuf, String)>, Failure> {
    for path in folder.ancestors().map(|folder| folder.join(NAME)).filter(|path| path.is_file()) {
        let text = text(&path)?;
        if !is_settings(&text) {
            return Ok(Some((path, text)));
        }
        tracing::debug!("{} holds settings and is no catalog", path.display());
    }
    Ok(None)
}

fn text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::mistake(format!("catalog {}: {error}", path.display())))
}

/// Whether a file has sections of settings and no others.
fn is_settings(text: &str) -> bool {
    let file = toml::from_str::<Table>(text).unwrap_or_default();
    !file.is_empty() && file.keys().all(|section| OF_SETTINGS.contains(&section.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
        [inputs.items]
        path = 'data/items.parquet'
        [stores.products]
        kind = 'lance'
        uri = 'products.lance'
        [stores.prices]
        kind = 'memory'
        path = '/abs/prices.csv'
        key = 'id'
    ";

    fn completed(text: &str, request: Request) -> Request {
        let mut request = request;
        Catalog::parse(text, Path::new("/project")).unwrap().complete(&mut request);
        request
    }

    fn sql(sql: &str) -> Request {
        Request { sql: sql.to_owned(), ..Request::default() }
    }

    fn keys<T>(things: &BTreeMap<String, T>) -> Vec<&str> {
        things.keys().map(String::as_str).collect()
    }

    #[test]
    fn only_what_a_statement_names_is_added() {
        let request = completed(TEXT, sql("SELECT kv_get(id, source => 'prices') FROM Items"));
        assert_eq!(keys(&request.inputs), ["items"]);
        assert_eq!(request.inputs["items"].path, "/project/data/items.parquet");
        assert_eq!(keys(&request.stores), ["prices"]);
        assert_eq!(request.current_store, None);
        let request = completed(TEXT, sql("SELECT 1 FROM \"products\" -- prices"));
        assert_eq!((keys(&request.inputs), keys(&request.stores)), (vec![], vec!["products"]));
    }

    #[test]
    fn a_request_s_own_names_go_before() {
        let own = Input::new("own.csv");
        let inputs = [("items".to_owned(), own.clone())].into();
        let request = completed(TEXT, Request { inputs, ..sql("SELECT * FROM items") });
        assert_eq!(request.inputs["items"], own);
    }

    #[test]
    fn the_only_store_is_current_where_a_statement_looks_up() {
        let one = "[stores.products]\nkind = 'lance'\nuri = 'p.lance'";
        let request = completed(one, sql("SELECT kv_get(id) FROM t"));
        assert_eq!(request.current_store.as_deref(), Some("products"));
        assert_eq!(keys(&request.stores), ["products"]);
        let request = completed(one, sql("SELECT id FROM t"));
        assert_eq!((request.current_store, request.stores.len()), (None, 0));
        assert_eq!(completed(TEXT, sql("SELECT kv_get(id) FROM t")).current_store, None);
    }

    #[test]
    fn mistakes_have_their_lines() {
        let check = |text: &str, line: usize, words: &str| {
            let mistake = Catalog::parse(text, Path::new("")).unwrap_err();
            assert_eq!(mistake.position(text).0, line, "{text}: {mistake:?}");
            assert!(mistake.message.contains(words), "{text}: {mistake:?}");
        };
        check("\n[job]\nsql = ''", 2, "expected `inputs` or `stores`");
        check("[stores.a]\nkind = 'lance'", 1, "[stores.a]: a lance store needs uri");
        check("[inputs.a]\npth = 'x'", 2, "expected one of `path`, `uri`, `format`");
        let twice = "[inputs.a]\npath = 'x'\n[inputs.a]\npath = 'y'";
        check(twice, 3, "duplicate key");
    }

    #[test]
    fn the_nearest_catalog_is_found_and_settings_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let within = folder.path().join("a/b");
        fs::create_dir_all(&within).unwrap();
        fs::write(folder.path().join(NAME), TEXT).unwrap();
        fs::write(folder.path().join("a").join(NAME), "[worker.store]\n").unwrap();
        let (path, _) = nearest(&within).unwrap().unwrap();
        assert_eq!(path, folder.path().join(NAME));
        fs::write(within.join(NAME), "").unwrap();
        assert_eq!(nearest(&within).unwrap().unwrap().0, within.join(NAME));
    }
}
