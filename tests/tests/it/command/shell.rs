//! `keyloom shell` with statements on stdin.

use std::fs;

use anyhow::Result;

use super::{Ended, Keyloom, input, write_arrow};
use crate::harness::{TestSession, items, on_all_deployments, products, write_lance};

on_all_deployments! {
    statements_run_in_their_order,
    what_fails_ends_it,
}

async fn shell(session: &TestSession, flags: &[&str], text: &str) -> Result<Ended> {
    let arguments = [&["shell"], flags].concat();
    let command = Keyloom::on(session, arguments).await?.within(session.path(""));
    command.run_with(text).await
}

async fn statements_run_in_their_order(session: &TestSession) -> Result<()> {
    write_arrow(session.path("items.arrow"), &items())?;
    write_lance(&session.path("products.lance"), &[products()], 2).await?;
    let catalog = "[stores.products]\nkind = 'lance'\nuri = 'products.lance'\nkey = 'id'\n";
    fs::write(session.path("keyloom.toml"), catalog)?;
    let text = "
        -- two on one line; and one over several
        SELECT 1 AS one; SELECT ';' AS two;
        SELECT n,
               kv_get(k, on_error => 'null')['name'] AS name
        FROM items
        WHERE n > 3;
.tables
        SELECT count(*) AS n FROM 'items.arrow'";
    let [flag, items] = input("items", "items.arrow");
    let ended = shell(session, &[&flag, &items, "--format", "csv"], text).await?;
    assert_eq!(
        ended.stdout()?,
        "one\n1\ntwo\n;\nn,name\n4,banana\n5,apple\nitems\nn\n5\n",
        "{}",
        ended.stderr
    );
    assert_eq!(ended.stderr.matches(" in ").count(), 4, "{}", ended.stderr);
    Ok(())
}

async fn what_fails_ends_it(session: &TestSession) -> Result<()> {
    let ended =
        shell(session, &["--format", "csv"], "SELECT 1 AS one; SELECT nix; SELECT 2").await?;
    assert_eq!((ended.code, ended.stdout.as_str()), (2, "one\n1\n"));
    assert!(ended.stderr.contains("error: ") && ended.stderr.contains("nix"), "{}", ended.stderr);
    let ended = shell(session, &[], ".tabels\nSELECT 1;").await?;
    ended.check_failure(2, &["there is no command '.tabels'", ".stores, .tables"]);
    let ended = shell(session, &[], ".quit\nSELECT nix;").await?;
    assert_eq!((ended.stdout()?, ended.stderr.as_str()), ("", ""));
    Ok(())
}
