//! The catalog of a coordinator: stores and inputs that all clients of a cluster use by name, who
//! may use them, and clients that may use nothing else.

mod only;

use std::fs;

use anyhow::{Context, Result};
use datafusion::prelude::{col, lit};
use keyloom_client::{
    EmbeddedSettings, ErrorKind, Input, LanceOptions, MemoryOptions, Session, load_kv,
};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Cluster, batch, ints, products, rows, strings, write_lance};

/// Statements over the catalog's names alone.
const STATEMENTS: [&str; 5] = [
    "SELECT n, kv_get(k, source => 'products', on_error => 'null')['name'] AS name FROM items \
     ORDER BY n",
    "SELECT i.n, p.name FROM items i LEFT JOIN products p ON i.k = p.id ORDER BY i.n",
    "SELECT count(*) AS n, max(price) AS price FROM products",
    "WITH late AS (SELECT k FROM items WHERE n > 3) \
     SELECT k, kv_exists(k, source => 'products') AS known FROM late ORDER BY k",
    "SUMMARIZE products",
];

const NAMES: [&str; 5] = ["1 | apple", "2 | NULL", "3 | NULL", "4 | banana", "5 | apple"];

/// The files that a catalog names.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) async fn write() -> Result<Self> {
        let files = Self(tempfile::tempdir()?);
        for name in ["products", "secret"] {
            let uri = files.path(&format!("{name}.lance"));
            write_lance(&uri, &[products()], 2).await?;
        }
        fs::write(files.path("items.csv"), "n,k\n1,a\n2,x\n3,\n4,b\n5,a\n")?;
        fs::write(files.path("other.csv"), "n\n1\n")?;
        Ok(files)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    /// The catalog as variables of a coordinator.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let variables = [
            ("STORES__PRODUCTS__KIND", "lance".to_owned()),
            ("STORES__PRODUCTS__URI", self.path("products.lance")),
            ("STORES__PRODUCTS__KEY", "id".to_owned()),
            ("INPUTS__ITEMS__PATH", self.path("items.csv")),
        ];
        variables.map(|(name, text)| variable(name, text)).into()
    }

    /// A cluster with the catalog.
    pub(crate) async fn cluster(&self, workers: usize) -> Result<Cluster> {
        let variables = self.variables();
        Cluster::start_with(workers, &borrowed(&variables), &[]).await
    }

    /// A session that is its own cluster with the catalog.
    async fn embedded(&self) -> Result<Session> {
        let uri = self.path("products.lance");
        let catalog = json!({
            "stores": { "products": { "kind": "lance", "uri": uri, "key": "id" } },
            "inputs": { "items": { "path": self.path("items.csv") } },
        });
        let settings = json!({ "workers": 2, "coordinator": { "catalog": catalog } });
        Ok(Session::embedded_with(serde_json::from_value(settings)?).await?)
    }
}

/// A setting of a coordinator's catalog.
fn variable(name: &str, text: impl Into<String>) -> (String, String) {
    (format!("KEYLOOM_COORDINATOR_CATALOG__{name}"), text.into())
}

fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    variables.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

/// The rows of the statements where everything is attached by hand.
async fn by_hand(files: &Files) -> Result<Vec<Vec<String>>> {
    let session = Session::embedded().await?;
    let lance = LanceOptions::new(files.path("products.lance")).key("id");
    session.attach(load_kv("products", lance)?, None::<&str>).await?;
    session.register("items", files.path("items.csv")).await?;
    all_rows(&session).await
}

async fn all_rows(session: &Session) -> Result<Vec<Vec<String>>> {
    let mut all = Vec::new();
    for statement in STATEMENTS {
        let query = session.sql(statement).await.context(statement)?;
        all.push(rows(query).await.context(statement)?);
    }
    Ok(all)
}

/// What holds of a session on a cluster with the catalog, whose statements have these rows.
async fn check_names(session: &Session, expected: &[Vec<String>]) -> Result<()> {
    assert!(session.list_kv().is_empty());
    assert_eq!(all_rows(session).await?, expected);
    // What was named is open now, and nothing else.
    assert_eq!(session.list_kv(), ["products"]);
    let items = session.table("items").await?;
    session.find_kv("products").await?;
    let name = session.kv_get("k").source("products").columns(["name"]).build();
    // A key that is missing or null says nothing of the names.
    let found = items.filter(col("n").eq(lit(4)))?;
    let found = found.with_column("product", name?)?.select_columns(&["n", "product"])?;
    assert_eq!(rows(found).await?, ["4 | {name: banana}"]);
    let error = session.sql("SELECT kv_get(k, source => 'product') FROM items").await;
    let error = error.err().context("it was planned")?;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let message = "KV store 'product' not found in session (attached: 'products'); the cluster's \
                   catalog has 'products'";
    assert_eq!(error.message(), message);
    Ok(())
}

#[tokio::test]
async fn statements_use_the_cluster_s_names_as_if_attached() -> Result<()> {
    let files = Files::write().await?;
    let expected = by_hand(&files).await?;
    assert_eq!(expected[0], NAMES);
    check_names(&files.embedded().await?, &expected).await.context("embedded")?;
    for workers in [1, 3] {
        let cluster = files.cluster(workers).await?;
        let session = Session::connect(&cluster.address).await?;
        check_names(&session, &expected).await.with_context(|| format!("{workers} workers"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_session_s_own_names_go_before_the_cluster_s() -> Result<()> {
    let files = Files::write().await?;
    let cluster = files.cluster(1).await?;
    let looked = "SELECT n, kv_get(k, source => 'products')['name'] AS name FROM items WHERE n = 1";
    let own = batch([("id", strings(["a"])), ("name", strings(["own"]))]);
    let own = || MemoryOptions::batch(own.clone(), "id");
    let own_items = batch([("n", ints([1])), ("k", strings(["a"]))]);
    // Before the cluster's were opened, and after.
    let [first, second] = [(); 2].map(|()| Session::connect(&cluster.address));
    let (first, second) = (first.await?, second.await?);
    first.attach(load_kv("products", own())?, None::<&str>).await?;
    assert_eq!(rows(first.sql(looked).await?).await?, ["1 | own"]);
    assert_eq!(rows(second.sql(looked).await?).await?, ["1 | apple"]);
    second.attach(load_kv("products", own())?, None::<&str>).await?;
    second.register_batches("items", &[own_items])?;
    assert_eq!(rows(second.sql(looked).await?).await?, ["1 | own"]);
    assert_eq!(rows(second.sql("SELECT count(*) AS n FROM items").await?).await?, ["1"]);
    let again = second.attach(load_kv("products", own())?, None::<&str>).await;
    assert!(again.is_err_and(|error| error.message().contains("already attached")));
    // Forgotten, it is the cluster's again.
    second.detach_kv("products")?;
    assert_eq!(rows(second.sql(looked).await?).await?, ["1 | apple"]);
    Ok(())
}

#[tokio::test]
async fn what_no_statement_names_is_not_opened() -> Result<()> {
    let files = Files::write().await?;
    let mut variables = files.variables();
    variables.push(variable("STORES__GONE__KIND", "lance"));
    variables.push(variable("STORES__GONE__URI", files.path("gone.lance")));
    let cluster = Cluster::start_with(1, &borrowed(&variables), &[]).await?;
    let session = Session::connect(&cluster.address).await?;
    // A column, a text and a name in WITH are none of the catalog's.
    let query = "WITH items AS (SELECT 1 AS gone) SELECT gone, 'products' AS t FROM items";
    assert_eq!(rows(session.sql(query).await?).await?, ["1 | products"]);
    assert!(session.list_kv().is_empty());
    let error = session.sql("SELECT * FROM gone").await.err().context("it was opened")?;
    let words = "store 'gone' of the cluster's catalog: ";
    assert!(error.message().starts_with(words), "{error}");
    assert!(error.message().contains("gone.lance"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_catalog_that_is_wrong_is_refused_at_the_start() -> Result<()> {
    for (settings, words) in [
        (
            vec![
                ("STORES__P__KIND", "memory"),
                ("STORES__P__PATH", "/p.csv"),
                ("STORES__P__KEY", "id"),
            ],
            "catalog.stores.p: the rows of a memory store are held by the client that attaches it",
        ),
        (
            vec![("STORES__P__KIND", "lance"), ("STORES__P__URI", "p.lance")],
            "catalog.stores.p: uri is an absolute path or a URI here, not 'p.lance'",
        ),
        (
            vec![
                ("STORES__P__KIND", "lance"),
                ("STORES__P__URI", "/p.lance"),
                ("STORES__P__KYE", "a"),
            ],
            "catalog.stores.p: 'kye' is no option of a lance store",
        ),
        (vec![("INPUTS__I__PATH", "i.csv")], "catalog.inputs.i: path is an absolute path or a URI"),
        (vec![("ONYL", "true")], "unknown setting 'catalog.onyl'; did you mean 'catalog.only'?"),
    ] {
        let variables: Vec<_> =
            settings.into_iter().map(|(name, text)| variable(name, text)).collect();
        let started = Cluster::start_with(0, &borrowed(&variables), &[]).await;
        let error = format!("{:#}", started.err().context("it started")?);
        assert!(error.contains(words), "{error}");
    }
    let mut settings = EmbeddedSettings::default();
    let store = json!({ "kind": "lance", "uri": "p.lance" });
    settings.coordinator.catalog.stores.insert("p".to_owned(), serde_json::from_value(store)?);
    let error = Session::embedded_with(settings).await.err().context("it started")?;
    assert!(error.message().contains("catalog.stores.p: uri is an absolute path"), "{error}");
    Ok(())
}

/// An input that no catalog names.
fn other(files: &Files) -> Input {
    Input::new(files.path("other.csv"))
}
