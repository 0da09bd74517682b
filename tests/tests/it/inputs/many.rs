//! Inputs of many files: small ones, which are read and opened together, and large ones between
//! them.

use std::{fs, fs::File, slice, sync::Arc};

use anyhow::Result;
use arrow::{array::RecordBatch, csv, json};
use keyloom_client::ErrorKind;

use super::{groups, look_at, numbered, write_arrow, write_parquet};
use crate::harness::{TestSession, batch, on_all_deployments, open_shop};

on_all_deployments! {
    many_small_files_are_read_in_order_with_their_folders,
    large_files_between_small_ones_keep_their_place,
    a_broken_row_group_among_many_files_is_named,
}

/// Rows of which a file of any format is larger than those that are read whole.
const ROWS_BEYOND_SMALL: i64 = 90_000;

/// Writes a file in the format that its ending says.
fn write(path: &str, rows: &RecordBatch) -> Result<()> {
    let file = || File::create(path);
    match path.rsplit('.').next() {
        Some("csv") => Ok(csv::Writer::new(file()?).write(rows)?),
        Some("jsonl") => Ok(json::LineDelimitedWriter::new(file()?).write(rows)?),
        Some("arrow") => write_arrow(path, slice::from_ref(rows)),
        _ => write_parquet(path, slice::from_ref(rows)),
    }
}

async fn many_small_files_are_read_in_order_with_their_folders(
    session: &TestSession,
) -> Result<()> {
    let session = session.undivided().await?;
    open_shop(&session).await?;
    for format in ["csv", "jsonl", "arrow", "parquet"] {
        let folder = session.path(format);
        let rows = ROWS_BEYOND_SMALL;
        for file in 0..=300 {
            let ten = format!("{folder}/ten={:02}", file / 10);
            fs::create_dir_all(&ten)?;
            // The last one is larger than what is read whole.
            let end = if file == 300 { 600 + rows } else { file * 2 + 2 };
            write(&format!("{ten}/{file:03}.{format}"), &numbered(file * 2, end))?;
        }
        session.register(format, &*folder).await?;
        let tasks = look_at(&session, format, 0, 600 + rows).await?;
        assert!(tasks < 10, "{format}: {tasks} tasks");
        let sql = format!("SELECT ten, min(n), max(n) FROM {format} GROUP BY ten ORDER BY ten");
        let last = |ten: i64| if ten == 30 { 600 + rows } else { ten * 20 + 20 };
        let expected = (0..=30).map(|ten| format!("{ten:02} | {} | {}", ten * 20, last(ten) - 1));
        assert_eq!(session.rows(&sql).await?, expected.collect::<Vec<_>>(), "{format}");
        let count = format!("SELECT count(*) FROM {format}");
        session.check(&count, &[&(600 + rows).to_string()]).await?;
        let some = format!("SELECT n FROM {format} OFFSET 299 LIMIT 3");
        session.check(&some, &["299", "300", "301"]).await?;
    }
    Ok(())
}

async fn large_files_between_small_ones_keep_their_place(session: &TestSession) -> Result<()> {
    let session = session.undivided().await?;
    for format in ["csv", "parquet"] {
        let folder = session.path(format);
        fs::create_dir(&folder)?;
        let (small, large) = (2, ROWS_BEYOND_SMALL);
        let mut start = 0;
        for (file, rows) in [large, small, small, large, small].into_iter().enumerate() {
            let numbers = numbered(start, start + rows);
            let keys = batch([("k", Arc::clone(numbers.column(1)))]);
            let path = |part: &str| format!("{folder}/{file}-{part}.{format}");
            write(&path("a"), &numbers)?;
            // A file that lacks the column that is asked for.
            write(&path("b"), &if rows == small { keys } else { numbered(-1, -1) })?;
            start += rows;
        }
        session.register(format, &*folder).await?;
        let sql = format!("SELECT count(*), count(n), sum(n) FROM {format}");
        let expected = format!("{} | {start} | {}", start + 3 * small, start * (start - 1) / 2);
        session.check(&sql, &[&expected]).await?;
        let some = format!("SELECT n FROM {format} OFFSET {} LIMIT 10", large - 1);
        let (a, b, c, d) = (large - 1, large, large + 1, large + 2);
        let numbers = [a, b, c, -1, -1, d, d + 1, -1, -1, d + 2];
        let shown = numbers.map(|n| if n < 0 { "NULL".to_owned() } else { n.to_string() });
        session.check(&some, &shown.each_ref().map(String::as_str)).await?;
    }
    Ok(())
}

async fn a_broken_row_group_among_many_files_is_named(session: &TestSession) -> Result<()> {
    let session = session.undivided().await?;
    let folder = session.path("rows");
    fs::create_dir(&folder)?;
    let files: Vec<_> = (0..9).map(|file| format!("{folder}/{file}.parquet")).collect();
    for path in &files {
        write_parquet(path, &groups(0, 4, 2))?;
    }
    // Its first page, behind the four bytes that all such files start with.
    let mut broken = fs::read(&files[5])?;
    broken[4..40].fill(0xff);
    fs::write(&files[5], broken)?;
    session.register("f", &*folder).await?;
    let error = session.failure("SELECT * FROM f").await?;
    let place = format!("input file {}: row groups 0 to 1: ", files[5]);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains(&place), "{error}");
    Ok(())
}
