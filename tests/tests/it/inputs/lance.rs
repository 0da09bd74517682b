//! Lance datasets as inputs.

use anyhow::Result;
use arrow::array::{ArrayRef, RecordBatch};
use keyloom_client::{ErrorKind, Format, Input};

use crate::harness::{TestSession, batch, ints, on_all_deployments, rows, strings, write_lance};

on_all_deployments! {
    rows_come_in_the_order_of_fragments,
    columns_and_conditions_are_pushed_down,
    deleted_rows_are_no_rows,
    a_version_and_a_tag_are_read_as_they_were,
    a_dataset_written_anew_is_read_as_it_is_now,
    a_limit_and_a_count_of_a_dataset,
    what_is_no_dataset_is_named,
}

fn numbered(from: i64, to: i64) -> RecordBatch {
    let words: Vec<String> = (from..to).map(|n| format!("word {n}")).collect();
    let words: ArrayRef = strings(words.iter().map(String::as_str));
    batch([("n", ints(from..to)), ("word", words)])
}

async fn rows_come_in_the_order_of_fragments(session: &TestSession) -> Result<()> {
    let path = session.path("t.lance");
    write_lance(&path, &[numbered(0, 25)], 10).await?;
    session.register("t", &path).await?;
    let expected: Vec<_> = (0..25).map(|n| format!("word {n} | {n}")).collect();
    assert_eq!(session.rows("SELECT word, n FROM t").await?, expected);
    let path = format!("{path}/");
    let given = session.read(Input::new(&path).format(Format::Lance)).await?;
    assert_eq!(rows(given).await?.len(), 25);
    Ok(())
}

async fn columns_and_conditions_are_pushed_down(session: &TestSession) -> Result<()> {
    let path = session.path("t.lance");
    write_lance(&path, &[numbered(0, 25)], 10).await?;
    session.register("t", &path).await?;
    for (condition, expected) in [
        ("n > 8 AND n <= 11", vec!["word 9", "word 10", "word 11"]),
        ("n IN (3, 24) AND word IS NOT NULL", vec!["word 3", "word 24"]),
        ("NOT (n < 24) OR word = 'word 1'", vec!["word 1", "word 24"]),
        ("n % 10 = 7 AND n > 7", vec!["word 17"]),
    ] {
        let sql = format!("SELECT word FROM t WHERE {condition}");
        assert_eq!(session.rows(&sql).await?, expected, "{condition}");
    }
    let plan = session.sql("SELECT word FROM t WHERE n > 8").await?;
    let plan = session.explain(plan, false).await?;
    assert!(plan.contains("InputScanExec: format=lance, "), "{plan}");
    assert!(plan.contains("predicate=n@0 > 8"), "{plan}");
    Ok(())
}

async fn deleted_rows_are_no_rows(session: &TestSession) -> Result<()> {
    let path = session.path("t.lance");
    let mut dataset = write_lance(&path, &[numbered(0, 25)], 10).await?;
    dataset.delete("n >= 5 AND n < 12 OR n = 20").await?;
    session.register("t", &path).await?;
    let left = (0..25).filter(|n| !(5..12).contains(n) && *n != 20);
    let expected: Vec<_> = left.map(|n| n.to_string()).collect();
    assert_eq!(session.rows("SELECT n FROM t").await?, expected);
    session.check("SELECT count(*) FROM t", &["17"]).await
}

async fn a_version_and_a_tag_are_read_as_they_were(session: &TestSession) -> Result<()> {
    let path = session.path("t.lance");
    let mut dataset = write_lance(&path, &[numbered(0, 3)], 10).await?;
    dataset.tags().create("first", 1).await?;
    dataset.delete("n = 1").await?;
    session.register("now", &path).await?;
    session.register("old", Input::new(&path).version(1)).await?;
    session.register("tagged", Input::new(&path).tag("first")).await?;
    session.check("SELECT n FROM now", &["0", "2"]).await?;
    session.check("SELECT n FROM old", &["0", "1", "2"]).await?;
    session.check("SELECT n FROM tagged", &["0", "1", "2"]).await?;
    dataset.delete("n = 2").await?;
    session.check("SELECT n FROM now", &["0"]).await?;
    session.check("SELECT n FROM old", &["0", "1", "2"]).await
}

async fn a_dataset_written_anew_is_read_as_it_is_now(session: &TestSession) -> Result<()> {
    let path = session.path("t.lance");
    write_lance(&path, &[numbered(0, 3)], 10).await?;
    session.register("t", &path).await?;
    session.check("SELECT n FROM t", &["0", "1", "2"]).await?;
    std::fs::remove_dir_all(&path)?;
    write_lance(&path, &[numbered(7, 9)], 10).await?;
    session.check("SELECT n, word FROM t", &["7 | word 7", "8 | word 8"]).await?;
    std::fs::remove_dir_all(&path)?;
    write_lance(&path, &[batch([("m", ints(0..3))])], 10).await?;
    let error = session.failure("SELECT n FROM t").await?;
    assert!(error.message().contains("has other columns than when it was opened"), "{error}");
    Ok(())
}

async fn a_limit_and_a_count_of_a_dataset(session: &TestSession) -> Result<()> {
    let path = session.path("t.lance");
    write_lance(&path, &[numbered(0, 25)], 10).await?;
    session.register("t", &path).await?;
    session.check("SELECT n FROM t LIMIT 2 OFFSET 9", &["9", "10"]).await?;
    session.check("SELECT count(*), sum(n) FROM t", &["25 | 300"]).await
}

async fn what_is_no_dataset_is_named(session: &TestSession) -> Result<()> {
    let path = session.path("none.lance");
    let error = session.read(&path).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.message().contains("none.lance"), "{error}");
    let error = session.read(Input::new(&path).delimiter(";")).await.err().unwrap();
    let message = "delimiter is no option of lance inputs; their options are version, tag";
    assert!(error.message().contains(message), "{error}");
    Ok(())
}
