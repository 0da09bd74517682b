//! `keyloom stores`: what there is, how it is, and new ones.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Ended, Keyloom, names};
use crate::harness::{TestSession, on_all_deployments, products, write_lance};

on_all_deployments! {
    a_store_is_made_of_a_file_and_looked_up,
    what_is_wrong_with_keys_is_told_before,
    a_store_is_overwritten_only_if_that_is_said,
    stores_are_listed_described_and_checked,
}

async fn run(session: &TestSession, arguments: &[&str]) -> Result<Ended> {
    Keyloom::on(session, arguments).await?.within(session.path("")).run().await
}

const PRODUCTS: &str = "id,name\n3,cherry\n1,apple\n2,\n";

async fn a_store_is_made_of_a_file_and_looked_up(session: &TestSession) -> Result<()> {
    fs::write(session.path("products.csv"), PRODUCTS)?;
    fs::write(session.path("items.csv"), "id\n1\n9\n3\n")?;
    let create = ["stores", "create", "p.lance", "--from", "products.csv", "--key", "id"];
    let made = run(session, &[&create[..], &["--index"]].concat()).await?;
    let said = "p.lance: version 2, 3 rows by id\nto use it: --store 'ALIAS=lance:p.lance'\n";
    assert_eq!((made.stdout()?, made.stderr.as_str()), (said, ""));
    assert_eq!(names(session.path(""))?, ["items.csv", "p.lance", "products.csv"]);
    let look = "SELECT id, kv_get(id + 0, on_error => 'null')['name'] AS name FROM 'items.csv'";
    let looked = run(session, &["sql", look, "--store", "p=lance:p.lance", "-o", "csv"]).await?;
    assert_eq!(looked.stdout()?, "id,name\n1,apple\n9,\n3,cherry\n");
    let rows = run(session, &["sql", "SELECT id FROM 'p.lance'", "-o", "csv"]).await?;
    assert_eq!(rows.stdout()?, "id\n3\n1\n2\n");
    Ok(())
}

async fn what_is_wrong_with_keys_is_told_before(session: &TestSession) -> Result<()> {
    fs::write(session.path("rows.csv"), "a,b\n1,x\n1,x\n,y\n2,\n")?;
    let create = |key: &'static str, out: &'static str| {
        ["stores", "create", out, "--from", "rows.csv", "--key", key]
    };
    let made = run(session, &create("a", "a.lance")).await?;
    assert!(made.stdout()?.contains("4 rows by a\n"), "{made:?}");
    assert!(made.stdout()?.ends_with("'ALIAS=lance:a.lance?key=a'\n"), "{made:?}");
    let warning = "warning: 1 row has no key, and 1 key stands in 2 rows: a is no primary key\n";
    assert_eq!(made.stderr, warning);
    let made = run(session, &create("a,b", "ab.lance")).await?;
    let warning =
        "warning: 2 rows have no key, and 1 key stands in 2 rows: a, b is no primary key\n";
    assert_eq!((made.code, made.stderr.as_str()), (0, warning));
    let refused = run(session, &create("c", "c.lance")).await?;
    refused.check_failure(2, &["key column 'c' not found; there are 'a', 'b'"]);
    let refused = run(session, &[&create("a,b", "c.lance")[..], &["--index"]].concat()).await?;
    refused.check_failure(2, &["an index is of one column"]);
    assert_eq!(names(session.path(""))?, ["a.lance", "ab.lance", "rows.csv"]);
    Ok(())
}

async fn a_store_is_overwritten_only_if_that_is_said(session: &TestSession) -> Result<()> {
    fs::write(session.path("products.csv"), PRODUCTS)?;
    fs::write(session.path("new.csv"), "id\n7\n")?;
    let create = |from: &'static str, out: &'static str| {
        ["stores", "create", out, "--from", from, "--key", "id"]
    };
    run(session, &create("products.csv", "p.lance")).await?.stdout()?;
    let refused = run(session, &create("new.csv", "p.lance")).await?;
    refused.check_failure(2, &["is not overwritten", "--overwrite"]);
    let over = [&create("new.csv", "p.lance")[..], &["--overwrite", "-o", "json"]].concat();
    let made: Value = serde_json::from_str(run(session, &over).await?.stdout()?)?;
    assert_eq!((&made["version"], &made["rows"]), (&json!(2), &json!(1)));
    let other = [&create("new.csv", "products.csv")[..], &["--overwrite"]].concat();
    run(session, &other).await?.check_failure(2, &["is no Lance dataset"]);
    assert_eq!(fs::read_to_string(session.path("products.csv"))?, PRODUCTS);
    let nowhere = run(session, &create("new.csv", "nowhere/p.lance")).await?;
    nowhere.check_failure(2, &["there is no folder "]);
    Ok(())
}

async fn stores_are_listed_described_and_checked(session: &TestSession) -> Result<()> {
    let none = Keyloom::new(["stores", "list", "--no-catalog"])?.run().await?;
    none.check_failure(2, &["there is no keyloom.toml", "--catalog FILE"]);
    write_lance(&session.path("products.lance"), &[products(), products()], 2).await?;
    fs::write(session.path("prices.csv"), "id,price\na,1\n,2\n")?;
    fs::write(
        session.path("keyloom.toml"),
        "[stores.products]\nkind = 'lance'\nuri = 'products.lance'\nkey = 'id'\n\
         [stores.prices]\nkind = 'memory'\npath = 'prices.csv'\nkey = 'id'\n",
    )?;
    let listed = Keyloom::new(["stores", "list"])?.within(session.path("")).run().await?;
    let words = listed.stdout()?.split_whitespace().collect::<Vec<_>>();
    assert_eq!(words[..4], ["ALIAS", "KIND", "KEY", "SOURCE"]);
    assert_eq!(words[4..7], ["prices", "memory", "id"]);
    let described = run(session, &["stores", "describe", "products", "-o", "json"]).await?;
    let described: Value = serde_json::from_str(described.stdout()?)?;
    assert_eq!((&described["name"], &described["rows"]), (&json!("products"), &json!(6)));
    let checked = run(session, &["stores", "check", "-o", "json"]).await?;
    let checked = checked.stdout()?.lines().map(serde_json::from_str::<Value>);
    let checked = checked.collect::<Result<Vec<_>, _>>()?;
    let [prices, products] = checked.as_slice() else { bail!("{checked:?}") };
    for (check, fact, value) in [
        (prices, "rows", 2),
        (prices, "null_keys", 1),
        (prices, "repeated_keys", 0),
        (products, "rows", 6),
        (products, "null_keys", 0),
        (products, "repeated_keys", 3),
        (products, "repeated_rows", 6),
        (products, "key_map_bytes", 78),
    ] {
        assert_eq!(check[fact], json!(value), "{fact} of {check}");
    }
    let unknown = run(session, &["stores", "check", "nix"]).await?;
    unknown.check_failure(2, &["there is no store 'nix'; there are: prices, products"]);
    let text = run(session, &["stores", "check", "products"]).await?;
    text.stdout()?.lines().find(|line| *line == "repeated   3 in 6 rows").context("counted")?;
    Ok(())
}
