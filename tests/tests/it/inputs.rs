//! Inputs: batches, Parquet, CSV, newline-delimited JSON, Arrow IPC; files, folders, globs.

mod cutting;
mod fresh;
mod lance;
mod many;
mod many_tasks;
mod paths;

use std::{fs, fs::File, io::Write};

use anyhow::{Context, Result};
use arrow::{
    array::{BooleanArray, DictionaryArray, RecordBatch, StringViewArray},
    datatypes::{DataType, Int32Type},
    ipc::writer::FileWriter,
};
use datafusion::{parquet::arrow::ArrowWriter, prelude::DataFrame};
use keyloom_client::{ErrorKind, Format, Input};

use crate::harness::{
    TestSession, batch, check_rows, column, ints, items, on_all_deployments, open_shop, rows,
    strings,
};

on_all_deployments! {
    batches_keep_their_order,
    batches_without_rows,
    batches_that_differ_are_refused,
    slices_of_a_batch_are_cut_by_what_they_hold,
    a_table_name_that_is_taken_is_refused,
    table_names_are_as_they_are_written,
    parquet_row_groups_keep_their_order_over_many_tasks,
    parquet_files_of_a_folder_in_the_order_of_their_names,
    parquet_files_that_differ_have_the_union_of_columns,
    csv_with_quoted_newlines,
    csv_types_are_inferred,
    csv_without_rows_has_columns,
    json_lines_keep_their_order_over_many_tasks,
    arrow_files_keep_their_order_over_many_tasks,
    globs_choose_files,
    hidden_files_are_no_input,
    names_with_spaces_and_percents,
    a_given_format_overrides_the_ending,
    a_file_in_sql_and_in_an_expression,
    a_missing_path_is_named,
    compressed_text_is_told_by_its_bytes,
    mixed_formats_are_refused,
    an_unknown_ending_is_refused,
    a_broken_file_is_refused_by_name,
    a_rewritten_file_is_read_anew,
    a_folder_without_files_is_named,
    string_views_are_keys_and_dictionaries_are_carried,
    a_parquet_file_without_rows_has_its_columns,
}

const ROWS: i64 = 200;

/// Rows with a number, and a key of the shop: every fourth is missing.
fn numbered(from: i64, to: i64) -> RecordBatch {
    let keys = (from..to).map(|n| ["a", "b", "x", "c"][(n % 4) as usize]);
    batch([("n", ints(from..to)), ("k", strings(keys))])
}

const LOOK: &str = "SELECT n, kv_get(k, source => 'lance', on_error => 'null')['name'] FROM f";

/// What [`LOOK`] gives for [`numbered`].
fn looked(from: i64, to: i64) -> Vec<String> {
    let names = ["apple", "banana", "NULL", "cherry"];
    (from..to).map(|n| format!("{n} | {}", names[(n % 4) as usize])).collect()
}

fn write_parquet(path: &str, row_groups: &[RecordBatch]) -> Result<()> {
    let schema = row_groups.first().context("a row group")?.schema();
    let mut writer = ArrowWriter::try_new(File::create(path)?, schema, None)?;
    for rows in row_groups {
        writer.write(rows)?;
        writer.flush()?;
    }
    writer.close()?;
    Ok(())
}

fn write_arrow(path: &str, batches: &[RecordBatch]) -> Result<()> {
    let schema = batches.first().context("a batch")?.schema();
    let mut writer = FileWriter::try_new(File::create(path)?, &schema)?;
    batches.iter().try_for_each(|rows| writer.write(rows))?;
    Ok(writer.finish()?)
}

fn groups(from: i64, to: i64, size: usize) -> Vec<RecordBatch> {
    let starts = (from..to).step_by(size);
    starts.map(|start| numbered(start, to.min(start + size as i64))).collect()
}

/// Registers a path as `f`, runs [`LOOK`] and expects the rows, in order and from several tasks.
async fn check_look(session: &TestSession, path: &str, from: i64, to: i64) -> Result<()> {
    session.register("f", path).await?;
    assert_eq!(session.rows(LOOK).await?, looked(from, to));
    let tasks = session.summary(LOOK).await?.tasks;
    assert!(tasks > 3, "{tasks} tasks");
    Ok(())
}

/// Why a path cannot be read.
async fn check_refusal(
    session: &TestSession,
    path: &str,
    kind: ErrorKind,
    message: &str,
) -> Result<()> {
    let error = session.read(path).await.err().context("read")?;
    assert_eq!((error.kind(), error.message()), (kind, message));
    Ok(())
}

async fn batches_keep_their_order(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let batches: Vec<_> =
        [(0, 1), (1, 1), (1, 90), (90, 92), (92, ROWS)].map(|(a, b)| numbered(a, b)).into();
    session.register_batches("f", &batches)?;
    assert_eq!(session.rows(LOOK).await?, looked(0, ROWS));
    assert_eq!(session.summary(LOOK).await?.tasks, 67);
    let query = session.from_batches(&batches)?;
    let expr = session.kv_get("k").source("lance").on_error(keyloom_client::OnError::Null);
    let query = query.with_column("v", expr.columns(["name"]).build()?)?;
    let expected: Vec<_> = looked(0, ROWS)
        .into_iter()
        .zip(["a", "b", "x", "c"].into_iter().cycle())
        .map(|(row, key)| {
            let (n, name) = row.split_once(" | ").expect("two values");
            match name {
                "NULL" => format!("{n} | {key} | NULL"),
                name => format!("{n} | {key} | {{name: {name}}}"),
            }
        })
        .collect();
    assert_eq!(rows(query).await?, expected);
    Ok(())
}

async fn slices_of_a_batch_are_cut_by_what_they_hold(session: &TestSession) -> Result<()> {
    let session = session.undivided().await?;
    let text = "x".repeat(500);
    let texts = vec![text.as_str(); 40_000];
    let views = column(StringViewArray::from(texts.clone()));
    let rows = batch([("n", ints(0..40_000)), ("t", strings(texts)), ("v", views)]);
    // Each of them shares the 40 MB of all.
    let slices: Vec<_> = (0..100).map(|slice| rows.slice(slice * 400, 400)).collect();
    session.register_batches("f", &slices)?;
    assert_eq!(session.summary("SELECT n FROM f").await?.tasks, 3);
    session
        .check("SELECT count(*), sum(n), max(v) FROM f", &[&format!("40000 | 799980000 | {text}")])
        .await
}

async fn batches_without_rows(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    session.register_batches("f", &[numbered(0, 0)])?;
    session.check(LOOK, &[]).await?;
    session.check("SELECT count(*), max(n) FROM f", &["0 | NULL"]).await?;
    let error = session.register_batches("g", &[]).err().context("registered")?;
    let message = "an in-memory table needs at least one batch, which may be empty";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
    Ok(())
}

async fn batches_that_differ_are_refused(session: &TestSession) -> Result<()> {
    let other = batch([("n", ints([1]))]);
    let error = session.register_batches("f", &[items(), other]).err().context("registered")?;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let start = "the batches of an in-memory table differ in schema: ";
    assert!(error.message().starts_with(start), "{error}");
    Ok(())
}

async fn a_table_name_that_is_taken_is_refused(session: &TestSession) -> Result<()> {
    session.register_batches("f", &[numbered(0, 1)])?;
    let error = session.register_batches("f", &[numbered(0, 2)]).err().context("registered")?;
    let message = "a table 'f' is already registered";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
    let path = session.path("f.parquet");
    write_parquet(&path, &groups(0, 3, 3))?;
    let error = session.register("f", &path).await.err().context("registered")?;
    assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
    session.check("SELECT count(*) FROM f", &["1"]).await
}

async fn table_names_are_as_they_are_written(session: &TestSession) -> Result<()> {
    session.register_batches("Flights", &[numbered(0, 2)])?;
    session.register_batches("a.b c", &[numbered(0, 3)])?;
    session.check("SELECT count(*) FROM \"Flights\"", &["2"]).await?;
    session.check("SELECT count(*) FROM \"a.b c\"", &["3"]).await?;
    check_rows(session.table("Flights").await?, &["0 | a", "1 | b"]).await?;
    let error = session.failure("SELECT count(*) FROM flight").await?;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    Ok(())
}

async fn parquet_row_groups_keep_their_order_over_many_tasks(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let path = session.path("rows.parquet");
    write_parquet(&path, &groups(0, ROWS, 16))?;
    check_look(session, &path, 0, ROWS).await
}

async fn parquet_files_of_a_folder_in_the_order_of_their_names(
    session: &TestSession,
) -> Result<()> {
    open_shop(session).await?;
    let folder = session.path("parts");
    fs::create_dir_all(format!("{folder}/nested"))?;
    // Written in another order than that of their names.
    write_parquet(&format!("{folder}/part-2.parquet"), &groups(80, ROWS, 30))?;
    write_parquet(&format!("{folder}/part-0.parquet"), &groups(0, 50, 7))?;
    write_parquet(&format!("{folder}/part-1.parquet"), &groups(50, 80, 30))?;
    check_look(session, &folder, 0, ROWS).await?;
    let slash = session.read(&format!("{folder}/")).await?;
    assert_eq!(rows(slash.select_columns(&["n"])?).await?.len(), ROWS as usize);
    Ok(())
}

async fn parquet_files_that_differ_have_the_union_of_columns(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let folder = session.path("parts");
    fs::create_dir(&folder)?;
    write_parquet(
        &format!("{folder}/a.parquet"),
        &[batch([("n", ints([1])), ("k", strings(["a"]))])],
    )?;
    write_parquet(&format!("{folder}/b.parquet"), &[batch([("m", ints([7])), ("n", ints([2]))])])?;
    session.register("f", &folder).await?;
    session.check("SELECT n, k, m FROM f", &["1 | a | NULL", "2 | NULL | 7"]).await?;
    session.check(LOOK, &["1 | apple", "2 | NULL"]).await
}

async fn csv_with_quoted_newlines(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let path = session.path("rows.csv");
    let mut file = File::create(&path)?;
    writeln!(file, "n,k,text")?;
    for n in 0..ROWS {
        let key = ["a", "b", "x", "c"][(n % 4) as usize];
        writeln!(file, "{n},{key},\"line {n}\n{n},\"\"quoted\"\",x\n\"")?;
    }
    drop(file);
    session.register("f", &path).await?;
    assert_eq!(session.rows(LOOK).await?, looked(0, ROWS));
    session.check("SELECT text FROM f WHERE n = 150", &["line 150\n150,\"quoted\",x\n"]).await
}

async fn csv_types_are_inferred(session: &TestSession) -> Result<()> {
    let path = session.path("rows.csv");
    fs::write(&path, "n,ratio,flag,word,day\n1,0.5,true,one,2024-02-29\n-2,,false,,\n")?;
    let query = session.read(&path).await?;
    assert_eq!(
        types(&query),
        [DataType::Int64, DataType::Float64, DataType::Boolean, DataType::Utf8, DataType::Date32]
    );
    check_rows(query, &["1 | 0.5 | true | one | 2024-02-29", "-2 | NULL | false | NULL | NULL"])
        .await
}

fn types(query: &DataFrame) -> Vec<DataType> {
    query.schema().fields().iter().map(|field| field.data_type().clone()).collect()
}

async fn csv_without_rows_has_columns(session: &TestSession) -> Result<()> {
    let path = session.path("rows.csv");
    fs::write(&path, "n,k\n")?;
    session.register("f", &path).await?;
    session.check("SELECT n, k FROM f", &[]).await?;
    session.check("SELECT count(*) FROM f", &["0"]).await
}

async fn json_lines_keep_their_order_over_many_tasks(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    for (ending, index) in [("json", 0), ("jsonl", 1), ("ndjson", 2)] {
        let path = session.path(&format!("rows.{ending}"));
        let mut file = File::create(&path)?;
        for n in 0..ROWS {
            let key = ["\"a\"", "\"b\"", "null", "\"c\""][(n % 4) as usize];
            writeln!(file, "{{\"n\": {n}, \"k\": {key}, \"nested\": {{\"list\": [{n}]}}}}")?;
        }
        drop(file);
        let table = format!("f{index}");
        session.register(&table, &path).await?;
        let look = LOOK.replace("FROM f", &format!("FROM {table}"));
        assert_eq!(session.rows(&look).await?, looked(0, ROWS));
        let tasks = session.summary(&look).await?.tasks;
        assert!(tasks > 3, "{tasks} tasks");
        let nested = format!("SELECT nested['list'][1] FROM {table} WHERE n = 77");
        session.check(&nested, &["77"]).await?;
    }
    Ok(())
}

async fn arrow_files_keep_their_order_over_many_tasks(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let path = session.path("rows.arrow");
    write_arrow(&path, &groups(0, ROWS, 9))?;
    check_look(session, &path, 0, ROWS).await
}

async fn globs_choose_files(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    write_parquet(&session.path("good-1.parquet"), &groups(0, 40, 5))?;
    write_parquet(&session.path("good-2.parquet"), &groups(40, 60, 5))?;
    write_parquet(&session.path("bad-1.parquet"), &groups(60, 80, 5))?;
    check_look(session, &session.path("good-*.parquet"), 0, 60).await
}

async fn hidden_files_are_no_input(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let folder = session.path("parts");
    fs::create_dir(&folder)?;
    write_parquet(&format!("{folder}/part.parquet"), &groups(0, 40, 5))?;
    fs::write(format!("{folder}/_SUCCESS"), "")?;
    fs::write(format!("{folder}/.part.parquet.crc"), "x")?;
    fs::write(format!("{folder}/README"), "no data")?;
    check_look(session, &folder, 0, 40).await
}

async fn names_with_spaces_and_percents(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let folder = session.path("my parts, 50%");
    fs::create_dir(&folder)?;
    let path = format!("{folder}/ein größeres #1%20.parquet");
    write_parquet(&path, &groups(0, 40, 5))?;
    check_look(session, &path, 0, 40).await?;
    let folder = session.read(&folder).await?;
    check_rows(folder.limit(0, Some(1))?, &["0 | a"]).await
}

async fn a_given_format_overrides_the_ending(session: &TestSession) -> Result<()> {
    let path = session.path("rows.txt");
    fs::write(&path, "n,k\n1,a\n2,b\n")?;
    check_rows(session.read(Input::new(&path).format(Format::Csv)).await?, &["1 | a", "2 | b"])
        .await?;
    let path = session.path("rows.data");
    write_parquet(&path, &groups(0, 2, 2))?;
    session.register("f", Input::new(&path).format(Format::Parquet)).await?;
    session.check("SELECT n FROM f", &["0", "1"]).await
}

async fn a_file_in_sql_and_in_an_expression(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let path = session.path("rows.parquet");
    write_parquet(&path, &groups(0, 4, 2))?;
    session.register("f", &path).await?;
    session.check(LOOK, &["0 | apple", "1 | banana", "2 | NULL", "3 | cherry"]).await?;
    let exists = session.kv_exists("k").source("memory").build()?;
    let query = session.read(&path).await?.with_column("e", exists)?;
    check_rows(query, &["0 | a | true", "1 | b | true", "2 | x | false", "3 | c | true"]).await
}

async fn a_missing_path_is_named(session: &TestSession) -> Result<()> {
    let reason = "no such file, or a folder without files";
    for name in ["nope.parquet", "nope/"] {
        let path = session.path(name);
        let message = format!("input {path}: {reason}");
        check_refusal(session, &path, ErrorKind::NotFound, &message).await?;
    }
    let folder = session.path("empty");
    fs::create_dir(&folder)?;
    let message = format!("input {folder}: {reason}");
    check_refusal(session, &folder, ErrorKind::NotFound, &message).await
}

/// The lines `n`, `1` and `2`, compressed with gzip.
const GZIP: [u8; 26] = [
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xcb, 0xe3, 0x32, 0xe4, 0x32, 0xe2,
    0x02, 0x00, 0x55, 0x70, 0x29, 0x81, 0x06, 0x00, 0x00, 0x00,
];

async fn compressed_text_is_told_by_its_bytes(session: &TestSession) -> Result<()> {
    for name in ["rows.csv.gz", "misnamed.csv"] {
        let path = session.path(name);
        fs::write(&path, GZIP)?;
        check_rows(session.read(&path).await?, &["1", "2"]).await?;
    }
    let plain = session.path("plain.csv.gz");
    fs::write(&plain, "n\n3\n")?;
    check_rows(session.read(&plain).await?, &["3"]).await?;
    let broken = session.path("broken.csv.gz");
    fs::write(&broken, &GZIP[..GZIP.len() - 9])?;
    let error = session.read(&broken).await.err().context("read")?;
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.message().contains(&broken), "{error}");
    Ok(())
}

async fn mixed_formats_are_refused(session: &TestSession) -> Result<()> {
    let folder = session.path("mixed");
    fs::create_dir(&folder)?;
    fs::write(format!("{folder}/a.csv"), "n\n1\n")?;
    fs::write(format!("{folder}/b.json"), "{\"n\": 1}\n")?;
    let message = format!(
        "it holds files of two formats: {folder}/b.json is json, {folder}/a.csv is csv; name one \
         with a pattern, or say which is meant with format"
    );
    check_refusal(session, &folder, ErrorKind::Invalid, &message).await?;
    check_rows(session.read(&format!("{folder}/*.csv")).await?, &["1"]).await
}

async fn an_unknown_ending_is_refused(session: &TestSession) -> Result<()> {
    let path = session.path("rows.xlsx");
    fs::write(&path, "PK")?;
    let message = format!(
        "input {path}: the format cannot be told from the file names; known endings are \
         parquet, pq, csv, tsv, tab, json, jsonl, ndjson, arrow, arrows, feather, ipc, lance, or say \
         format = \"csv\""
    );
    check_refusal(session, &path, ErrorKind::Invalid, &message).await
}

async fn a_broken_file_is_refused_by_name(session: &TestSession) -> Result<()> {
    let reasons = [
        ("rows.parquet", "Parquet error: Parquet error: Invalid Parquet file. Corrupt footer"),
        ("rows.arrow", "it cannot be read as Arrow IPC: it ends before its schema"),
    ];
    for (name, reason) in reasons {
        let path = session.path(name);
        // Its first bytes are a small number: Arrow's reader makes room for so many bytes.
        fs::write(&path, "\0\u{10}\0\0 this is no such file".repeat(10))?;
        let message = format!("file {path}: {reason}");
        check_refusal(session, &path, ErrorKind::Invalid, &message).await?;
    }
    Ok(())
}

async fn a_folder_without_files_is_named(session: &TestSession) -> Result<()> {
    let folder = session.path("bare");
    fs::create_dir(&folder)?;
    let message = format!("input {folder}: no such file, or a folder without files");
    check_refusal(session, &folder, ErrorKind::NotFound, &message).await?;
    // Hidden files are none.
    fs::write(format!("{folder}/_SUCCESS"), "")?;
    check_refusal(session, &folder, ErrorKind::NotFound, &message).await
}

async fn string_views_are_keys_and_dictionaries_are_carried(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let long = "a string of more than the twelve bytes that a view holds";
    let views = [Some("a"), None, Some(long), Some("b"), Some("a")];
    let words = [Some("red"), Some("blue"), None, Some("red"), Some("green")];
    let flags = vec![Some(true), None, Some(false), None, Some(true)];
    let rows = batch([
        ("k", column(StringViewArray::from_iter(views))),
        ("d", column(DictionaryArray::<Int32Type>::from_iter(words))),
        ("b", column(BooleanArray::from(flags))),
    ]);
    // Pieces of a batch share its dictionary.
    session.register_batches("views", &[rows.slice(1, 4), rows.slice(0, 2)])?;
    let sql = "SELECT k, d, b, kv_get(k, source => 'lance', on_error => 'null')['name'] AS name, \
               kv_exists(k, source => 'memory') FROM views";
    let dictionary = DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
    let expected = [DataType::Utf8View, dictionary, DataType::Boolean];
    assert_eq!(types(&session.sql(sql).await?)[..3], expected);
    let missing = format!("{long} | NULL | false | NULL | false");
    let expected = [
        "NULL | blue | NULL | NULL | NULL",
        &missing,
        "b | red | NULL | banana | true",
        "a | green | true | apple | true",
        "a | red | true | apple | true",
        "NULL | blue | NULL | NULL | NULL",
    ];
    session.check(sql, &expected).await
}

/// Reads a table of [`numbered`] rows as [`LOOK`] does; returns into how many tasks it was cut.
async fn look_at(session: &TestSession, table: &str, from: i64, to: i64) -> Result<u32> {
    let sql = LOOK.replace("FROM f", &format!("FROM {table}"));
    let (found, expected) = (session.rows(&sql).await?, looked(from, to));
    let differs = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert_eq!((found.len(), differs), (expected.len(), None), "{table}");
    Ok(session.summary(&sql).await?.tasks)
}

async fn a_parquet_file_without_rows_has_its_columns(session: &TestSession) -> Result<()> {
    open_shop(session).await?;
    let path = session.path("none.parquet");
    write_parquet(&path, &[numbered(0, 0)])?;
    session.register("f", &path).await?;
    look_at(session, "f", 0, 0).await?;
    let query = session.sql("SELECT k, n FROM f").await?;
    assert_eq!(types(&query), [DataType::Utf8, DataType::Int64]);
    session.check("SELECT count(*) FROM f", &["0"]).await
}

async fn a_rewritten_file_is_read_anew(session: &TestSession) -> Result<()> {
    let path = session.path("rows.parquet");
    let sizes = [(0, 50), (1, 51)].map(async |(from, to)| {
        write_parquet(&path, &[numbered(from, to)])?;
        let expected = format!("{from} | {} | 50", to - 1);
        let name = format!("f{from}");
        session.register(&name, &path).await?;
        let sql = format!("SELECT min(n), max(n), count(*) FROM {name}");
        session.check(&sql, &[&expected]).await?;
        anyhow::Ok(fs::metadata(&path)?.len())
    });
    let [first, second] = sizes;
    // What a cache might hold of the first would fit the second.
    assert_eq!(first.await?, second.await?);
    Ok(())
}
