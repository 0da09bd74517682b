//! The product: a case's stores, table and query in a session.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Int64Array, Int64Builder, ListBuilder, RecordBatch,
        StringArray, StringBuilder, StructArray, UInt8Array,
    },
    buffer::NullBuffer,
    datatypes::{DataType, Field, Int64Type, UInt8Type},
};
use keyloom_client::{Error, Session, report::JobSummary};
use tempfile::TempDir;

use super::query::{Case, Fields, Join, Nested, TableRow, Value, WORDS};

impl Case {
    fn table(&self) -> RecordBatch {
        let rows = &self.rows;
        let ints = |get: fn(&TableRow) -> Option<i64>| -> ArrayRef {
            Arc::new(rows.iter().map(get).collect::<Int64Array>())
        };
        let words = |get: fn(&TableRow) -> Option<&'static str>| -> ArrayRef {
            Arc::new(rows.iter().map(get).collect::<StringArray>())
        };
        let bools = |get: fn(&TableRow) -> Option<bool>| -> ArrayRef {
            Arc::new(rows.iter().map(get).collect::<BooleanArray>())
        };
        let mut ns = ListBuilder::new(Int64Builder::new());
        let mut ws = ListBuilder::new(StringBuilder::new());
        for row in rows {
            ns.append_option(row.ns.clone());
            ws.append_option(row.ws.clone());
        }
        let columns: [(&str, ArrayRef); 10] = [
            ("row", Arc::new(Int64Array::from_iter_values(0..rows.len() as i64))),
            ("n", ints(|row| row.n)),
            ("m", ints(|row| row.m)),
            ("w", words(|row| row.w)),
            ("v", words(|row| row.v)),
            ("p", bools(|row| row.p)),
            ("q", bools(|row| row.q)),
            ("ns", Arc::new(ns.finish())),
            ("ws", Arc::new(ws.finish())),
            ("s", Arc::new(structs(rows.iter().map(|row| &row.s)))),
        ];
        let columns = columns.map(|(name, column)| (name, column, true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }
}

/// No value may be null: the structs may.
fn structs<'a>(rows: impl Iterator<Item = &'a Nested> + Clone) -> StructArray {
    let labels: ArrayRef =
        Arc::new(rows.clone().map(|row| Some(row.label)).collect::<StringArray>());
    let label = Field::new("label", DataType::Utf8, false);
    let valid = rows.clone().map(|row| row.inner_valid).collect::<NullBuffer>();
    let inner = StructArray::new(vec![label].into(), vec![labels], Some(valid));
    let fields = vec![
        Field::new("next", DataType::Int64, false),
        Field::new("inner", inner.data_type().clone(), true),
    ];
    let nexts = Int64Array::from_iter_values(rows.clone().map(|row| row.next));
    let valid = rows.map(|row| row.valid).collect::<NullBuffer>();
    StructArray::new(fields.into(), vec![Arc::new(nexts), Arc::new(inner)], Some(valid))
}

impl Join {
    fn table(&self) -> RecordBatch {
        let columns: [(&str, ArrayRef); 4] = [
            ("other", Arc::new(Int64Array::from_iter_values(0..self.rows.len() as i64))),
            ("x", Arc::new(self.rows.iter().map(|row| row.x).collect::<Int64Array>())),
            ("y", Arc::new(self.rows.iter().map(|row| row.y).collect::<StringArray>())),
            ("r", Arc::new(self.rows.iter().map(|row| row.r).collect::<BooleanArray>())),
        ];
        let columns = columns.map(|(name, column)| (name, column, true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }
}

fn store(keys: ArrayRef, fields: &[Fields]) -> RecordBatch {
    let columns: [(&str, ArrayRef); 4] = [
        ("key", keys),
        ("next", Arc::new(fields.iter().map(|f| f.0).collect::<Int64Array>())),
        ("label", Arc::new(fields.iter().map(|f| f.1).collect::<StringArray>())),
        ("flag", Arc::new(fields.iter().map(|f| f.2).collect::<BooleanArray>())),
    ];
    let columns = columns.map(|(name, column)| (name, column, name != "key"));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn numbers(rows: impl IntoIterator<Item = (u8, Fields)>) -> RecordBatch {
    let (keys, fields): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    store(Arc::new(UInt8Array::from(keys)), &fields)
}

fn words(rows: impl IntoIterator<Item = (&'static str, Fields)>) -> RecordBatch {
    let (keys, fields): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    store(Arc::new(StringArray::from(keys)), &fields)
}

/// What no query is to see.
const DELETED: Fields = (Some(-7), Some("deleted"), None);

impl Case {
    /// Attaches the stores; datasets are written below the folder.
    async fn attach(&self, session: &Session, folder: &Path) -> Result<(), Error> {
        let live = numbers(self.numbers.clone());
        let deleted = self.numbers_stored.deleted().iter();
        let deleted = numbers(deleted.map(|key| (*key as u8, DELETED)));
        let uri = folder.join("numbers");
        let loaded = self.numbers_stored.load(&uri, "numbers", live, deleted).await?;
        session.attach_or_replace(loaded, "numbers").await?;
        let live = words(self.words.clone());
        let deleted = self.words_stored.deleted().iter();
        let deleted = words(deleted.map(|key| (WORDS[*key], DELETED)));
        let loaded = self.words_stored.load(&folder.join("words"), "words", live, deleted).await?;
        session.attach_or_replace(loaded, "words").await
    }
}

/// A session with a case's bounds, stores and table. The datasets go with the folder.
async fn open(case: &Case) -> Result<(Session, TempDir), Error> {
    let session = Session::embedded_with(case.bounds.settings()).await?;
    let folder = tempfile::tempdir().unwrap();
    case.attach(&session, folder.path()).await?;
    session.register_batches("t", &[case.table()])?;
    if let Some(join) = &case.join {
        session.register_batches("u", &[join.table()])?;
    }
    Ok((session, folder))
}

/// The rows of a case's query, and what was counted.
pub(super) async fn run(case: &Case) -> Result<(Vec<Vec<Value>>, JobSummary), Error> {
    let (session, _folder) = open(case).await?;
    answered(&session, &case.sql(), case.is_ordered()).await
}

/// The plan of a case's query, line by line.
pub(super) async fn explain(case: &Case) -> Result<Vec<String>, Error> {
    let (session, _folder) = open(case).await?;
    explained(&session, &case.sql()).await
}

/// The rows of a statement, sorted if they have no order, and what was counted.
pub(super) async fn answered(
    session: &Session,
    sql: &str,
    is_ordered: bool,
) -> Result<(Vec<Vec<Value>>, JobSummary), Error> {
    let mut job = session.submit(session.sql(sql).await?).await?;
    let batches = job.collect().await?;
    let rows = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| values(batch, row)));
    let mut rows: Vec<_> = rows.collect();
    if !is_ordered {
        rows.sort();
    }
    Ok((rows, job.summary().cloned().unwrap_or_default()))
}

/// The plan of a statement, line by line.
pub(super) async fn explained(session: &Session, sql: &str) -> Result<Vec<String>, Error> {
    let plan = session.explain(session.sql(sql).await?, false).await?;
    Ok(plan.lines().map(ToOwned::to_owned).collect())
}

/// The values of a row.
fn values(batch: &RecordBatch, row: usize) -> Vec<Value> {
    batch.columns().iter().map(|column| cell(column, row)).collect()
}

fn cell(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => Value::Int(array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Struct(_) => {
            Value::Row(array.as_struct().columns().iter().map(|field| cell(field, row)).collect())
        }
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            Value::List((0..elements.len()).map(|index| cell(&elements, index)).collect())
        }
        other => panic!("no column has type {other}"),
    }
}
