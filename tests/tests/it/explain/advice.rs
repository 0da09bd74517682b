//! What the ways not taken are estimated to cost, and what would help.

use anyhow::{Context, Result, bail};
use keyloom_client::{
    EmbeddedSettings, LanceOptions, MemoryOptions, Session, load_kv,
    report::{Advice, Hint, Way},
};

use crate::harness::{batch, index, ints, write_lance};

/// Rows of the store: so many that an index pays for a few keys.
const ROWS: i64 = 400_000;

async fn advice(session: &Session, sql: &str) -> Result<Vec<Advice>> {
    Ok(session.advise(session.sql(sql).await?).await?)
}

/// What is known of the only lookup of a query.
async fn only(session: &Session, sql: &str) -> Result<Advice> {
    let mut advice = advice(session, sql).await?;
    assert_eq!(advice.len(), 1, "{advice:?}");
    advice.pop().context("a lookup")
}

fn names(advice: &Advice) -> Vec<String> {
    advice.ways.iter().map(Way::name).collect()
}

fn chosen(advice: &Advice) -> Vec<String> {
    advice.ways.iter().filter(|way| way.is_chosen).map(Way::name).collect()
}

#[tokio::test]
async fn ways_are_priced_and_an_index_that_would_help_is_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let uri = dir.path().join("big.lance").to_string_lossy().into_owned();
    let rows = batch([("id", ints(0..ROWS)), ("n", ints(0..ROWS))]);
    let mut dataset = write_lance(&uri, &[rows], ROWS as usize).await?;
    let settings = EmbeddedSettings { workers: Some(1), ..EmbeddedSettings::default() };
    let session = Session::embedded_with(settings).await?;
    session.register_batches("t", &[batch([("id", ints(0..3))])])?;
    let attach = async || -> Result<()> {
        let store = load_kv("big", LanceOptions::new(uri.clone()).key("id"))?;
        Ok(session.attach_or_replace(store, "big").await?)
    };
    attach().await?;
    let sql = "SELECT kv_get(id, source => 'big')['n'] AS n FROM t";
    let before = only(&session, sql).await?;
    assert_eq!((before.store.as_str(), before.key.as_str()), ("big", "id"));
    assert_eq!((before.keys, before.keys_are_known, before.rows), (3, true, ROWS as u64));
    let all = ["map+take", "map+scan", "btree+take", "btree+scan", "scan+take", "scan+scan"];
    assert_eq!(names(&before), all);
    assert_eq!(chosen(&before), ["map+take"]);
    let [Hint::Index { column, seconds }] = before.hints.as_slice() else {
        bail!("{before}");
    };
    assert_eq!(column, "id");
    assert!(Some(*seconds) < before.chosen_seconds(), "{before}");

    index(&mut dataset, "id").await?;
    attach().await?;
    let after = only(&session, sql).await?;
    assert_eq!(chosen(&after), ["btree+take"]);
    assert_eq!(after.chosen_seconds(), Some(*seconds));
    assert!(after.hints.is_empty(), "{after}");
    let plan = session.explain(session.sql(sql).await?, false).await?;
    assert!(plan.contains(" via btree+take (3 keys of 400000 rows"), "{plan}");

    let exists = "SELECT kv_exists(id, source => 'big') AS known FROM t";
    let exists = only(&session, exists).await?;
    assert_eq!(names(&exists), ["map", "btree", "scan"]);
    Ok(())
}

#[tokio::test]
async fn stores_with_one_way_have_no_advice() -> Result<()> {
    let session = Session::embedded().await?;
    session.register_batches("t", &[batch([("id", ints(0..3))])])?;
    let rows = batch([("id", ints(0..3)), ("n", ints(0..3))]);
    session.attach(load_kv("small", MemoryOptions::batch(rows, "id"))?, None).await?;
    let sql = "SELECT kv_get(id, source => 'small') AS row FROM t";
    assert!(advice(&session, sql).await?.is_empty());
    Ok(())
}
