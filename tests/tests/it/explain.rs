//! Physical plans as text: what is looked up, for which rows, in which order, and how often.

mod access;
mod advice;
mod analysis;
mod counters;
mod fetches;
mod guards;
mod late;
mod relational;
mod waves;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, Int64Builder, ListBuilder, RecordBatch, StringArray,
};
use keyloom_client::{ErrorKind, MemoryOptions, Session, load_kv};

fn table() -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let kinds: ArrayRef = Arc::new(StringArray::from(vec!["user", "item", "user"]));
    let mut lists = ListBuilder::new(Int64Builder::new());
    for list in [vec![1, 2], vec![], vec![3]] {
        lists.append_value(list.into_iter().map(Some));
    }
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::clone(&ids)),
        ("other", ids),
        ("kind", kinds),
        ("live", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("ids", Arc::new(lists.finish())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn items() -> RecordBatch {
    let columns: [(&str, ArrayRef); 4] = [
        ("key", Arc::new(Int64Array::from(vec![1, 2]))),
        ("name", Arc::new(StringArray::from(vec!["one", "two"]))),
        ("parent", Arc::new(Int64Array::from(vec![2, 1]))),
        ("score", Arc::new(Int64Array::from(vec![10, 20]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A session with a table `t` and the stores `items` (current), `users` and `spare`, which have
/// the same columns.
async fn session() -> Session {
    let session = Session::embedded().await.unwrap();
    session.register_batches("t", &[table()]).unwrap();
    for alias in ["items", "users", "spare"] {
        let store = load_kv(alias, MemoryOptions::batch(items(), "key")).unwrap();
        session.attach(store, alias).await.unwrap();
    }
    session.set_kv("items").unwrap();
    session
}

async fn plan(sql: &str) -> String {
    let session = session().await;
    let query = session.sql(sql).await.unwrap();
    session.explain(query, false).await.unwrap()
}

/// The kind and the message of what planning a statement says is wrong.
async fn refusal(sql: &str) -> (ErrorKind, String) {
    let session = session().await;
    let error = match session.sql(sql).await {
        Ok(query) => session.explain(query, false).await.unwrap_err(),
        Err(error) => error,
    };
    (error.kind(), error.message().to_owned())
}
