//! Missing keys as the command deals with them: a limit, a file of the rows, a summary.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Keyloom, names, write_arrow};
use crate::harness::{Cluster, TestSession, items, on_all_deployments, products, write_lance};

on_all_deployments! {
    rows_that_missed_their_keys_are_in_a_file,
    too_many_misses_fail_the_job_and_leave_no_file,
    too_many_misses_fail_a_job_that_is_explained,
    files_that_do_not_do_are_found_before_the_job,
}

/// Makes a job with these lines, whose table misses the key `x`.
async fn job(session: &TestSession, lines: &str) -> Result<String> {
    if fs::metadata(session.path("items.arrow")).is_err() {
        write_lance(&session.path("products.lance"), &[products()], 2).await?;
        write_arrow(session.path("items.arrow"), &items())?;
    }
    let text = format!(
        "[inputs.items]
         path = 'items.arrow'
         [stores.products]
         kind = 'lance'
         uri = 'products.lance'
         key = 'id'
         [job]
         sql = '''SELECT n, kv_get(k, ['name'], on_error => 'null')['name'] AS name FROM items'''
         {lines}"
    );
    let path = session.path("job.toml");
    fs::write(&path, text)?;
    Ok(path)
}

async fn rows_that_missed_their_keys_are_in_a_file(session: &TestSession) -> Result<()> {
    let lines = "output = 'out.csv'\nmisses = 'missed.csv'\nmax_misses = '25%'";
    let job = job(session, lines).await?;
    let ended = Keyloom::on(session, ["run", &job]).await?.run().await?;
    assert_eq!(ended.stdout()?, "");
    let missed = session.path("missed.csv");
    assert_eq!(fs::read_to_string(&missed)?, "store,key,row\nproducts,x,1\n");
    let written = format!("1 missed row written to {}\n", fs::canonicalize(&missed)?.display());
    assert!(ended.stderr.contains(&written), "{ended:?}");
    let counted = "products: 4 keys (3 distinct, 1 missing in 1 row), ";
    assert!(ended.stderr.contains(counted), "{ended:?}");

    let other = session.path("other.json");
    let arguments = ["run", &job, "--misses", &other, "--summary"];
    let ended = Keyloom::on(session, arguments).await?.run().await?;
    let report: Value = serde_json::from_str(ended.stdout()?)?;
    let stats = &report["stores"]["products"];
    let counts = ["job_keys", "missed_rows", "missed_keys"].map(|name| stats[name].as_u64());
    assert_eq!(counts, [Some(3), Some(1), Some(1)], "{report}");
    assert!(report["misses"].as_str().context("a path")?.ends_with("other.json"), "{report}");
    let row: Value = serde_json::from_str(fs::read_to_string(&other)?.trim_end())?;
    assert_eq!(row, serde_json::json!({ "store": "products", "key": "x", "row": 1 }));
    Ok(())
}

async fn too_many_misses_fail_the_job_and_leave_no_file(session: &TestSession) -> Result<()> {
    let job = job(session, "output = 'out.csv'\nmisses = 'missed.csv'").await?;
    for most in ["0", "24%"] {
        let arguments = ["run", &job, "--max-misses", most];
        let ended = Keyloom::on(session, arguments).await?.run().await?;
        let message = "Too many keys not found in KV store 'products', 1 of ";
        let limit = format!(" rows, and max_misses is {most}: x");
        ended.check_failure(4, &[message, &limit, "help: max_misses says"]);
    }
    let folder = std::path::Path::new(&job).parent().context("a folder")?;
    assert_eq!(names(folder)?, ["items.arrow", "job.toml", "products.lance"]);
    Ok(())
}

async fn too_many_misses_fail_a_job_that_is_explained(session: &TestSession) -> Result<()> {
    let explain = |job: String| async move {
        Keyloom::on(session, ["explain", &job, "--analyze"]).await?.run().await
    };
    let ended = explain(job(session, "max_misses = 1").await?).await?;
    assert_eq!(ended.code, 0, "{ended:?}");
    let ended = explain(job(session, "max_misses = 0").await?).await?;
    ended.check_failure(4, &["Too many keys not found in KV store 'products', 1 of "]);
    let place = |name: &str| session.path(name);
    let statement = format!(
        "EXPLAIN ANALYZE SELECT kv_get(k, on_error => 'null') FROM '{}'",
        place("items.arrow")
    );
    let store = format!("products=lance:{}?key=id", place("products.lance"));
    let arguments = ["sql", &statement, "--store", &store, "--max-misses", "0"];
    let ended = Keyloom::on(session, arguments).await?.run().await?;
    ended.check_failure(4, &["Too many keys not found in KV store 'products', 1 of "]);
    Ok(())
}

#[tokio::test]
async fn a_shuffle_that_cannot_be_is_told_of() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let folder = tempfile::tempdir()?;
    let place = |name: &str| folder.path().join(name).display().to_string();
    write_lance(&place("products.lance"), &[products()], 2).await?;
    write_arrow(place("items.arrow"), &items())?;
    let sql = "SELECT kv_get(k, on_error => 'null')['name'] AS name, count(*) AS n FROM items \
               GROUP BY 1 ORDER BY n DESC LIMIT 1";
    let shared = ["sql", sql, "-o", "csv", "--summary=none", "--cluster", &cluster.address];
    let input = format!("items={}", place("items.arrow"));
    let store = format!("products=lance:{}?key=id", place("products.lance"));
    let run = async |flags: &[&str]| {
        let arguments = [&shared[..], &["--input", &input, "--store", &store], flags].concat();
        let ended = Keyloom::new(arguments)?.within(&folder).run().await?;
        ended.stdout()?;
        Ok::<_, anyhow::Error>(ended.stderr)
    };
    let expected = "warning: shuffle = always has no effect: fewer than two workers listen for \
                    others (shuffle.listen), and it does not shuffle\n";
    assert_eq!(run(&["--shuffle", "always"]).await?, expected);
    assert_eq!(run(&["--max-misses", "100%"]).await?, "");
    let expected = "warning: shuffle = always has no effect: max_misses limits the rows that may \
                    miss their keys, and such a job does not shuffle\n";
    assert_eq!(run(&["--shuffle", "always", "--max-misses", "100%"]).await?, expected);
    Ok(())
}

async fn files_that_do_not_do_are_found_before_the_job(session: &TestSession) -> Result<()> {
    for (lines, words) in [
        ("output = 'out.csv'\nmisses = './out.csv'", "name another file for these"),
        ("misses = 'missed.xls'", "the format cannot be told from the name"),
        ("max_misses = '1 in 7'", "max_misses is a number of rows"),
    ] {
        let job = job(session, lines).await?;
        let ended = Keyloom::on(session, ["run", &job]).await?.run().await?;
        ended.check_failure(2, &[words]);
    }
    Ok(())
}
