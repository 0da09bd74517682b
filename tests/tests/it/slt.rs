//! SQL scripts (sqllogictest): `tests/slt/*.slt`, each on every deployment and by forced ways.
//!
//! The scripts find the tables `items` and `carts` and the stores `catalog` (Lance) and `stock`
//! (memory). Structs are printed as `{name: value}`, nulls as `NULL`.

use std::path::Path;

use anyhow::{Result, ensure};
use arrow::{
    array::{ListArray, RecordBatch, StructArray},
    datatypes::{DataType, Int64Type},
};
use async_trait::async_trait;
use keyloom_client::{Error, Session};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

use crate::harness::{
    TestSession, batch, column, ints, on_all_deployments_and_ways, show_rows, strings,
};

on_all_deployments_and_ways!(scripts);

async fn scripts(session: &TestSession) -> Result<()> {
    prepare(session).await?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    ensure!(!files.is_empty(), "there are no scripts");
    for file in files {
        let mut runner = Runner::new(|| {
            let session = Session::clone(session);
            async { Ok(Engine { session }) }
        });
        runner.run_file_async(file).await?;
    }
    Ok(())
}

async fn prepare(session: &TestSession) -> Result<()> {
    let ids = strings([Some("a"), Some("b"), None, Some("z"), Some("a"), Some("c")]);
    let items = batch([("row", ints(0..6)), ("id", ids), ("amount", ints([5, 0, 7, 1, 2, 9]))]);
    session.register_batches("items", &[items])?;
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), None, Some(2), Some(1)]),
        None,
        Some(vec![]),
        Some(vec![Some(9)]),
    ]);
    session.register_batches("carts", &[batch([("row", ints(0..4)), ("ids", column(lists))])])?;
    let catalog = batch([
        ("id", strings(["c", "a", "b"])),
        ("name", strings([Some("cherry"), Some("apple"), None])),
        ("parent", strings([Some("a"), Some("b"), None])),
    ]);
    session.attach_lance("catalog", catalog, "id").await?;
    let stock = batch([("number", ints([1, 2, 5])), ("left", ints([10, 20, 50]))]);
    session.attach_memory("stock", stock, "number").await?;
    session.set_kv("catalog")?;
    Ok(())
}

/// A session as sqllogictest sees it.
struct Engine {
    session: Session,
}

#[async_trait]
impl AsyncDB for Engine {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        let query = self.session.sql(sql).await?;
        let types = query.schema().fields().iter().map(|field| kind(field.data_type())).collect();
        let batches = query.collect().await.map_err(Error::from)?;
        Ok(DBOutput::Rows { types, rows: values(&batches)? })
    }

    async fn shutdown(&mut self) {}
}

fn kind(data_type: &DataType) -> DefaultColumnType {
    match data_type {
        data_type if data_type.is_integer() => DefaultColumnType::Integer,
        data_type if data_type.is_floating() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

/// The rows' values one by one; one column at a time so that a separator within a value does no
/// harm.
fn values(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>, Error> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns = (0..batch.num_columns())
            .map(|index| show_rows(&[batch.project(&[index])?]).map_err(internal))
            .collect::<Result<Vec<_>, _>>()?;
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column[row].clone()).collect()),
        );
    }
    Ok(rows)
}

fn internal(error: anyhow::Error) -> Error {
    Error::internal(error.to_string())
}

#[test]
fn structs_are_shown_by_name() -> Result<()> {
    let one = StructArray::from(batch([("n", ints([1]))]));
    assert_eq!(show_rows(&[batch([("s", column(one))])])?, ["{n: 1}"]);
    Ok(())
}
