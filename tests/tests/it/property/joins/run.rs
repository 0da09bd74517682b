//! The product: a case's table, stores and statement in a session.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt8Array};
use keyloom_client::{Error, Session, report::JobSummary};
use tempfile::TempDir;

use super::case::{Case, Relation};
use crate::property::{
    query::{Type, Value},
    run::{answered, explained},
};

/// The rows of a relation; every column may hold nulls but the keys of what is kept in memory.
fn batch(relation: Relation, rows: &[Vec<Value>]) -> RecordBatch {
    let columns = relation.columns().iter().enumerate().map(|(place, (name, ty))| {
        let values = rows.iter().map(|row| &row[place]);
        let ints = values.clone().map(|value| match value {
            Value::Int(int) => Some(*int),
            _ => None,
        });
        let words = values.map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        });
        let column: ArrayRef = match ty {
            Type::Int if relation == Relation::Numbers && *name == "key" => {
                let keys = ints.map(|int| int.map(|int| u8::try_from(int).unwrap()));
                Arc::new(keys.collect::<UInt8Array>())
            }
            Type::Int => Arc::new(ints.collect::<Int64Array>()),
            Type::Text => Arc::new(words.collect::<StringArray>()),
            Type::Bool => panic!("no column is of type Bool"),
        };
        (*name, column, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// A session with a case's bounds, stores and table. The datasets go with the folder.
async fn open(case: &Case) -> Result<(Session, TempDir), Error> {
    let mut settings = case.bounds.settings();
    settings.session.join_path = case.path;
    let session = Session::embedded_with(settings).await?;
    let folder = tempfile::tempdir().unwrap();
    for (relation, (rows, kept)) in Relation::STORES.into_iter().zip(&case.stores) {
        let store = kept.load(folder.path(), relation, batch(relation, rows)).await?;
        session.attach(store, relation.alias()).await?;
    }
    session.register_batches("t", &[batch(Relation::Table, &case.rows)])?;
    Ok((session, folder))
}

/// The rows of a case's statement, sorted if they have no order, and what was counted.
pub(super) async fn run(case: &Case) -> Result<(Vec<Vec<Value>>, JobSummary), Error> {
    let (session, _folder) = open(case).await?;
    answered(&session, &case.sql(), case.is_ordered()).await
}

/// The plan of a case's statement, line by line.
pub(super) async fn explain(case: &Case) -> Result<Vec<String>, Error> {
    let (session, _folder) = open(case).await?;
    explained(&session, &case.sql()).await
}
