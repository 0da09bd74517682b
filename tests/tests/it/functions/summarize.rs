//! SUMMARIZE: a row for each column.

use anyhow::Result;
use arrow::{
    array::{BinaryArray, BooleanArray, Float64Array, Int32Array, ListArray},
    datatypes::Int32Type,
};
use keyloom_client::ErrorKind;

use crate::harness::{TestSession, batch, column, ints, on_all_deployments, open_shop};

on_all_deployments! {
    tables_paths_and_queries_are_summarized,
    columns_of_all_types_are_summarized,
    no_more_values_are_estimated_than_there_are,
    what_cannot_be_summarized_is_named,
}

const ITEMS: [&str; 2] =
    ["n | Int64 | 5 | 0.0 | 5 | 1 | 5 | 3.0", "k | Utf8 | 5 | 20.0 | 3 | a | x | NULL"];

async fn tables_paths_and_queries_are_summarized(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.check("SUMMARIZE t", &ITEMS).await?;
    session.check("summarize SELECT * FROM t ORDER BY n;", &ITEMS).await?;
    std::fs::write(session.path("t.csv"), "n,k\n1,a\n2,x\n3,\n4,b\n5,a\n")?;
    session.check(&format!("SUMMARIZE '{}'", session.path("t.csv")), &ITEMS).await?;
    let lookup = "kv_get(k, source => 'lance', on_error => 'null')['price'] AS price";
    session
        .check(
            &format!("SUMMARIZE SELECT {lookup} FROM t"),
            &["price | Int64 | 5 | 40.0 | 2 | 10 | 20 | 13.333333333333334"],
        )
        .await?;
    session
        .check(
            "SUMMARIZE \"memory\"",
            &[
                "id | Utf8 | 3 | 0.0 | 3 | a | c | NULL",
                "name | Utf8 | 3 | 0.0 | 3 | apple | cherry | NULL",
                "price | Int64 | 3 | 33.33 | 2 | 10 | 20 | 15.0",
                "next | Utf8 | 3 | 0.0 | 3 | b | x | NULL",
            ],
        )
        .await
}

async fn columns_of_all_types_are_summarized(session: &TestSession) -> Result<()> {
    let lists = vec![Some(vec![Some(1)]), None];
    let rows = batch([
        ("b", column(BooleanArray::from(vec![true, false]))),
        ("f", column(Float64Array::from(vec![0.5, 1.5]))),
        ("x", column(BinaryArray::from(vec![&b"\x01"[..], b"\xff"]))),
        ("i", column(Int32Array::from(vec![None, None]))),
        ("l", column(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))),
    ]);
    session.register_batches("t", &[rows])?;
    let rows = session.rows("SUMMARIZE t").await?;
    let without_types = rows.iter().map(|row| {
        let values: Vec<_> = row.split(" | ").collect();
        [&values[..1], &values[3..]].concat().join(" | ")
    });
    assert_eq!(
        without_types.collect::<Vec<_>>(),
        [
            "b | 0.0 | 2 | false | true | NULL",
            "f | 0.0 | 2 | 0.5 | 1.5 | 1.0",
            "x | 0.0 | 2 | 01 | ff | NULL",
            "i | 100.0 | 0 | NULL | NULL | NULL",
            "l | 50.0 | NULL | NULL | NULL | NULL",
        ]
    );
    let empty = session.rows("SUMMARIZE SELECT f FROM t WHERE f > 9").await?;
    assert_eq!(empty, ["f | Float64 | 0 | NULL | 0 | NULL | NULL | NULL"]);
    Ok(())
}

async fn no_more_values_are_estimated_than_there_are(session: &TestSession) -> Result<()> {
    const ROWS: i64 = 3_000;
    // Of one column an estimate may be too low: not of all of them.
    let names = ["a", "b", "c", "d"];
    let columns = (0..).zip(names).map(|(at, name)| (name, ints(at * ROWS..(at + 1) * ROWS)));
    session.register_batches("t", &[batch(columns)])?;
    for row in session.rows("SUMMARIZE t").await? {
        let distinct: i64 = row.split(" | ").nth(4).unwrap_or_default().parse()?;
        assert!((ROWS * 9 / 10..=ROWS).contains(&distinct), "{row}");
    }
    Ok(())
}

async fn what_cannot_be_summarized_is_named(session: &TestSession) -> Result<()> {
    let path = session.path("nope.csv");
    let message = format!("input {path}: no such file, or a folder without files");
    session.check_refusal(&format!("SUMMARIZE '{path}'"), ErrorKind::NotFound, &message).await
}
