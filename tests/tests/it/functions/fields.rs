//! Fields of structs and values of maps, of which some are null and hide something.

use std::{fs::File, sync::Arc};

use anyhow::Result;
use arrow::{
    array::{Array, ArrayRef, BooleanArray, MapArray, RecordBatch, StructArray},
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field, Fields},
    ipc::writer::FileWriter,
};

use super::check;
use crate::harness::{
    TestSession, batch, column, ints, on_all_deployments, on_all_deployments_and_ways, strings,
};

on_all_deployments! {
    fields_of_null_structs_are_null_in_tables,
    fields_of_null_structs_are_null_in_arrow_files,
    fields_of_null_structs_are_null_when_unnested,
    fields_of_structs_made_null_are_null,
}

on_all_deployments_and_ways! {
    fields_of_null_structs_are_null_in_stores,
    fields_of_lookups_made_null_are_null,
}

fn structs(fields: &[(&str, ArrayRef)], valid: &[bool]) -> StructArray {
    let field = |(name, array): &(&str, ArrayRef)| {
        Field::new(*name, array.data_type().clone(), array.data_type().is_nested())
    };
    StructArray::new(
        fields.iter().map(field).collect::<Fields>(),
        fields.iter().map(|(_, array)| Arc::clone(array)).collect(),
        Some(NullBuffer::from(valid)),
    )
}

/// Rows 1 to 4 of `s: {n, t: {w}}`: the second `s` is null, and the third `t`.
fn hiding() -> RecordBatch {
    let inner = structs(&[("w", strings(["a", "b", "c", "d"]))], &[true, true, false, true]);
    let outer = [("n", ints(1..=4)), ("t", column(inner))];
    let live = BooleanArray::from(vec![Some(true), Some(true), None, Some(false)]);
    batch([
        ("k", ints(1..=4)),
        ("s", column(structs(&outer, &[true, false, true, true]))),
        ("live", column(live)),
    ])
}

/// `{x: 1}`, a null that hides `{x: 2}`, and `{}`.
fn maps() -> ArrayRef {
    let keys = Field::new("key", DataType::Utf8, false);
    let values = Field::new("value", DataType::Int64, true);
    let columns = vec![strings(["x", "x"]), ints([1, 2])];
    let entries = StructArray::new(Fields::from(vec![keys, values]), columns, None);
    let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let offsets = OffsetBuffer::new(vec![0, 1, 2, 2].into());
    let valid = Some(NullBuffer::from(vec![true, false, true]));
    column(MapArray::new(field, offsets, entries, valid, false))
}

async fn check_fields(session: &TestSession, table: &str) -> Result<()> {
    session
        .check(
            &format!("SELECT k, s['n'], s['t']['w'], s['t'] IS NULL FROM {table}"),
            &[
                "1 | 1 | a | false",
                "2 | NULL | NULL | true",
                "3 | 3 | NULL | true",
                "4 | 4 | d | false",
            ],
        )
        .await?;
    session.check(&format!("SELECT k FROM {table} WHERE s['n'] IS NULL"), &["2"]).await?;
    session.check(&format!("SELECT k FROM {table} AS r WHERE r.s.t.w <> 'x'"), &["1", "4"]).await?;
    session
        .check(
            &format!("SELECT count(s['n']), min(s['t']['w']), max(s['t']['w']) FROM {table}"),
            &["3 | a | d"],
        )
        .await?;
    session
        .check(
            &format!("SELECT k FROM {table} ORDER BY get_field(s, 'n') DESC NULLS LAST"),
            &["4", "3", "1", "2"],
        )
        .await
}

async fn fields_of_null_structs_are_null_in_tables(session: &TestSession) -> Result<()> {
    session.register_batches("t", &[hiding()])?;
    check_fields(session, "t").await?;
    session.register_batches("m", &[batch([("k", ints(1..=3)), ("m", maps())])])?;
    session.check("SELECT k, m['x'] FROM m", &["1 | 1", "2 | NULL", "3 | NULL"]).await?;
    session.check("SELECT sum(m['x']) FROM m", &["1"]).await
}

async fn fields_of_null_structs_are_null_in_arrow_files(session: &TestSession) -> Result<()> {
    let path = session.path("hiding.arrow");
    let rows = hiding();
    let mut writer = FileWriter::try_new(File::create(&path)?, &rows.schema())?;
    writer.write(&rows)?;
    writer.finish()?;
    session.register("t", &path).await?;
    check_fields(session, "t").await
}

async fn fields_of_null_structs_are_null_when_unnested(session: &TestSession) -> Result<()> {
    session.register_batches("t", &[hiding()])?;
    session
        .check(
            "SELECT k, unnest(s) FROM t",
            &["1 | 1 | {w: a}", "2 | NULL | NULL", "3 | 3 | NULL", "4 | 4 | {w: d}"],
        )
        .await?;
    session.check("SELECT unnest(s['t']) FROM t", &["a", "NULL", "NULL", "d"]).await
}

async fn fields_of_structs_made_null_are_null(session: &TestSession) -> Result<()> {
    session.register_batches("t", &[hiding()])?;
    session
        .check(
            "SELECT k, (CASE WHEN live THEN s END)['n'] FROM t",
            &["1 | 1", "2 | NULL", "3 | NULL", "4 | NULL"],
        )
        .await?;
    session
        .check(
            "SELECT k, nullif(s, named_struct('n', 4, 't', s['t']))['n'] FROM t WHERE k <> 3",
            &["1 | 1", "2 | NULL", "4 | NULL"],
        )
        .await?;
    // Computed while the query is planned.
    session.check("SELECT nullif(named_struct('n', 1), named_struct('n', 1))['n']", &["NULL"]).await
}

async fn fields_of_null_structs_are_null_in_stores(session: &TestSession) -> Result<()> {
    session.attach_memory("memory", hiding(), "k").await?;
    session.attach_lance("lance", hiding(), "k").await?;
    session.register_batches("t", &[batch([("n", ints(1..=5))])])?;
    check(
        session,
        "SELECT n, v['s']['n'], v['s']['t']['w'] FROM (SELECT n, kv_get(n, source => 'STORE', \
         on_error => 'null') AS v FROM t)",
        &["1 | 1 | a", "2 | NULL | NULL", "3 | 3 | NULL", "4 | 4 | d", "5 | NULL | NULL"],
    )
    .await
}

async fn fields_of_lookups_made_null_are_null(session: &TestSession) -> Result<()> {
    session.attach_memory("memory", hiding(), "k").await?;
    session.attach_lance("lance", hiding(), "k").await?;
    let live = BooleanArray::from(vec![Some(true), Some(false), None, Some(false)]);
    let rows = batch([("n", ints([1, 3, 4, 4])), ("b", column(live))]);
    session.register_batches("t", &[rows])?;
    const GET: &str = "kv_get(n, source => 'STORE', on_error => 'null')";
    let sql = |template: &str| template.replace("GET", GET);
    check(
        session,
        &sql("SELECT n, kv_exists(n, source => 'STORE'), (CASE WHEN b THEN GET END)['k'], \
              (CASE WHEN b THEN GET END)['s']['n'] FROM t"),
        &[
            "1 | true | 1 | 1",
            "3 | true | NULL | NULL",
            "4 | true | NULL | NULL",
            "4 | true | NULL | NULL",
        ],
    )
    .await?;
    check(
        session,
        &sql("SELECT n, nullif(GET, kv_get(1, source => 'STORE'))['k'] FROM t"),
        &["1 | NULL", "3 | 3", "4 | 4", "4 | 4"],
    )
    .await?;
    check(
        session,
        &sql("SELECT count((CASE WHEN b THEN GET END)['k']), count(GET['k']) FROM t"),
        &["1 | 4"],
    )
    .await?;
    check(
        session,
        &sql("SELECT n FROM t WHERE (CASE WHEN b THEN GET END)['k'] > 0 AND GET['k'] > 0"),
        &["1"],
    )
    .await?;
    // The key of another lookup.
    check(
        session,
        &sql("SELECT n, kv_get((CASE WHEN b THEN GET END)['k'], source => 'STORE')['k'], \
              GET['k'] FROM t"),
        &["1 | 1 | 1", "3 | NULL | 3", "4 | NULL | 4", "4 | NULL | 4"],
    )
    .await
}
