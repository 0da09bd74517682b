//! What is no row: plans, workers, descriptions.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Keyloom, write_arrow};
use crate::harness::{
    Cluster, Deployment, TestSession, items, on_all_deployments, products, write_lance,
};

on_all_deployments! {
    an_input_is_described,
    stores_are_described,
    what_a_job_names_is_described,
    what_cannot_be_described_is_named,
    plans_are_text_or_json,
}

/// What a command answers in JSON.
async fn answer(session: &TestSession, arguments: &[&str]) -> Result<Vec<Value>> {
    let arguments = [arguments, &["--format", "json"]].concat();
    let ended = Keyloom::on(session, arguments).await?.run().await?;
    let lines = ended.stdout()?.lines();
    lines.map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
}

fn columns(columns: &[(&str, &str)]) -> Value {
    let columns = columns.iter();
    columns
        .map(|(name, data_type)| json!({"name": name, "type": data_type, "nullable": true}))
        .collect()
}

fn item_columns() -> Value {
    columns(&[("n", "Int64"), ("k", "Utf8")])
}

fn product_columns() -> Value {
    columns(&[("id", "Utf8"), ("name", "Utf8"), ("price", "Int64"), ("next", "Utf8")])
}

/// A Lance and a memory store of the products, and the items.
async fn prepare(session: &TestSession) -> Result<(String, String, String)> {
    let (lance, memory) = (session.path("products.lance"), session.path("products.arrow"));
    write_lance(&lance, &[products()], 2).await?;
    write_arrow(&memory, &products())?;
    write_arrow(session.path("items.arrow"), &items())?;
    Ok((lance, memory, session.path("items.arrow")))
}

async fn an_input_is_described(session: &TestSession) -> Result<()> {
    let (_, _, items) = prepare(session).await?;
    assert_eq!(
        answer(session, &["describe", &items]).await?,
        [json!({"kind": "input", "source": items, "rows": 5, "columns": item_columns()})]
    );
    let ended = Keyloom::on(session, ["describe", &items]).await?.run().await?;
    assert_eq!(
        ended.stdout()?,
        format!(
            "input  {items}\n\
             rows      5\n\n\
             COLUMN  TYPE   NULLS\n\
             n       Int64  yes\n\
             k       Utf8   yes\n"
        )
    );
    assert_eq!(ended.stderr, "");
    Ok(())
}

async fn stores_are_described(session: &TestSession) -> Result<()> {
    let (lance, memory, _) = prepare(session).await?;
    let described = json!({
        "kind": "lance", "source": lance, "snapshot": "v1", "key": "id", "rows": 3,
        "columns": product_columns()
    });
    let target = format!("lance:{lance}?key=id&version=1");
    assert_eq!(answer(session, &["describe", &target]).await?, [described]);
    let described = json!({
        "kind": "memory", "source": memory, "snapshot": "immutable", "key": "name", "rows": 3,
        "columns": product_columns()
    });
    let target = format!("memory:{memory}?key=name");
    assert_eq!(answer(session, &["describe", &target]).await?, [described]);
    let target = format!("lance:{lance}?key=_rowid");
    let ended = Keyloom::on(session, ["describe", &target]).await?.run().await?;
    let head = format!(
        "lance  {lance}\nsnapshot  v1\nkey       _rowid\nrows      3\n\nCOLUMN  TYPE   NULLS\nid      Utf8   yes\n"
    );
    assert!(ended.stdout()?.starts_with(&head), "{ended:?}");
    Ok(())
}

/// A job of the items and the stores.
fn job(session: &TestSession) -> Result<String> {
    let text = "[inputs.items]
                path = 'items.arrow'
                [stores.lance]
                kind = 'lance'
                uri = 'products.lance'
                key = 'id'
                [stores.memory]
                kind = 'memory'
                path = 'products.arrow'
                key = 'id'
                [job]
                sql = \"SELECT n, kv_get(k, source => 'lance', on_error => 'null') AS p FROM items\"";
    let path = session.path("job.toml");
    fs::write(&path, text)?;
    Ok(path)
}

async fn what_a_job_names_is_described(session: &TestSession) -> Result<()> {
    let (_, _, items) = prepare(session).await?;
    let job = job(session)?;
    let all = answer(session, &["describe", &job]).await?;
    let names: Vec<_> = all.iter().map(|described| &described["name"]).collect();
    assert_eq!(names, ["items", "lance", "memory"]);
    let one = answer(session, &["describe", &job, "items"]).await?;
    assert_eq!(
        one,
        [json!({
            "kind": "input", "name": "items", "source": items, "rows": 5, "columns": item_columns()
        })]
    );
    assert_eq!(one[0], all[0]);
    assert_eq!(answer(session, &["describe", &job, "lance"]).await?, all[1..2]);
    let ended = Keyloom::on(session, ["describe", &job, "nix"]).await?.run().await?;
    ended.check_failure(2, &["no input or store 'nix'; there are: items, lance, memory"]);
    Ok(())
}

async fn what_cannot_be_described_is_named(session: &TestSession) -> Result<()> {
    let (lance, memory, items) = prepare(session).await?;
    let check = async |arguments: &[&str], words: &str| -> Result<()> {
        let ended = Keyloom::on(session, [&["describe"], arguments].concat()).await?.run().await?;
        ended.check_failure(2, &[words]);
        Ok(())
    };
    check(&[&items, "n"], "'n' is no part of").await?;
    check(&[&format!("lance:{lance}?kye=id")], "'kye' is no option").await?;
    check(&[&format!("lance:{lance}?key=nix")], "key column 'nix' not found").await?;
    check(&[&format!("memory:{memory}")], "needs key").await?;
    let kinds = "'redis' is no kind of store; the kinds are lance, memory";
    check(&["redis:localhost:6379?key=id&batch_keys=100"], kinds).await
}

async fn plans_are_text_or_json(session: &TestSession) -> Result<()> {
    prepare(session).await?;
    let job = job(session)?;
    let ended = Keyloom::on(session, ["explain", &job]).await?.run().await?;
    assert!(ended.stdout()?.contains("KvLookupExec: wave 1: lance@v1 by k"), "{ended:?}");
    let plan = answer(session, &["explain", &job]).await?;
    assert_eq!(plan[0]["plan"].as_str().map(str::trim_end), Some(ended.stdout()?.trim_end()));
    let analyzed = answer(session, &["explain", &job, "--analyze"]).await?;
    let text = analyzed[0]["plan"].as_str().context("a plan")?;
    assert!(text.contains("keys=4, distinct=3, hits=2, misses=1"), "{text}");
    let plans = answer(session, &["sql", "EXPLAIN SELECT 1"]).await?;
    let names = plans[0].as_object().context("an object")?.keys();
    assert_eq!(names.collect::<Vec<_>>(), ["logical_plan", "physical_plan"]);

    fs::write(&job, "[job]\nsql = 'EXPLAIN SELECT 1'")?;
    let ended = Keyloom::on(session, ["explain", &job]).await?.run().await?;
    ended.check_failure(2, &["the job's sql is an EXPLAIN itself", "help: "]);
    Ok(())
}

#[tokio::test]
async fn workers_are_listed() -> Result<()> {
    let session = Deployment::Workers(3).session().await?;
    let ended = Keyloom::on(&session, ["workers"]).await?.run().await?;
    let lines: Vec<_> = ended.stdout()?.lines().collect();
    assert_eq!(lines.len(), 4, "{ended:?}");
    let head: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(head, ["ID", "NAME", "SLOTS", "RUNNING", "STATE"]);
    assert!(lines[1..].iter().all(|line| line.ends_with("  ready")), "{ended:?}");
    assert_eq!(ended.stderr, "");

    for flags in [["--format", "json"], ["-o", "json"]] {
        let arguments = [&["workers"][..], &flags].concat();
        let ended = Keyloom::on(&session, arguments).await?.run().await?;
        let workers: Vec<Value> = serde_json::from_str(ended.stdout()?)?;
        assert_eq!(workers.len(), 3);
        for worker in workers {
            let fields: Vec<_> = worker.as_object().context("an object")?.keys().cloned().collect();
            assert_eq!(fields, ["draining", "id", "name", "running", "slots"]);
            assert_eq!((&worker["slots"], &worker["draining"]), (&json!(2), &json!(false)));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_cluster_without_workers_says_so() -> Result<()> {
    let cluster = Cluster::start(0).await?;
    let place = ["workers", "--cluster", &cluster.address];
    let ended = Keyloom::new(place)?.run().await?;
    assert_eq!(ended.stdout()?, "no worker is registered\n");
    let ended = Keyloom::new([&place[..], &["--format", "json"]].concat())?.run().await?;
    assert_eq!(ended.stdout()?, "[]\n");
    Ok(())
}
