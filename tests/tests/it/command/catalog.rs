//! The catalog of a project: stores and inputs by their names alone.

use std::{fs, path::Path};

use anyhow::Result;

use super::{Keyloom, write_arrow};
use crate::harness::{TestSession, items, on_all_deployments, products, write_lance};

on_all_deployments! {
    statements_and_jobs_use_the_nearest_catalog,
    what_no_statement_names_is_not_opened,
    flags_and_job_files_go_before_the_catalog,
}

const CATALOG: &str = "
[inputs.items]
path = 'data/items.arrow'
[stores.products]
kind = 'lance'
uri = 'data/products.lance'
key = 'id'
[stores.gone]
kind = 'lance'
uri = 'data/gone.lance'
key = 'id'
";

const LOOK: &str = "SELECT n, kv_get(k, source => 'products', on_error => 'null')['name'] AS name \
                    FROM items WHERE n < 3";

const LOOKED: &str = "n,name\n1,apple\n2,\n";

/// A project with a catalog; the folder within it where commands are run.
async fn project(session: &TestSession) -> Result<String> {
    let within = session.path("jobs/daily");
    fs::create_dir_all(&within)?;
    fs::create_dir_all(session.path("data"))?;
    write_arrow(session.path("data/items.arrow"), &items())?;
    write_lance(&session.path("data/products.lance"), &[products()], 2).await?;
    fs::write(session.path("keyloom.toml"), CATALOG)?;
    Ok(within)
}

async fn statements_and_jobs_use_the_nearest_catalog(session: &TestSession) -> Result<()> {
    let within = project(session).await?;
    let run = async |arguments: &[&str]| {
        Keyloom::on(session, arguments).await?.within(&within).run().await
    };
    assert_eq!(run(&["sql", LOOK, "-o", "csv"]).await?.stdout()?, LOOKED);
    fs::write(Path::new(&within).join("job.toml"), format!("[job]\nsql = \"{LOOK}\""))?;
    assert_eq!(run(&["run", "job.toml", "-o", "csv"]).await?.stdout()?, LOOKED);
    let plan = run(&["explain", "job.toml"]).await?;
    assert!(plan.stdout()?.contains("products@v1 by k@"), "{plan:?}");
    let none = run(&["sql", LOOK, "--no-catalog"]).await?;
    none.check_failure(2, &["'products' not found in session", "[stores.ALIAS]", "keyloom.toml"]);
    let other = session.path("other.toml");
    fs::write(&other, "[inputs.items]\npath = 'data/items.arrow'")?;
    let count = ["sql", "SELECT count(*) AS n FROM items", "-o", "csv", "--catalog", &other];
    assert_eq!(run(&count).await?.stdout()?, "n\n5\n");
    Ok(())
}

async fn what_no_statement_names_is_not_opened(session: &TestSession) -> Result<()> {
    let within = project(session).await?;
    let run = async |sql: &str| {
        Keyloom::on(session, ["sql", sql, "-o", "csv"]).await?.within(&within).run().await
    };
    assert_eq!(run("SELECT 1 AS one").await?.stdout()?, "one\n1\n");
    assert_eq!(run("SELECT name FROM products WHERE id = 'b'").await?.stdout()?, "name\nbanana\n");
    run("SELECT * FROM gone").await?.check_failure(2, &["no Lance dataset at", "gone.lance"]);
    // Which of them is meant is not guessed.
    let unsaid = run("SELECT kv_get(k) FROM items").await?;
    unsaid.check_failure(2, &["No KV store is currently attached", "'gone' or 'products'"]);
    Ok(())
}

async fn flags_and_job_files_go_before_the_catalog(session: &TestSession) -> Result<()> {
    let within = project(session).await?;
    write_arrow(session.path("data/two.arrow"), &items().slice(0, 2))?;
    let flag = format!("items={}", session.path("data/two.arrow"));
    let count = ["sql", "SELECT count(*) AS n FROM items", "-o", "csv", "--input", &flag];
    let command = Keyloom::on(session, count).await?.within(&within).env("KEYLOOM_LOG", "debug");
    let ended = command.run().await?;
    assert_eq!(ended.stdout()?, "n\n2\n");
    assert!(ended.stderr.contains("input 'items' is not that of "), "{}", ended.stderr);
    let text = "[inputs.items]\npath = 'two.arrow'\n\
                [job]\nsql = 'SELECT count(*) AS n FROM items'";
    fs::write(session.path("data/job.toml"), text)?;
    let job = session.path("data/job.toml");
    let command = Keyloom::on(session, ["run", &job, "-o", "csv"]).await?.within(&within);
    assert_eq!(command.run().await?.stdout()?, "n\n2\n");
    Ok(())
}

#[tokio::test]
async fn mistakes_in_a_catalog_are_named_by_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = async |text: &str| -> Result<super::Ended> {
        fs::write(folder.path().join("keyloom.toml"), text)?;
        Keyloom::new(["sql", "SELECT 1 AS one", "-o", "csv"])?.within(&folder).run().await
    };
    for (text, line, words) in [
        ("[stores.a]\nkind = 'lance'\n", "keyloom.toml:1:", "[stores.a]: a lance store needs uri"),
        ("[job]\nsql = 'SELECT 1'\n", "keyloom.toml:1:", "unknown field `job`"),
        ("[inputs.a]\npth = 'x'\n", "keyloom.toml:2:", "unknown field `pth`"),
        ("[inputs.a]\npath = 'x'\n[inputs.a]\npath = 'y'\n", "keyloom.toml:3:", "duplicate key"),
    ] {
        run(text).await?.check_failure(2, &[line, words]);
    }
    // Settings for --config are called so, too.
    assert_eq!(run("[worker]\nslots = 1\n").await?.stdout()?, "one\n1\n");
    let missing = Keyloom::new(["sql", "SELECT 1", "--catalog", "nope.toml"])?;
    missing.within(&folder).run().await?.check_failure(2, &["catalog nope.toml: "]);
    Ok(())
}
