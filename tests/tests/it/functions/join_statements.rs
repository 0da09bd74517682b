//! Statements as people write them over a table and four stores, with the rows that SQL says they
//! have, whichever way their joins go and wherever the stores are kept.
//!
//! `o` is a table of orders. The stores are `people` by name; `reviews` by item, of which one has
//! several and one review has none; `prices` by item and city; and `cities` by city.

mod clauses;
mod joins;
mod using;

use anyhow::{Context, Result, ensure};
use arrow::array::RecordBatch;
use keyloom_client::{JoinPath, Settings};

use crate::harness::{Deployment, TestSession, batch, ints, on_all_deployments, run, strings};

on_all_deployments! {
    statements_give_the_rows_of_sql_whichever_way_joins_go,
}

/// A statement and its rows.
type Case = (&'static str, &'static [&'static str]);

/// All statements.
fn cases() -> impl Iterator<Item = &'static Case> {
    let joins = [joins::INNER, joins::OUTER, joins::ALL, joins::SEVERAL, joins::SEVERAL_COLUMNS];
    let others = [using::OUTER, using::PLACE, clauses::EXIST, clauses::WITHIN, clauses::ALONE];
    joins.into_iter().chain(others).flatten()
}

/// Where the stores are kept that hold no key twice and none that is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Lance,
    Memory,
}

fn orders() -> RecordBatch {
    let who = [Some("ann"), Some("bob"), None, Some("ann"), Some("eve"), Some("bob")];
    let item = [Some("tea"), Some("milk"), Some("tea"), None, Some("salt"), Some("tea")];
    let qty = ints([2, 1, 5, 3, 4, 7]);
    batch([("n", ints(1..=6)), ("who", strings(who)), ("item", strings(item)), ("qty", qty)])
}

fn people() -> RecordBatch {
    batch([
        ("name", strings(["ann", "bob", "cid", "dan"])),
        ("age", ints([Some(30), None, Some(41), Some(19)])),
        ("city", strings([Some("paris"), Some("rome"), None, Some("oslo")])),
        ("boss", strings([Some("bob"), Some("cid"), None, Some("ann")])),
    ])
}

/// An item stands in three rows, and a row has none.
fn reviews() -> RecordBatch {
    let item = [Some("tea"), Some("milk"), Some("tea"), None, Some("tea"), Some("rice")];
    batch([
        ("item", strings(item)),
        ("stars", ints([Some(5), Some(1), Some(3), Some(4), None, Some(2)])),
        ("by_whom", strings(["ann", "cid", "bob", "ann", "zoe", "ann"])),
    ])
}

fn prices() -> RecordBatch {
    batch([
        ("item", strings(["tea", "tea", "milk", "milk"])),
        ("city", strings(["paris", "rome", "rome", "paris"])),
        ("price", ints([3, 4, 2, 1])),
    ])
}

fn cities() -> RecordBatch {
    batch([("city", strings(["paris", "rome", "oslo"])), ("country", strings(["FR", "IT", "NO"]))])
}

/// A session with the table and the stores.
async fn open(deployment: Deployment, settings: Settings, kept: Kept) -> Result<TestSession> {
    let session = deployment.session_with(settings).await?;
    session.register_batches("o", &[orders()])?;
    match kept {
        Kept::Lance => {
            session.attach_lance("people", people(), "name").await?;
            session.attach_lance("prices", prices(), ["item", "city"]).await?;
        }
        Kept::Memory => {
            session.attach_memory("people", people(), "name").await?;
            session.attach_memory("prices", prices(), ["item", "city"]).await?;
        }
    }
    session.attach_lance("reviews", reviews(), "item").await?;
    session.attach_memory("cities", cities(), "city").await?;
    Ok(session)
}

async fn statements_give_the_rows_of_sql_whichever_way_joins_go(
    session: &TestSession,
) -> Result<()> {
    let deployment = session.deployment();
    let mut ways = vec![
        (JoinPath::Lookup, Kept::Lance),
        (JoinPath::Lookup, Kept::Memory),
        (JoinPath::Scan, Kept::Lance),
    ];
    if deployment == Deployment::Embedded {
        ways.extend([(JoinPath::Scan, Kept::Memory), (JoinPath::Auto, Kept::Lance)]);
    }
    let mut wrong = Vec::new();
    for (path, kept) in ways {
        let settings = Settings { task_rows: 3, join_path: path, ..Settings::default() };
        let session = open(deployment, settings, kept).await?;
        for (sql, expected) in cases() {
            if let Err(error) = check(&session, path, sql, expected).await {
                wrong.push(format!("{path}, {kept:?}: {sql}\n{error:#}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}

async fn check(session: &TestSession, path: JoinPath, sql: &str, expected: &[&str]) -> Result<()> {
    let (rows, summary) = run(session, sql).await?;
    ensure!(rows == expected, "{rows:?}\nbut\n{expected:?}");
    let asked = summary.stores.values().any(|counted| counted.keys > 0);
    ensure!(!asked || path != JoinPath::Scan, "keys were looked up: {:?}", summary.stores);
    Ok(())
}

/// What a lookup of a statement's join asks of a store: keys, distinct ones, found, not found.
type Counted = (u64, u64, u64, u64);

#[tokio::test]
async fn joins_ask_for_the_keys_of_rows_that_need_them_each_once() -> Result<()> {
    let cases: [(&str, &str, Counted); 13] = [
        ("SELECT n, age FROM o JOIN people ON who = name", "people", (5, 3, 2, 1)),
        ("SELECT n, age FROM o LEFT JOIN people ON who = name", "people", (5, 3, 2, 1)),
        ("SELECT n, age FROM people RIGHT JOIN o ON who = name", "people", (5, 3, 2, 1)),
        ("SELECT n FROM o WHERE who IN (SELECT name FROM people)", "people", (5, 3, 2, 1)),
        (
            "SELECT n FROM o WHERE NOT EXISTS (SELECT 1 FROM people WHERE name = who)",
            "people",
            (5, 3, 2, 1),
        ),
        ("SELECT n, stars FROM o JOIN reviews r ON o.item = r.item", "reviews", (5, 3, 2, 1)),
        ("SELECT * FROM o JOIN reviews USING (item)", "reviews", (5, 3, 2, 1)),
        // Rows that a condition of their own leaves out do not ask.
        ("SELECT n, age FROM o JOIN people ON who = name AND qty > 2", "people", (3, 3, 2, 1)),
        ("SELECT n, age FROM o LEFT JOIN people ON who = name AND qty > 2", "people", (3, 3, 2, 1)),
        ("SELECT n, age FROM o LEFT JOIN people ON who = name WHERE n < 3", "people", (2, 2, 2, 0)),
        // A null in any part of a key is no key.
        (
            "SELECT n, price FROM (SELECT n, item AS thing, CASE WHEN n > 1 THEN 'rome' END AS \
             town FROM o) LEFT JOIN prices ON item = thing AND city = town",
            "prices",
            (4, 3, 2, 1),
        ),
        ("SELECT * FROM people WHERE name = 'bob'", "people", (1, 1, 1, 0)),
        ("SELECT * FROM people WHERE name IN ('dan', 'eve', 'ann', 'dan')", "people", (3, 3, 2, 1)),
    ];
    for kept in [Kept::Lance, Kept::Memory] {
        // The table is one batch, so that what is counted by batch can be foretold.
        let settings = Settings { join_path: JoinPath::Lookup, ..Settings::default() };
        let session = open(Deployment::Embedded, settings, kept).await?;
        for (sql, store, expected) in cases {
            let counted = session.counted(sql, store).await.with_context(|| sql.to_owned())?;
            let counts = (counted.keys, counted.distinct, counted.hits, counted.misses);
            assert_eq!(counts, expected, "{kept:?}: {sql}");
        }
    }
    Ok(())
}
